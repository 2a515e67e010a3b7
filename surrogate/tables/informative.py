"""Rows worth measuring on another device: those that lower most what is uncertain of all the others."""

from __future__ import annotations

import numpy as np

from surrogate.tables.process import Belief, Combination, View

# More candidates than this are looked at by a draw of them.
_MOST_CANDIDATES = 1500


def most_informative(view: View, belief: Belief, count: int, seed: int) -> np.ndarray:
    """(count,) indices of rows, the most informative first.

    Greedy: each row chosen lowers most the sum of all rows' variances under a process with the belief's largest
    deviations (A-optimal design; Krause, Singh and Guestrin, Near-optimal sensor placements, 2008).
    """
    looked_at = np.arange(len(view))
    if len(view) > max(_MOST_CANDIDATES, count):
        looked_at = np.sort(np.random.default_rng(seed).permutation(len(view))[: max(_MOST_CANDIDATES, count)])
    candidates = view.rows(looked_at)
    noise = float(np.median(belief.noises))
    usual = Combination(
        column=belief.column,
        devices=_usual(belief.devices),
        slopes=_usual(belief.slopes),
        smooth=_usual(belief.smooth),
        length=belief.lengths[0],
        noise=noise,
        share=1.0,
    )
    covariance = usual.covariance(candidates, candidates)
    chosen: list[int] = []
    for _ in range(count):
        gains = (covariance**2).sum(axis=0) / (np.diag(covariance) + noise**2)
        gains[chosen] = -1.0
        best = int(np.argmax(gains))
        chosen.append(best)
        covariance = covariance - np.outer(covariance[:, best], covariance[best]) / (covariance[best, best] + noise**2)
    return looked_at[np.array(chosen, dtype=int)]


def _usual(levels: tuple[float, ...]) -> float:
    """A middle one of the deviations that are not zero."""
    present = [level for level in levels if level > 0]
    return present[len(present) // 2] if present else 0.0
