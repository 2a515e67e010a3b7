"""The GPU's runtime against a driver that stands in for one: how it is called, what it refuses, what is kept."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from data.architecture import Architecture
from data.errors import DeviceError, InputError, PocketBertError
from fusion import build_model_suite, compile_model, host_target, plan_architecture, target_named
from fusion.build.machine import host_gpu
from fusion.build.runner import visit_line
from fusion.checkpoints.onnx_export import checkpoint_to_onnx
from fusion.compiled import CompiledModel
from tests.fusion.models import save_checkpoint

pytestmark = pytest.mark.usefixtures("shared_home")

ARCHITECTURE = Architecture(layers=2, hidden=64, heads=2, intermediate=96, vocab_size=50, seq_len=8)
IDS = np.ones((1, ARCHITECTURE.seq_len), np.int64)


@pytest.fixture(scope="module")
def onnx(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    checkpoint = save_checkpoint(ARCHITECTURE, folder / "checkpoint")
    return checkpoint_to_onnx(checkpoint, folder / "model.onnx", ARCHITECTURE.seq_len)


@pytest.fixture
def log(stand_in: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The stand-in is the driver; what it was called for goes to this file, binaries of kernels to a folder beside."""
    monkeypatch.setenv("POCKETBERT_OPENCL", str(stand_in))
    monkeypatch.setenv("POCKETBERT_KERNELS", str(tmp_path / "kernels"))
    monkeypatch.setenv("STAND_IN_LOG", str(tmp_path / "log"))
    return tmp_path / "log"


@pytest.fixture
def model(log: Path, onnx: Path) -> CompiledModel:
    """Compiled for the stand-in."""
    return compile_model(onnx, seq_len=ARCHITECTURE.seq_len, unit="gpu")


def calls(log: Path) -> Counter[str]:
    lines = log.read_text().splitlines()
    assert [line for line in lines if line.startswith("error")] == []
    return Counter(lines)


def test_a_run_is_enqueued_whole_and_waited_for_once(model: CompiledModel, log: Path) -> None:
    model.run({"input_ids": IDS})
    first = calls(log)
    assert first["EnqueueNDRangeKernel"] == model.summary.launches
    assert first["EnqueueReadBuffer"] == len(model.program.outputs) and first["Finish"] == 1
    log.unlink()
    model.run({"input_ids": IDS})
    assert set(calls(log)) == {"EnqueueWriteBuffer", "EnqueueNDRangeKernel", "EnqueueReadBuffer", "Finish"}
    model.time(warmup=1, runs=3)
    assert model.summary.block_ms == pytest.approx([0.002 * len(step.unit.kernels) for step in model.program.steps])


