"""Blocks measured in batches, each chosen where the predictor is most uncertain, until its error no longer falls."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from data.progress import Progress, ProgressEvent
from profiling.sampling import choose_blocks

if TYPE_CHECKING:
    from data.measurement import Measurement
    from fusion.block import Block
    from surrogate.blocks.features import Setting
    from surrogate.blocks.uncertainty import Committee

BATCH = 20
# Of the candidates, so many are asked; of the most uncertain ones, so many times the batch are spread.
_ASKED, _SPREAD_FROM = 600, 3
# The error must fall at least to this share of the lowest so far; after so many batches that do not, it is enough.
_STILL_FALLING, _PATIENCE = 0.95, 2


def measure_growing(
    measure: Callable[[Sequence[Block]], list[Measurement]],
    first: Sequence[Block],
    candidates: Sequence[Block],
    most: int,
    *,
    setting: Setting,
    seed: int,
    out_of_time: Callable[[], bool],
    report: Progress,
) -> list[Measurement]:
    """Rows of the ``first`` blocks and of those that were added, at most ``most`` blocks in all.

    Each batch is predicted before it is learned: that is the held-out error that must keep falling. Equal rows give
    equal choices, so a profiling that was killed goes on with the blocks that it had chosen.

    Args:
        measure: makes the rows of some blocks.
        first: blocks that cover the space, whatever they cost.
        candidates: blocks that may be added.
        most: number of blocks at which it ends in any case.
        setting: what the blocks were compiled for, and the number of threads.
        seed: seed of the committee and of ties.
        out_of_time: whether no further batch may be begun.
        report: is told the held-out error of each batch.
    """
    from surrogate.blocks.training_data import corrected_ms
    from surrogate.blocks.uncertainty import Committee

    chosen, rows = list(first), list(measure(first))
    lowest, patience = float("inf"), _PATIENCE
    while len(chosen) < most and patience and not out_of_time():
        times = corrected_ms(rows)
        known = [block for block in chosen if block.hash in times]
        targets = np.array([times[block.hash] for block in known])
        committee = Committee.fit(known, targets, setting, seed=seed)
        batch = next_batch(committee, candidates, chosen, min(BATCH, most - len(chosen)), seed)
        if not batch:
            break
        rows += measure(batch)
        chosen += batch
        error = held_out_error(committee, batch, corrected_ms(rows))
        report(ProgressEvent("choose blocks", len(chosen), most, f"error on the last {len(batch)} blocks: {error:.1%}"))
        patience = _PATIENCE if error <= _STILL_FALLING * lowest else patience - 1
        lowest = min(lowest, error)
    if not patience:
        report(ProgressEvent("choose blocks", len(chosen), len(chosen), "the held-out error no longer falls: enough"))
    return rows


def next_batch(
    committee: Committee, candidates: Sequence[Block], measured: Sequence[Block], count: int, seed: int
) -> list[Block]:
    """The candidates on which the committee disagrees most, spread over kinds and sizes, none of them measured.

    What takes a model's time counts for more: the relative disagreement is weighted by the root of the latency.
    """
    known = set(measured)
    left = [block for block in candidates if block not in known]
    random = np.random.default_rng(seed + len(measured))
    asked = [left[index] for index in sorted(random.permutation(len(left))[:_ASKED])]
    if not asked:
        return []
    votes = committee.votes(asked)
    disagreement = votes.std(axis=0) * np.exp(np.median(votes, axis=0) / 2)
    uncertain = [asked[index] for index in np.argsort(-disagreement, kind="stable")[: _SPREAD_FROM * count]]
    spread = choose_blocks(uncertain, count, seed, measured)
    taken = set(spread)
    # Quotas of kinds that have enough already leave places, which the most uncertain get.
    return [*spread, *(block for block in uncertain if block not in taken)][:count]


def held_out_error(committee: Committee, blocks: Sequence[Block], times_ms: dict[str, float]) -> float:
    """Error of the committee's middle vote on blocks that it was not fitted to, over their latency, both summed."""
    judged = [block for block in blocks if block.hash in times_ms]
    if not judged:
        return float("inf")
    truth = np.array([times_ms[block.hash] for block in judged])
    return float(np.abs(np.exp(np.median(committee.votes(judged), axis=0)) - truth).sum() / truth.sum())
