"""How long a phone's processor takes for a block, loop by loop: cycles of the compiled code, and bytes by cache.

Each tile takes a core

    cycles of its loops, or what streams from L2 meanwhile if that takes longer
    + what it reads piecemeal from L2 + what it reads from the cache that cores share

where cycles are counted by models of the core's pipelines (``fusion.cycles``), trips are the emitter's, and which cache
holds something is told by how many other bytes pass before it is needed again. Cores take tiles as they become free;
weights come from memory, at the bandwidth that all cores share: docs/decisions/cores-by-cycles.md.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from data.device_spec import Cluster, Core, DeviceSpec
from data.errors import DeviceError

if TYPE_CHECKING:
    from fusion.block import Block
    from fusion.emit.c.work import Work
    from fusion.target import Target

_KIB = 1024
# Of a cache, what is left for data that are to stay: the rest is passed through by others.
_HELD = 0.9


def core_clusters(spec: DeviceSpec) -> tuple[tuple[Cluster, Core], ...]:
    """The cluster of each core with what its cores are counted by, fastest first.

    Raises:
        DeviceError: a cluster does not say what its cores are counted by.
    """
    found = []
    for cluster in sorted(spec.clusters, key=lambda each: each.core_gflops, reverse=True):
        if cluster.core is None:
            raise DeviceError(f"device {spec.name} cannot be simulated: its cluster {cluster.name} names no core")
        found += [(cluster, cluster.core)] * cluster.cores
    return tuple(found)


def core_speeds(spec: DeviceSpec, target: Target, threads: int) -> tuple[float, ...]:
    """How fast the fastest ``threads`` cores multiply, the fastest one at 1: by the counted register tile where all
    cores' models are known, otherwise by their peaks; none where nothing is known of the cores."""
    from fusion.cycles.table import stored_counts
    from fusion.emit.c.tiling import register_tiles
    from fusion.emit.c.work import tile_loop

    if all(cluster.core for cluster in spec.clusters):
        loop = tile_loop(*register_tiles(target)[0])
        found = [
            cluster.clock_ghz / stored_counts(target.name, core.model)[loop].step
            for cluster, core in core_clusters(spec)
        ]
    else:
        found = list(spec.cores)
    found.sort(reverse=True)
    return tuple(speed / found[0] for speed in found[:threads])


# Sessions, plans and searches ask for the same blocks again and again.
@lru_cache(maxsize=1 << 18)
def tile_seconds(block: Block, target: Target, cluster: Cluster, core: Core) -> float:
    """What one of a block's equal tiles takes a core at its highest clock, weights at hand in the shared cache or
    nearer.

    Raises:
        UnknownNameError: nothing was counted for such code on such a core.
        DeviceError: one of its loops was not.
    """
    work = _work(block, target)
    return _cycles(work, target, cluster, core) / work.tiles / (cluster.clock_ghz * 1e9)


def block_seconds(block: Block, target: Target, spec: DeviceSpec) -> float:
    """What a block takes the fastest core of a device alone, its weights read at the full bandwidth of memory.

    Raises:
        DeviceError: a cluster does not say what its cores are counted by, or nothing is known of the memory.
    """
    if spec.memory is None:
        raise DeviceError(f"device {spec.name} cannot be counted: nothing is known of its memory")
    computing = tile_count(block, target) * tile_seconds(block, target, *core_clusters(spec)[0])
    return computing + memory_bytes(block, target) / (spec.memory.dram_gbps * 1e9)


def tile_count(block: Block, target: Target) -> int:
    """Tiles that the cores can take independently."""
    return _work(block, target).tiles


def memory_bytes(block: Block, target: Target) -> float:
    """Bytes that a run reads once: they come from memory, since a whole model's weights stay in no cache."""
    return sum(stream.bytes for stream in _work(block, target).streams if np.isinf(stream.distance))


def _cycles(work: Work, target: Target, cluster: Cluster, core: Core) -> float:
    from fusion.cycles.table import stored_counts

    counts = stored_counts(target.name, core.model)
    if missing := [loop.name for loop in work.loops if loop.name not in counts]:
        raise DeviceError(f"the loop {missing[0]} of code for {target.name} was not counted on {core.model}")
    computing = sum(loop.entries * counts[loop.name].entry + loop.steps * counts[loop.name].step for loop in work.loops)
    steady = piecemeal = shared = 0.0
    for stream in work.streams:
        if np.isinf(stream.distance) or stream.distance <= _HELD * core.l1_kib * _KIB:
            continue
        if stream.distance > _HELD * cluster.l2_kib * _KIB:
            shared += stream.bytes / core.l3_bytes_per_cycle
        elif stream.steady:
            steady += stream.bytes / core.l2_bytes_per_cycle
        else:
            piecemeal += stream.bytes / core.l2_bytes_per_cycle
    return max(computing, steady) + piecemeal + shared


@lru_cache(maxsize=1 << 16)
def _work(block: Block, target: Target) -> Work:
    from fusion.emit.c.work import work_of

    return work_of(block, target)
