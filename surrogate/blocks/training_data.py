"""From raw measurements to training targets: blocks as they ran inside of models, and models; provenance checked."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from data.architecture import Architecture
from data.errors import InputError
from data.measurement import Measurement, Provenance
from data.statistic import Statistic, choose_statistic, usual_ms
from fusion.block import Block


@dataclass(frozen=True)
class Origin:
    """Where a predictor's training data come from; all its rows share it."""

    device: str
    fingerprint: str
    unit: str
    threads: int
    compiler: str
    provenance: Provenance


def origin_of(rows: Sequence[Measurement]) -> Origin:
    """The common origin of measurements.

    Raises:
        InputError: there are none, or they come from different devices, units, threads or compilers.
    """
    origins = {Origin(row.device, row.fingerprint, row.unit, row.threads, row.compiler, row.provenance) for row in rows}
    if len(origins) != 1:
        raise InputError(f"a predictor needs measurements of one device and compiler, not of {len(origins)}")
    return origins.pop()


def check_same_origin(rows: Sequence[Measurement], origin: Origin) -> None:
    """``InputError`` where rows, one at least, are not of the origin that a predictor was made of."""
    if origin_of(rows) != origin:
        raise InputError("a predictor learns on from timings of its own device, threads and compiler only")


def architectures_of(rows: Sequence[Measurement]) -> dict[str, Architecture]:
    """Distinct architectures of whole-model rows by subject hash."""
    return {row.subject_hash: Architecture.from_dict(json.loads(row.signature)) for row in rows}


def block_targets(
    architectures: Mapping[str, Architecture], steps: Mapping[str, np.ndarray], fuse: bool = True
) -> tuple[list[Block], np.ndarray]:
    """Distinct blocks of whole models, in a stable order, and their milliseconds (n,) as steps of these models.

    A block runs otherwise inside of a model than alone: its inputs were just written, its weights lie among others. One
    that occurs more than once, or in several models, gets the median of its times.

    Args:
        architectures: by subject hash.
        steps: milliseconds of each model's blocks in order, by subject hash.
        fuse: whether the models were compiled with fusion.

    Raises:
        InputError: there are other steps than the planner makes of an architecture.
    """
    from fusion import plan_architecture

    times: dict[Block, list[float]] = defaultdict(list)
    for subject, taken in steps.items():
        architecture = architectures[subject]
        blocks = plan_architecture(architecture, fuse)
        if len(blocks) != len(taken):
            raise InputError(f"{architecture.name} was measured with {len(taken)} blocks, not {len(blocks)}")
        for block, step_ms in zip(blocks, taken, strict=True):
            times[block].append(float(step_ms))
    # A step may end within the clock's tick.
    known = {block: float(np.median(found)) for block, found in times.items() if np.median(found) > 0}
    ordered = sorted(known, key=lambda block: block.hash)
    return ordered, np.array([known[block] for block in ordered])


def model_latencies(
    rows: Sequence[Measurement], statistic: Statistic | None = None
) -> tuple[list[Architecture], np.ndarray]:
    """Distinct architectures of whole-model rows and their usual ms (n,) by a statistic, by default the steadiest."""
    times = usual_ms(rows, statistic or choose_statistic(rows))
    architectures = architectures_of(rows)
    return [architectures[key] for key in times], np.array(list(times.values()))
