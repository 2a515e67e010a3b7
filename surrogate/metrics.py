"""How good predictions are: the figures that stand beside every predictor."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np


@dataclass(frozen=True)
class PredictionErrors:
    """Errors on ``n`` held-out rows: mean absolute percentage error (0.05 = 5%), share within 10%, rank correlation."""

    n: int
    mape: float
    within_10: float
    spearman: float

    def to_dict(self) -> dict[str, float]:
        """Plain dictionary."""
        return asdict(self)

    def __str__(self) -> str:
        return (
            f"{self.n} held-out models: MAPE {self.mape:.1%}, {self.within_10:.0%} within 10%, "
            f"Spearman {self.spearman:.3f}"
        )


def rank_correlation(left: np.ndarray, right: np.ndarray) -> float:
    """Spearman's rank correlation of times (n,); 0 where it says nothing: of fewer than three, or all equal."""
    from scipy.stats import spearmanr

    varied = len(left) > 2 and np.ptp(left) > 0 and np.ptp(right) > 0
    return float(spearmanr(left, right).statistic) if varied else 0.0


def prediction_errors(measured: np.ndarray, predicted: np.ndarray) -> PredictionErrors:
    """Errors of predictions (n,) against measurements (n,), both in ms."""
    relative = np.abs(predicted / measured - 1)
    return PredictionErrors(
        n=len(measured),
        mape=float(relative.mean()) if len(measured) else 0.0,
        within_10=float((relative <= 0.1).mean()) if len(measured) else 0.0,
        spearman=rank_correlation(measured, predicted),
    )
