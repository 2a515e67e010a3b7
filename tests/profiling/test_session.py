"""Sessions: rounds in random order, durability, resuming, when measuring ends, and what a drifting phone is worth."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from data.architecture import Architecture
from data.errors import DeviceError, InputError
from data.progress import ProgressEvent
from data.statistic import choose_statistic, differences, medians_ms, usual_ms
from data.store import MeasurementStore
from profiling.device import RawSamples
from profiling.quality import session_quality
from profiling.sampling import SamplingRange, sample_architectures
from profiling.session import Care, measure_model, measure_models, measure_until_steady
from tests.profiling.doubles import ScriptedDevice, failing_at

MODELS = sample_architectures(SamplingRange(layers=(1, 2), hidden=(32, 64, 96), sparse_hidden=()), 10, 0)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[MeasurementStore]:
    with MeasurementStore.open(tmp_path / "m.sqlite") as opened:
        yield opened


def order(device: ScriptedDevice) -> list[str]:
    return [visit.program for visit in device.visits]


def test_every_model_is_visited_in_every_round_and_every_row_is_stored(store: MeasurementStore) -> None:
    device = ScriptedDevice()
    rows = measure_models(device, MODELS, threads=8, store=store, visits=3)
    assert Counter(row.subject_hash for row in rows) == dict.fromkeys({row.subject_hash for row in rows}, 3)
    assert store.measurements() == rows and len(rows) == len(device.visits) == 3 * len(MODELS)
    assert [row.position for row in rows] == list(range(len(rows)))
    assert [row.round for row in rows] == [number for number in range(3) for _ in MODELS]
    assert {(len(row.warmups_ms), len(row.samples_ms), row.provenance) for row in rows} == {(1, 4, "measured")}
    assert all(row.state_before == {"clock_mhz": 2000.0} and len(row.steps_ms) > 4 for row in rows)


def test_order_is_random_in_each_round_but_follows_the_seed(tmp_path: Path) -> None:
    orders = []
    for number, seed in enumerate((1, 1, 2)):
        device = ScriptedDevice()
        with MeasurementStore.open(tmp_path / f"{number}.sqlite") as store:
            measure_models(device, MODELS, threads=8, store=store, visits=2, seed=seed)
        orders.append(order(device))
    assert orders[0] == orders[1] != orders[2]
    assert orders[0][: len(MODELS)] != orders[0][len(MODELS) :]
    assert sorted(orders[0][: len(MODELS)]) == sorted(orders[0][len(MODELS) :])


def test_second_call_measures_nothing_and_a_longer_one_only_what_is_missing(store: MeasurementStore) -> None:
    measure_models(ScriptedDevice(), MODELS[:4], threads=8, store=store, visits=2)
    again = ScriptedDevice()
    assert len(measure_models(again, MODELS[:4], threads=8, store=store, visits=2)) == 8 and again.visits == []
    more = ScriptedDevice()
    measure_models(more, MODELS, threads=8, store=store, visits=2)
    assert Counter(order(more)) == {model.name: 2 for model in MODELS[4:]}


def test_another_machine_or_number_of_threads_is_measured_anew(store: MeasurementStore) -> None:
    measure_models(ScriptedDevice(), MODELS[:2], threads=8, store=store, visits=1)
    for device, threads in ((ScriptedDevice(fingerprint="double-2"), 8), (ScriptedDevice(), 4)):
        measure_models(device, MODELS[:2], threads=threads, store=store, visits=1)
        assert len(device.visits) == 2


def test_a_lost_device_keeps_finished_rounds_and_the_next_call_goes_on(store: MeasurementStore) -> None:
    lost_at = 2 * len(MODELS) + 3
    with pytest.raises(DeviceError, match="lost"):
        measure_models(ScriptedDevice(failing_at(lost_at, lost_at + 1)), MODELS, threads=8, store=store, visits=4)
    kept = store.measurements()
    assert len(kept) == 2 * len(MODELS)
    device = ScriptedDevice()
    rows = measure_models(device, MODELS, threads=8, store=store, visits=4)
    assert rows[: len(kept)] == kept and len(device.visits) == 2 * len(MODELS)


def test_one_failure_is_forgiven(store: MeasurementStore) -> None:
    rows = measure_models(ScriptedDevice(failing_at(3)), MODELS, threads=8, store=store, visits=1)
    assert len(rows) == len(MODELS)


def test_measuring_ends_once_halves_agree(store: MeasurementStore) -> None:
    events: list[ProgressEvent] = []
    rows = measure_until_steady(ScriptedDevice(), MODELS, threads=8, store=store, usual_s=60.0, progress=events.append)
    assert len(rows) == 8 * len(MODELS)
    agreement = choose_statistic(rows).agreement
    assert agreement is not None and agreement < 0.01
    quality = session_quality(rows)
    assert (quality.rounds, quality.visits, quality.stable, quality.warning) == (8, 8, True, "")
    assert all(event.total is not None and event.done <= event.total for event in events)
    once_more = ScriptedDevice()
    measure_until_steady(once_more, MODELS, threads=8, store=store, usual_s=60.0)
    assert once_more.visits == []
    measure_until_steady(once_more, MODELS, threads=8, store=store, usual_s=60.0, again=True)
    assert len(once_more.visits) == 8 * len(MODELS)


def restless(number: int, raw: RawSamples) -> RawSamples:
    """A machine on which every visit is as slow as it happens."""
    factor = float(np.exp(0.3 * np.random.default_rng(number).standard_normal()))
    return replace(raw, samples_ms=tuple(factor * time for time in raw.samples_ms), preemptions_per_s=500.0)


def test_a_machine_that_never_agrees_ends_with_what_it_allows(store: MeasurementStore) -> None:
    rows = measure_until_steady(
        ScriptedDevice(restless), MODELS, threads=8, store=store, usual_s=60.0, care=Care(most_visits=12)
    )
    quality = session_quality(rows)
    assert quality.visits == 12 and not quality.stable
    assert "allows no better than" in quality.warning and "took cores away in 100%" in quality.warning
    assert "times as long" in quality.warning or "drifts" in quality.warning


def test_time_limits_end_between_rounds_and_the_usual_time_after_the_least_visits(store: MeasurementStore) -> None:
    events: list[ProgressEvent] = []
    limited = {"time_limit_s": 0.0, "progress": events.append}
    rows = measure_models(ScriptedDevice(), MODELS, threads=8, store=store, visits=5, **limited)  # type: ignore[arg-type]
    assert 0 < len(rows) <= len(MODELS) and "time limit" in events[-1].message
    rows = measure_until_steady(ScriptedDevice(restless), MODELS, threads=8, store=store, usual_s=0.0)
    assert len(rows) == 8 * len(MODELS)


def test_progress_counts_to_the_end(store: MeasurementStore) -> None:
    events: list[ProgressEvent] = []
    measure_models(ScriptedDevice(), MODELS, threads=8, store=store, visits=2, progress=events.append)
    assert [event.done for event in events] == [len(MODELS), 2 * len(MODELS)]
    assert {event.total for event in events} == {2 * len(MODELS)}


def test_a_compiled_model_is_confirmed_in_several_rounds(store: MeasurementStore) -> None:
    rows = measure_model(ScriptedDevice(), None, MODELS[0], threads=8, store=store, rounds=6, runs=5, warmup=2)
    assert {(len(row.samples_ms), len(row.warmups_ms), row.subject) for row in rows} == {(5, 2, "model")}
    assert [row.round for row in rows] == list(range(6)) and store.measurements() == rows
    assert max(row.median_ms for row in rows) < 1.02 * min(row.median_ms for row in rows)
    assert Architecture.from_dict(json.loads(rows[0].signature)) == MODELS[0]


def drifting(first: int) -> ScriptedDevice:
    """A phone whose clock falls by 30% and comes back, seeded by the number of its first visit."""

    def alter(number: int, raw: RawSamples) -> RawSamples:
        noise = np.random.default_rng(first + number).standard_normal(len(raw.samples_ms))
        clock = 1 - 0.3 * np.sin(np.pi * number / (24 * len(MODELS))) ** 2 if first else 1.0
        return replace(raw, samples_ms=tuple(np.array(raw.samples_ms) * np.exp(0.02 * noise) / clock))

    return ScriptedDevice(alter)


def test_a_phone_with_a_drifting_clock_is_measured_as_well_as_a_steady_one(tmp_path: Path) -> None:
    truth = {}
    errors = []
    for first in (0, 1000):
        with MeasurementStore.open(tmp_path / f"{first}.sqlite") as store:
            rows = measure_models(drifting(first), MODELS, threads=8, store=store, visits=24)
        figures = usual_ms(rows, choose_statistic(rows))
        truth = truth or medians_ms(rows)
        apart = differences(truth, figures)
        errors.append(float(np.abs(apart - np.median(apart)).mean()))
    assert errors[1] < 0.01


def test_care_is_checked() -> None:
    for wrong in ({"runs": 0}, {"agreement": 0.0}, {"least_visits": 9, "most_visits": 8}):
        with pytest.raises(InputError):
            Care(**wrong)  # type: ignore[arg-type]
