"""Transfer to another device: never far from the scale factor, better where there is more to learn, honest about it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from surrogate import LatencyPredictor
from surrogate.transfer import Adaptation, fit_adaptation
from tests.benchmarks.predictor_splits import transfers
from tests.benchmarks.predictor_tables import Table, board_tables


def device(rows: int, slope: float, features: float, noise: float, seed: int) -> tuple[np.ndarray, ...]:
    """(ratios, logarithms, inputs) of a device that is twice as slow, and more so for large models."""
    random = np.random.default_rng(seed)
    inputs = random.standard_normal((rows, 6))
    logarithms = 1 + inputs[:, 0]
    ratios = np.log(2) + slope * inputs[:, 0] + features * inputs[:, 1] + noise * random.standard_normal(rows)
    return ratios, logarithms, inputs


def error(adaptation: Adaptation, slope: float, features: float) -> float:
    """Mean absolute error of an adaptation on many other rows of the same device."""
    ratios, logarithms, inputs = device(500, slope, features, 0.0, 99)
    return float(np.abs(ratios - adaptation.apply(logarithms, inputs)).mean())


@pytest.mark.parametrize("rows", [1, 2, 3, 5, 10, 50])
def test_only_slower_stays_about_the_scale_factor(rows: int) -> None:
    found, scale = [], []
    for seed in range(8):
        ratios, logarithms, inputs = device(rows, 0.0, 0.0, 0.02, seed)
        adaptation, errors = fit_adaptation(ratios, logarithms, inputs, 1.0, 1.0, 0.02)
        assert errors.shape == (rows,)
        found.append(error(adaptation, 0.0, 0.0))
        scale.append(abs(float(np.median(ratios)) - np.log(2)))
    assert np.mean(found) < np.mean(scale) + 0.006


@pytest.mark.parametrize(("slope", "features"), [(0.15, 0.0), (0.0, 0.15), (0.1, -0.1)])
def test_ten_rows_beat_the_scale_factor_where_devices_differ(slope: float, features: float) -> None:
    gains = []
    for seed in range(8):
        ratios, logarithms, inputs = device(10, slope, features, 0.02, seed)
        adaptation, _ = fit_adaptation(ratios, logarithms, inputs, 1.0, 1.0, 0.02)
        plain = replace(
            adaptation, offset=float(np.median(ratios)), slope=0.0, slopes=np.zeros(6), weights=np.zeros(10)
        )
        gains.append(error(adaptation, slope, features) / error(plain, slope, features))
    assert np.mean(gains) < 0.75


def test_left_out_errors_are_those_of_refitting() -> None:
    ratios, logarithms, inputs = device(40, 0.1, 0.1, 0.02, 3)
    _, errors = fit_adaptation(ratios, logarithms, inputs, 1.0, 1.0, 0.02)
    rest = np.arange(40) != 7
    refitted, _ = fit_adaptation(ratios[rest], logarithms[rest], inputs[rest], 1.0, 1.0, 0.02)
    expected = ratios[7] - refitted.apply(logarithms[7:8], inputs[7:8])[0]
    assert errors[7] == pytest.approx(expected, abs=0.01)


def test_saved_adaptation_is_the_same() -> None:
    ratios, logarithms, inputs = device(12, 0.1, 0.1, 0.02, 3)
    adaptation, _ = fit_adaptation(ratios, logarithms, inputs, 1.0, 1.0, 0.02)
    again = Adaptation.from_dict(adaptation.to_dict())
    np.testing.assert_array_equal(again.apply(logarithms, inputs), adaptation.apply(logarithms, inputs))


@pytest.fixture(scope="module")
def boards() -> list[Table]:
    return list(board_tables())


def test_board_to_board_with_ten_rows_is_below_both_baselines(boards: list[Table]) -> None:
    moved = transfers(boards[1], [boards[0], boards[3]], (0, 10), (0, 1, 2), lambda message: None)
    ten = [one for one in moved if one.rows == 10]
    for one in ten:
        assert one.scratch is not None and one.adapt < min(one.scale, one.scratch)
    assert all(one.scale == one.adapt for one in moved if one.rows == 0)


def test_an_adapted_interval_is_wide_with_one_row_and_narrows(boards: list[Table]) -> None:
    source = LatencyPredictor.fit(boards[0].rows)
    target: pd.DataFrame = boards[4].rows
    widths = []
    for rows in (1, 10, 60):
        lower, upper = source.adapt(target.iloc[:rows]).interval(target.iloc[60:])
        widths.append(float(np.median(np.log(upper / lower))))
    assert widths[0] > 0.1 and widths[2] < widths[0]
