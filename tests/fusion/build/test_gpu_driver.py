"""The GPU's runtime against a driver that stands in for one: how it is called, what it refuses, what is kept."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from data.architecture import Architecture
from data.errors import DeviceError, InputError, PocketBertError
from fusion import compile_model, host_target
from fusion.build.machine import host_gpu
from fusion.build.toolchain import RUNTIME
from fusion.checkpoints.onnx_export import checkpoint_to_onnx
from fusion.compiled import CompiledModel
from tests.fusion.models import save_checkpoint

pytestmark = pytest.mark.usefixtures("shared_home")

STAND_IN = Path(__file__).parent / "native" / "opencl_stand_in.c"
ARCHITECTURE = Architecture(layers=2, hidden=64, heads=2, intermediate=96, vocab_size=50, seq_len=8)
IDS = np.ones((1, ARCHITECTURE.seq_len), np.int64)


@pytest.fixture(scope="module")
def stand_in(tmp_path_factory: pytest.TempPathFactory) -> Path:
    library = tmp_path_factory.mktemp("driver") / "libstandin.so"
    command = [
        sys.executable,
        "-m",
        "ziglang",
        "cc",
        "-shared",
        "-fPIC",
        "-O1",
        "-fno-sanitize=all",
        "-Wall",
        "-Werror",
    ]
    subprocess.run([*command, "-I", str(RUNTIME), str(STAND_IN), "-o", str(library)], check=True)
    return library


@pytest.fixture(scope="module")
def onnx(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    checkpoint = save_checkpoint(ARCHITECTURE, folder / "checkpoint")
    return checkpoint_to_onnx(checkpoint, folder / "model.onnx", ARCHITECTURE.seq_len)


@pytest.fixture
def log(stand_in: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The stand-in is the driver; what it was called for goes to this file."""
    monkeypatch.setenv("POCKETBERT_OPENCL", str(stand_in))
    monkeypatch.setenv("STAND_IN_LOG", str(tmp_path / "log"))
    return tmp_path / "log"


@pytest.fixture
def model(log: Path, onnx: Path) -> CompiledModel:
    """Compiled for the stand-in, without kernels of an earlier test beside its weights."""
    compiled = compile_model(onnx, seq_len=ARCHITECTURE.seq_len, unit="gpu")
    kernels_of(compiled).unlink(missing_ok=True)
    return compiled


def kernels_of(compiled: CompiledModel) -> Path:
    return Path(f"{compiled.weights()}.kernels")


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


def test_kernels_are_built_once(onnx: Path, model: CompiledModel, log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kernels = {kernel.name for unit in model.program.units for kernel in unit.kernels}

    def sources_built() -> int:
        log.unlink(missing_ok=True)
        again = compile_model(onnx, seq_len=ARCHITECTURE.seq_len, unit="gpu")
        again.run({"input_ids": IDS})
        found = calls(log)
        assert found["CreateProgramWithSource"] + found["CreateProgramWithBinary"] >= len(kernels)
        return found["CreateProgramWithSource"]

    assert sources_built() == len(kernels) and sources_built() == 0
    kept = kernels_of(model)
    whole = kept.read_bytes()
    for damaged in (b"", whole[:500], whole[:-1], whole[:2000] + bytes([whole[2000] ^ 1]) + whole[2001:]):
        kept.write_bytes(damaged)
        assert sources_built() > 0
        assert kept.read_bytes() == whole and sources_built() == 0
    monkeypatch.setenv("STAND_IN_DRIVER", "2")  # binaries of another driver are not tried
    assert sources_built() == len(kernels) and sources_built() == 0
    monkeypatch.setenv("STAND_IN_FAIL", "CreateProgramWithBinary:-42")
    assert sources_built() == len(kernels)


def test_what_cannot_be_kept_is_built_each_time(model: CompiledModel, log: Path) -> None:
    kernels_of(model).mkdir()
    model.run({"input_ids": IDS})
    assert calls(log)["CreateProgramWithSource"] > 0
    kernels_of(model).rmdir()


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


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"unit": "tpu"}, "unit and precision must be one of cpu with fp32, gpu with fp32, gpu with fp16"),
        ({"precision": "fp16"}, "not 'cpu' and 'fp16'"),
        ({"unit": "gpu", "precision": "int8"}, "not 'gpu' and 'int8'"),
        ({"unit": "gpu", "target": host_target()}, "unit 'gpu' takes none"),
    ],
)
def test_what_no_code_is_generated_for_is_refused(options: dict[str, Any], problem: str, log: Path, onnx: Path) -> None:
    with pytest.raises(InputError, match=problem):
        compile_model(onnx, seq_len=ARCHITECTURE.seq_len, **options)


def test_a_model_for_the_gpu_has_no_runner(model: CompiledModel) -> None:
    with pytest.raises(InputError, match="no runner for the GPU"):
        model.runner()
