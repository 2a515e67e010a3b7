"""Folds split neither an architecture nor a session."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from surrogate.folds import grouped_folds, row_groups


@given(st.lists(st.tuples(st.integers(0, 6), st.integers(0, 3)), min_size=6, max_size=40), st.integers(2, 10))
def test_no_group_lies_on_both_sides_and_every_row_is_judged_once(rows: list[tuple[int, int]], wanted: int) -> None:
    models = np.array([[model, 1.0] for model, _ in rows])
    sessions = np.array([f"s{session}" for _, session in rows])
    groups = row_groups(models, sessions)
    folds = grouped_folds(groups, wanted, 0)
    np.testing.assert_array_equal(np.sort(np.concatenate([test for _, test in folds])), np.arange(len(rows)))
    if len(np.unique(groups)) > 1:
        for train, test in folds:
            assert not set(groups[train]) & set(groups[test])
            assert not {tuple(row) for row in models[train]} & {tuple(row) for row in models[test]}


def test_sessions_join_what_they_measured() -> None:
    models = np.arange(12.0)[:, None]
    assert len(np.unique(row_groups(models))) == 12
    assert len(np.unique(row_groups(models, np.repeat(["a", "b", "c"], 4)))) == 3


def test_one_session_is_no_session() -> None:
    models = np.arange(12.0)[:, None]
    assert len(np.unique(row_groups(models, np.repeat("a", 12)))) == 12
    # The same models in two sessions: what is left out has to be a model.
    twice = np.tile(models, (2, 1))
    assert len(np.unique(row_groups(twice, np.repeat(["a", "b"], 12)))) == 12
