"""Sessions on phones through the double: shared by several, slowed by heat or by a falling clock, lost and resumed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from data.architecture import Architecture
from data.errors import DeviceError
from data.measurement import Measurement
from data.progress import ProgressEvent
from data.store import MeasurementStore
from profiling import Device, open_device
from profiling.adb import AdbDevice
from profiling.fleet import Fleet
from profiling.session import measure_models
from tests.profiling.adb_double.phone import PhoneDouble
from tests.profiling.test_phones import SPEC, Attach, shell_runner

MODELS = tuple(Architecture(1, 16 * n, 1, 32, seq_len=8) for n in range(1, 9))
VISITS = 3


@pytest.fixture
def store(tmp_path: Path) -> Iterator[MeasurementStore]:
    with MeasurementStore.open(tmp_path / "m.sqlite") as opened:
        yield opened


@pytest.fixture(autouse=True)
def scripts_as_runners(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is compiled: every program is a script that takes 30 ms and prints what a real one printed."""
    runner = shell_runner(tmp_path / "runner", "sleep 0.03")
    monkeypatch.setattr("fusion.build_model_suite", lambda architectures, target, fuse: runner)
    monkeypatch.setattr("profiling.session.compiler_for", lambda device, fuse: "fake cc 1")


def measured(
    device: Device,
    store: MeasurementStore,
    models: tuple[Architecture, ...] = MODELS,
    said: Callable[[ProgressEvent], None] = lambda event: None,
) -> list[Measurement]:
    return measure_models(device, models, threads=2, store=store, visits=VISITS, progress=said)


def at_run(number: int, action: Callable[[], None]) -> Callable[[str], None]:
    """Acts before the runner is started for the ``number``-th time, once."""
    runs = Counter[str]()

    def answer(line: str) -> None:
        if "/runner " in line:
            runs["all"] += 1
            if runs["all"] == number:
                action()

    return answer


def test_phones_share_the_work_and_one_may_be_lost(attach: Attach, store: MeasurementStore) -> None:
    phones: list[PhoneDouble] = [attach(), attach(), attach()]
    fleet = open_device(SPEC, [phone.serial for phone in phones])
    assert isinstance(fleet, Fleet)
    for member in fleet.members:
        assert isinstance(member, AdbDevice)
        member.return_limit_s = 0.3
    phones[1].on_command = at_run(2, phones[1].vanish)
    events: list[ProgressEvent] = []
    rows = measured(fleet, store, said=events.append)
    assert set(Counter(row.subject_hash for row in rows).values()) == {VISITS} and len(rows) == VISITS * len(MODELS)
    assert {row.serial for row in rows} == {phone.serial for phone in phones}
    assert len({row.session for row in store.measurements()}) == 3
    # It was lost in its second round, of which nothing counts.
    assert 2 <= sum(row.serial == phones[1].serial for row in store.measurements()) <= 3
    assert [event for event in events if "the other phones go on without one" in event.message]
    assert len(fleet.members) == 2
    fleet.close()
    assert not list(phones[0].storage.iterdir()) and not list(phones[2].storage.iterdir())


def test_last_phone_lost_ends_the_session_and_the_next_goes_on(attach: Attach, store: MeasurementStore) -> None:
    phones = [attach(), attach()]
    fleet = open_device(SPEC, [phone.serial for phone in phones])
    assert isinstance(fleet, Fleet)
    for phone, member in zip(phones, fleet.members, strict=True):
        assert isinstance(member, AdbDevice)
        member.return_limit_s = 0.3
        phone.on_command = at_run(2, phone.vanish)
    with pytest.raises(DeviceError, match="plug it in and call again"):
        measured(fleet, store)
    fleet.close()
    kept = store.measurements()
    assert len(kept) == len(MODELS)
    phones[0].come_back()
    phones[0].on_command = lambda line: None
    device = open_device_again(phones[0])
    rows = measured(device, store)
    assert store.measurements()[: len(kept)] == kept
    assert set(Counter(row.subject_hash for row in rows).values()) == {VISITS}
    device.close()
    assert not list(phones[0].storage.iterdir())  # what the lost session left, too


def open_device_again(phone: PhoneDouble) -> Device:
    """The phone, once adb has found it again."""
    from profiling.phone_link import PhoneLink

    assert PhoneLink(phone.serial, "the phone").await_return(15.0)
    return open_device(SPEC, phone.serial)


def test_clock_that_drops_by_half_is_marked(attach: Attach, store: MeasurementStore) -> None:
    phone = attach()
    phone.on_command = at_run(3, lambda: setattr(phone.description, "clock_share", 0.5))
    measured(open_device(SPEC), store)
    rows = store.measurements()
    assert {row.round for row in rows if "clock dropped" in row.marks} == {2}
    assert rows[0].state_after["clock_mhz"] == pytest.approx((1804.8 + 2419.2 + 2841.6) / 3, rel=1e-3)
    assert rows[-1].state_after["clock_mhz"] < 0.85 * rows[0].state_after["clock_mhz"]


def test_phone_that_never_cools(attach: Attach, store: MeasurementStore) -> None:
    phone = attach()
    device = open_device(replace(SPEC, cooling_limit_s=0.5))
    phone.description.temperature_tenths = 451
    with pytest.raises(DeviceError, match=r"stays at 45.1 °C, above 37 °C.*call again"):
        measured(device, store)
    assert not store.measurements()


def test_phone_that_cools_goes_on(attach: Attach, store: MeasurementStore, monkeypatch: pytest.MonkeyPatch) -> None:
    phone = attach()
    phone.description.temperature_tenths = 390
    monkeypatch.setattr("profiling.heat._STEP_S", 0.2)
    states = Counter[str]()

    def answer(line: str) -> None:
        states["read"] += "dumpsys" in line
        if states["read"] == 4:
            phone.description.temperature_tenths = 355

    phone.on_command = answer
    rows = measured(open_device(SPEC), store, MODELS[:1])
    assert {row.state_before["temperature_c"] for row in rows} == {35.5}
