"""Scores of the four kinds of task beside the libraries that define them, their errors, and what is set aside."""

from __future__ import annotations

import math
import random

import numpy as np
import pytest
import seqeval.metrics
import sklearn.metrics
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import pearsonr, spearmanr

from data.errors import InputError, PocketBertError
from data.tasks import METRICS, Example, TaggedWords, Task

TAGS = ("O", "B-PER", "I-PER", "B-LOC", "I-LOC")


def classes(labels: list[int], count: int, metric: str = "accuracy") -> Task:
    examples = tuple(Example(f"text {index}", None, float(label)) for index, label in enumerate(labels))
    return Task("t", "classification", tuple(f"c{label}" for label in range(count)), metric, examples, examples)  # type: ignore[arg-type]


@pytest.mark.filterwarnings("ignore:A single label was found")
@given(st.integers(2, 4), st.data())
def test_classification_equals_sklearn(count: int, data: st.DataObject) -> None:
    pairs = data.draw(st.lists(st.tuples(*[st.integers(0, count - 1)] * 2), min_size=1, max_size=30))
    truth, predicted = (list(part) for part in zip(*pairs, strict=True))
    average = "binary" if count == 2 else "macro"
    assert classes(truth, count).score(np.eye(count)[predicted]) == pytest.approx(
        {
            "accuracy": sklearn.metrics.accuracy_score(truth, predicted),
            "f1": sklearn.metrics.f1_score(truth, predicted, average=average, zero_division=0),
            "matthews": sklearn.metrics.matthews_corrcoef(truth, predicted),
        }
    )


@given(st.data())
def test_entities_equal_seqeval(data: st.DataObject) -> None:
    tag = st.integers(0, len(TAGS) - 1)
    sentences = data.draw(st.lists(st.lists(st.tuples(tag, tag), min_size=1, max_size=6), min_size=1, max_size=5))
    examples = tuple(TaggedWords(("w",) * len(pairs), tuple(true for true, _ in pairs)) for pairs in sentences)
    predicted = [guess for pairs in sentences for _, guess in pairs]
    truth, guesses = ([[TAGS[pair[side]] for pair in pairs] for pairs in sentences] for side in (0, 1))
    task = Task("t", "tokens", TAGS, "entity_f1", examples, examples)
    scores = task.score(np.eye(len(TAGS))[predicted])
    assert scores == pytest.approx(
        {
            "entity_f1": seqeval.metrics.f1_score(truth, guesses, zero_division=0),
            "entity_precision": seqeval.metrics.precision_score(truth, guesses, zero_division=0),
            "entity_recall": seqeval.metrics.recall_score(truth, guesses, zero_division=0),
        }
    )


@pytest.mark.parametrize("kind", ["regression", "similarity"])
def test_correlations_equal_scipy(kind: str) -> None:
    generator = np.random.default_rng(1)
    truth = generator.integers(0, 6, 40).astype(float)
    predicted = truth + generator.normal(0, 2, 40).round()
    examples = tuple(Example("a", "b", float(value)) for value in truth)
    task = Task("t", kind, (), METRICS[kind][0], examples, examples)  # type: ignore[index, arg-type]
    scores = task.score(predicted[:, None])
    assert set(scores) == set(METRICS[kind])  # type: ignore[index]
    assert scores["pearson"] == pytest.approx(pearsonr(truth, predicted).statistic)
    assert scores["spearman"] == pytest.approx(spearmanr(truth, predicted).statistic)
    assert task.majority == 0.0
    assert task.score(np.ones((40, 1)))[task.metric] == 0.0


def test_what_is_no_prediction_is_refused() -> None:
    task = classes([0, 1, 1], 2)
    with pytest.raises(InputError, match="shape"):
        task.score(np.zeros((2, 2)))
    with pytest.raises(InputError, match="finite"):
        task.score(np.full((3, 2), math.nan))


def test_the_best_constant_answer() -> None:
    assert classes([1, 1, 1, 0], 2, "f1").majority == pytest.approx(6 / 7)
    assert classes([1, 1, 2, 0], 3).majority == 0.5
    words = (TaggedWords(("Ann", "sleeps"), (1, 0)),)
    assert Task("t", "tokens", TAGS, "entity_f1", words, words).majority == pytest.approx(2 / 3)


def test_the_standard_error_of_accuracy_is_that_of_a_share() -> None:
    truth = [0, 1] * 200
    predicted = np.eye(2)[[0 if index < 320 else 1 - label for index, label in enumerate(truth)]]
    task = classes(truth, 2)
    share = task.score(predicted)["accuracy"]
    assert task.standard_error(predicted) == pytest.approx(math.sqrt(share * (1 - share) / 400), rel=0.1)
    assert task.standard_error(predicted) == task.standard_error(predicted)


@pytest.mark.parametrize("kind", ["tokens", "regression"])
def test_more_examples_are_more_certain(kind: str) -> None:
    def error(count: int) -> float:
        generator = np.random.default_rng(0)
        if kind == "tokens":
            examples = tuple(TaggedWords(("a", "b"), (1, 0)) for _ in range(count))
            task = Task("t", "tokens", TAGS, "entity_f1", examples, examples)
            return task.standard_error(np.eye(len(TAGS))[generator.integers(0, 2, 2 * count)])
        values = generator.normal(size=count)
        pairs = tuple(Example("a", "b", float(value)) for value in values)
        task = Task("t", "regression", (), "pearson_spearman", pairs, pairs)
        return task.standard_error((values + generator.normal(size=count))[:, None])

    assert 0 < error(900) < error(90) / 2


def test_a_held_out_tenth_has_its_share_of_each_class() -> None:
    task = classes([0] * 70 + [1] * 29 + [2], 3)
    held = task.held_out()
    assert [example.label for example in held.dev] == [0.0] * 7 + [1.0] * 3
    assert not set(held.dev) & set(held.train)
    assert set(held.dev) | set(held.train) == set(task.train)
    assert held == task.held_out()
    assert held.fingerprint != task.fingerprint


def test_a_held_out_tenth_spans_the_values() -> None:
    values = random.Random(0).sample(range(100), 100)
    examples = tuple(Example(f"{value}", "b", float(value)) for value in values)
    held = Task("t", "regression", (), "pearson", examples, examples).held_out()
    assert sorted(int(example.label) // 10 for example in held.dev) == list(range(10))
    with pytest.raises(InputError, match="too few"):
        Task("t", "regression", (), "pearson", examples[:9], examples).held_out()


def test_plain_sentences_are_held_out_as_pairs_that_a_teacher_scores() -> None:
    sentences = tuple(Example(f"sentence {index} of {index % 7}", None, math.nan) for index in range(60))
    held = Task("t", "similarity", (), "spearman", sentences, sentences).held_out()
    assert not held.paired
    assert len(held.train) == 54
    assert len(held.dev) == 12
    texts = {example.first for example in held.dev}
    assert all(example.second in texts and example.first != example.second for example in held.dev)
    assert not texts & {example.first for example in held.train}
    cosines = np.linspace(0, 1, 12)
    with pytest.raises(PocketBertError, match="teacher"):
        held.score(cosines[:, None])
    labelled = held.labelled_by(cosines[:, None])
    assert labelled.score(cosines[:, None])["spearman"] == pytest.approx(1.0)
    with pytest.raises(InputError, match="finite"):
        held.labelled_by([math.nan] * 12)


def test_remarks_do_not_change_the_task() -> None:
    task = classes([0, 1], 2)
    told = Task(task.name, task.kind, task.label_names, task.metric, task.train, task.dev, ("as it was read",))
    assert told.fingerprint == task.fingerprint
