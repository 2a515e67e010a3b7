"""Tiles of products for the GPU of any device, chosen by timing them there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from profiling.device import Device, Round, Visit

if TYPE_CHECKING:
    from fusion import Machine
    from fusion.block import Block
    from fusion.build.machine import Gpu
    from fusion.emit.program import Program


def tuned(device: Device, blocks: Sequence[Block]) -> Machine:
    """The device's machine with the fastest tile of each product, timed on it unless that is known.

    Processors have no tiles to choose, and on a driver that runs kernels on a processor's cores the first is the best
    (docs/decisions/opencl-from-the-same-plan.md): these machines are returned as they are.

    Raises:
        DeviceError: the device was lost, or its driver does not build or run a kernel.
    """
    from fusion.build.machine import Gpu
    from fusion.build.tile_timing import timed_tiles

    machine = device.machine
    if not isinstance(machine, Gpu) or machine.on_processor:
        return machine
    return replace(machine, tiles=timed_tiles(machine, blocks, partial(_time_there, device)))


def _time_there(device: Device, gpu: Gpu, programs: Sequence[Program[Any]]) -> Mapping[str, float]:
    from fusion.build.runner import link_runner
    from fusion.build.tile_timing import LIMIT_S, RUNS, VISITS

    runner = link_runner(programs, gpu)
    device.prepare(runner)
    visits = [Visit(each.name, tuple(step.fused.block for step in each.steps), 1, RUNS) for each in programs] * VISITS
    samples = device.go_round(Round(tuple(visits), 1, runner, time_limit_s=LIMIT_S))
    least: dict[str, float] = {}
    for visit, raw in zip(visits, samples, strict=True):
        fastest = min(raw.samples_ms)
        least[visit.program] = min(fastest, least.get(visit.program, fastest))
    return least
