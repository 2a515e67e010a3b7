"""Latency of one block: a non-negative physical base for each kind, XGBoost on the logarithm of what is left."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from data.errors import InputError
from fusion.block import Block
from fusion.target import target_named
from surrogate.blocks.features import BASE_NAMES, Setting, base_features, block_features, kind_of, loops_of
from surrogate.boosting import CHOICES, FEWEST_ROWS, NO_TREES, Residual, grow

# A kind with fewer measured blocks than this shares the law fitted over all kinds.
_FEWEST_FOR_A_LAW = 4
_ALL_KINDS = "all"
_FOLDS = 5
_SMALLEST_MS = 1e-6


@dataclass(frozen=True)
class BlockPredictor:
    """``laws`` holds the base's coefficients by kind of block; ``residual`` corrects its logarithm."""

    laws: dict[str, tuple[float, ...]]
    residual: Residual
    setting: Setting

    @classmethod
    def fit(
        cls,
        blocks: Sequence[Block],
        times_ms: np.ndarray,
        setting: Setting,
        *,
        seed: int = 0,
        like: BlockPredictor | None = None,
    ) -> BlockPredictor:
        """Fit to measured blocks and their times (n,) in ms.

        The base minimises the relative error under non-negative coefficients (Lawson and Hanson's NNLS). The number and
        depth of the trees are chosen by cross-validation, none being a choice; base and trees are both refitted in
        each fold, and blocks of equal sizes, which differ in their epilogue only, are never parted. Where the
        predictor is to be ``like`` another one of fewer blocks, that one's choice is taken.

        Raises:
            InputError: fewer than four blocks.
        """
        if len(blocks) < _FEWEST_FOR_A_LAW:
            raise InputError(f"a block predictor needs at least {_FEWEST_FOR_A_LAW} measured blocks, not {len(blocks)}")
        times_ms = np.asarray(times_ms, dtype=np.float64)
        laws = fit_laws(blocks, times_ms, setting)
        if like is None:
            choice, error = _choose_trees(blocks, times_ms, setting, seed)
        else:
            choice, error = like.residual.choice, like.residual.cross_validated
        if choice is None:
            return cls(laws, replace(NO_TREES, cross_validated=error), setting)
        left = np.log(times_ms / apply_laws(laws, blocks, setting))
        trees = grow(choice, block_features(blocks, setting), left, seed)
        return cls(laws, Residual(trees, error, choice), setting)

    def predict(self, blocks: Sequence[Block]) -> np.ndarray:
        """(n,) predicted milliseconds of each block."""
        if not blocks:
            return np.zeros(0)
        base = apply_laws(self.laws, blocks, self.setting)
        return base * np.exp(self.residual.predict(block_features(blocks, self.setting)))

    def to_dict(self) -> dict[str, Any]:
        """All but the trees, which :class:`Residual` saves itself."""
        setting = self.setting
        return {
            "laws": self.laws,
            "target": setting.target.name,
            "threads": setting.threads,
            "speeds": setting.speeds,
        }

    @classmethod
    def from_dict(cls, document: dict[str, Any], residual: Residual) -> BlockPredictor:
        """Inverse of :meth:`to_dict`."""
        laws = {str(kind): tuple(float(value) for value in law) for kind, law in document["laws"].items()}
        if any(len(law) != len(BASE_NAMES) for law in laws.values()) or _ALL_KINDS not in laws:
            raise ValueError("the laws of the blocks are not of this version")
        speeds = tuple(float(speed) for speed in document["speeds"])
        if not all(0 < speed <= 1 for speed in speeds):
            raise ValueError("a core's speed is no share of the fastest one's")
        return cls(laws, residual, Setting(target_named(document["target"]), int(document["threads"]), speeds))


def fit_laws(blocks: Sequence[Block], times_ms: np.ndarray, setting: Setting) -> dict[str, tuple[float, ...]]:
    """The base's coefficients by kind of block, and over all kinds, from measured blocks and their times (n,) in ms."""
    terms = base_features(blocks, setting)
    members: dict[str, list[int]] = defaultdict(list)
    for index, block in enumerate(blocks):
        members[kind_of(block)].append(index)
    laws = {_ALL_KINDS: _law(terms, times_ms)}
    for kind, indices in sorted(members.items()):
        if len(indices) >= _FEWEST_FOR_A_LAW:
            laws[kind] = _law(terms[indices], times_ms[indices])
    return laws


def _choose_trees(
    blocks: Sequence[Block], times_ms: np.ndarray, setting: Setting, seed: int
) -> tuple[tuple[int, int] | None, float]:
    """(trees, depth) of the least cross-validated error, None for no trees; and that error, root mean square."""
    from sklearn.model_selection import GroupKFold

    groups = [str(loops_of(block)) for block in blocks]
    folds = min(_FOLDS, len(set(groups)))
    if folds < 2:
        return None, 0.0
    choices = CHOICES if len(blocks) >= FEWEST_ROWS else ()
    features = block_features(blocks, setting)
    squares: dict[tuple[int, int] | None, list[np.ndarray]] = {choice: [] for choice in (None, *choices)}
    for train, test in GroupKFold(folds, shuffle=True, random_state=seed).split(features, groups=groups):
        laws = fit_laws([blocks[index] for index in train], times_ms[train], setting)
        left = np.log(times_ms / apply_laws(laws, blocks, setting))
        squares[None].append(left[test] ** 2)
        for choice in choices:
            trees = grow(choice, features[train], left[train], seed)
            squares[choice].append((left[test] - trees.predict(features[test])) ** 2)
    errors = {choice: float(np.sqrt(np.mean(np.concatenate(found)))) for choice, found in squares.items()}
    best = min(errors, key=errors.__getitem__)
    return best, errors[best]


def _law(terms: np.ndarray, times_ms: np.ndarray) -> tuple[float, ...]:
    """Coefficients c >= 0 that minimise the sum of ((terms @ c - t) / t)^2, then scaled to be right in the median.

    The relative error weighs what was measured too short for more, so that the noisier the times, the lower the fit.
    """
    from scipy.optimize import nnls

    scale = np.maximum(terms.max(axis=0), 1e-12)
    solution, _ = nnls(terms / scale / times_ms[:, None], np.ones(len(times_ms)))
    fitted = np.maximum(terms @ (solution / scale), _SMALLEST_MS)
    level = float(np.exp(np.median(np.log(times_ms / fitted))))
    return tuple(float(level * value) for value in solution / scale)


def apply_laws(laws: dict[str, tuple[float, ...]], blocks: Sequence[Block], setting: Setting) -> np.ndarray:
    """(n,) milliseconds of blocks by the base alone."""
    coefficients = np.array([laws.get(kind_of(block), laws[_ALL_KINDS]) for block in blocks])
    return np.maximum((base_features(blocks, setting) * coefficients).sum(axis=1), _SMALLEST_MS)
