"""Generated code and runtime under AddressSanitizer, UBSan and ThreadSanitizer, which GCC brings and zig does not."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest

from data.architecture import Architecture
from fusion import compile_model, host_target
from fusion.block import make_block
from fusion.build.runner import visit_line
from fusion.build.toolchain import RUNNER_SOURCES, RUNTIME
from fusion.compiled import CompiledModel
from fusion.emit.c.program import build_program
from fusion.emit.program import block_plan
from fusion.planning.architecture_plan import architecture_plan
from tests.fusion.build.gcc import RUNTIME_WARNINGS, link, model_objects, needs_gcc, program_objects
from tests.fusion.families import Export, export_family, ragged_inputs, runtime_outputs
from tests.fusion.heads import everything, export_head
from tests.fusion.models import export, random_inputs, reference

pytestmark = pytest.mark.usefixtures("shared_home")

Inputs = Mapping[str, np.ndarray]

SANITIZERS = ("address,undefined", "thread")
ARCHITECTURES = {
    "odd": Architecture(2, 60, 3, 100, vocab_size=300, seq_len=37),
    "long": Architecture(1, 48, 2, 64, vocab_size=300, seq_len=300),
    "short": Architecture(2, 64, 4, 200, vocab_size=300, seq_len=1, labels=1),
}


def sanitized_runner(model: CompiledModel, sanitizer: str, folder: Path) -> Path:
    """The model's runner built by GCC with a sanitizer."""
    runner = [RUNTIME / name for name in RUNNER_SOURCES]
    return link([*model_objects(model, sanitizer, folder), *runner], folder / "runner", sanitizer, RUNTIME_WARNINGS)


def assert_clean(
    model: CompiledModel,
    sanitizer: str,
    inputs: Inputs,
    expected: Sequence[np.ndarray],
    folder: Path,
    within: float = 1e-4,
) -> None:
    """Runs the model a few times on three threads; the sanitizer says nothing, and the numbers are right."""
    words = [word for key, row in inputs.items() for word in ("--input", f"{key}={','.join(map(str, row[0]))}")]
    runner = sanitized_runner(model, sanitizer, folder)
    command = [str(runner), "model", "--weights", str(model.weights()), "--threads", "3", "--runs", "3", *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    outputs = json.loads(done.stdout)["outputs"].values()
    for one, other in zip(outputs, expected, strict=True):
        assert np.abs(np.array(one).reshape(other.shape) - other).max() < within


@needs_gcc
@pytest.mark.parametrize("fuse", [True, False])
@pytest.mark.parametrize("sanitizer", SANITIZERS)
@pytest.mark.parametrize("name", sorted(ARCHITECTURES))
def test_generated_code_is_clean(name: str, sanitizer: str, fuse: bool, tmp_path: Path) -> None:
    architecture = ARCHITECTURES[name]
    path = export(architecture, tmp_path)
    model = compile_model(path, seq_len=architecture.seq_len, fuse=fuse, target=host_target())
    inputs = random_inputs(architecture, max(1, architecture.seq_len * 2 // 3))
    assert_clean(model, sanitizer, inputs, [reference(path, inputs)], tmp_path)


@needs_gcc
@pytest.mark.parametrize("sanitizer", SANITIZERS)
def test_products_in_int8_are_clean(sanitizer: str, tmp_path: Path) -> None:
    architecture = ARCHITECTURES["odd"]
    path = export(architecture, tmp_path)
    model = compile_model(path, seq_len=architecture.seq_len, precision="int8")
    inputs = random_inputs(architecture, 20)
    # Sums of fp32 that are rounded otherwise may tip a row's number to its neighbour.
    assert_clean(model, sanitizer, inputs, list(model.run(inputs)), tmp_path, within=1e-2)


@needs_gcc
@pytest.mark.parametrize("sanitizer", SANITIZERS)
@pytest.mark.parametrize("family", ["mobilebert", "roberta", "electra"])
def test_code_of_other_families_is_clean(family: str, sanitizer: str, tmp_path: Path) -> None:
    how = Export(family, seq_len=37)
    path = export_family(how, tmp_path / "model.onnx")
    inputs = ragged_inputs(how, 37, 20)
    inputs = {port.name: inputs[port.name] for port in compile_model(path, seq_len=37).program.inputs}
    assert_clean(compile_model(path, seq_len=37), sanitizer, inputs, runtime_outputs(how, path, inputs), tmp_path)


@needs_gcc
@pytest.mark.parametrize(("sanitizer", "fuse"), zip(SANITIZERS, (True, False), strict=True))
def test_code_of_heads_is_clean(sanitizer: str, fuse: bool, tmp_path: Path) -> None:
    how = Export("bert", "dynamo", 18, "hidden", seq_len=37, changes={"num_hidden_layers": 1})
    path = export_head(how, everything, tmp_path / "model.onnx")
    inputs = ragged_inputs(how, 37, 20)
    model = compile_model(path, seq_len=37, fuse=fuse)
    assert_clean(model, sanitizer, inputs, runtime_outputs(how, path, inputs), tmp_path)


@needs_gcc
@pytest.mark.parametrize("sanitizer", SANITIZERS)
def test_a_round_of_unequal_programs_is_clean(sanitizer: str, tmp_path: Path) -> None:
    plans = [block_plan(make_block("gemm", {"rows": 5, "inner": 60, "columns": 100}, ("bias", "gelu")))]
    plans += [architecture_plan(ARCHITECTURES[name]) for name in ("odd", "short")]
    programs = [build_program(plan, host_target(), f"program {number}") for number, plan in enumerate(plans)]
    parts = [
        *program_objects(programs, host_target(), sanitizer, tmp_path),
        *(RUNTIME / name for name in RUNNER_SOURCES),
    ]
    runner = link(parts, tmp_path / "runner", sanitizer, RUNTIME_WARNINGS)
    order = ["program 1", "program 0", "program 2", "program 1", "program 0", "program 0"]
    (tmp_path / "round").write_text("".join(visit_line(name, 1, 3, 100_000) for name in order))
    command = [str(runner), "--round", str(tmp_path / "round"), "--fill", "--threads", "3"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert [json.loads(line)["program"] for line in done.stdout.splitlines()] == order
