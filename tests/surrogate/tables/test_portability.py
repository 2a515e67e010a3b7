"""The portability study on tables whose right answer can be computed by hand, and its laws on any table."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data.errors import InputError
from data.progress import ProgressEvent
from surrogate.tables.budget_safety import Safety, safe_samples
from surrogate.tables.portability import Study, study
from surrogate.tables.shared_models import session_noise, shared_models
from surrogate.tables.table import HYPERPARAMETERS
from surrogate.tables.transfer_trials import pick

LAYERS, WIDTHS = range(1, 13), (64, 128, 192)
FEW = (0, 5)


def models() -> pd.DataFrame:
    """36 models whose latency grows with their size: 1 ms for each 100,000 weights."""
    rows = [(layers, width, width // 64, 4 * width, 128, 1) for layers in LAYERS for width in WIDTHS]
    table = pd.DataFrame(rows, columns=list(HYPERPARAMETERS))
    sizes = table["layers"] * (4 * table["hidden"] ** 2 + 2 * table["hidden"] * table["intermediate"])
    return table.assign(latency_ms=sizes / 1e5)


def slower(factor: float) -> pd.DataFrame:
    table = models()
    return table.assign(latency_ms=factor * table["latency_ms"])


@pytest.fixture
def two_splits(monkeypatch: pytest.MonkeyPatch) -> None:
    """For what does not depend on how many splits of the models are averaged."""
    monkeypatch.setattr("surrogate.tables.portability.SPLITS", 2)
    monkeypatch.setattr("surrogate.tables.transfer_trials.SPLITS", 2)


@pytest.fixture(scope="module")
def equal() -> Study:
    return study({"a": models(), "b": models()}, samples=FEW)


@pytest.fixture(scope="module")
def twice() -> Study:
    return study({"a": models(), "b": slower(2)}, samples=FEW)


def test_identical_devices_need_nothing(equal: Study) -> None:
    assert np.array(equal.rank_correlation) == pytest.approx(np.ones((2, 2)))
    assert all(entry.overshoot <= 0 and entry.given_up == 0 for entry in equal.overshoots)
    assert {entry.samples for entry in equal.safe_samples} == {0}
    before = [entry for entry in equal.safety if entry.samples == 0]
    assert all((entry.within, entry.worst_overshoot, entry.given_up) == (1, 0, 0) for entry in before)
    assert "a to b: safe without any row of the new device: 100% of the picks" in equal.safe_samples[0].text


def test_a_device_twice_as_slow_is_overshot_by_all(twice: Study) -> None:
    there = [entry for entry in twice.overshoots if entry.source == "a"]
    assert len(there) == 3 and all(entry.overshoot == pytest.approx(1) for entry in there)
    assert all(entry.given_up is None for entry in there)
    unseen, few = (entry for entry in twice.safety if (entry.source, entry.choice) == ("a", "random"))
    assert unseen.within is not None and unseen.within < 0.5 and 0.5 < unseen.worst_overshoot <= 1
    assert few.within == 1 and few.given_up is not None and few.given_up < 0.3
    assert [entry.samples for entry in twice.safe_samples] == [5, 5, 0, 0], "rows drawn and rows chosen"
    scales = [entry.scale for entry in twice.transfers if (entry.source, entry.choice) == ("a", "random")]
    assert scales[0] == pytest.approx(0.5, abs=0.05) and scales[1] < 0.05


def test_a_faster_device_costs_size_and_no_budget(twice: Study) -> None:
    back = [entry for entry in twice.overshoots if entry.source == "b"]
    table = models()
    sizes = table["latency_ms"].to_numpy()
    for entry in back:
        assert entry.overshoot == pytest.approx(-0.5)
        own = sizes[sizes <= entry.budget_ms].max()
        assert entry.given_up == pytest.approx(1 - entry.latency_ms / own)


@pytest.mark.usefixtures("two_splits")
def test_the_most_accurate_model_is_best_where_accuracy_is_known() -> None:
    tables = {"a": models(), "b": slower(2)}
    for table in tables.values():
        table["accuracy"] = np.where(table["layers"] == 6, 0.8, 0.7)  # six layers are best, whatever their width
    outcome = study(tables, samples=FEW, budget_ms=20.0)
    assert outcome.judged_by == "accuracy"
    assert {entry.best["layers"] for entry in outcome.overshoots} == {6}
    # Of equally accurate models one that certainly keeps the budget on both devices may be taken.
    assert all(entry.given_up in (None, 0) for entry in outcome.overshoots)
    lost = [entry.given_up for entry in outcome.safety if entry.given_up is not None]
    assert lost and all(-1e-12 <= value <= 0.1 + 1e-12 for value in lost)
    assert "points of accuracy given up" in outcome.safe_samples[0].text


@pytest.mark.usefixtures("two_splits")
def test_without_sizes_the_slowest_is_best() -> None:
    random = np.random.default_rng(0)
    table = pd.DataFrame({"x": random.random(30), "y": random.random(30)})
    tables = {name: table.assign(latency_ms=factor * (1 + table["x"])) for name, factor in (("a", 1), ("b", 3))}
    outcome = study(tables, samples=FEW, features=("x", "y"))
    assert outcome.judged_by == "latency" and outcome.overshoots[0].overshoot == pytest.approx(2)


def test_a_budget_that_nothing_keeps() -> None:
    outcome = study({"a": models(), "b": slower(50)}, samples=FEW, budget_ms=20.0)
    unseen, few = (entry for entry in outcome.safety if (entry.source, entry.choice) == ("a", "random"))
    assert unseen.within == 0 and unseen.given_up is None and unseen.worst_overshoot > 20
    assert few.picked == 0 and few.within is None
    assert outcome.safe_samples[0].samples is None
    assert outcome.safe_samples[0].text.endswith("not safe with up to 5 rows: no model was picked in 10 tries")
    assert [entry.source for entry in outcome.overshoots] == ["a"], "nothing keeps it on b itself"


@pytest.mark.usefixtures("two_splits")
def test_numbers_of_samples_beyond_the_table_are_left_out_and_named() -> None:
    outcome = study({"a": models(), "b": slower(2)}, samples=(5, 24, 25, 100))
    assert {entry.samples for entry in outcome.transfers} == {5, 24}
    assert (outcome.left_out, outcome.models, outcome.judged) == ((25, 100), 36, 12)
    with pytest.raises(InputError, match="36 models, of which 24 may be seen"):
        study({"a": models(), "b": slower(2)}, samples=(25,))


@pytest.mark.usefixtures("two_splits")
def test_the_noise_floor_is_the_error_between_sessions() -> None:
    first, second = models().assign(session="first"), slower(1.1).assign(session="second")
    both = pd.concat([first, second], ignore_index=True)
    tables = {"a": both, "b": slower(2), "c": both}
    outcome = study(tables, samples=(0,), provenance={"c": "published"}, noise_floor={"b": 0.02})
    assert outcome.noise_floor == {"a": pytest.approx(0.1), "b": 0.02, "c": None}
    assert outcome.names == {"a": "a", "b": "b", "c": "c (published)"}
    assert outcome.safe_samples[1].text.startswith("a to c (published): ")


@pytest.mark.usefixtures("two_splits")
def test_all_of_it_is_json_and_the_same_again() -> None:
    events: list[ProgressEvent] = []
    first, again = (study({"a": models(), "b": slower(2)}, samples=FEW, progress=events.append) for _ in range(2))
    assert json.dumps(again.to_dict(), allow_nan=False) == json.dumps(first.to_dict())
    assert [(event.done, event.total) for event in events] == 2 * [(done, 4) for done in range(1, 5)]


def edited(edit: Callable[[pd.DataFrame], object]) -> pd.DataFrame:
    table = models().astype(object)
    edit(table)
    return table


@pytest.mark.parametrize(
    ("table", "problem"),
    [
        (
            edited(lambda table: table.__setitem__("latency_ms", ["fast", *table["latency_ms"][1:]])),
            "row 1: latency_ms",
        ),
        (edited(lambda table: table.__setitem__("hidden", [64, float("nan"), *table["hidden"][2:]])), "row 2: hidden"),
        (edited(lambda table: table.__setitem__("latency_ms", [1, 2, -3, *table["latency_ms"][3:]])), "row 3: latency"),
        (edited(lambda table: table.pop("heads")), "no column 'heads'"),
        (edited(lambda table: table.__setitem__("session", ["one", None] * 18)), "row 2: session is empty"),
        (edited(lambda table: table.__setitem__("latency_ms", 7.0)), "every model takes 7 ms"),
        (models().iloc[:11], "share 11 models; a portability study needs at least 12"),
        (models().assign(seq_len=64), "share 0 models"),
        (models().assign(accuracy=0.5), "device good: the table has no column 'accuracy'"),
    ],
)
def test_bad_tables_are_named(table: pd.DataFrame, problem: str) -> None:
    with pytest.raises(InputError, match=problem) as caught:
        study({"bad": table, "good": models()}, samples=FEW)
    assert str(caught.value).startswith(("device", "the devices share"))


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"samples": ()}, "from 0 up"),
        ({"samples": (-1, 5)}, "from 0 up"),
        ({"budget_ms": 0.0}, "positive number of milliseconds"),
        ({"budget_ms": float("nan")}, "positive number of milliseconds"),
    ],
)
def test_impossible_wishes_are_refused(options: dict[str, Any], problem: str) -> None:
    with pytest.raises(InputError, match=problem):
        study({"a": models(), "b": slower(2)}, **options)


def test_one_device_is_none_too_few() -> None:
    with pytest.raises(InputError, match="at least two devices, not 1"):
        study({"a": models()})


latencies = st.lists(st.floats(0.1, 1e4), min_size=36, max_size=36, unique=True)


@settings(max_examples=40, deadline=None)
@given(latencies, latencies, st.floats(0.1, 1e4), st.lists(st.floats(0, 1), min_size=36, max_size=36))
def test_a_pick_is_among_the_likely_and_never_beats_the_own_best(
    here: list[float], there: list[float], budget_ms: float, chances: list[float]
) -> None:
    shared = shared_models(
        {"a": models().assign(latency_ms=here), "b": models().assign(latency_ms=there)}, HYPERPARAMETERS
    )
    found = pick(shared, "a", "b", np.arange(36), np.array(chances), budget_ms)
    assert (found.model is None) == (max(chances) < 0.9)
    if found.model is not None:
        assert chances[found.model] >= 0.9 and found.latency_ms == shared.latencies["b"][found.model]
        kept = found.latency_ms <= budget_ms
        assert (found.overshoot <= 0) == kept == (found.given_up is not None)
        assert found.given_up is None or 0 <= found.given_up < 1


def point(samples: int, within: float, picked: float = 1.0) -> Safety:
    return Safety("a", "b", "random", samples, 50, picked, within, 0.1, 0.2, 0.3)


@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=1, max_size=6))
def test_a_safe_number_is_safe_from_there_on(shares: list[tuple[float, float]]) -> None:
    curve = [point(5 * number, within, picked) for number, (within, picked) in enumerate(shares)]
    found = safe_samples(curve, {"a": "a", "b": "b"}, "size").samples
    holds = [entry.within is not None and entry.within >= 0.95 and entry.picked >= 0.5 for entry in curve]
    first = next((number for number in range(len(curve)) if all(holds[number:])), None)
    assert found == (None if first is None else 5 * first)


@given(st.dictionaries(st.integers(0, 30).map(str), st.floats(1, 100), min_size=5), st.floats(0.5, 2))
def test_session_noise_of_a_slower_session_is_how_much_slower(session: dict[str, float], factor: float) -> None:
    again = {model: factor * latency for model, latency in session.items()}
    assert session_noise([session, again]) == pytest.approx(abs(factor - 1))
    assert session_noise([session]) is None
