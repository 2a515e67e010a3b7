"""The optimiser: what it proposes, and that it learns."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace

import numpy as np

from data.architecture import Architecture
from search.optimization.optimizer import below, near, propose, propose_cuts
from search.optimization.space import SearchSpace
from search.records import Candidate, Cut, Divergence, Trial

TEACHER = SimpleNamespace(
    layers=6,
    hidden=256,
    heads=8,
    intermediate=1024,
    vocab_size=1000,
    max_positions=128,
    token_types=2,
    factorised=False,
)
SPACE = SearchSpace.from_teacher(TEACHER, seq_len=64, labels=2)


def candidate(architecture: Architecture) -> Candidate:
    predicted = architecture.layers * architecture.hidden * (architecture.hidden + architecture.intermediate) / 1e6
    return Candidate(architecture, predicted, 0.9 * predicted, 1.1 * predicted, 0.9, "measured")


FEASIBLE = [found for found in map(candidate, SPACE.architectures()) if found.upper_ms <= 1.0]


def left(trials: list[Trial]) -> list[Candidate]:
    tried = {trial.candidate.architecture for trial in trials}
    return near([found for found in FEASIBLE if found.architecture not in tried], [1.0])


def run(score: Callable[[Architecture], float | None], count: int, seed: int = 0, error: float = 0.001) -> list[Trial]:
    """``count`` trials whose divergence is one less what a function gives; None means that the trial failed."""
    trials: list[Trial] = []
    while len(trials) < count:
        (proposal,), proposer = propose(SPACE, left(trials), trials, count=1, seed=seed)
        trial = Trial(len(trials), proposal, proposer)
        value = score(trial.candidate.architecture)
        trials.append(scored(trial, value, error))
    return trials


def scored(trial: Trial, value: float | None, error: float = 0.001) -> Trial:
    if value is None:
        return replace(trial, status="failed")
    return replace(trial, status="finished", score=value, divergence=Divergence(1 - value, error))


def narrow_and_deep(architecture: Architecture) -> float:
    """A score with a single best place: deep, narrow, with small heads."""
    a = architecture
    return 0.9 - 0.01 * (28 - a.layers) - abs(a.hidden - 128) / 2000 - abs(a.head_size - 32) / 1000


def test_proposals_are_feasible_untried_and_use_the_budget() -> None:
    trials = run(narrow_and_deep, 8)
    architectures = [trial.candidate.architecture for trial in trials]
    assert len(set(architectures)) == 8
    slowest = max(found.predicted_ms for found in FEASIBLE)
    for trial in trials:
        assert trial.candidate in FEASIBLE
        assert trial.candidate.predicted_ms >= 0.8 * slowest


def test_equal_seeds_give_equal_proposals() -> None:
    assert run(narrow_and_deep, 5, seed=3) == run(narrow_and_deep, 5, seed=3)


def test_what_is_proposed_beside_a_trial_that_runs_is_what_comes_second_with_it() -> None:
    trials = run(narrow_and_deep, 4)
    both, proposer = propose(SPACE, left(trials), trials, count=2, seed=1)
    running = [*trials, Trial(len(trials), both[0], proposer)]
    # The seed of a proposal is its number's.
    assert propose(SPACE, left(running), running, count=1, seed=0) == ([both[1]], proposer)
    alone, _ = propose(SPACE, left(running), trials, count=1, seed=1)
    assert alone != [both[1]], "here what runs makes a difference"


def test_the_largest_comes_first_and_then_the_model_chooses() -> None:
    trials = run(narrow_and_deep, 4)
    assert [trial.proposer for trial in trials] == ["largest"] + ["bayesian"] * 3
    most = max(each.architecture.encoder_parameters for each in left([]))
    assert trials[0].candidate.architecture.encoder_parameters == most
    unlikely = [replace(each, probability_within=0.3 if each.predicted_ms > 0.95 else 0.8) for each in left([])]
    proposed, _ = propose(SPACE, unlikely, [], count=3, seed=0)
    sizes = [each.architecture.encoder_parameters for each in proposed]
    assert all(each.probability_within == 0.8 for each in proposed) and sizes == sorted(sizes, reverse=True)


def test_where_size_is_all_that_counts_the_largest_is_what_is_tried() -> None:
    """The rule that a search has to beat is what it does where there is nothing else to find, but for a look aside."""
    trials = run(lambda a: 1 - 0.1 * (a.encoder_parameters / 1e6) ** -0.5, 6, error=1e-5)
    sizes = sorted((each.architecture.encoder_parameters for each in left([])), reverse=True)
    tried = [trial.candidate.architecture.encoder_parameters for trial in trials]
    assert tried[0] == sizes[0]
    assert sorted(tried)[1] >= sizes[15]


def test_what_is_known_to_be_noise_is_not_followed() -> None:
    """One trial is far ahead. Where that is certain its neighbours come next, where it is noise they do not."""
    candidates = left([])
    points = SPACE.encode([each.architecture for each in candidates])
    ahead = int(np.argmin(((points - points.mean(axis=0)) ** 2).sum(axis=1)))
    others = [int(index) for index in np.random.default_rng(0).permutation(len(points))[:8] if index != ahead]

    def next_one(error: float) -> float:
        known = [scored(Trial(0, candidates[ahead], "bayesian"), 0.9, error)]
        known += [scored(Trial(1 + n, candidates[at], "bayesian"), 0.8, error) for n, at in enumerate(others)]
        free = [each for at, each in enumerate(candidates) if at not in (ahead, *others)]
        (proposed,), _ = propose(SPACE, free, known, count=1, seed=0)
        return float(np.linalg.norm(SPACE.encode([proposed.architecture])[0] - points[ahead]))

    assert next_one(0.001) < 0.75 * next_one(0.2)


def test_it_finds_better_than_chance() -> None:
    """Over some seeds, the best of 10 trials beats the best of 10 random near-budget candidates on average."""
    scores = np.array([narrow_and_deep(found.architecture) for found in left([])])
    random = np.random.default_rng(0)
    chance = np.mean([random.choice(scores, 10, replace=False).max() for _ in range(500)])
    found = np.mean([max(trial.score or 0 for trial in run(narrow_and_deep, 10, seed)) for seed in range(2)])
    assert found > chance


def cuts_by(closeness: Callable[[Architecture], float], pool: list[Candidate], count: int = 12) -> list[Cut]:
    """Rounds of cuts whose divergence is 1.2 less what a function gives."""
    cuts: list[Cut] = []
    while len(cuts) < count:
        done = {cut.architecture for cut in cuts}
        untried = [each for each in pool if each.architecture not in done]
        found = [each.architecture for each in propose_cuts(SPACE, untried, cuts, count=4, seed=len(cuts))]
        cuts += [Cut(each, Divergence(1.2 - closeness(each), 0.001)) for each in found]
    return cuts


def test_cuts_are_of_the_largest_and_others_and_then_of_what_promises_most() -> None:
    pool = left([])
    cuts = cuts_by(narrow_and_deep, pool)
    assert len({cut.architecture for cut in cuts}) == 12
    assert cuts[0].architecture.encoder_parameters == max(each.architecture.encoder_parameters for each in pool)
    first, last = (np.mean([cut.divergence.mean for cut in part]) for part in (cuts[:4], cuts[8:]))
    assert last < first
    assert cuts == cuts_by(narrow_and_deep, pool)
    assert propose_cuts(SPACE, pool[:3], [], count=8, seed=0) == propose_cuts(SPACE, pool[:3], [], count=3, seed=0)
    assert propose_cuts(SPACE, [], cuts, count=8, seed=0) == []


def test_the_first_trial_is_what_the_cuts_promise_most_and_trials_find_out_where_they_tell_nothing() -> None:
    """Where the cuts tell the truth they find the best at once; where they are noise, trials go on as without them."""
    pool = left([])
    best = max(narrow_and_deep(each.architecture) for each in pool)
    cuts = cuts_by(narrow_and_deep, pool)
    (first,), proposer = propose(SPACE, pool, [], cuts=cuts, count=1, seed=0)
    assert proposer == "cut" and narrow_and_deep(first.architecture) > best - 0.01
    noise = cuts_by(
        lambda a: float(np.random.default_rng([a.layers, a.hidden, a.heads, a.intermediate]).random()), pool
    )
    trials: list[Trial] = []
    for index in range(10):
        tried = {trial.candidate.architecture for trial in trials}
        untried = [each for each in pool if each.architecture not in tried]
        (found,), _ = propose(SPACE, untried, trials, cuts=noise, count=1, seed=0)
        trials.append(scored(Trial(index, found, "bayesian"), narrow_and_deep(found.architecture)))
    random = np.random.default_rng(0)
    scores = np.array([narrow_and_deep(each.architecture) for each in pool])
    chance = np.mean([random.choice(scores, 10, replace=False).max() for _ in range(500)])
    assert max(trial.score or 0.0 for trial in trials) > chance


def test_failed_trials_are_never_proposed_again() -> None:
    trials = run(lambda a: None if a.layers > 3 else narrow_and_deep(a), 8)
    assert len({trial.candidate.architecture for trial in trials}) == 8
    assert any(trial.status == "failed" for trial in trials)


def test_all_failed_still_proposes() -> None:
    assert len({trial.candidate.architecture for trial in run(lambda a: None, 6)}) == 6


def test_equal_scores_are_no_trouble() -> None:
    assert len(run(lambda a: 0.5, 6)) == 6


def test_nothing_is_proposed_where_nothing_is_left() -> None:
    assert propose(SPACE, [], [], count=3, seed=0)[0] == []


def test_several_are_looked_at_together_and_unlikely_ones_last() -> None:
    """Of candidates that promise the same accuracy, the one that likelier meets the budget comes first."""
    trials = run(narrow_and_deep, 4, error=0.03)
    untried = left(trials)
    likely = set(untried[::2])
    candidates = [replace(found, probability_within=0.99 if found in likely else 1e-6) for found in untried]
    for known in (trials[:1], trials):
        proposed, _ = propose(SPACE, candidates, known, count=4, seed=0)
        assert len({found.architecture for found in proposed}) == 4
        assert {found.probability_within for found in proposed} == {0.99}


def test_the_budget_is_what_candidates_should_use_or_the_slowest_where_none_could() -> None:
    candidates = [replace(FEASIBLE[0], predicted_ms=latency) for latency in (0.2, 0.5, 0.86, 0.9, 1.04)]
    assert [found.predicted_ms for found in near(candidates, [1.0])] == [0.9, 1.04]
    assert [found.predicted_ms for found in near(candidates[:2], [1.0])] == [0.5]
    assert [found.predicted_ms for found in below(candidates, [0.55])] == [0.5]
    assert [found.predicted_ms for found in below(candidates, [0.1])] == [0.2, 0.5, 0.86, 0.9, 1.04]
    assert near([], [1.0]) == []
