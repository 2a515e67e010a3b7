"""The optimiser: what it proposes, and that it learns."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from data.architecture import Architecture
from search.optimization.optimizer import near_budget, propose, tighten
from search.optimization.space import SearchSpace
from search.records import Candidate, Trial

TEACHER = SimpleNamespace(layers=6, hidden=256, heads=8, intermediate=1024, vocab_size=1000, max_positions=128)
SPACE = SearchSpace.from_teacher(TEACHER, seq_len=64, labels=2)


def candidate(architecture: Architecture) -> Candidate:
    predicted = architecture.layers * architecture.hidden * (architecture.hidden + architecture.intermediate) / 1e6
    return Candidate(architecture, predicted, 0.9 * predicted, 1.1 * predicted, 0.9)


FEASIBLE = [found for found in map(candidate, SPACE.architectures()) if found.upper_ms <= 1.0]


def run(score: Callable[[Architecture], float | None], count: int, seed: int = 0) -> list[Trial]:
    """``count`` trials whose score is given by a function; None means that the trial failed."""
    trials: list[Trial] = []
    while len(trials) < count:
        proposal = propose(SPACE, FEASIBLE, trials, total_trials=count, seed=seed)
        assert proposal is not None
        trial = Trial(len(trials), *proposal)
        value = score(trial.candidate.architecture)
        trials.append(replace(trial, status="finished" if value is not None else "failed", score=value))
    return trials


def narrow_and_deep(architecture: Architecture) -> float:
    """A score with a single best place: deep, narrow, with small heads."""
    a = architecture
    return 0.9 - 0.05 * (6 - a.layers) - abs(a.hidden - 128) / 2000 - abs(a.head_size - 32) / 1000


def test_proposals_are_feasible_untried_and_use_the_budget() -> None:
    trials = run(narrow_and_deep, 8)
    architectures = [trial.candidate.architecture for trial in trials]
    assert len(set(architectures)) == 8
    slowest = max(found.predicted_ms for found in FEASIBLE)
    for trial in trials:
        assert trial.candidate in FEASIBLE
        assert trial.candidate.predicted_ms >= 0.5 * slowest


def test_equal_seeds_give_equal_proposals() -> None:
    assert run(narrow_and_deep, 5, seed=3) == run(narrow_and_deep, 5, seed=3)


def test_first_points_are_spread_and_then_the_model_chooses() -> None:
    trials = run(narrow_and_deep, 8)
    assert [trial.proposer for trial in trials] == ["initial"] * 4 + ["bayesian"] * 4
    points = SPACE.encode([trial.candidate.architecture for trial in trials[:4]])
    distances = np.linalg.norm(points[:, None] - points[None], axis=2)
    assert distances[np.triu_indices(4, 1)].min() > 0.15


def test_it_finds_better_than_chance() -> None:
    """Over some seeds, the best of 10 trials beats the best of 10 random near-budget candidates on average."""
    near = near_budget(FEASIBLE, FEASIBLE)
    scores = np.array([narrow_and_deep(found.architecture) for found in near])
    random = np.random.default_rng(0)
    chance = np.mean([random.choice(scores, 10, replace=False).max() for _ in range(500)])
    found = np.mean([max(trial.score or 0 for trial in run(narrow_and_deep, 10, seed)) for seed in range(2)])
    assert found > chance


def test_failed_trials_are_never_proposed_again() -> None:
    trials = run(lambda a: None if a.layers > 3 else narrow_and_deep(a), 8)
    assert len({trial.candidate.architecture for trial in trials}) == 8
    assert any(trial.status == "failed" for trial in trials)


def test_all_failed_still_proposes() -> None:
    assert len({trial.candidate.architecture for trial in run(lambda a: None, 6)}) == 6


def test_equal_scores_are_no_trouble() -> None:
    assert len(run(lambda a: 0.5, 6)) == 6


def test_nothing_is_proposed_when_all_were_tried() -> None:
    few = FEASIBLE[:2]
    trials = [Trial(index, found, "initial", "finished", 0.5) for index, found in enumerate(few)]
    assert propose(SPACE, few, trials, total_trials=5, seed=0) is None
    assert propose(SPACE, [], [], total_trials=5, seed=0) is None


@pytest.mark.parametrize(("ratios", "limit"), [([], 1.0), ([0.8], 1.0), ([1.25, 0.9], 0.8)])
def test_tightening_follows_the_worst_misjudgement(ratios: list[float], limit: float) -> None:
    kept = tighten(FEASIBLE, 1.0, ratios)
    assert kept == [found for found in FEASIBLE if found.upper_ms <= limit + 1e-12]
