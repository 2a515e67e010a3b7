"""The evaluation of predictors: figures, missing tables, methods that a table does not suit, the report."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.benchmarks.predictor_methods import METHODS, OURS, Prediction, judge
from tests.benchmarks.predictor_report import Evaluation, markdown
from tests.benchmarks.predictor_splits import Held, Moved, held_out, noise_floor
from tests.benchmarks.predictor_tables import Table, board_tables, hat_tables


def test_figures() -> None:
    measured = np.array([1.0, 2.0, 4.0, 8.0])
    predicted = np.array([1.04, 2.0, 4.36, 6.0])
    figures = judge(measured, Prediction(predicted, 0.95 * predicted, 1.05 * predicted))
    assert figures.mape == pytest.approx((0.04 + 0 + 0.09 + 0.25) / 4)
    assert (figures.within_5, figures.within_10, figures.covered) == (0.5, 0.75, 0.5)
    assert figures.spearman == pytest.approx(1) and figures.width == pytest.approx(0.1)
    assert judge(measured, Prediction(predicted)).covered is None


def test_missing_tables_are_named(tmp_path: Path) -> None:
    tables, missing = hat_tables(tmp_path)
    assert not tables and len(missing) == 2 and all(path.startswith(str(tmp_path)) for path in missing)


def test_every_method_is_judged_and_ours_is_best_from_few_rows() -> None:
    table = next(board_tables())
    found = {one.method: one for one in held_out(table, METHODS, [0], 40, lambda message: None)}
    assert set(found) == set(METHODS) and found[OURS].mean.n == len(table.rows) - 40
    assert found[OURS].mean.mape == min(one.mean.mape for one in found.values())
    floor = noise_floor(table)
    assert floor is not None and floor < found[OURS].mean.mape


def test_a_table_of_other_columns_has_no_flops() -> None:
    table = next(board_tables())
    renamed = table.rows.rename(columns={"layers": "depth"})
    other = Table("other", "other", "analytic", renamed, ("depth", "hidden", "intermediate", "seq_len"))
    few = {name: METHODS[name] for name in ("FLOPs-proportional", "linear")}
    assert [one.method for one in held_out(other, few, [0], 100, lambda message: None)] == ["linear"]


def test_report_holds_every_table_and_what_was_missing() -> None:
    figures = judge(np.array([1.0, 2.0, 3.0]), Prediction(np.array([1.0, 2.0, 3.3])))
    held = Held("board", 20, OURS, figures, figures.mape, figures.rmse)
    found = Evaluation({"seeds": [0]}, {"board": "analytic"}, {"board": 0.02}, {"board": "boards"}, [held], [held])
    found.moved.append(Moved("boards", "a", "b", 10, 0.2, 0.1, 0.3, 0.9, 0.4))
    found.notes.append("missing, so not judged: hat.csv")
    origin = {"cpu": "x", "cores": 2, "python": "3", "commit": "c", "date": "d"}
    text = markdown(found, origin)
    for words in (
        "board (analytic)",
        "3.33%",
        "2.0%",
        "hat.csv",
        "| boards | 10 | 1 | 20.00% | 30.00% | 10.00% |",
        "boards, mean",
    ):
        assert words in text
