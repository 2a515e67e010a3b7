"""Tables that cannot be what they claim: other units, rows of other units, no signal, columns that are none."""

from __future__ import annotations

from decimal import Decimal
from functools import partial

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data.errors import InputError
from surrogate import LatencyPredictor
from surrogate.arguments import check_coverage, positive_number, whole_number
from surrogate.tables.plausibility import check_units
from surrogate.tables.portability import study
from surrogate.tables.table import HYPERPARAMETERS, table_features
from tests.benchmarks.predictor_tables import board_tables
from tests.surrogate.tables.test_latency_predictor import long_table, table

# Latencies in seconds of boards below 3 GFLOP/s look like milliseconds of an accelerator.
BOARDS = [made for made in board_tables() if made.features is None and made.name != "kit P, 1 threads, slow clock"]


def units_of(frame: pd.DataFrame) -> None:
    inputs, names = table_features(frame, None)
    check_units(inputs, names, frame["latency_ms"].to_numpy(), hyperparameters=True)


def gflops(frame: pd.DataFrame) -> np.ndarray:
    inputs, names = table_features(frame, None)
    return inputs[:, names.index("gflops")]


@pytest.mark.parametrize("made", BOARDS, ids=lambda made: made.name)
def test_boards_of_every_kind_are_believed_and_their_other_units_are_not(made: object) -> None:
    frame: pd.DataFrame = made.rows  # type: ignore[attr-defined]
    units_of(frame)
    with pytest.raises(InputError, match="seconds"):
        units_of(frame.assign(latency_ms=frame.latency_ms / 1e3))
    with pytest.raises(InputError, match="microseconds"):
        units_of(frame.assign(latency_ms=frame.latency_ms * 1e3))


@pytest.mark.parametrize("unit", [1e-3, 1e3, 1e6])
def test_a_whole_table_in_another_unit_is_refused_by_fit_and_adapt(unit: float) -> None:
    frame = table(40)
    wrong = frame.assign(latency_ms=frame.latency_ms * unit)
    with pytest.raises(InputError, match=r"seconds|microseconds"):
        LatencyPredictor.fit(wrong)
    with pytest.raises(InputError, match=r"seconds|microseconds"):
        LatencyPredictor.fit(frame).adapt(wrong.iloc[:1])


@pytest.mark.parametrize("scale", [1.0, 1e3, 1e9, 0.5e3])
def test_operations_instead_of_latencies_are_refused(scale: float) -> None:
    frame = long_table()
    with pytest.raises(InputError, match=r"operations|GFLOP/s"):
        LatencyPredictor.fit(frame.assign(latency_ms=gflops(frame) * scale))


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 39), st.sampled_from([1e-3, 1e3, 1e6]), st.sampled_from(BOARDS))
def test_a_row_of_another_unit_among_forty_is_named(row: int, unit: float, made: object) -> None:
    frame: pd.DataFrame = made.rows.iloc[:40].reset_index(drop=True)  # type: ignore[attr-defined]
    frame.loc[row, "latency_ms"] *= unit
    with pytest.raises(InputError, match=rf"^row {row + 1}: its latency"):
        LatencyPredictor.fit(frame)


def test_half_a_table_in_another_unit_is_refused() -> None:
    frame = table(40)
    with pytest.raises(InputError, match=r"and 19 more rows"):
        LatencyPredictor.fit(frame.assign(latency_ms=frame.latency_ms * np.where(np.arange(40) % 2, 1, 1e-3)))


def test_a_row_of_another_unit_is_named_whatever_the_features() -> None:
    random = np.random.default_rng(0)
    frame = pd.DataFrame({"x": random.random(30), "width": random.choice([64, 512, 2048], 30)})
    frame = frame.assign(latency_ms=(1 + frame.x) * frame.width / 64)
    frame.loc[11, "latency_ms"] /= 1000
    with pytest.raises(InputError, match=r"^row 12: its latency"):
        LatencyPredictor.fit(frame, features=["x", "width"])


def test_a_study_names_the_device_whose_latencies_are_in_another_unit() -> None:
    frame = table(40)
    with pytest.raises(InputError, match=r"^device b: .*seconds"):
        study({"a": frame, "b": frame.assign(latency_ms=frame.latency_ms / 1e3)}, samples=(0, 5))


@pytest.mark.parametrize("seed", range(3))
def test_labels_without_a_signal_are_called_so(seed: int) -> None:
    frame = table(40)
    shuffled = np.random.default_rng(seed).permutation(frame.latency_ms.to_numpy())
    with pytest.raises(InputError, match="no signal"):
        LatencyPredictor.fit(frame.assign(latency_ms=shuffled))


