"""Where a block predictor is uncertain: how far a committee of small predictors, fitted to other draws, disagrees."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from fusion.block import Block
from surrogate.blocks.block_predictor import apply_laws, fit_laws
from surrogate.blocks.features import Setting, block_features
from surrogate.boosting import FEWEST_ROWS, grow

if TYPE_CHECKING:
    from xgboost import XGBRegressor

_MEMBERS = 8
# Small trees: they only have to disagree where the measured blocks say little.
_TREES = (60, 2)


@dataclass(frozen=True)
class Committee:
    """Each member is the base's laws and, with enough rows, trees, fitted to a bootstrap draw of the measured blocks.

    Source: Seung, Opper and Sompolinsky, Query by committee, 1992.
    """

    members: tuple[tuple[dict[str, tuple[float, ...]], XGBRegressor | None], ...]
    setting: Setting

    @classmethod
    def fit(cls, blocks: Sequence[Block], times_ms: np.ndarray, setting: Setting, *, seed: int = 0) -> Committee:
        """Fit to measured blocks and their times (n,) in ms; equal arguments give equal committees."""
        random = np.random.default_rng(seed)
        features = block_features(blocks, setting)
        members = []
        for member in range(_MEMBERS):
            draw = random.integers(len(blocks), size=len(blocks))
            drawn = [blocks[index] for index in draw]
            laws = fit_laws(drawn, times_ms[draw], setting)
            left = np.log(times_ms[draw] / apply_laws(laws, drawn, setting))
            trees = grow(_TREES, features[draw], left, seed + member) if len(draw) >= FEWEST_ROWS else None
            members.append((laws, trees))
        return cls(tuple(members), setting)

    def votes(self, blocks: Sequence[Block]) -> np.ndarray:
        """(members, n) logarithms of the blocks' predicted milliseconds."""
        features = block_features(blocks, self.setting)
        votes = []
        for laws, trees in self.members:
            vote = np.log(apply_laws(laws, blocks, self.setting))
            votes.append(vote if trees is None else vote + trees.predict(features))
        return np.asarray(votes)
