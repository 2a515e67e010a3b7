"""Sessions on phones through the double: shared by several, slowed by heat or by a falling clock, lost and resumed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from data.errors import DeviceError
from data.measurement import Measurement
from data.progress import ProgressEvent
from data.store import MeasurementStore
from fusion.block import Block, make_block
from profiling import Device, open_device
from profiling.adb import AdbDevice
from profiling.fleet import Fleet
from profiling.session import REFERENCE_BLOCK, Care, measure_blocks
from tests.profiling.adb_double.phone import PhoneDouble
from tests.profiling.test_phones import SPEC, Attach, shell_runner

CARE = Care(runs=5, interval_width=100.0)
BLOCKS = tuple(make_block("gemm", {"rows": 8, "inner": 16, "columns": 16 * n}, ("bias",)) for n in range(1, 9))


@pytest.fixture
def store(tmp_path: Path) -> Iterator[MeasurementStore]:
    with MeasurementStore.open(tmp_path / "m.sqlite") as opened:
        yield opened


@pytest.fixture(autouse=True)
def scripts_as_runners(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is compiled: every program is a script that takes 30 ms and prints what a real one printed."""
    runner = shell_runner(tmp_path / "runner", "sleep 0.03")
    monkeypatch.setattr("fusion.build_suite", lambda blocks, target: runner)
    monkeypatch.setattr("profiling.session.reference_runner", lambda device: runner)


def measured(
    device: Device,
    store: MeasurementStore,
    blocks: tuple[Block, ...] = BLOCKS,
    said: Callable[[ProgressEvent], None] = lambda event: None,
) -> list[Measurement]:
    return measure_blocks(device, blocks, threads=2, store=store, repeats=2, care=CARE, progress=said)


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
    phones[1].on_command = at_run(3, phones[1].vanish)
    events: list[ProgressEvent] = []
    rows = measured(fleet, store, said=events.append)
    assert Counter(row.subject_hash for row in rows) == Counter({block.hash: 2 for block in BLOCKS})
    assert {row.serial for row in rows} == {phone.serial for phone in phones}
    assert len({row.session for row in store.measurements()}) == 3
    assert sum(row.serial == phones[1].serial for row in store.measurements()) == 2
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
        phone.on_command = at_run(4, phone.vanish)
    with pytest.raises(DeviceError, match="plug it in and call again"):
        measured(fleet, store)
    fleet.close()
    kept = store.measurements()
    assert len(kept) == 6
    phones[0].come_back()
    phones[0].on_command = lambda line: None
    device = open_device_again(phones[0])
    rows = measured(device, store)
    assert store.measurements()[:6] == kept
    assert Counter(row.subject_hash for row in rows) == Counter({block.hash: 2 for block in BLOCKS})
    device.close()
    assert not list(phones[0].storage.iterdir())  # what the lost session left, too


def open_device_again(phone: PhoneDouble) -> Device:
    """The phone, once adb has found it again."""
    from profiling.phone_link import PhoneLink

    assert PhoneLink(phone.serial, "the phone").await_return(15.0)
    return open_device(SPEC, phone.serial)


def test_clock_that_drops_by_half_is_marked(attach: Attach, store: MeasurementStore) -> None:
    phone = attach()
    phone.on_command = at_run(6, lambda: setattr(phone.description, "clock_share", 0.5))
    measured(open_device(SPEC), store, BLOCKS[:4])
    rows = store.measurements()
    dropped = [row.position for row in rows if "clock dropped" in row.marks]
    assert dropped and min(dropped) in (5, 6) and rows[0].marks == ()
    assert rows[3].state_after["clock_mhz"] == pytest.approx((1804.8 + 2419.2 + 2841.6) / 3, rel=1e-3)
    assert rows[-1].state_after["clock_mhz"] == pytest.approx((1209.6 * 2 + 1420.8) / 3, rel=1e-3)


def test_processors_other_than_asked_for_are_marked(attach: Attach, store: MeasurementStore, tmp_path: Path) -> None:
    from profiling.items import block_item
    from profiling.recording import Session

    attach()
    runner = shell_runner(tmp_path / "runner")
    session = Session(open_device(SPEC), store, 1, runner, affinity="1", care=CARE)  # type: ignore[arg-type]
    row = session.measure(block_item(REFERENCE_BLOCK, 5), runner)  # type: ignore[arg-type]
    assert row.cpus == (0, 1) and "other cores" in row.marks


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
    rows = measured(open_device(SPEC), store, BLOCKS[:1])
    assert {row.state_before["temperature_c"] for row in rows} == {35.5}
