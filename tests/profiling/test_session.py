"""The session: order, drift reference, durability, and what it does when others disturb it."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest

from data.architecture import Architecture
from data.disturbance import is_disturbed
from data.errors import DeviceError
from data.progress import ProgressEvent
from data.store import MeasurementStore
from fusion import plan_architecture
from fusion.block import Block
from profiling.device import RawSamples
from profiling.quality import session_quality
from profiling.session import REFERENCE_BLOCK, REFERENCE_EVERY, measure_blocks, measure_model, measure_models
from tests.profiling.doubles import ScriptedDevice, failing_at

MODEL = Architecture(2, 64, 2, 128)
BLOCKS = tuple(dict.fromkeys(plan_architecture(MODEL) + plan_architecture(Architecture(2, 96, 3, 192))))


@pytest.fixture
def store(tmp_path: Path) -> Iterator[MeasurementStore]:
    with MeasurementStore.open(tmp_path / "m.sqlite") as opened:
        yield opened


def order(device: ScriptedDevice) -> list[Block]:
    return [visit.blocks[0] for visit in device.visits if visit.blocks[0] != REFERENCE_BLOCK]


def test_every_block_is_measured_and_every_row_stored(store: MeasurementStore) -> None:
    device = ScriptedDevice()
    rows = measure_blocks(device, BLOCKS, threads=8, store=store, repeats=2)
    assert Counter(row.subject_hash for row in rows) == Counter({block.hash: 2 for block in BLOCKS})
    kept = store.measurements(subject="block")
    assert len(kept) == len(device.visits)
    assert [row.position for row in kept] == list(range(len(kept)))
    assert {row.provenance for row in kept} == {"measured"}
    assert all(row.state_before == {"clock_mhz": 2000.0} and row.warmups_ms for row in kept)


def test_reference_is_measured_through_the_session(store: MeasurementStore) -> None:
    device = ScriptedDevice()
    rows = measure_blocks(device, BLOCKS, threads=8, store=store, repeats=2)
    places = [number for number, visit in enumerate(device.visits) if visit.blocks[0] == REFERENCE_BLOCK]
    assert places[0] == 0
    assert all(after - before <= REFERENCE_EVERY + 1 for before, after in pairwise(places))
    assert all(row.reference_ms is not None for row in rows)


def test_order_is_random_but_follows_the_seed(tmp_path: Path) -> None:
    orders = []
    for number, seed in enumerate((1, 1, 2)):
        device = ScriptedDevice()
        with MeasurementStore.open(tmp_path / f"{number}.sqlite") as store:
            measure_blocks(device, BLOCKS, threads=8, store=store, repeats=1, seed=seed)
        orders.append(order(device))
    assert orders[0] == orders[1] != orders[2]
    assert orders[0] != sorted(orders[0], key=lambda block: block.hash)


def test_second_call_measures_nothing_and_a_longer_one_only_what_is_missing(store: MeasurementStore) -> None:
    measure_blocks(ScriptedDevice(), BLOCKS[:8], threads=8, store=store, repeats=2)
    again = ScriptedDevice()
    assert len(measure_blocks(again, BLOCKS[:8], threads=8, store=store, repeats=2)) == 16
    assert again.visits == []
    more = ScriptedDevice()
    measure_blocks(more, BLOCKS, threads=8, store=store, repeats=2)
    assert Counter(order(more)) == Counter(dict.fromkeys(BLOCKS[8:], 2))


def test_another_machine_or_number_of_threads_is_measured_anew(store: MeasurementStore) -> None:
    measure_blocks(ScriptedDevice(), BLOCKS[:4], threads=8, store=store, repeats=1)
    for device, threads in ((ScriptedDevice(fingerprint="double-2"), 8), (ScriptedDevice(), 4)):
        measure_blocks(device, BLOCKS[:4], threads=threads, store=store, repeats=1)
        assert len(order(device)) == 4


def test_lost_device_keeps_the_rows_and_the_next_call_goes_on(store: MeasurementStore) -> None:
    with pytest.raises(DeviceError, match="lost"):
        measure_blocks(ScriptedDevice(failing_at(6, 7)), BLOCKS, threads=8, store=store, repeats=1)
    assert len(store.measurements()) == 5
    device = ScriptedDevice()
    rows = measure_blocks(device, BLOCKS, threads=8, store=store, repeats=1)
    assert len(order(device)) == len(BLOCKS) - 4
    assert {row.subject_hash for row in rows} == {block.hash for block in BLOCKS}


def test_one_failure_is_forgiven(store: MeasurementStore) -> None:
    rows = measure_blocks(ScriptedDevice(failing_at(3)), BLOCKS, threads=8, store=store, repeats=1)
    assert len(rows) == len(BLOCKS)


def test_disturbed_rows_are_kept_marked_and_taken_again(store: MeasurementStore) -> None:
    def disturb(number: int, raw: RawSamples) -> RawSamples:
        return replace(raw, preemptions_per_s=500.0 if number < 8 else 0.0)

    device = ScriptedDevice(disturb)
    rows = measure_blocks(device, BLOCKS, threads=8, store=store, repeats=1)
    quiet = {row.subject_hash for row in rows if not is_disturbed(row)}
    assert quiet == {block.hash for block in BLOCKS}
    assert len(rows) > len(BLOCKS) and device.settled > 0
    assert session_quality(rows).disturbed > 0


def test_machine_that_never_calms_down_ends_with_a_warning(store: MeasurementStore) -> None:
    device = ScriptedDevice(lambda number, raw: replace(raw, preemptions_per_s=500.0))
    rows = measure_blocks(device, BLOCKS[:5], threads=8, store=store, repeats=1)
    assert 5 <= len(rows) <= 15
    assert "other programs took cores away in 100%" in session_quality(rows).warning


def test_quiet_session_has_no_warning(store: MeasurementStore) -> None:
    rows = measure_blocks(ScriptedDevice(), BLOCKS, threads=8, store=store, repeats=2)
    assert session_quality(rows).stable and session_quality(rows).warning == ""


def test_time_limit_stops_between_rows(store: MeasurementStore) -> None:
    events: list[ProgressEvent] = []
    rows = measure_blocks(
        ScriptedDevice(), BLOCKS, threads=8, store=store, repeats=1, time_limit_s=-1.0, progress=events.append
    )
    assert rows == [] and "time limit" in events[-1].message


def test_progress_counts_to_the_end(store: MeasurementStore) -> None:
    events: list[ProgressEvent] = []
    measure_blocks(ScriptedDevice(), BLOCKS, threads=8, store=store, repeats=2, progress=events.append)
    assert [event.done for event in events] == list(range(1, 2 * len(BLOCKS) + 1))
    assert {event.total for event in events} == {2 * len(BLOCKS)}


def test_whole_models(store: MeasurementStore) -> None:
    rows = measure_models(ScriptedDevice(), [MODEL], threads=8, store=store, repeats=2)
    assert [Architecture.from_dict(json.loads(row.signature)) for row in rows] == [MODEL, MODEL]
    one = measure_model(ScriptedDevice(), None, MODEL, threads=8, store=store, runs=30, warmup=4)
    assert (len(one.samples_ms), len(one.warmups_ms), one.subject) == (30, 4, "model")
    assert len(store.measurements(subject="model")) == 3


def test_disturbed_confirmation_is_taken_again(store: MeasurementStore) -> None:
    # Jobs 1 and 2: the reference and the first try.
    device = ScriptedDevice(lambda number, raw: replace(raw, preemptions_per_s=500.0 if number == 2 else 0.0))
    row = measure_model(device, None, MODEL, threads=8, store=store)
    assert not is_disturbed(row) and len(store.measurements(subject="model")) == 2
    restless = ScriptedDevice(lambda number, raw: replace(raw, preemptions_per_s=500.0))
    row = measure_model(restless, None, MODEL, threads=8, store=store)
    assert row.median_ms == min(entry.median_ms for entry in store.measurements(session=row.session, subject="model"))