def test_a_table_of_equal_models_needs_no_signal() -> None:
    frame = table(1)
    noise = np.exp(0.02 * np.random.default_rng(0).standard_normal(30))
    many = pd.concat([frame] * 30, ignore_index=True).assign(latency_ms=5 * noise)
    assert LatencyPredictor.fit(many).predict(frame)[0] == pytest.approx(5, rel=0.05)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda frame: pd.concat([frame, frame[["heads"]]], axis=1), "'heads' stands 2 times"),
        (lambda frame: frame.rename(columns={"hidden": " Hidden"}), "no column 'hidden'.* is it ' Hidden'"),
        (lambda frame: frame.assign(layers=frame.layers + 0.5), "layers is .*, not a whole number"),
        (lambda frame: frame.assign(heads=True), "row 1: heads is True"),
        (lambda frame: frame.assign(latency_ms=pd.to_timedelta(frame.latency_ms, unit="ms")), "row 1: latency_ms"),
        (lambda frame: frame.assign(session=[None, *["a"] * 39]), "row 1: session is empty"),
        (lambda frame: frame.to_dict(), "DataFrame"),
        (lambda frame: None, "DataFrame"),
    ],
)
def test_columns_that_are_none_are_refused(change: object, problem: str) -> None:
    with pytest.raises(InputError, match=problem):
        LatencyPredictor.fit(change(table(40)))  # type: ignore[operator]


@pytest.mark.parametrize("features", [["layers", "layers"], ["layers", "latency_ms"], []])
def test_features_that_are_none_are_refused(features: list[str]) -> None:
    with pytest.raises(InputError, match="feature"):
        LatencyPredictor.fit(table(40), features=features)


def test_numbers_as_text_are_numbers() -> None:
    frame = table(30)
    texts = frame.astype(str)
    np.testing.assert_allclose(LatencyPredictor.fit(texts).predict(texts), LatencyPredictor.fit(frame).predict(frame))
    assert set(HYPERPARAMETERS) <= set(texts.columns)


@pytest.mark.parametrize("rows", [8, 40])
@pytest.mark.parametrize(
    ("column", "problem"),
    [
        (lambda frame: 5.0, "every latency is 5"),
        (lambda frame: 50 + 0.1 * np.arange(len(frame)) / len(frame), "although the models' operations differ"),
        (lambda frame: frame.layers * frame.hidden * (4 * frame.hidden + 2 * frame.intermediate) / 1e6, "weights"),
        (lambda frame: 1e4 / gflops(frame), "fall as the models' work grows"),
    ],
)
def test_columns_that_are_no_latencies_are_refused(column: object, problem: str, rows: int) -> None:
    frame = BOARDS[0].rows.iloc[:rows]
    with pytest.raises(InputError, match=problem):
        LatencyPredictor.fit(frame.assign(latency_ms=column(frame)))  # type: ignore[operator]


@pytest.mark.parametrize("rows", [4, 5, 7])
def test_a_row_of_another_unit_among_a_few_is_named(rows: int) -> None:
    frame = BOARDS[0].rows.iloc[:rows].reset_index(drop=True)
    units_of(frame)
    frame.loc[2, "latency_ms"] *= 1000
    with pytest.raises(InputError, match=r"^row 3: its latency"):
        units_of(frame)


def test_an_accelerator_that_waits_for_its_kernels_is_believed() -> None:
    frame = BOARDS[0].rows
    launches, work = frame.layers * 14 * 0.01, gflops(frame) / 20
    waiting = frame.assign(latency_ms=np.maximum(launches, work))
    units_of(waiting)
    with pytest.raises(InputError, match="seconds"):
        units_of(waiting.assign(latency_ms=waiting.latency_ms / 1e3))


@pytest.mark.parametrize("cell", [10**400, Decimal("sNaN"), np.array([5]), {1: 2}, 1j, pd.NA, 1e200])
@pytest.mark.parametrize("column", ["hidden", "latency_ms"])
def test_cells_that_are_no_numbers_are_named_on_one_line(column: str, cell: object) -> None:
    frame = table(6).astype(object)
    frame[column] = pd.Series([cell, *frame[column][1:]], dtype=object)
    with pytest.raises(InputError, match=r"^row 1: [^\n]*$"):
        LatencyPredictor.fit(frame)


@pytest.mark.parametrize("twin", ["Layers", "latency_ms ", "Threads", " session"])
def test_columns_that_differ_by_case_or_spaces_are_not_overlooked(twin: str) -> None:
    with pytest.raises(InputError, match=r"differ by case or spaces|would be overlooked"):
        LatencyPredictor.fit(table(6).assign(**{twin: 1}))


@pytest.mark.parametrize(
    "wrong",
    [{"seed": -1}, {"seed": 2**32}, {"seed": 1.5}, {"features": "layers"}, {"features": 5}, {"features": [None]}]
    + [{"target": None}],
)
def test_arguments_that_cannot_be_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(InputError):
        LatencyPredictor.fit(table(6), **wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize("wrong", [None, "0.5", [0.5], np.nan, True, -1])
def test_coverages_budgets_and_counts_that_cannot_be_are_refused(wrong: object) -> None:
    for check in (
        check_coverage,
        partial(positive_number, "a budget"),
        partial(whole_number, "n", lowest=0, highest=9),
    ):
        with pytest.raises(InputError):
            check(wrong)  # type: ignore[operator]
