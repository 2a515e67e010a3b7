"""Latency of one block: a non-negative physical base for each kind, XGBoost on the logarithm of what is left."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from data.errors import InputError
from fusion.block import Block
from surrogate.boosting import Residual, fit_residual
from surrogate.features import BASE_NAMES, base_features, block_features, kind_of

# A kind with fewer measured blocks than this shares the law fitted over all kinds.
_FEWEST_FOR_A_LAW = 4
_ALL_KINDS = "all"
_SMALLEST_MS = 1e-6


@dataclass(frozen=True)
class BlockPredictor:
    """``laws`` holds the base's coefficients by kind of block; ``residual`` corrects its logarithm."""

    laws: dict[str, tuple[float, ...]]
    residual: Residual
    vector_bytes: int
    threads: int

    @classmethod
    def fit(
        cls, blocks: Sequence[Block], times_ms: np.ndarray, *, vector_bytes: int, threads: int, seed: int = 0
    ) -> BlockPredictor:
        """Fit to measured blocks and their times (n,) in ms.

        The base minimises the relative error under non-negative coefficients (Lawson and Hanson's NNLS). The number and
        depth of the trees are chosen by cross-validation, none being a choice.

        Raises:
            InputError: fewer than four blocks.
        """
        if len(blocks) < _FEWEST_FOR_A_LAW:
            raise InputError(f"a block predictor needs at least {_FEWEST_FOR_A_LAW} measured blocks, not {len(blocks)}")
        times_ms = np.asarray(times_ms, dtype=np.float64)
        laws = fit_laws(blocks, times_ms, vector_bytes)
        base = apply_laws(laws, blocks, vector_bytes)
        residual = fit_residual(block_features(blocks, vector_bytes, threads), np.log(times_ms / base), seed)
        return cls(laws, residual, vector_bytes, threads)

    def predict(self, blocks: Sequence[Block]) -> np.ndarray:
        """(n,) predicted milliseconds of each block."""
        if not blocks:
            return np.zeros(0)
        base = apply_laws(self.laws, blocks, self.vector_bytes)
        return base * np.exp(self.residual.predict(block_features(blocks, self.vector_bytes, self.threads)))

    def to_dict(self) -> dict[str, Any]:
        """All but the trees, which :class:`Residual` saves itself."""
        return {"laws": self.laws, "vector_bytes": self.vector_bytes, "threads": self.threads}

    @classmethod
    def from_dict(cls, document: dict[str, Any], residual: Residual) -> BlockPredictor:
        """Inverse of :meth:`to_dict`."""
        laws = {str(kind): tuple(float(value) for value in law) for kind, law in document["laws"].items()}
        if any(len(law) != len(BASE_NAMES) for law in laws.values()) or _ALL_KINDS not in laws:
            raise ValueError("the laws of the blocks are not of this version")
        return cls(laws, residual, int(document["vector_bytes"]), int(document["threads"]))


def fit_laws(blocks: Sequence[Block], times_ms: np.ndarray, vector_bytes: int) -> dict[str, tuple[float, ...]]:
    """The base's coefficients by kind of block, and over all kinds, from measured blocks and their times (n,) in ms."""
    terms = base_features(blocks, vector_bytes)
    members: dict[str, list[int]] = defaultdict(list)
    for index, block in enumerate(blocks):
        members[kind_of(block)].append(index)
    laws = {_ALL_KINDS: _law(terms, times_ms)}
    for kind, indices in sorted(members.items()):
        if len(indices) >= _FEWEST_FOR_A_LAW:
            laws[kind] = _law(terms[indices], times_ms[indices])
    return laws


def _law(terms: np.ndarray, times_ms: np.ndarray) -> tuple[float, ...]:
    """Coefficients c >= 0 that minimise the sum of ((terms @ c - t) / t)^2."""
    from scipy.optimize import nnls

    scale = np.maximum(terms.max(axis=0), 1e-12)
    solution, _ = nnls(terms / scale / times_ms[:, None], np.ones(len(times_ms)))
    return tuple(float(value) for value in solution / scale)


def apply_laws(laws: dict[str, tuple[float, ...]], blocks: Sequence[Block], vector_bytes: int) -> np.ndarray:
    """(n,) milliseconds of blocks by the base alone."""
    coefficients = np.array([laws.get(kind_of(block), laws[_ALL_KINDS]) for block in blocks])
    return np.maximum((base_features(blocks, vector_bytes) * coefficients).sum(axis=1), _SMALLEST_MS)
