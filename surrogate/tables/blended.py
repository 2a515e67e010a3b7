"""Layers and a process about made-up devices, averaged; the errors of the average on rows that neither has seen.

Errors come from an outer loop: in each fold everything is fitted and chosen anew without the fold's rows. Of a long
table the inner loop's errors are taken, since among so many rows the choice hardly favours any.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from surrogate.folds import grouped_folds
from surrogate.tables.layered import Layers, fit_layers
from surrogate.tables.process import LeftOut, Process, fit_process
from surrogate.tables.transfer import any_device, view_of

# A short table is cut into more folds, so that the rows left to learn from are hardly fewer.
_FOLDS, _SHORT_FOLDS, _SHORT_TABLE = 5, 10, 60
# From here on the outer loop takes too long and corrects too little, and the process adds nothing.
LONG_TABLE = 500
_SHARE_POWER = 4


@dataclass(frozen=True)
class Blend:
    """log latency = (1 - ``share``) x layers + ``share`` x process; ``seen`` (n, f) are the process's rows."""

    layers: Layers
    names: tuple[str, ...]
    process: Process | None = None
    share: float = 0.0
    seen: np.ndarray | None = None

    def predict(self, inputs: np.ndarray) -> np.ndarray:
        """(n,) natural logarithm of the latency in ms at features (n, f)."""
        value = self.layers.predict(inputs)
        if self.process is None:
            return value
        view = view_of(inputs, self.names, self.layers.scaling.apply(inputs))
        return np.asarray((1 - self.share) * value + self.share * self.process.predict(view))

    def deviation(self, inputs: np.ndarray) -> np.ndarray:
        """(n,) deviation of measured logarithms that the process expects; without one, 1: errors then have no unit."""
        if self.process is None:
            return np.ones(len(inputs))
        return self.process.deviation(view_of(inputs, self.names, self.layers.scaling.apply(inputs)))

    def save(self, trees: Path) -> dict[str, Any]:
        """Everything but the trees as a plain dictionary; the trees go to a file of their own."""
        return {
            "layers": self.layers.save(trees),
            "process": None if self.process is None else self.process.to_dict(),
            "share": self.share,
            "seen": None if self.seen is None else self.seen.tolist(),
        }

    @classmethod
    def load(cls, document: dict[str, Any], names: tuple[str, ...], trees: Path) -> Blend:
        """Inverse of :meth:`save`."""
        layers = Layers.load(document["layers"], trees)
        if document["process"] is None:
            return cls(layers, names)
        seen = np.array(document["seen"], dtype=np.float64)
        process = Process.from_dict(document["process"], view_of(seen, names, layers.scaling.apply(seen)))
        return cls(layers, names, process, float(document["share"]), seen)


def fit_blend(
    inputs: np.ndarray,
    names: tuple[str, ...],
    latencies_ms: np.ndarray,
    priced: Sequence[int],
    groups: np.ndarray,
    seed: int,
) -> tuple[Blend, LeftOut]:
    """The average for latencies (n,) ms at features (n, f), and its errors on rows left out of everything.

    ``priced`` are the columns that a law of cost may price; no fold splits one of the ``groups`` (n,).
    """
    if len(inputs) >= LONG_TABLE:
        layers, errors = fit_layers(inputs, latencies_ms, priced, groups, seed)
        return Blend(layers, names), LeftOut(errors, np.ones(len(errors)))
    expected = np.zeros(len(inputs))
    left = np.zeros((2, len(inputs)))
    wanted = _SHORT_FOLDS if len(inputs) < _SHORT_TABLE else _FOLDS
    for train, test in grouped_folds(groups, wanted, seed):
        blend = fit_equal(inputs[train], names, latencies_ms[train], priced, groups[train], seed)
        expected[test] = blend.deviation(inputs[test])
        for way, share in enumerate((0.0, 1.0)):
            left[way, test] = np.log(latencies_ms[test]) - replace(blend, share=share).predict(inputs[test])
    share = _process_share(left)
    whole = fit_equal(inputs, names, latencies_ms, priced, groups, seed)
    return replace(whole, share=share), LeftOut((1 - share) * left[0] + share * left[1], expected)


def fit_equal(
    inputs: np.ndarray,
    names: tuple[str, ...],
    latencies_ms: np.ndarray,
    priced: Sequence[int],
    groups: np.ndarray,
    seed: int,
) -> Blend:
    """As :func:`fit_blend` with equal shares and without errors, in a small part of the time."""
    layers, _ = fit_layers(inputs, latencies_ms, priced, groups, seed)
    view = view_of(inputs, names, layers.scaling.apply(inputs))
    process, _ = fit_process(view, np.log(latencies_ms), [any_device(view)], groups)
    return Blend(layers, names, process, 0.5, inputs)


def _process_share(left: np.ndarray) -> float:
    """From the errors of layers and process (2, n): each counts by the inverse fourth power of its mean error.

    Source: Bates and Granger, The combination of forecasts, 1969 (there the inverse square).
    """
    sizes = np.maximum(np.abs(left).mean(axis=1), 1e-9)
    weights = (sizes.min() / sizes) ** _SHARE_POWER
    return float(weights[1] / weights.sum())
