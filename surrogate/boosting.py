"""Gradient-boosted trees on the logarithm of what a base leaves over, sized by cross-validation."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from xgboost import XGBRegressor

# (trees, depth) from which cross-validation chooses, besides no trees at all.
CHOICES = ((60, 2), (200, 2), (120, 3), (300, 3))
# Deeper trees are worth their time only on long tables.
LONG_TABLE, LONG_CHOICES = 500, ((300, 3), (800, 4))
_LEARNING_RATE = 0.06
# With fewer rows trees only learn the noise.
FEWEST_ROWS = 30


@dataclass(frozen=True)
class Residual:
    """The trees, or None where cross-validation found that none help (or there were too few rows).

    ``choice`` is what cross-validation chose: (number of trees, depth).
    """

    trees: XGBRegressor | None
    cross_validated: float = 0.0
    choice: tuple[int, int] | None = None

    def predict(self, features: np.ndarray) -> np.ndarray:
        """(n,) predicted logarithms of measured over base."""
        if self.trees is None:
            return np.zeros(len(features))
        return np.asarray(self.trees.predict(features), dtype=np.float64)

    def save(self, path: Path) -> None:
        """Write XGBoost's own JSON, or nothing where there are no trees."""
        if self.trees is not None:
            self.trees.save_model(path)

    @classmethod
    def load(cls, path: Path, present: bool, cross_validated: float) -> Residual:
        """Inverse of :meth:`save`."""
        if not present:
            return cls(None, cross_validated)
        from xgboost import XGBRegressor

        trees = XGBRegressor()
        trees.load_model(path)
        return cls(trees, cross_validated)


NO_TREES = Residual(None)


def grow(choice: tuple[int, int], features: np.ndarray, residuals: np.ndarray, seed: int) -> XGBRegressor:
    """Trees of a given number and depth for residuals (n,) from features (n, f)."""
    trees = _regressor(choice, seed)
    trees.fit(features, residuals)
    return trees


def _regressor(choice: tuple[int, int], seed: int) -> XGBRegressor:
    from xgboost import XGBRegressor

    return XGBRegressor(
        n_estimators=choice[0],
        max_depth=choice[1],
        learning_rate=_LEARNING_RATE,
        subsample=0.8,
        colsample_bytree=0.8,
        min_child_weight=2,
        reg_lambda=1.0,
        random_state=seed,
        # One thread: these tables are small, and training must not disturb a measurement beside it.
        n_jobs=1,
    )
