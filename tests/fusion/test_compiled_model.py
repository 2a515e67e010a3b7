"""Compiled models against ONNX Runtime, on this machine, without Python, and for aarch64 under qemu-user."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from data.architecture import Architecture
from data.errors import InputError, PocketBertError
from fusion import Processor, compile_model, export_compiled, host_target, plan_architecture, target_named
from fusion.build.library import NativeModel
from fusion.build.runner import Runner
from tests.fusion.models import export, random_architecture, random_inputs, reference, save_checkpoint

pytestmark = pytest.mark.usefixtures("shared_home")

TOLERANCE = 1e-4
SMALL = Architecture(2, 96, 3, 256, vocab_size=300, seq_len=40)


def native_targets() -> list[str]:
    """The targets whose code this machine runs."""
    best = host_target().name
    order = ["x86_64-avx512", "x86_64-avx2", "x86_64-sse"]
    return order[order.index(best) :] if best in order else [best]


@pytest.fixture(scope="module")
def small_onnx(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export(SMALL, tmp_path_factory.mktemp("small"))


@pytest.mark.parametrize("seed", range(20))
def test_random_architectures_match_onnx_runtime(seed: int, tmp_path: Path) -> None:
    architecture = random_architecture(seed)
    path = export(architecture, tmp_path, seed)
    targets = native_targets()
    target = target_named(targets[seed % len(targets)])
    model = compile_model(path, seq_len=architecture.seq_len, threads=1 + seed % 3, target=target)
    if architecture.seq_len > 1:  # the position of a single row is a plain bias
        assert model.blocks == plan_architecture(architecture)
    for used in {architecture.seq_len, max(1, architecture.seq_len // 3), 1}:
        inputs = random_inputs(architecture, used, seed)
        assert np.abs(model.run(inputs)[0] - reference(path, inputs)).max() < TOLERANCE


@pytest.mark.parametrize("name", native_targets())
@pytest.mark.parametrize("fuse", [True, False])
def test_each_target_and_no_fusion_match(name: str, fuse: bool, small_onnx: Path) -> None:
    model = compile_model(small_onnx, seq_len=SMALL.seq_len, fuse=fuse, target=target_named(name))
    inputs = random_inputs(SMALL, 25)
    assert np.abs(model.run(inputs)[0] - reference(small_onnx, inputs)).max() < TOLERANCE


@pytest.mark.parametrize("name", native_targets())
def test_inner_dimensions_in_several_blocks_match(name: str, tmp_path: Path) -> None:
    deep = Architecture(1, 40, 2, 5000, vocab_size=50, seq_len=23)
    path = export(deep, tmp_path)
    model = compile_model(path, seq_len=deep.seq_len, target=target_named(name))
    inputs = random_inputs(deep, 20)
    assert np.abs(model.run(inputs)[0] - reference(path, inputs)).max() < TOLERANCE


def run_program(argv: list[str]) -> np.ndarray:
    done = subprocess.run(argv, capture_output=True, text=True, timeout=120, check=False, env={})
    assert done.returncode == 0, done.stderr
    return np.array(json.loads(done.stdout)["outputs"]["logits"])


def model_command(runner: Runner, inputs: dict[str, np.ndarray]) -> list[str]:
    rows = {name: [int(value) for value in values[0]] for name, values in inputs.items()}
    return runner.command("model", threads=2, warmup=1, runs=3, inputs=rows)


@pytest.mark.parametrize(
    ("name", "cpu"), [("aarch64-neon", "cortex-a53"), ("aarch64-neon", "cortex-a76"), ("aarch64-lse", "cortex-a76")]
)
def test_aarch64_gives_the_same_numbers_under_qemu(name: str, cpu: str, small_onnx: Path) -> None:
    emulator = shutil.which("qemu-aarch64-static")
    if emulator is None:
        pytest.skip("qemu-user-static is not installed")
    runner = compile_model(small_onnx, seq_len=SMALL.seq_len).runner(Processor(target_named(name)))
    inputs = random_inputs(SMALL, 25)
    logits = run_program([emulator, "-cpu", cpu, *model_command(runner, inputs)])
    assert np.abs(logits - reference(small_onnx, inputs)[0]).max() < TOLERANCE


def test_exported_files_run_without_python(small_onnx: Path, tmp_path: Path) -> None:
    folder = export_compiled(compile_model(small_onnx, seq_len=SMALL.seq_len), tmp_path / "compiled")
    inputs = random_inputs(SMALL, 25)
    expected = reference(small_onnx, inputs)[0]
    words = [word for name, values in inputs.items() for word in ("--input", f"{name}={','.join(map(str, values[0]))}")]
    logits = run_program([str(folder / "runner"), "model", "--weights", str(folder / "weights.bin"), *words])
    assert np.abs(logits - expected).max() < TOLERANCE


def test_a_checkpoint_directory_compiles_too(tmp_path: Path, small_onnx: Path) -> None:
    checkpoint = save_checkpoint(SMALL, tmp_path / "checkpoint")
    inputs = random_inputs(SMALL, 30)
    model = compile_model(checkpoint, seq_len=SMALL.seq_len)
    assert np.abs(model.run(inputs)[0] - reference(small_onnx, inputs)).max() < TOLERANCE


def test_times_are_raw_and_blocks_are_timed(small_onnx: Path) -> None:
    model = compile_model(small_onnx, seq_len=SMALL.seq_len)
    seconds = model.time(warmup=2, runs=7)
    assert seconds.shape == (7,)
    assert (seconds > 0).all()
    assert len(model.summary.block_ms) == len(model.blocks)
    # Medians of parts and whole differ a little, but not by much.
    assert 0.2 < sum(model.summary.block_ms) / (np.median(seconds) * 1e3) < 1.5
    assert model.summary.operators > model.summary.blocks


def test_memory_is_weights_and_planned_activations(small_onnx: Path) -> None:
    summary = compile_model(small_onnx, seq_len=SMALL.seq_len).summary
    values = sum(
        array.nbytes for array in compile_model(small_onnx, seq_len=SMALL.seq_len).plan.graph.constants.values()
    )
    assert summary.weight_bytes < 1.1 * values + 4096
    widest = SMALL.seq_len * 4 * (3 * SMALL.hidden + 2 * SMALL.hidden + SMALL.intermediate)
    assert summary.activation_bytes < 1.5 * widest


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"input_ids": np.full((1, 40), 300)}, "outside 0 to 299"),
        ({"input_ids": np.full((1, 40), -1)}, "outside 0 to 299"),
        ({"input_ids": np.zeros((1, 39), np.int64)}, r"of shape \[1, 39\], the model takes \[1, 40\]"),
        ({"positions": np.zeros((1, 40), np.int64)}, "no input 'positions'"),
    ],
)
def test_bad_inputs_are_named(change: dict[str, np.ndarray], problem: str, small_onnx: Path) -> None:
    model = compile_model(small_onnx, seq_len=SMALL.seq_len)
    with pytest.raises(InputError, match=problem):
        model.run(random_inputs(SMALL, 40) | change)


def test_weights_of_another_program_are_refused(small_onnx: Path, tmp_path: Path) -> None:
    model = compile_model(small_onnx, seq_len=SMALL.seq_len)
    wrong = tmp_path / "weights.bin"
    wrong.write_bytes(b"x" * model.weights().stat().st_size)
    with pytest.raises(PocketBertError, match="another program"):
        NativeModel(model.library(), wrong, model.program, 1)
    wrong.write_bytes(b"x" * 100)
    with pytest.raises(PocketBertError, match="100 bytes"):
        NativeModel(model.library(), wrong, model.program, 1)


def test_many_threads_and_many_runs_give_one_answer(small_onnx: Path) -> None:
    inputs = random_inputs(SMALL, 25)
    model = compile_model(small_onnx, seq_len=SMALL.seq_len, threads=4)
    first = model.run(inputs)[0]
    assert all(np.array_equal(model.run(inputs)[0], first) for _ in range(200))
