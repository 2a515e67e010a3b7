"""This machine's GPU as a device, with a driver that stands in for one: described, prepared, measured, remembered."""

from __future__ import annotations

from pathlib import Path

import pytest

from data.architecture import Architecture
from data.device_spec import load_device
from data.errors import DeviceError
from data.progress import ProgressEvent
from data.store import MeasurementStore
from fusion import build_model_suite, plan_architecture
from fusion.build.runner import kernels_folder
from profiling import open_device
from profiling.device import Device
from profiling.items import compiler_for
from profiling.session import measure_models
from tests.fusion.build.drivers import make_stand_in
from tests.support import new_home

MODELS = tuple(Architecture(layers, 32, 2, 48, vocab_size=40, seq_len=8) for layers in (1, 2))


@pytest.fixture(scope="module")
def stand_in(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_stand_in(tmp_path_factory.mktemp("driver"))


@pytest.fixture
def gpu(stand_in: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Device:
    monkeypatch.setenv("POCKETBERT_OPENCL", str(stand_in))
    monkeypatch.setenv("POCKETBERT_HOME", str(new_home(tmp_path / "home")))
    monkeypatch.setenv("STAND_IN_LOG", str(tmp_path / "log"))
    return open_device(load_device("host"), unit="gpu")


def test_the_gpu_is_another_device_than_the_processor_and_its_driver_tells_it(
    gpu: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    told, cpu = gpu.describe(), open_device(load_device("host")).describe()
    assert told.processor == "OpenCL on Stand-in (Adreno 640)" and told.details["driver"] == "1"
    monkeypatch.setenv("STAND_IN_DRIVER", "2")
    again = open_device(load_device("host"), unit="gpu").describe()
    assert len({told.fingerprint, cpu.fingerprint, again.fingerprint}) == 3


def test_kernels_are_built_before_anything_is_timed_and_rows_are_the_gpus(gpu: Device, tmp_path: Path) -> None:
    events: list[ProgressEvent] = []
    with MeasurementStore.open() as store:
        rows = measure_models(gpu, MODELS, threads=2, store=store, visits=1, progress=events.append)
        other = open_device(load_device("host"))
        again = measure_models(gpu, MODELS, threads=2, store=store, visits=1)
        assert len(again) == len(rows)
        assert compiler_for(gpu) != compiler_for(other)
    assert {row.unit for row in rows} == {"gpu"} and len(rows) == 2
    for row in rows:
        (model,) = (each for each in MODELS if each.to_json() == row.signature)
        assert len(row.steps_ms) == len(plan_architecture(model)) and row.provenance == "measured"
    built = [event for event in events if event.stage == "build kernels"]
    assert [(event.done, event.total) for event in built] == [(1, 2), (2, 2)]
    assert events.index(built[-1]) < next(n for n, event in enumerate(events) if event.stage == "measure models")
    assert list(kernels_folder().iterdir())
    assert not [line for line in (tmp_path / "log").read_text().splitlines() if line.startswith("error")]


def test_a_kernel_that_is_not_built_is_said_before_anything_is_timed(
    gpu: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    runner = build_model_suite(MODELS, gpu.machine)
    monkeypatch.setenv("STAND_IN_FAIL", "BuildProgram:-11")
    with pytest.raises(DeviceError, match=r"1x32-h2-f48 ended with status 2: .*kernel pb_\w+ cannot be built"):
        gpu.prepare(runner)
