"""Blocks are added where the predictor is uncertain, until enough, and the same ones when a profiling goes on."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest

from data.device_spec import load_device
from data.measurement import Measurement
from data.progress import ProgressEvent, no_progress
from data.store import MeasurementStore
from fusion.block import Block
from fusion.target import TARGETS
from profiling.sampling import SamplingRange, candidate_blocks, choose_blocks
from profiling.session import Care, measure_blocks
from profiling.simulated import SimulatedDevice
from search.profiles.growing import BATCH, held_out_error, measure_growing, next_batch
from surrogate.blocks.features import Setting
from surrogate.blocks.uncertainty import Committee

CANDIDATES = candidate_blocks(SamplingRange(), 0)[:900]
FIRST = choose_blocks(CANDIDATES, 60, 0)
OPTIONS = {"setting": Setting(TARGETS["aarch64-neon"], 8), "seed": 0}
Measure = Callable[[Sequence[Block]], list[Measurement]]


@pytest.fixture
def measure(tmp_path: Path) -> Iterator[Measure]:
    device = SimulatedDevice(load_device("s20"))
    with MeasurementStore.open(tmp_path / "m.sqlite") as store:

        def rows_of(blocks: Sequence[Block]) -> list[Measurement]:
            return measure_blocks(device, blocks, threads=8, store=store, repeats=1, care=Care(runs=20))

        yield rows_of


def committee(blocks: Sequence[Block]) -> Committee:
    device = SimulatedDevice(load_device("s20"))
    times = np.array([device.block_ms(block, 8) for block in blocks])
    return Committee.fit(blocks, times, **OPTIONS)


def uncertain_ms(voters: Committee, blocks: Sequence[Block]) -> float:
    """Mean disagreement about the blocks' milliseconds."""
    return float(np.exp(voters.votes(blocks)).std(axis=0).mean())


def test_batch_is_new_distinct_and_more_uncertain_than_the_rest() -> None:
    voters = committee(FIRST)
    batch = next_batch(voters, CANDIDATES, FIRST, BATCH, 0)
    assert len(set(batch)) == BATCH and not set(batch) & set(FIRST)
    assert batch == next_batch(committee(FIRST), CANDIDATES, FIRST, BATCH, 0)
    assert uncertain_ms(voters, batch) > 1.3 * uncertain_ms(voters, CANDIDATES)
    assert len({(block.anchor, block.epilogue) for block in batch}) > 1
    assert next_batch(voters, FIRST, FIRST, BATCH, 0) == []


def test_learning_lowers_the_error_on_blocks_never_measured() -> None:
    device = SimulatedDevice(load_device("s20"))
    judged = [block for block in CANDIDATES if block not in set(FIRST)][::7]
    times = {block.hash: device.block_ms(block, 8) for block in judged}
    few, many = FIRST[:35], choose_blocks(CANDIDATES, 150, 0)
    assert held_out_error(committee(many), judged, times) < held_out_error(committee(few), judged, times)
    assert held_out_error(committee(few), judged, {}) == float("inf")


def test_ends_at_the_most_at_the_time_limit_or_when_the_error_stays(measure: Measure) -> None:
    def grow(most: int, out_of_time: bool = False, told: list[ProgressEvent] | None = None) -> set[str]:
        report = no_progress if told is None else told.append
        rows = measure_growing(
            measure, FIRST, CANDIDATES, most, out_of_time=lambda: out_of_time, report=report, **OPTIONS
        )
        return {row.subject_hash for row in rows}

    assert len(grow(60)) == 60 and len(grow(70)) == 70 and len(grow(400, out_of_time=True)) == 60
    told: list[ProgressEvent] = []
    grown = grow(400, told=told)
    assert 60 + 3 * BATCH <= len(grown) < 400 and "no longer falls" in told[-1].message
    # A profiling that goes on finds its rows and chooses the same blocks.
    assert grow(400) == grown
