"""Regression is learnt in units of the labels' own spread, whatever these measure: ratings, seconds or prices."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from search.learning.encoding import Encoded

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Units:
    """Mean and standard deviation of a regression's training labels; 0 and 1 for all other kinds."""

    mean: float = 0.0
    deviation: float = 1.0

    @classmethod
    def of(cls, encoded: Encoded) -> Units:
        """Those of some examples' labels."""
        if encoded.kind != "regression":
            return cls()
        known = encoded.labels[np.isfinite(encoded.labels)].astype(np.float64)
        return cls(float(known.mean()), float(known.std()) or 1.0)

    def standardised(self, values: Tensor) -> Tensor:
        """Labels, or logits in the labels' units, as the model learns them."""
        return (values - self.mean) / self.deviation if self != Units() else values

    def leave(self, model: Any) -> None:
        """Turns a model that gives the labels' units into one that gives standardised values."""
        if self != Units():
            model.classifier.weight.data /= self.deviation
            model.classifier.bias.data = (model.classifier.bias.data - self.mean) / self.deviation

    def enter(self, model: Any) -> None:
        """The inverse of :meth:`leave`."""
        if self != Units():
            model.classifier.weight.data *= self.deviation
            model.classifier.bias.data = model.classifier.bias.data * self.deviation + self.mean

    @contextmanager
    def entered(self, model: Any) -> Iterator[None]:
        """The model in the labels' units while the context is open; its weights come back to the last bit."""
        if self == Units():
            yield
            return
        before = [model.classifier.weight.data.clone(), model.classifier.bias.data.clone()]
        self.enter(model)
        try:
            yield
        finally:
            model.classifier.weight.data, model.classifier.bias.data = before
