"""How a session judges its rows: warm-up, heat, clock, certainty of the median, outliers, cores; nothing is lost."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import chain, repeat
from pathlib import Path

import pytest

from data.architecture import Architecture
from data.device_spec import load_device
from data.disturbance import is_disturbed
from data.errors import DeviceError, InputError
from data.measurement import Measurement
from data.store import MeasurementStore
from fusion import plan_architecture
from profiling import heat
from profiling.device import DeviceState, RawSamples
from profiling.quality import disagreement, session_quality
from profiling.session import REFERENCE_EVERY, Care, measure_blocks
from profiling.steadiness import steady_from, without_warmup
from surrogate.blocks.training_data import corrected_ms
from tests.profiling.doubles import ScriptedDevice

BLOCKS = tuple(dict.fromkeys(plan_architecture(Architecture(2, 64, 2, 128))))


@pytest.fixture
def store(tmp_path: Path) -> Iterator[MeasurementStore]:
    with MeasurementStore.open(tmp_path / "m.sqlite") as opened:
        yield opened


class PhoneWithState(ScriptedDevice):
    """A scripted phone whose states come one after another; the last one stays."""

    def tell(self, *states: DeviceState) -> PhoneWithState:
        self._states = chain(states, repeat(states[-1]))
        return self

    def state(self) -> DeviceState:
        return next(self._states)


def measure(device: ScriptedDevice, store: MeasurementStore, **options: object) -> list[Measurement]:
    return measure_blocks(device, BLOCKS, threads=8, store=store, **{"repeats": 1, **options})  # type: ignore[arg-type]


def test_phones_run_each_program_a_hundred_times_unless_told_otherwise(store: MeasurementStore) -> None:
    device = ScriptedDevice()
    rows = measure(device, store)
    assert {visit.runs for visit in device.visits} == {100} and {len(row.samples_ms) for row in rows} == {100}
    assert load_device("s20").default_threads == 8
    fewer = ScriptedDevice(fingerprint="double-2")
    measure(fewer, store, care=Care(runs=12))
    assert {visit.runs for visit in fewer.visits} == {12}


def test_care_is_checked() -> None:
    for wrong in ({"runs": 0}, {"interval_width": 0.0}):
        with pytest.raises(InputError, match="positive"):
            Care(**wrong)


def test_warm_up_ends_where_the_program_is_steady() -> None:
    assert steady_from([1.0] * 40) == 0
    assert steady_from([3.0] * 10 + [1.0] * 30) == 10
    assert steady_from([3.0] * 30 + [1.0] * 10) in (None, 0)
    assert steady_from([4.0 - 0.05 * place for place in range(40)]) is None
    raw = RawSamples((9.0,), (3.0,) * 10 + (1.0,) * 30)
    assert without_warmup(raw) == RawSamples((9.0, *(3.0,) * 10), (1.0,) * 30)


def test_slow_first_runs_count_as_warm_up(store: MeasurementStore) -> None:
    def slow_start(number: int, raw: RawSamples) -> RawSamples:
        return replace(raw, samples_ms=tuple(3 * time for time in raw.samples_ms[:20]) + raw.samples_ms[20:])

    rows = measure(ScriptedDevice(slow_start), store)
    assert {(len(row.warmups_ms), len(row.samples_ms)) for row in rows} == {(30, 80)}
    assert not any(row.marks for row in rows)


def test_outliers_are_kept_and_marked(store: MeasurementStore) -> None:
    def hiccup(number: int, raw: RawSamples) -> RawSamples:
        return replace(raw, samples_ms=(*raw.samples_ms[:50], 7 * raw.samples_ms[50], *raw.samples_ms[51:]))

    rows = measure(ScriptedDevice(hiccup), store)
    assert all(row.outliers == (50,) and len(row.samples_ms) == 100 and not is_disturbed(row) for row in rows)


def test_uncertain_median_is_marked_and_taken_again_with_more_runs(store: MeasurementStore) -> None:
    def uncertain(number: int, raw: RawSamples) -> RawSamples:
        if number in (1, 2 + REFERENCE_EVERY) or number > len(BLOCKS) + 2:  # the reference, and the second round
            return raw
        return replace(raw, samples_ms=tuple(time * (1 + place % 2) for place, time in enumerate(raw.samples_ms)))

    device = ScriptedDevice(uncertain)
    rows = measure(device, store)
    wide = [row for row in rows if "wide interval" in row.marks]
    assert len(wide) == len(BLOCKS) and {visit.runs for visit in device.visits} == {100, 200}
    times = corrected_ms(rows)
    assert len(rows) == 2 * len(BLOCKS)
    assert all(
        times[row.subject_hash] == pytest.approx(row.median_ms, rel=0.02) for row in rows if not is_disturbed(row)
    )


def test_clock_that_drops_by_half_is_seen_and_the_row_taken_again(store: MeasurementStore) -> None:
    usual, half = DeviceState(clock_mhz=2000.0), DeviceState(clock_mhz=1000.0)
    # Two states a visit: before and after. Visits 4 to 6 run at half the clock.
    device = PhoneWithState().tell(*(usual,) * 6, *(half,) * 6, usual)
    rows = measure(device, store)
    dropped = [row for row in rows if "clock dropped" in row.marks]
    assert len(dropped) == 3 and all(is_disturbed(row) for row in dropped)
    assert {row.subject_hash for row in rows if not is_disturbed(row)} == {block.hash for block in BLOCKS}
    assert session_quality(rows).marks["clock dropped"] > 0 and device.settled > 0


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
    assert pauses == [5.0] * 3 and len(rows) == len(BLOCKS)
    assert all(row.state_before["temperature_c"] == 36.5 for row in rows)


def test_phone_that_never_cools_ends_with_one_line(store: MeasurementStore, pauses: list[float]) -> None:
    cool, hot = DeviceState(temperature_c=30.0), DeviceState(temperature_c=41.0)
    with pytest.raises(DeviceError, match=r"stays at 41.0 °C, above 37 °C, after 600 s of cooling") as caught:
        measure(PhoneWithState().tell(*(cool,) * 6, hot), store)
    assert sum(pauses) == 600 and "\n" not in str(caught.value)
    assert len(store.measurements()) == 3


def test_specification_may_set_the_limit(store: MeasurementStore, pauses: list[float]) -> None:
    spec = replace(load_device("s20"), hottest_c=45.0)
    measure(PhoneWithState(spec=spec).tell(DeviceState(temperature_c=41.0)), store)
    assert pauses == []


def test_row_that_heats_the_phone_is_marked(store: MeasurementStore, pauses: list[float]) -> None:
    cool, hot = DeviceState(temperature_c=36.0), DeviceState(temperature_c=38.0)
    rows = measure(PhoneWithState().tell(cool, cool, cool, hot, cool), store)
    assert sum("hot" in row.marks for row in rows) == 1


def test_phone_that_tells_no_temperature_is_measured_and_that_is_told(store: MeasurementStore) -> None:
    rows = measure(PhoneWithState().tell(DeviceState(battery_percent=71.0)), store)
    quality = session_quality(rows, limited=True)
    assert "no possible temperature before 100% of the rows" in quality.notice and quality.stable
    assert session_quality(rows).notice == ""
    told = measure(PhoneWithState(fingerprint="double-2").tell(DeviceState(temperature_c=30.0)), store)
    assert session_quality(told, limited=True).notice == ""


def test_too_few_cores_are_told(store: MeasurementStore) -> None:
    rows = measure(ScriptedDevice(lambda number, raw: replace(raw, cpus=(0, 1))), store)
    assert {row.marks for row in rows} == {("few cores",)} and all(not is_disturbed(row) for row in rows)


def test_sessions_that_disagree_are_unstable(tmp_path: Path) -> None:
    def rows_of(name: str, factor: float, common: float) -> list[Measurement]:
        def alter(number: int, raw: RawSamples) -> RawSamples:
            # The reference is the first visit: a machine that is slower as a whole agrees with itself.
            scale = common if number == 1 else common * factor
            return replace(raw, samples_ms=tuple(scale * time for time in raw.samples_ms))

        with MeasurementStore.open(tmp_path / name) as store:
            return measure(ScriptedDevice(alter), store)

    first = [replace(row, session="a") for row in rows_of("1", 1.0, 1.0)]
    same = [replace(row, session="b") for row in rows_of("2", 1.0, 1.3)]
    other = [replace(row, session="c") for row in rows_of("3", 1.2, 1.0)]
    assert disagreement(first) is None
    assert disagreement([*first, *same]) == pytest.approx(0, abs=0.01)
    assert disagreement([*first, *other]) == pytest.approx(0.2, abs=0.01)
    assert "sessions differ by 20%" in session_quality([*first, *other]).warning
