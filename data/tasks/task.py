"""What a task is: labelled texts, a metric, and the score that needs no model at all."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Literal

from data.errors import InputError

if TYPE_CHECKING:
    import numpy as np

Kind = Literal["classification", "regression"]
Metric = Literal["accuracy", "f1", "matthews", "pearson_spearman"]


@dataclass(frozen=True)
class Example:
    """One text or pair of texts; ``label`` is a class number, or a similarity for regression."""

    first: str
    second: str | None
    label: float


@dataclass(frozen=True)
class Task:
    """A task's training and development examples.

    ``labels`` is the number of logits (1 for regression), ``metric`` the figure that ranks models, and
    ``max_tokens`` the sequence length at which next to no training text is cut off.
    """

    name: str
    kind: Kind
    labels: int
    metric: Metric
    max_tokens: int
    train: tuple[Example, ...]
    dev: tuple[Example, ...]

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 over name, metric and all examples: equal fingerprints mean equal tasks."""
        digest = hashlib.sha256(json.dumps([self.name, self.kind, self.metric, self.max_tokens]).encode())
        for part in (self.train, self.dev):
            for example in part:
                digest.update(json.dumps([example.first, example.second, example.label]).encode())
        return digest.hexdigest()

    @cached_property
    def majority(self) -> float:
        """Score on dev of the best constant answer: what a model must beat to have learnt anything."""
        import numpy as np

        if self.kind == "regression":
            return 0.0
        rows = len(self.dev)
        return max(
            self.score(np.tile(np.eye(self.labels)[label], (rows, 1)))[self.metric] for label in range(self.labels)
        )

    def score(self, predictions: np.ndarray) -> dict[str, float]:
        """All metrics of dev predictions, each between -1 and 1.

        Args:
            predictions: (n, labels) logits, or (n, 1) values for regression, one row per dev example.

        Raises:
            InputError: ``predictions`` does not have one row per dev example and one column per label.
        """
        if predictions.shape != (len(self.dev), self.labels):
            raise InputError(f"predictions have shape {predictions.shape}, expected {(len(self.dev), self.labels)}")
        if self.kind == "regression":
            return _regression_scores(predictions[:, 0], self.dev)
        return _classification_scores(predictions.argmax(axis=1), self.dev)


def _classification_scores(predicted: np.ndarray, examples: Sequence[Example]) -> dict[str, float]:
    from sklearn.metrics import accuracy_score, f1_score, matthews_corrcoef

    truth = [int(example.label) for example in examples]
    average = "binary" if max(truth) < 2 else "macro"
    return {
        "accuracy": float(accuracy_score(truth, predicted)),
        "f1": float(f1_score(truth, predicted, average=average, zero_division=0)),
        "matthews": float(matthews_corrcoef(truth, predicted)),
    }


def _regression_scores(predicted: np.ndarray, examples: Sequence[Example]) -> dict[str, float]:
    import numpy as np
    from scipy.stats import pearsonr, spearmanr

    truth = np.array([example.label for example in examples])
    if np.ptp(predicted) == 0 or np.ptp(truth) == 0:
        return {"pearson": 0.0, "spearman": 0.0, "pearson_spearman": 0.0}
    pearson, spearman = float(pearsonr(predicted, truth).statistic), float(spearmanr(predicted, truth).statistic)
    if not (math.isfinite(pearson) and math.isfinite(spearman)):
        raise InputError("predictions are not finite numbers")
    return {"pearson": pearson, "spearman": spearman, "pearson_spearman": (pearson + spearman) / 2}
