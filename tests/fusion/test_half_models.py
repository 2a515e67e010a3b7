"""Products in half inside of models for ARM, in qemu: near fp32 in every family, whatever the numbers."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from data.architecture import Architecture
from data.errors import InputError
from fusion import compile_model, plan_architecture
from fusion.block import NARROW_RESULT
from fusion.compiled import CompiledModel
from fusion.emit.c.sharing import tile_count
from fusion.target import target_named
from tests.fusion.families import Export, export_family, ragged_inputs
from tests.fusion.models import export, random_inputs, reference

TARGET = target_named("aarch64-dotprod")


def emulated(model: CompiledModel, inputs: Mapping[str, np.ndarray]) -> np.ndarray:
    """The first output, of a processor that has no more than the target needs."""
    emulator = shutil.which("qemu-aarch64-static")
    if emulator is None:
        pytest.skip("qemu-user-static is not installed")
    rows = {name: [int(value) for value in values[0]] for name, values in inputs.items()}
    command = model.runner().command("model", threads=2, warmup=0, runs=1, inputs=rows)
    done = subprocess.run([emulator, "-cpu", "cortex-a76", *command], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return np.array(next(iter(json.loads(done.stdout)["outputs"].values())))


def assert_near(found: np.ndarray, exact: np.ndarray) -> None:
    """Within 1e-2 of fp32, of the largest output where that is above 1; and not the same, which half cannot be."""
    exact = exact.ravel()
    assert np.isfinite(found).all()
    assert 0 < np.abs(found.ravel() - exact).max() <= 1e-2 * max(1.0, np.abs(exact).max())


@pytest.mark.parametrize("family", ["bert", "roberta", "albert", "mobilebert"])
def test_families_stay_near_fp32(family: str, tmp_path: Path) -> None:
    how = Export(family)
    path = export_family(how, tmp_path / "model.onnx")
    inputs = ragged_inputs(how, 7, 6)
    model = compile_model(path, seq_len=7, target=TARGET, precision="fp16")
    assert model.precision == "fp16" and sum(block.precision == "fp16" for block in model.blocks) > 5
    assert_near(emulated(model, inputs), compile_model(path, seq_len=7).run(inputs)[0])


def test_512_tokens_of_which_most_are_masked(tmp_path: Path) -> None:
    architecture = Architecture(1, 48, 2, 160, vocab_size=300, seq_len=512, labels=3)
    path = export(architecture, tmp_path)
    model = compile_model(path, seq_len=512, target=TARGET, precision="fp16")
    masked = [float(dict(block.attributes)["masked_bias"]) for block in model.blocks if block.anchor == "attention"]
    assert max(masked) < -3.4e38
    for used in (200, 512):
        inputs = random_inputs(architecture, used)
        assert_near(emulated(model, inputs), reference(path, inputs)[0])


def test_few_heads_whose_queries_come_in_short_blocks(tmp_path: Path) -> None:
    architecture = Architecture(2, 64, 4, 96, vocab_size=300, seq_len=128, labels=3)
    path, inputs = export(architecture, tmp_path), random_inputs(architecture, 128)
    model = compile_model(path, seq_len=128, target=TARGET, precision="fp16")
    assert 16 in {tile_count(block, TARGET) for block in model.blocks if block.anchor == "attention"}
    assert_near(emulated(model, inputs), reference(path, inputs)[0])


@pytest.mark.parametrize(("size", "clamped"), [(6e4, False), (1e6, True)])
def test_residual_sums_at_the_end_of_halfs_range_and_beyond(size: float, clamped: bool, tmp_path: Path) -> None:
    how = Export("mobilebert")  # its residual sums are not normalised, and products read them
    path = export_family(how, tmp_path / "model.onnx")
    file = onnx.load(path)
    (shift,) = [each for each in file.graph.initializer if each.name.endswith("embeddings.LayerNorm.bias")]
    changed = numpy_helper.to_array(shift).copy()
    changed[5] = size
    shift.CopyFrom(numpy_helper.from_array(changed, shift.name))
    onnx.save(file, path)
    inputs = ragged_inputs(how, 7, 6)
    found = emulated(compile_model(path, seq_len=7, target=TARGET, precision="fp16"), inputs)
    if clamped:
        assert np.isfinite(found).all()
    else:
        assert_near(found, compile_model(path, seq_len=7).run(inputs)[0])


def test_a_bare_architecture_has_the_imported_models_blocks(tmp_path: Path) -> None:
    architecture = Architecture(2, 64, 2, 128, vocab_size=300, seq_len=40, labels=3, precision="fp16")
    path = export(replace(architecture, precision="fp32"), tmp_path)
    model = compile_model(path, seq_len=40, target=TARGET, precision="fp16")
    assert plan_architecture(architecture) == model.blocks
    assert sum(block.reads_narrow_rows for block in model.blocks) == 10
    assert sum(NARROW_RESULT in dict(block.attributes) for block in model.blocks) == 9
    single = compile_model(path, seq_len=40, target=TARGET)
    assert model.summary.weight_bytes < single.summary.weight_bytes
    kept = compile_model(
        path, seq_len=40, target=TARGET, precision="fp16", fp32_modules=["bert.encoder.layer.0.output.dense"]
    )
    assert sum(block.precision == "fp16" for block in kept.blocks) == 9


def test_processors_without_half_refuse_it(tmp_path: Path) -> None:
    path = export(Architecture(1, 64, 2, 128, vocab_size=300, seq_len=8), tmp_path)
    for name in ("x86_64-avx512-vnni", "aarch64-neon"):
        with pytest.raises(InputError, match=f"code for {name} does not calculate in half: code for aarch64-i8mm"):
            compile_model(path, seq_len=8, target=target_named(name), precision="fp16")
