"""Tiles of products, chosen by timing on the GPU that runs them, and kept by device, driver and source."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from data.errors import DeviceError
from data.home import home
from data.kept import read_sealed, replacing, seal
from fusion.block import Block
from fusion.build.machine import Gpu
from fusion.build.runner import KERNELS_VARIABLE, kernels_folder, link_runner, visit_line
from fusion.emit.opencl.family import Tile
from fusion.emit.opencl.product import tiles_of
from fusion.emit.program import Program, block_plan

# At most so many tiles are timed for a product, this often, each visit after a warm-up.
MOST_TILES, VISITS, RUNS = 12, 3, 5
LIMIT_S = 600.0

# The least time of each program on a GPU, milliseconds, by name.
TimePrograms = Callable[[Gpu, Sequence[Program[Any]]], Mapping[str, float]]


@dataclass(frozen=True)
class _Candidates:
    """The tiles of one product, and a program of each."""

    block: Block
    tiles: tuple[Tile, ...]
    programs: tuple[Program[Any], ...]

    def kept_at(self, gpu: Gpu) -> Path:
        """Where the choice is kept: under another name for another device, driver or code."""
        sources = [unit.source for program in self.programs for unit in program.units]
        told = "\0".join((repr(sorted(gpu.details.items())), gpu.device, *sources))
        return home() / "tiles" / f"{self.block.hash}-{hashlib.sha256(told.encode()).hexdigest()[:16]}"


def time_here(gpu: Gpu, programs: Sequence[Program[Any]]) -> Mapping[str, float]:
    """The least time of each program on this machine's GPU, milliseconds; all in turn in one process.

    Raises:
        DeviceError: the driver does not build or run one of them.
        ToolchainError: the runner around them is not compiled.
    """
    runner = link_runner(programs, gpu)
    visits = "".join(visit_line(program.name, 1, RUNS, 0) for program in programs) * VISITS
    least: dict[str, float] = {}
    for result in _visited(runner.round_command("-", threads=1), visits):
        name, fastest = str(result["program"]), min(result["samples_ms"])
        least[name] = min(fastest, least.get(name, fastest))
    return least


def timed_tiles(gpu: Gpu, blocks: Iterable[Block], time_programs: TimePrograms = time_here) -> Mapping[str, Tile]:
    """The fastest tile of each product among the blocks, by its hash.

    At most twelve of its family's tiles are compiled and timed, all products' in turn, unless that was done before on
    this device, with this driver and this code; a damaged entry is timed again. What has one tile only is left out.

    Raises:
        DeviceError: the driver does not build or run one of them.
        ToolchainError: the runner around them is not compiled.
    """
    products = {block.hash: block for block in blocks if block.anchor == "gemm"}
    several = [found for block in products.values() if len((found := _candidates(gpu, block)).tiles) > 1]
    chosen = {each.block.hash: _kept(each.kept_at(gpu), len(each.tiles)) for each in several}
    new = [each for each in several if chosen[each.block.hash] is None]
    least_ms = time_programs(gpu, [program for each in new for program in each.programs]) if new else {}
    for each in new:
        times_ms = [least_ms[program.name] for program in each.programs]
        best = min(range(len(times_ms)), key=times_ms.__getitem__)
        _keep(each.kept_at(gpu), best, times_ms)
        chosen[each.block.hash] = best
    return MappingProxyType({each.block.hash: each.tiles[chosen[each.block.hash] or 0] for each in several})


def _candidates(gpu: Gpu, block: Block) -> _Candidates:
    tiles, plan = tiles_of(block, gpu.family, gpu.texels)[:MOST_TILES], block_plan(block)
    programs = (
        replace(gpu, tiles={block.hash: tile}).place(plan, f"{block.hash} {index}") for index, tile in enumerate(tiles)
    )
    return _Candidates(block, tiles, tuple(programs))


def _kept(path: Path, count: int) -> int | None:
    """The place of the tile that was chosen before; None where there is none, or it is damaged."""
    content = read_sealed(path)
    if content is None:
        return None
    best = json.loads(content)["best"]
    return best if isinstance(best, int) and 0 <= best < count else None


def _keep(path: Path, best: int, times_ms: Sequence[float]) -> None:
    with replacing(path) as partial:
        partial.write_text(json.dumps({"best": best, "times_ms": list(times_ms)}), encoding="utf-8")
        seal(partial)


def _visited(command: Sequence[str], visits: str) -> list[dict[str, list[float]]]:
    environment = {**os.environ, KERNELS_VARIABLE: str(kernels_folder())}
    try:
        done = subprocess.run(
            command, input=visits, capture_output=True, text=True, timeout=LIMIT_S, check=False, env=environment
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise DeviceError(f"tiles cannot be timed on the GPU: {error}") from error
    if done.returncode:
        raise DeviceError(f"tiles cannot be timed on the GPU: {done.stderr.strip() or f'status {done.returncode}'}")
    return [json.loads(line) for line in done.stdout.splitlines()]
