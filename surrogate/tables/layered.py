"""A table's predictor in layers: a base, and a smooth correction and trees that share what the base leaves over.

Which layers are taken is chosen by cross-validation. The out-of-fold errors of the choice come from layers of the same
form that have not seen the row; they are a little too small, since the choice was made by them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from surrogate.boosting import CHOICES, LONG_CHOICES, LONG_TABLE, NO_TREES, Residual, grow
from surrogate.folds import grouped_folds
from surrogate.tables.linear import Mixture, Scaling, fit_mixture
from surrogate.tables.smooth import NOTHING, Smooth, choose_smooth, fit_smooth

# A short table is cut into more folds, so that the rows left to learn from are hardly fewer.
_FOLDS, _SHORT_FOLDS, _SHORT_TABLE = 5, 10, 100
# With fewer rows trees only learn the noise.
_FEWEST_FOR_TREES = 150
# Shares of the trees in the correction where there is a smooth one as well.
_SHARES = (0.5, 1.0)


@dataclass(frozen=True)
class Layers:
    """log latency = base + (1 - ``share``) x smooth + ``share`` x trees."""

    base: Mixture
    scaling: Scaling
    smooth: Smooth = NOTHING
    residual: Residual = NO_TREES
    share: float = 0.0

    def predict(self, inputs: np.ndarray) -> np.ndarray:
        """(n,) natural logarithm of the latency in ms at features (n, f)."""
        value = self.base.predict(inputs)
        if self.share < 1:
            value = value + (1 - self.share) * self.smooth.predict(self.scaling.apply(inputs))
        return value + self.share * self.residual.predict(inputs) if self.share > 0 else value

    def save(self, trees: Path) -> dict[str, Any]:
        """Everything but the trees as a plain dictionary; the trees go to a file of their own."""
        self.residual.save(trees)
        return {
            "base": self.base.to_dict(),
            "scaling": asdict(self.scaling),
            "smooth": self.smooth.to_dict(),
            "trees": self.residual.trees is not None,
            "share": self.share,
        }

    @classmethod
    def load(cls, document: dict[str, Any], trees: Path) -> Layers:
        """Inverse of :meth:`save`."""
        return cls(
            base=Mixture.from_dict(document["base"]),
            scaling=Scaling.from_dict(document["scaling"]),
            smooth=Smooth.from_dict(document["smooth"]),
            residual=Residual.load(trees, document["trees"], 0.0),
            share=float(document["share"]),
        )


@dataclass(frozen=True)
class _Recipe:
    """Sizes of the corrections: (length, noise) of the smooth one, (trees, depth), and the trees' share."""

    smooth: tuple[float, float] | None = None
    trees: tuple[int, int] | None = None
    share: float = 0.0


def fit_layers(
    inputs: np.ndarray, latencies_ms: np.ndarray, priced: Sequence[int], groups: np.ndarray, seed: int
) -> tuple[Layers, np.ndarray]:
    """Layers for latencies (n,) ms at features (n, f), and their out-of-fold errors of the logarithm (n,).

    ``priced`` are the columns that a law of cost may price; no fold splits one of the ``groups`` (n,).
    """
    base, scaling = fit_mixture(inputs, latencies_ms, groups, seed, priced), Scaling.of(inputs, logs=True)
    left = np.log(latencies_ms) - base.predict(inputs)
    smooth = choose_smooth(scaling.apply(inputs), left, groups)
    errors = _out_of_fold(inputs, latencies_ms, base, _recipes(smooth, len(left)), priced, groups, seed)
    best = min(errors, key=lambda recipe: float(np.abs(errors[recipe]).mean()))
    trees = None if best.trees is None else grow(best.trees, inputs, left, seed)
    corrected = fit_smooth(best.smooth, scaling.apply(inputs), left)
    return Layers(base, scaling, corrected, Residual(trees, choice=best.trees), best.share), errors[best]


def _recipes(smooth: tuple[float, float] | None, rows: int) -> list[_Recipe]:
    """What cross-validation chooses from, plainest first."""
    found = [_Recipe(), *([_Recipe(smooth)] if smooth is not None else [])]
    if rows >= _FEWEST_FOR_TREES:
        shares = _SHARES if smooth is not None else (1.0,)
        choices = LONG_CHOICES if rows >= LONG_TABLE else CHOICES
        found += [_Recipe(smooth if share < 1 else None, trees, share) for trees in choices for share in shares]
    return found


def _out_of_fold(
    inputs: np.ndarray,
    latencies_ms: np.ndarray,
    base: Mixture,
    recipes: Sequence[_Recipe],
    priced: Sequence[int],
    groups: np.ndarray,
    seed: int,
) -> dict[_Recipe, np.ndarray]:
    """(n,) errors of the logarithm by recipe; a correction that several recipes take is fitted once a fold."""
    errors = {recipe: np.zeros(len(inputs)) for recipe in recipes}
    wanted = _SHORT_FOLDS if len(inputs) < _SHORT_TABLE else _FOLDS
    for train, test in grouped_folds(groups, wanted, seed):
        refitted = base.refitted(inputs[train], latencies_ms[train], priced)
        left = np.log(latencies_ms) - refitted.predict(inputs)
        shown = Scaling.of(inputs[train], logs=True).apply(inputs)
        smooths = {
            choice: fit_smooth(choice, shown[train], left[train]).predict(shown[test])
            for choice in {recipe.smooth for recipe in recipes}
        }
        trees = {
            choice: grow(choice, inputs[train], left[train], seed).predict(inputs[test])
            for choice in {recipe.trees for recipe in recipes}
            if choice is not None
        }
        for recipe in recipes:
            errors[recipe][test] = left[test] - (1 - recipe.share) * smooths[recipe.smooth]
            if recipe.trees is not None:
                errors[recipe][test] -= recipe.share * trees[recipe.trees]
    return errors