def test_weights_take_the_image_path_where_the_device_has_room(
    onnx: Path, log: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_images = compile_model(onnx, seq_len=ARCHITECTURE.seq_len, unit="gpu", precision="fp16")
    with_images.run({"input_ids": IDS})
    products = sum(block.anchor == "gemm" for block in with_images.blocks)
    assert calls(log)["CreateImage"] == products > 0
    log.unlink()
    monkeypatch.setenv("STAND_IN_TEXELS", "100")
    compile_model(onnx, seq_len=ARCHITECTURE.seq_len, unit="gpu").run({"input_ids": IDS})
    assert calls(log)["CreateImage"] == 0


def test_all_that_was_made_is_released(model: CompiledModel, log: Path) -> None:
    model.run({"input_ids": IDS})
    model.time(warmup=0, runs=2)
    model.close()
    assert log.read_text().splitlines()[-1] == "live 0"


def test_kernels_are_built_once(
    onnx: Path, model: CompiledModel, log: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kernels = {kernel.name for unit in model.program.units for kernel in unit.kernels}

    def sources_built() -> int:
        log.unlink(missing_ok=True)
        again = compile_model(onnx, seq_len=ARCHITECTURE.seq_len, unit="gpu")
        again.run({"input_ids": IDS})
        found = calls(log)
        assert found["CreateProgramWithSource"] + found["CreateProgramWithBinary"] >= len(kernels)
        return found["CreateProgramWithSource"]

    assert sources_built() == len(kernels) and sources_built() == 0
    kept = sorted((tmp_path / "kernels").iterdir())
    assert len(kept) == len(kernels)
    whole, other = kept[0].read_bytes(), kept[1].read_bytes()
    for damaged in (
        b"",
        whole[:500],
        whole[:-1],
        whole + b"x",
        whole[:-2] + bytes([whole[-2] ^ 1]) + whole[-1:],
        other,
    ):
        kept[0].write_bytes(damaged)
        assert sources_built() == 1
        assert kept[0].read_bytes() == whole and sources_built() == 0
    monkeypatch.setenv("STAND_IN_DRIVER", "2")  # binaries of another driver are not tried
    assert sources_built() == len(kernels) and sources_built() == 0
    monkeypatch.setenv("STAND_IN_FAIL", "CreateProgramWithBinary:-42")
    assert sources_built() == len(kernels)


def test_kernels_are_kept_beside_the_weights_where_nothing_else_is_said(
    model: CompiledModel, log: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("POCKETBERT_KERNELS")
    model.run({"input_ids": IDS})
    names = {path.name.rpartition("-")[0] for path in (model.weights().parent / "kernels").iterdir()}
    assert names >= {kernel.name for unit in model.program.units for kernel in unit.kernels}


def test_what_cannot_be_kept_is_built_each_time(model: CompiledModel, log: Path, tmp_path: Path) -> None:
    (tmp_path / "kernels").write_text("no folder")
    model.run({"input_ids": IDS})
    assert calls(log)["CreateProgramWithSource"] > 0


def test_whoever_is_killed_while_kernels_are_kept_leaves_whole_files(model: CompiledModel, log: Path) -> None:
    """Whenever SIGKILL comes: what lies there under its name is whole, and the next run builds the others only."""
    runner = model.runner()
    command = runner.command("model", threads=1, warmup=0, runs=1)
    folder = log.parent / "kernels"
    expected = built_by(command, log)
    whole = contents(folder)
    assert expected == len(whole) > 5
    for moment in range(1, 25):
        shutil.rmtree(folder)
        victim = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        time.sleep(moment / 1000)
        victim.kill()
        victim.wait()
        left = contents(folder)
        assert all(whole[name] == content for name, content in left.items())
        assert built_by(command, log) == expected - len(left)
        assert contents(folder) == whole


def built_by(command: list[str], log: Path) -> int:
    """How many sources a run of the command builds."""
    log.unlink(missing_ok=True)
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return calls(log)["CreateProgramWithSource"]


def contents(folder: Path) -> dict[str, bytes]:
    """What is kept, by its name; not what somebody had begun to write."""
    return {path.name: path.read_bytes() for path in folder.glob("*") if path.suffix == ""}


def test_the_runner_goes_round_programs_of_the_gpu(log: Path) -> None:
    """Several models in one process: each with its launches, its own blocks, and the device's share of the time."""
    architectures = [replace(ARCHITECTURE, layers=layers) for layers in (1, 2)]
    runner = build_model_suite(architectures, host_gpu())
    names = [each.name for each in (*architectures, architectures[0])]
    lines = "".join(visit_line(name, 1, 3, 0) for name in names)
    command = runner.round_command("-", threads=1, fill_weights=True)
    done = subprocess.run(command, input=lines, capture_output=True, text=True, check=True)
    results = [json.loads(line) for line in done.stdout.splitlines()]
    assert [result["program"] for result in results] == names
    for result, architecture in zip(results, [*architectures, architectures[0]], strict=True):
        blocks = plan_architecture(architecture)
        assert [each["hash"] for each in result["blocks"]] == [block.hash for block in blocks]
        assert result["launches"] >= len(blocks) and result["model_bytes"] > 0 and len(result["samples_ms"]) == 3
    assert log.read_text().splitlines()[-1] == "live 0"


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        (["--rotate", "100000"], "a GPU has one copy of the weights: no bytes to rotate over"),
        (["--input", "input_ids=1,2"], "takes 8 numbers, not 2"),
    ],
)
def test_what_a_runner_of_the_gpu_cannot_do_is_said(options: list[str], problem: str, log: Path) -> None:
    runner = build_model_suite([ARCHITECTURE], host_gpu())
    command = runner.command(ARCHITECTURE.name, threads=1, warmup=0, runs=1)
    done = subprocess.run([*command, *options], capture_output=True, text=True, check=False)
    assert done.returncode == 2 and problem in done.stderr


def test_trouble_in_the_middle_of_a_round_names_the_program(log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runner = build_model_suite([ARCHITECTURE], host_gpu())
    monkeypatch.setenv("STAND_IN_FAIL", "Finish:-14")
    command = runner.command(ARCHITECTURE.name, threads=1, warmup=0, runs=1)
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2 and f"{ARCHITECTURE.name}: the run: the driver refused (-14)" in done.stderr


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"STAND_IN_FAIL": "BuildProgram:-11"}, r"kernel pb_\w+ cannot be built: .*line 7: unknown type name 'banana'"),
        ({"STAND_IN_FAIL": "CreateContext:-6"}, r"the GPU: not enough memory \(-6\)"),
        ({"STAND_IN_FAIL": "CreateBuffer:-61"}, r"activations: its buffers are larger than the device takes"),
        ({"STAND_IN_FAIL": "CreateKernel:-5"}, r"pb_\w+: out of resources"),
        ({"STAND_IN_FAIL": "SetKernelArg:-49"}, r"the driver takes other arguments for kernel pb_\w+"),
        ({"STAND_IN_FAIL": "EnqueueNDRangeKernel:-5"}, r"pb_\w+: out of resources: memory, or a kernel that ran over"),
        ({"STAND_IN_FAIL": "EnqueueReadBuffer:-36"}, r"the run: the device was lost \(-36\)"),
        ({"STAND_IN_FAIL": "Finish:-14"}, r"the run: the driver refused \(-14\)"),
        ({"STAND_IN_BYTES": "4096"}, r"activations takes \d+ bytes, the device gives 4096 at once"),
        ({"STAND_IN_GROUP": "16"}, r"kernel pb_\w+ needs groups of \d+ work-items, the device takes 16"),
    ],
)
def test_trouble_with_the_driver_is_an_answer(
    settings: dict[str, str], problem: str, model: CompiledModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(PocketBertError, match=problem):
        model.run({"input_ids": IDS})


def test_a_model_goes_on_after_a_failure(model: CompiledModel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STAND_IN_FAIL", "EnqueueReadBuffer:-36")
    with pytest.raises(DeviceError):
        model.run({"input_ids": IDS})
    monkeypatch.delenv("STAND_IN_FAIL")
    (output,) = model.run({"input_ids": IDS})
    assert output.shape == (1, ARCHITECTURE.labels)
    with pytest.raises(InputError, match="input_ids"):
        model.run({"input_ids": IDS * 50})


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"POCKETBERT_OPENCL": "/nowhere/libOpenCL.so"}, "no OpenCL driver: tried /nowhere/libOpenCL.so; install one"),
        ({"POCKETBERT_OPENCL": "libm.so.6"}, r"no OpenCL driver: tried libm.so.6 \(lacks clGetPlatformIDs\)"),
        ({"STAND_IN_FAIL": "GetDeviceIDs:-1"}, "the OpenCL driver .* has no device"),
        ({"STAND_IN_FAIL": "GetPlatformIDs:-1001"}, "the OpenCL driver .* has no device"),
    ],
)
def test_without_a_gpu_it_is_said_what_was_tried(
    settings: dict[str, str], problem: str, log: Path, onnx: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(DeviceError, match=problem):
        compile_model(onnx, seq_len=ARCHITECTURE.seq_len, unit="gpu")


def test_a_gpu_is_described_by_its_driver(log: Path) -> None:
    gpu = host_gpu()
    assert (gpu.device, gpu.vendor, gpu.driver) == ("Stand-in (Adreno 640)", "pocketbert's tests", "1")
    assert gpu.family.name == "adreno" and not gpu.processor and gpu.texels == 65536


def test_functions_that_a_library_hands_out_itself_are_found(
    log: Path, stand_in: Path, pixel: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("POCKETBERT_OPENCL", str(pixel))
    monkeypatch.setenv("STAND_IN", "/nowhere/libOpenCL.so")
    with pytest.raises(DeviceError, match=r"libpixel.so \(lacks clGetPlatformIDs\)"):
        host_gpu()
    monkeypatch.setenv("STAND_IN", str(stand_in))
    assert host_gpu().device == "Stand-in (Adreno 640)"


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"unit": "tpu"}, "unit and precision must be one of cpu with fp32, cpu with int8, cpu with fp16, gpu"),
        ({"precision": "fp16", "target": target_named("x86_64-avx2")}, "avx2 does not calculate in half"),
        ({"unit": "gpu", "precision": "int8"}, "not 'gpu' and 'int8'"),
        ({"unit": "gpu", "target": host_target()}, "unit 'gpu' takes none"),
    ],
)
def test_what_no_code_is_generated_for_is_refused(options: dict[str, Any], problem: str, log: Path, onnx: Path) -> None:
    with pytest.raises(InputError, match=problem):
        compile_model(onnx, seq_len=ARCHITECTURE.seq_len, **options)
