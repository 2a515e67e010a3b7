"""Scores of predictions on development examples, and how far chance moves them.

Every metric is computed from what can be resampled: counts of (true, predicted) classes, counts of entities in each
sentence, or the values themselves.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np

from data.errors import InputError
from data.tasks.examples import Example, TaggedWords

if TYPE_CHECKING:
    from data.tasks.examples import Examples, Kind

_RESAMPLES = 400
_SEED = 0


class Judge(Protocol):
    """Predictions beside the truth."""

    def scores(self) -> dict[str, float]:
        """All metrics of the kind."""

    def standard_error(self, metric: str) -> float:
        """Deviation of a metric over seeded bootstrap samples of the examples."""


def judge(kind: Kind, label_names: Sequence[str], examples: Examples, predictions: np.ndarray) -> Judge:
    """Sets predictions (see :class:`~data.tasks.task.Task`) beside the labels of these examples.

    Raises:
        InputError: there is not one row for each example (or word), or one column for each label, or a number is not
            finite.
    """
    sentences = [example for example in examples if isinstance(example, TaggedWords)]
    texts = [example for example in examples if isinstance(example, Example)]
    rows = sum(len(sentence.tags) for sentence in sentences) + len(texts)
    expected = (rows, len(label_names) or 1)
    if predictions.shape != expected:
        raise InputError(f"predictions have shape {predictions.shape}, expected {expected}")
    if not np.isfinite(predictions).all():
        raise InputError("predictions are not finite numbers")
    if kind == "tokens":
        return _Entities.count(sentences, label_names, predictions.argmax(axis=1))
    truth = np.array([example.label for example in texts])
    if kind == "classification":
        return _Classes.count(truth.astype(int), predictions.argmax(axis=1), len(label_names))
    return _Values(truth, predictions[:, 0].astype(float), both=kind == "regression")


@dataclass(frozen=True)
class _Classes:
    """``confusion[t, p]`` is the number of examples of class t that were predicted as p."""

    confusion: np.ndarray

    @classmethod
    def count(cls, truth: np.ndarray, predicted: np.ndarray, classes: int) -> _Classes:
        counts = np.bincount(truth * classes + predicted, minlength=classes * classes)
        return cls(counts.reshape(classes, classes))

    def scores(self) -> dict[str, float]:
        confusion = self.confusion
        return {
            "accuracy": float(np.trace(confusion) / confusion.sum()),
            "f1": _f1_of_classes(confusion),
            "matthews": _matthews(confusion),
        }

    def standard_error(self, metric: str) -> float:
        """Examples drawn with replacement are, to these metrics, draws from the cells of the confusion matrix."""
        total = int(self.confusion.sum())
        draws = np.random.default_rng(_SEED).multinomial(total, self.confusion.ravel() / total, size=_RESAMPLES)
        return float(np.std([_Classes(draw.reshape(self.confusion.shape)).scores()[metric] for draw in draws]))


def _f1_of_classes(confusion: np.ndarray) -> float:
    """Of class 1 where there are two; else the mean over the classes that occur or were predicted."""
    right, all_of = np.diag(confusion), confusion.sum(axis=0) + confusion.sum(axis=1)
    each = 2 * right / np.maximum(all_of, 1)
    return float(each[1] if len(each) == 2 else each[all_of > 0].mean())


def _matthews(confusion: np.ndarray) -> float:
    """The correlation of two classifications, of any number of classes (Gorodkin 2004); 0 where one is constant."""
    counts = confusion.astype(float)
    true, predicted, total = counts.sum(axis=1), counts.sum(axis=0), counts.sum()
    spread = (total**2 - true @ true) * (total**2 - predicted @ predicted)
    return float((np.trace(counts) * total - true @ predicted) / math.sqrt(spread)) if spread > 0 else 0.0


@dataclass(frozen=True)
class _Entities:
    """Counts of each sentence, (n, 3): entities predicted with the right type and ends, predicted, and true."""

    counts: np.ndarray

    @classmethod
    def count(cls, sentences: Sequence[TaggedWords], label_names: Sequence[str], predicted: np.ndarray) -> _Entities:
        counts = np.zeros((len(sentences), 3), int)
        start = 0
        for row, sentence in enumerate(sentences):
            found = _entities([label_names[tag] for tag in predicted[start : start + len(sentence.tags)]])
            true = _entities([label_names[tag] for tag in sentence.tags])
            counts[row] = len(found & true), len(found), len(true)
            start += len(sentence.tags)
        return cls(counts)

    def scores(self) -> dict[str, float]:
        return _entity_scores(self.counts.sum(axis=0))

    def standard_error(self, metric: str) -> float:
        examples = len(self.counts)
        random = np.random.default_rng(_SEED)
        drawn = (random.integers(examples, size=examples) for _ in range(_RESAMPLES))
        return float(np.std([_entity_scores(self.counts[rows].sum(axis=0))[metric] for rows in drawn]))


def _entities(tags: list[str]) -> set[tuple[str, int, int]]:
    """(type, first word, last word) of each entity, as the CoNLL evaluation and seqeval find them."""
    from seqeval.metrics.sequence_labeling import get_entities

    return set(get_entities(tags))


def _entity_scores(counts: np.ndarray) -> dict[str, float]:
    right, found, true = (float(count) for count in counts)
    return {
        "entity_f1": 2 * right / (found + true) if right else 0.0,
        "entity_precision": right / found if right else 0.0,
        "entity_recall": right / true if right else 0.0,
    }


@dataclass(frozen=True)
class _Values:
    """Numbers beside numbers; ``both`` adds the mean of the two correlations."""

    truth: np.ndarray
    predicted: np.ndarray
    both: bool

    def scores(self) -> dict[str, float]:
        from scipy.stats import rankdata

        pearson = _correlation(self.truth, self.predicted)
        spearman = _correlation(rankdata(self.truth), rankdata(self.predicted))
        found = {"pearson": pearson, "spearman": spearman}
        return found | {"pearson_spearman": (pearson + spearman) / 2} if self.both else found

    def standard_error(self, metric: str) -> float:
        examples = len(self.truth)
        random = np.random.default_rng(_SEED)
        drawn = (random.integers(examples, size=examples) for _ in range(_RESAMPLES))
        return float(
            np.std([_Values(self.truth[rows], self.predicted[rows], self.both).scores()[metric] for rows in drawn])
        )


def _correlation(truth: np.ndarray, predicted: np.ndarray) -> float:
    """Pearson's; 0 where either is constant."""
    if np.ptp(truth) == 0 or np.ptp(predicted) == 0:
        return 0.0
    return float(np.clip(np.corrcoef(truth, predicted)[0, 1], -1, 1))
