"""What a task is: labelled texts of one of four kinds, a metric, and the score that needs no model at all."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

from data.errors import InputError, PocketBertError
from data.tasks.examples import Example, Examples, Kind, Metric, TaggedWords

if TYPE_CHECKING:
    import numpy as np

    from data.tasks.metrics import Judge


@dataclass(frozen=True)
class Task:
    """A task's training and development examples.

    ``label_names`` are the classes or tags in the order of their logits, none for regression and similarity;
    ``metric`` is the figure that ranks models; ``remarks`` are what whoever brought the data should know of how it was
    read.

    What a model predicts for n examples is an array of

    - classification: (n, labels) logits;
    - regression: (n, 1) values;
    - tokens: (words, labels) logits, a row for each word of all sentences, in order;
    - similarity: (n, 1) cosines.
    """

    name: str
    kind: Kind
    label_names: tuple[str, ...]
    metric: Metric
    train: Examples
    dev: Examples
    remarks: tuple[str, ...] = ()

    @property
    def labels(self) -> int:
        """The number of logits, 1 where there are no classes."""
        return len(self.label_names) or 1

    @property
    def paired(self) -> bool:
        """Whether the training examples are pairs of texts."""
        first = self.train[0]
        return isinstance(first, Example) and first.second is not None

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 over all but the remarks: equal fingerprints mean equal tasks."""
        digest = hashlib.sha256(json.dumps([self.name, self.kind, self.label_names, self.metric]).encode())
        for part in (self.train, self.dev):
            digest.update(f"\n{len(part)}\n".encode())
            for content in _contents(part):
                digest.update(json.dumps(content).encode())
        return digest.hexdigest()

    @cached_property
    def majority(self) -> float:
        """Score on dev of the best constant answer: what a model must beat to have learnt anything."""
        import numpy as np

        if not self.label_names:
            return 0.0
        rows = sum(len(part.tags) if isinstance(part, TaggedWords) else 1 for part in self.dev)
        constant = (np.tile(np.eye(self.labels)[label], (rows, 1)) for label in range(self.labels))
        return max(self.score(predictions)[self.metric] for predictions in constant)

    def score(self, predictions: np.ndarray) -> dict[str, float]:
        """All metrics of the kind on dev, each between -1 and 1.

        Raises:
            InputError: ``predictions`` (see the class) have another shape, or are not finite.
        """
        return self._judge(predictions).scores()

    def standard_error(self, predictions: np.ndarray) -> float:
        """Standard error of the metric on dev, from resampling its examples; the same for the same predictions.

        Raises:
            InputError: as :meth:`score`.
        """
        return self._judge(predictions).standard_error(self.metric)

    def held_out(self) -> Task:
        """The task whose dev is a tenth of this one's train, and whose train is the rest: what choices are made on.

        The tenth is the same each time, and holds its share of every class and of low and high values.

        Raises:
            InputError: there are too few training examples to spare any.
        """
        from data.tasks.splits import divide

        train, dev = divide(self.train, self.kind)
        return replace(self, train=train, dev=dev)

    @property
    def unlabelled(self) -> bool:
        """Whether dev's pairs have no scores: those of :meth:`labelled_by` are then missing."""
        return any(isinstance(example, Example) and math.isnan(example.label) for example in self.dev)

    def labelled_by(self, cosines: Sequence[float] | np.ndarray) -> Task:
        """The task with these, a teacher's (n,) or (n, 1), as the scores of dev's pairs: students are to rank them so.

        Raises:
            InputError: there is not one finite cosine for each.
        """
        import numpy as np

        values = np.asarray(cosines, float).reshape(-1)
        if len(values) != len(self.dev) or not np.isfinite(values).all():
            raise InputError(f"{len(values)} cosines for {len(self.dev)} pairs of {self.name}, or some are not finite")
        labelled = (
            replace(example, label=float(value))
            for example, value in zip(self.dev, values, strict=True)
            if isinstance(example, Example)
        )
        return replace(self, dev=tuple(labelled))

    def _judge(self, predictions: np.ndarray) -> Judge:
        from data.tasks.metrics import judge

        if self.unlabelled:
            raise PocketBertError(f"the pairs of {self.name} have no scores to judge by: a teacher has to give them")
        return judge(self.kind, self.label_names, self.dev, predictions)


def _contents(part: Examples) -> Iterator[object]:
    for example in part:
        if isinstance(example, TaggedWords):
            yield [example.words, example.tags]
        else:
            yield [example.first, example.second, example.label]
