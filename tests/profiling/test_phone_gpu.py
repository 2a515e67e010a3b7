"""The GPU of a phone over adb: real adb, real runners for Android under qemu, stand-ins for loader and driver."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from data.architecture import Architecture
from data.device_spec import load_device
from data.errors import DeviceError
from data.progress import ProgressEvent
from fusion import Runner, build_model_suite, make_block, plan_architecture
from fusion.build.machine import Gpu, described_gpu
from fusion.emit.opencl.product import tiles_of
from profiling import open_device
from profiling.adb import AdbDevice
from profiling.device import Device, Round, Visit
from profiling.tiles import tuned
from tests.fusion.build.android import make_driver, make_sysroot
from tests.profiling.adb_double.phone import PhoneDouble
from tests.profiling.test_phones import Attach
from tests.profiling.test_profiling_a_phone import small_command
from tests.support import environment, new_home, run_in

MODELS = [Architecture(layers, 64, 2, 96, vocab_size=50, seq_len=8) for layers in (1, 2)]


@pytest.fixture(scope="module")
def android(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What runners for Android find on a phone whose driver stands in for one; qemu reads the first."""
    driver = make_driver(tmp_path_factory.mktemp("driver"))
    sysroot = make_sysroot(tmp_path_factory.mktemp("sysroot"), driver)
    return {"QEMU_LD_PREFIX": str(sysroot), "POCKETBERT_OPENCL": str(driver)}


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A state home for all tests of the file, so that runners are compiled once."""
    return new_home(tmp_path_factory.mktemp("home"))


@pytest.fixture
def phone(
    qemu: str,
    attach: Attach,
    android: dict[str, str],
    compiled: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> PhoneDouble:
    monkeypatch.setenv("POCKETBERT_HOME", str(compiled))
    attached = attach()
    attached.environment = {**android, "STAND_IN_LOG": str(tmp_path / "log")}
    return attached


def opened(name: str = "s20") -> Device:
    return open_device(load_device(name), unit="gpu")


def work_of(runner: Runner, affinity: str = "") -> Round:
    visits = tuple(Visit(model.name, tuple(plan_architecture(model)), 1, 3) for model in MODELS)
    return Round(visits, 1, runner, affinity=affinity, time_limit_s=120)


def test_a_phones_gpu_is_described_by_its_driver(phone: PhoneDouble) -> None:
    device = opened()
    machine = device.machine
    assert isinstance(machine, Gpu) and machine.android and machine.code == "opencl-adreno"
    assert machine.device == "Stand-in (Adreno 640)" and machine.texels == 65536
    told = device.describe()
    assert told.processor == "OpenCL on Stand-in (Adreno 640), SM-G981B (SM8250)"
    assert told.details["unit"] == "gpu" and told.details["driver"] == "1"
    device.close()
    phone.environment["STAND_IN_DRIVER"] = "2"  # timings with another driver are of another device
    again, cpu = opened(), open_device(load_device("s20"))
    assert len({told.fingerprint, again.describe().fingerprint, cpu.describe().fingerprint}) == 3
    assert "unit" not in cpu.describe().details
    again.close()
    assert list(phone.storage.iterdir()) == []


def test_kernels_are_built_before_rounds_and_kept_beside_the_runner(phone: PhoneDouble, tmp_path: Path) -> None:
    device = opened()
    runner = build_model_suite(MODELS, device.machine)
    events: list[ProgressEvent] = []
    device.prepare(runner, events.append)
    assert [(event.done, event.total) for event in events] == [(1, 2), (2, 2)]
    (kernels,) = phone.storage.glob("pocketbert-*/kernels")
    kept = {path.name for path in kernels.iterdir()}
    assert len(kept) > 5
    log = tmp_path / "log"
    log.unlink()
    for affinity in ("", "1"):
        samples = device.go_round(work_of(runner, affinity))
        for raw, model in zip(samples, MODELS, strict=True):
            assert len(raw.samples_ms) == 3
            assert [name for name, _ in raw.block_ms] == [block.hash for block in plan_architecture(model)]
        assert not affinity or {raw.cpus for raw in samples} == {(0,)}
    assert "CreateProgramWithSource" not in log.read_text().splitlines()
    assert {path.name for path in kernels.iterdir()} == kept
    device.close()
    assert list(phone.storage.iterdir()) == [] == phone.running()


def test_tiles_are_timed_on_the_phone_once_for_its_driver(phone: PhoneDouble, compiled: Path, tmp_path: Path) -> None:
    product = make_block("gemm", {"rows": 16, "inner": 8, "columns": 32}, ("bias",))
    shutil.rmtree(compiled / "tiles", ignore_errors=True)
    device = opened()
    assert isinstance(device.machine, Gpu) and len(tiles_of(product, device.machine.family, 65536)) > 2
    chosen = set()
    for slow in ("read_only image1d_buffer_t", "weights + column;"):
        phone.environment["STAND_IN_SLOW"] = slow
        machine = tuned(device, [product])
        assert isinstance(machine, Gpu) and list(machine.tiles) == [product.hash]
        chosen.add(machine.tiles[product.hash].image)
        before = len(phone.commands)
        assert tuned(device, [product]) == machine and len(phone.commands) == before
        shutil.rmtree(compiled / "tiles")
    assert chosen == {False, True}
    (kernels,) = phone.storage.glob("pocketbert-*/kernels")
    assert any(kernels.iterdir())
    device.close()
    assert list(phone.storage.iterdir()) == [] == phone.running()


def test_a_round_that_was_not_prepared_builds_its_kernels_first(phone: PhoneDouble) -> None:
    device = opened()
    samples = device.go_round(work_of(build_model_suite(MODELS, device.machine)))
    assert len(samples) == len(MODELS)
    assert sum("--round" in line for line in phone.commands) == 3
    device.close()


def test_a_phone_without_a_driver_is_refused_at_once_and_left_clean(phone: PhoneDouble) -> None:
    phone.environment["POCKETBERT_OPENCL"] = "/vendor/lib64/libOpenCL.so"
    problem = "^device s20: its GPU cannot be used: no OpenCL driver: tried /vendor/lib64/libOpenCL.so$"
    with pytest.raises(DeviceError, match=problem):
        opened()
    assert list(phone.storage.iterdir()) == []


def test_trouble_with_the_driver_names_program_and_kernel(phone: PhoneDouble) -> None:
    device = opened()
    runner = build_model_suite(MODELS, device.machine)
    phone.environment["STAND_IN_FAIL"] = "BuildProgram:-11"
    with pytest.raises(
        DeviceError, match=rf"^{MODELS[0].name}: device s20: the runner .*kernel pb_\w+ cannot be built"
    ):
        device.prepare(runner)
    device.close()


def test_any_phone_may_have_a_gpu_but_not_every_model_of_one(phone: PhoneDouble) -> None:
    """Specifications of phones that described themselves know of no GPU; their drivers do."""
    spec = replace(load_device("s20"), gpu=None)
    assert (spec.units, spec.simulated_units) == (("cpu", "gpu"), ("cpu",))
    device = open_device(spec, unit="gpu")
    assert isinstance(device, AdbDevice) and isinstance(device.machine, Gpu)
    device.close()
    with pytest.raises(DeviceError, match=r"analytic model has no unit 'gpu': it has cpu$"):
        open_device(spec, unit="gpu", simulated=True)


def test_several_phones_share_the_work_of_the_gpu(phone: PhoneDouble, attach: Attach) -> None:
    second = attach()
    second.environment = dict(phone.environment)
    fleet = open_device(load_device("s20"), serial=[phone.serial, second.serial], unit="gpu")
    assert fleet.unit == "gpu" and isinstance(fleet.machine, Gpu)
    fleet.close()
    assert not [path for each in (phone, second) for path in each.storage.iterdir()]


def test_profile_device_as_a_command(phone: PhoneDouble, compiled: Path, tmp_path: Path) -> None:
    command = small_command("--device", "s20", "--unit", "gpu")
    threads = command.index("--threads")
    del command[threads : threads + 2]  # a GPU has none to choose
    done = run_in(tmp_path, command, environment(compiled), timeout=240)
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert (document["unit"], document["provenance"]) == ("gpu", "measured")
    assert document["held_out"] and document["measured_blocks"] >= 10
    assert list(phone.storage.iterdir()) == [] == phone.running()


def test_a_description_that_is_none_is_refused() -> None:
    for text in ("", "name=x\n", "Segmentation fault"):
        with pytest.raises(DeviceError, match="a GPU's description was not understood"):
            described_gpu(text)


def test_a_phones_gpu_has_no_library_here(phone: PhoneDouble) -> None:
    device = opened()
    with pytest.raises(DeviceError, match="a phone's GPU has runners only"):
        device.machine.library(object())  # type: ignore[arg-type]
    device.close()
