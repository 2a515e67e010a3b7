"""How a session judges its rounds: heat, clock, outliers, cores; nothing is lost."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import chain, repeat
from pathlib import Path

import pytest

from data.device_spec import load_device
from data.errors import DeviceError
from data.measurement import Measurement
from data.store import MeasurementStore
from profiling import heat
from profiling.device import DeviceState, RawSamples
from profiling.quality import session_quality
from profiling.sampling import SamplingRange, sample_architectures
from profiling.session import Care, measure_models
from tests.profiling.doubles import ScriptedDevice

MODELS = sample_architectures(SamplingRange(layers=(1, 2), hidden=(32, 64, 96), sparse_hidden=()), 6, 0)
ROUNDS = 5


@pytest.fixture
def store(tmp_path: Path) -> Iterator[MeasurementStore]:
    with MeasurementStore.open(tmp_path / "m.sqlite") as opened:
        yield opened


class PhoneWithState(ScriptedDevice):
    """A scripted phone whose states come one after another, two a round; the last one stays."""

    def tell(self, *states: DeviceState) -> PhoneWithState:
        self._states = chain(states, repeat(states[-1]))
        return self

    def state(self) -> DeviceState:
        return next(self._states)


def measure(device: ScriptedDevice, store: MeasurementStore) -> list[Measurement]:
    return measure_models(device, MODELS, threads=8, store=store, visits=ROUNDS)


def test_outliers_are_kept_and_marked(store: MeasurementStore) -> None:
    def hiccup(number: int, raw: RawSamples) -> RawSamples:
        return replace(raw, samples_ms=(*raw.samples_ms[:3], 7 * raw.samples_ms[3]))

    rows = measure(ScriptedDevice(hiccup), store)
    assert all(3 in row.outliers and len(row.samples_ms) == 4 for row in rows)


def test_care_says_how_often_a_visit_runs_its_model(store: MeasurementStore) -> None:
    device = ScriptedDevice()
    measure_models(device, MODELS, threads=8, store=store, visits=1, care=Care(runs=9, warmup=2))
    assert {(visit.warmup, visit.runs) for visit in device.visits} == {(2, 9)}


def test_clock_that_drops_by_half_is_marked_in_its_rounds(store: MeasurementStore) -> None:
    usual, half = DeviceState(clock_mhz=2000.0), DeviceState(clock_mhz=1000.0)
    rows = measure(PhoneWithState().tell(*(usual,) * 4, *(half,) * 4, usual), store)
    assert {row.round for row in rows if "clock dropped" in row.marks} == {2, 3}
    assert session_quality(rows).marks == {"clock dropped": 0.4}


def test_battery_level_and_temperature_stay_with_the_row(store: MeasurementStore) -> None:
    rows = measure(PhoneWithState().tell(DeviceState(temperature_c=30.0, battery_percent=71.0)), store)
    assert all(row.state_before == {"temperature_c": 30.0, "battery_percent": 71.0} for row in rows)


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    waited: list[float] = []
    gate: Callable[..., None] = heat.TemperatureGate.__init__
    monkeypatch.setattr(
        heat.TemperatureGate, "__init__", lambda self, device, pause=waited.append: gate(self, device, pause)
    )
    return waited


def test_warm_phone_is_waited_for(store: MeasurementStore, pauses: list[float]) -> None:
    hot, cool = DeviceState(temperature_c=39.5), DeviceState(temperature_c=36.5)
    rows = measure(PhoneWithState().tell(hot, hot, hot, cool), store)
    assert pauses == [5.0] * 3 and len(rows) == ROUNDS * len(MODELS)
    assert all(row.state_before["temperature_c"] == 36.5 for row in rows)


def test_phone_that_never_cools_ends_with_one_line(store: MeasurementStore, pauses: list[float]) -> None:
    cool, hot = DeviceState(temperature_c=30.0), DeviceState(temperature_c=41.0)
    with pytest.raises(DeviceError, match=r"stays at 41.0 °C, above 37 °C, after 600 s of cooling") as caught:
        measure(PhoneWithState().tell(*(cool,) * 6, hot), store)
    assert sum(pauses) == 600 and "\n" not in str(caught.value)
    assert len(store.measurements()) == 3 * len(MODELS)


def test_specification_may_set_the_limit(store: MeasurementStore, pauses: list[float]) -> None:
    spec = replace(load_device("s20"), hottest_c=45.0)
    measure(PhoneWithState(spec=spec).tell(DeviceState(temperature_c=41.0)), store)
    assert pauses == []


def test_round_that_heats_the_phone_is_marked(store: MeasurementStore, pauses: list[float]) -> None:
    cool, hot = DeviceState(temperature_c=36.0), DeviceState(temperature_c=38.0)
    rows = measure(PhoneWithState().tell(cool, cool, cool, hot, cool), store)
    assert {row.round for row in rows if "hot" in row.marks} == {1}


def test_phone_that_tells_no_temperature_is_measured_and_that_is_told(store: MeasurementStore) -> None:
    rows = measure(PhoneWithState().tell(DeviceState(battery_percent=71.0)), store)
    quality = session_quality(rows, limited=True)
    assert "no possible temperature before 100% of the rows" in quality.notice and quality.stable
    assert session_quality(rows).notice == ""
    told = measure(PhoneWithState(fingerprint="double-2").tell(DeviceState(temperature_c=30.0)), store)
    assert session_quality(told, limited=True).notice == ""


def test_too_few_cores_are_told(store: MeasurementStore) -> None:
    rows = measure(ScriptedDevice(lambda number, raw: replace(raw, cpus=(0, 1))), store)
    assert {row.marks for row in rows} == {("few cores",)}
