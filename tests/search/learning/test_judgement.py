"""What counts as having learnt: more than the best constant answer, and more than chance."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from data.tasks import Example, Task
from search.learning.judgement import nothing_learnt
from tests.search.small_tasks import make_task


def task_of(labels: np.ndarray, metric: str = "accuracy") -> Task:
    dev = tuple(Example("text", None, float(label)) for label in labels)
    regression = metric == "pearson_spearman"
    return Task(
        "t", "regression" if regression else "classification", () if regression else ("no", "yes"), metric, dev, dev
    )  # type: ignore[arg-type]


def problem(metric: str, share: float, agreement: float, n: int, seed: int = 0) -> str:
    """What is said of answers that are right in a share of cases, and otherwise drawn as the labels are."""
    random = np.random.default_rng(seed)
    labels = (random.random(n) < share).astype(int)
    answers = np.where(random.random(n) < agreement, labels, random.permutation(labels))
    task = task_of(labels, metric)
    return nothing_learnt(task, task.score(np.eye(2)[answers]))


@pytest.mark.parametrize("metric", ["accuracy", "f1", "matthews"])
def test_a_constant_answer_has_learnt_nothing(metric: str) -> None:
    task = task_of(np.arange(400) % 3 == 0, metric)
    for label in (0, 1):
        scores = task.score(np.tile(np.eye(2)[label], (400, 1)))
        assert "best constant answer" in nothing_learnt(task, scores)


@pytest.mark.parametrize("metric", ["accuracy", "matthews"])
def test_chance_is_not_taken_for_learning(metric: str) -> None:
    refused = [bool(problem(metric, 0.5, 0.0, 300, seed)) for seed in range(60)]
    assert sum(refused) >= 54


@pytest.mark.parametrize(("metric", "share"), [("accuracy", 0.5), ("f1", 0.2), ("matthews", 0.5)])
def test_whoever_barely_learns_has_learnt(metric: str, share: float) -> None:
    assert problem(metric, share, 0.25, 1000) == ""


def test_learning_that_does_not_reach_the_constant_answer_is_of_no_use() -> None:
    assert "best constant answer" in problem("accuracy", 0.9, 0.3, 1000)


def test_similarities_must_correlate() -> None:
    random = np.random.default_rng(1)
    task = task_of(random.random(200), "pearson_spearman")
    truth = np.array([example.label for example in task.dev])
    assert nothing_learnt(task, task.score(np.zeros((200, 1))))
    assert nothing_learnt(task, task.score(random.random((200, 1))))
    assert nothing_learnt(task, task.score(-truth[:, None]))
    assert nothing_learnt(task, task.score((truth + random.normal(0, 0.7, 200))[:, None])) == ""


def entities(right: float, seed: int) -> str:
    """What is said of tags that are right in a share of the words, and else drawn as tags are."""
    task, random = replace(make_task(200, "tokens"), dev=make_task(60, "tokens").dev), np.random.default_rng(seed)
    truth = np.array([tag for each in task.dev for tag in each.tags])  # type: ignore[union-attr]
    answers = np.eye(task.labels)[np.where(random.random(len(truth)) < right, truth, random.permutation(truth))]
    return nothing_learnt(task, task.score(answers), task.standard_error(answers), "held-out")


def test_some_entities_of_few_sentences_are_something_learnt() -> None:
    assert [seed for seed in range(20) if entities(0.5, seed)] == []
    assert sum(bool(entities(0.0, seed)) for seed in range(20)) >= 15
    assert "entity_f1 on 30 held-out examples is" in next(filter(None, (entities(0.0, seed) for seed in range(20))))


def test_cosines_must_correlate() -> None:
    task, random = make_task(400, "similarity"), np.random.default_rng(0)
    truth = np.array([each.label for each in task.dev])[:, None]  # type: ignore[union-attr]
    noise = random.normal(size=truth.shape)
    assert nothing_learnt(task, task.score(truth + noise)) == ""
    assert nothing_learnt(task, task.score(-truth))


def test_the_line_names_metric_score_and_noise() -> None:
    task = task_of(np.arange(400) % 2)
    told = nothing_learnt(task, {"accuracy": 0.52, "f1": 0.5, "matthews": 0.04})
    assert "accuracy on 400 dev examples is 0.520" in told
    assert "0.040, as chance does up to 0.100" in told
