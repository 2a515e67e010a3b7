"""Transfer to another device: never far from the scale factor, better where there is more to learn, honest about it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from data.errors import InputError
from surrogate import Comparison, LatencyPredictor
from surrogate.tables.process import Process, View
from surrogate.tables.transfer import adapt_process
from tests.benchmarks.predictor_splits import transfers
from tests.benchmarks.predictor_tables import Table, board_tables


def device(rows: int, slope: float, features: float, noise: float, seed: int) -> tuple[View, np.ndarray]:
    """Rows of a device that is twice as slow, and more so for large models, and their logarithms."""
    random = np.random.default_rng(seed)
    inputs = random.standard_normal((rows, 6))
    predicted = 1 + inputs[:, 0]
    ratios = np.log(2) + slope * inputs[:, 0] + features * inputs[:, 1] + noise * random.standard_normal(rows)
    return View(np.column_stack([np.zeros(rows), predicted]), inputs, np.zeros((rows, 0))), predicted + ratios


def error(process: Process, slope: float, features: float) -> float:
    """Mean absolute error on many other rows of the same device."""
    view, truth = device(500, slope, features, 0.0, 99)
    return float(np.abs(truth - process.predict(view)).mean())


def scale_error(view: View, truth: np.ndarray, slope: float, features: float) -> float:
    """The same of one fitted factor."""
    factor = np.median(truth - view.beliefs[:, 1])
    judged, wanted = device(500, slope, features, 0.0, 99)
    return float(np.abs(wanted - judged.beliefs[:, 1] - factor).mean())


@pytest.mark.parametrize("rows", [1, 2, 3, 5, 10, 50])
def test_only_slower_stays_about_the_scale_factor(rows: int) -> None:
    found, scale = [], []
    for seed in range(8):
        view, truth = device(rows, 0.0, 0.0, 0.02, seed)
        process, left = adapt_process(view, truth, 0.02, np.arange(rows))
        assert left.errors.shape == left.deviations.shape == (rows,)
        found.append(error(process, 0.0, 0.0))
        scale.append(scale_error(view, truth, 0.0, 0.0))
    assert np.mean(found) < np.mean(scale) + 0.006


@pytest.mark.parametrize(("slope", "features"), [(0.15, 0.0), (0.0, 0.15), (0.1, -0.1)])
def test_ten_rows_beat_the_scale_factor_where_devices_differ(slope: float, features: float) -> None:
    gains = []
    for seed in range(8):
        view, truth = device(10, slope, features, 0.02, seed)
        process, _ = adapt_process(view, truth, 0.02, np.arange(10))
        gains.append(error(process, slope, features) / scale_error(view, truth, slope, features))
    assert np.mean(gains) < 0.75


@pytest.mark.parametrize("together", [1, 2])
def test_left_out_errors_are_those_of_refitting(together: int) -> None:
    view, truth = device(40, 0.1, 0.1, 0.02, 3)
    groups = np.arange(40) // together
    _, left = adapt_process(view, truth, 0.02, groups)
    rest = np.flatnonzero(groups != groups[7])
    refitted, _ = adapt_process(view.rows(rest), truth[rest], 0.02, groups[rest])
    one = view.rows(np.array([7]))
    assert left.errors[7] == pytest.approx(truth[7] - refitted.predict(one)[0], abs=0.01)
    assert left.deviations[7] == pytest.approx(refitted.deviation(one)[0], rel=0.25)


def test_saved_process_is_the_same() -> None:
    view, truth = device(12, 0.1, 0.1, 0.02, 3)
    process, _ = adapt_process(view, truth, 0.02, np.arange(12))
    again = Process.from_dict(json.loads(json.dumps(process.to_dict())), view)
    np.testing.assert_array_equal(again.predict(view), process.predict(view))
    np.testing.assert_array_equal(again.deviation(view), process.deviation(view))


@pytest.fixture(scope="module")
def boards() -> list[Table]:
    return [table for table in board_tables() if table.group == "boards"]


@pytest.fixture(scope="module")
def source(boards: list[Table]) -> LatencyPredictor:
    return LatencyPredictor.fit(boards[0].rows.iloc[:120])


def test_board_to_board_with_ten_rows_is_below_both_baselines(boards: list[Table]) -> None:
    moved = transfers(boards[1], [boards[0], boards[3]], (0, 10), (0, 1), lambda message: None)
    ten = [one for one in moved if one.rows == 10]
    scale, adapt, scratch = np.array([(one.scale, one.adapt, one.scratch) for one in ten], dtype=float).T
    # On average below both; two draws of ten rows leave single pairs a few per cent either way.
    assert adapt.mean() < min(scale.mean(), scratch.mean())
    assert (adapt < 1.1 * np.minimum(scale, scratch)).all()
    assert all(one.scale == one.adapt for one in moved if one.rows == 0)


def test_an_adapted_interval_is_wide_with_one_row_and_narrows(boards: list[Table], source: LatencyPredictor) -> None:
    target: pd.DataFrame = boards[4].rows
    widths = []
    for rows in (1, 10, 60):
        lower, upper = source.adapt(target.iloc[:rows]).interval(target.iloc[60:])
        widths.append(float(np.median(np.log(upper / lower))))
    assert widths[0] > 0.1 and widths[2] < widths[0]


def test_the_comparison_judges_the_three_ways(boards: list[Table], source: LatencyPredictor, tmp_path: Path) -> None:
    target = boards[4].rows
    adapted = source.adapt(target.iloc[:20])
    found = adapted.comparison
    assert found is not None and found.rows == 20 and source.comparison is None
    assert found.adapted is not None and found.scale is not None and found.scratch is not None
    truth = target.latency_ms.iloc[20:]
    real = float(np.abs(adapted.predict(target.iloc[20:]) / truth - 1).mean())
    assert found.adapted < found.scale and abs(found.adapted - real) < 0.05
    adapted.save(tmp_path)
    assert LatencyPredictor.load(tmp_path).comparison == found
    assert source.adapt(target.iloc[:2]).comparison == Comparison(2, None, None, None)
    five = source.adapt(target.iloc[:5]).comparison
    assert five is not None and five.adapted is not None and five.scratch is None


def test_rows_are_chosen_without_latencies_and_are_better_than_the_same_model_again(
    boards: list[Table], source: LatencyPredictor
) -> None:
    candidates = boards[4].rows.drop(columns="latency_ms")
    chosen = source.choose(candidates, 8)
    assert len(set(chosen.tolist())) == 8
    np.testing.assert_array_equal(source.choose(candidates, 5), chosen[:5])
    work = np.log(candidates.layers * candidates.hidden**2 * candidates.seq_len)
    assert np.ptp(work.iloc[chosen]) > 0.6 * np.ptp(work)
    assert source.choose(candidates, 0).shape == (0,)
    with pytest.raises(InputError, match="301 rows cannot be chosen out of 300"):
        source.choose(candidates, 301)
