"""How fast a phone is: the times of its runners replaced by an analytic phone's, under a clock that falls and returns.

Runners really run, under qemu, so that programs, protocol and parsing are real; but qemu on a busy machine says nothing
of a phone's speed, and no machine's clock can be made to fall for a test.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from data.device_spec import DeviceSpec, load_device
from fusion.block import Block
from profiling.simulated import SimulatedDevice
from tests.profiling.adb_double.descriptions import Description

# A phone at rest, and how much warmer it is where its clock is lowest, in tenths of a degree.
_COOL_TENTHS, _WARMER_TENTHS = 312, 50
# By how much its processors are slower.
_SLOWER = 300
# How far the clock strays from its course, from visit to visit, and how much of that is left at the next.
_STRAY, _KEPT = 0.003, 0.8


@dataclass
class Speed:
    """The speed of a phone that knows these ``blocks``.

    In the course of ``period`` visits to programs the clock falls by ``fall`` of its highest, and comes back; it strays
    about that course by about half a percent. Equal seeds give equal times.
    """

    blocks: Iterable[Block]
    fall: float = 0.0
    period: float = 1.0
    seed: int = 0
    visits: int = 0
    shares: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._phone = SimulatedDevice(_slow(load_device("s20")))
        self._known = {block.hash: block for block in self.blocks}
        self._random = np.random.default_rng(self.seed)
        self._stray = 0.0

    @property
    def share(self) -> float:
        """Share of the highest clock at which the phone runs now."""
        course = 1 - self.fall * math.sin(math.pi * self.visits / self.period) ** 2
        return course * math.exp(self._stray) if self.fall else 1.0

    @property
    def temperature_tenths(self) -> int:
        """The battery's, tenths of a degree: warmest where the clock is lowest."""
        return _COOL_TENTHS + round(_WARMER_TENTHS * (1 - self.share))

    def retimed(self, output: bytes) -> tuple[bytes, float]:
        """What a runner printed, with the phone's times, and the mean share of the clock meanwhile."""
        lines = [self._visit(json.loads(line)) for line in output.splitlines()]
        made = self.shares[len(self.shares) - len(lines) :] or [self.share]
        return "".join(f"{json.dumps(line)}\n" for line in lines).encode(), sum(made) / len(made)

    def undisturbed_ms(self, hashes: Sequence[str], threads: int) -> list[float]:
        """Milliseconds of each block of a program at the highest clock."""
        return [self._phone.block_ms(self._known[name], threads) for name in hashes]

    def _visit(self, printed: dict[str, Any]) -> dict[str, Any]:
        steps = np.array(self.undisturbed_ms([step["hash"] for step in printed["blocks"]], printed["threads"]))
        noise = self._phone.spec.analytic.noise if self._phone.spec.analytic else 0.0
        runs = {key: steps.sum() / self.share * self._noise(noise, len(printed[key])) for key in _RUNS}
        blocks = steps / self.share * self._noise(noise / 2, len(steps))
        self.shares.append(self.share)
        self.visits += 1
        self._stray = _KEPT * self._stray + self._random.normal(0.0, _STRAY)
        times = [{**step, "median_ms": time} for step, time in zip(printed["blocks"], blocks, strict=True)]
        return printed | {key: list(values) for key, values in runs.items()} | {"blocks": times}

    def _noise(self, scale: float, count: int) -> np.ndarray:
        return np.exp(scale * self._random.standard_normal(count))


_RUNS = ("warmups_ms", "samples_ms")


def _slow(spec: DeviceSpec) -> DeviceSpec:
    """A phone on which the small models that qemu can run take as long as usual ones: it is their arithmetic that
    counts, not how many blocks they have."""
    assert spec.analytic is not None
    return replace(spec, analytic=replace(spec.analytic, cpu_efficiency=0.52 / _SLOWER, block_us=1.0))


def with_fine_clocks(description: Description, steps: int = 24) -> Description:
    """A phone whose clocks lie as close together as real ones': so that time_in_state tells a mean clock."""
    finer = []
    for cluster in description.clusters:
        highest = max(cluster.clocks_khz)
        clocks = tuple(round(highest * (0.4 + 0.6 * step / (steps - 1))) for step in range(steps))
        finer.append(replace(cluster, clocks_khz=clocks))
    return replace(description, clusters=tuple(finer))
