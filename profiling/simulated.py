"""An analytic phone: a roofline over clusters of unequal cores with dynamic tile scheduling.

It stands in for a phone that is not attached; every figure from it is marked ``simulated``. For each block the time is

    block_us + max(makespan of its tiles over the cores,
                   bytes from DRAM / bandwidth + activation bytes / rate between blocks)

where the cores take equal tiles as they become free, as the compiled runtime does. A matrix product that stores its
result as it is (only plans without fusion have such) keeps a share of its speed. The GPU's time is that of the block's
kernels (``gpu_latency.py``). Narrow products take the share of the time that their instructions' rate says. The
constants and their sources stand in ``data/devices/*.toml``.
"""

from __future__ import annotations

import hashlib
from functools import cached_property
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np

from data.device_spec import Analytic, DeviceSpec, Gpu, Memory
from data.errors import DeviceError
from data.measurement import Provenance
from data.progress import Progress, no_progress
from profiling.device import DeviceDescription, DeviceState, RawSamples, Round, Visit
from profiling.gpu_latency import gpu_block_ms

if TYPE_CHECKING:
    from fusion import Machine, Runner, Target
    from fusion.block import Block

# Rows and columns of the register tile that the estimate assumes, and the multiply-adds below which a core idles.
_TILE_ROWS, _TILE_COLUMNS = 8, 32
# Anchors whose tiles are rows of one head.
_BY_HEAD = frozenset({"attention", "scores", "context"})
_MS_PER_S = 1e3
# Multiply-adds of a narrow product's instruction for each of fp32's, by precision and the inner loop of int8: dot
# products of A55, A76 and A77; smmla where it is as wide; pairs in 16 bits gain nothing.
_RATES = MappingProxyType({("int8", "dot"): 4.0, ("int8", "mmla"): 8.0, ("fp16", ""): 2.0})


class SimulatedDevice:
    """The analytic model of a phone's CPU or GPU, behind the same protocol as a real device.

    Raises:
        DeviceError: the specification has no ``[analytic]`` table, or no such unit.
    """

    def __init__(self, spec: DeviceSpec, unit: str = "cpu", seed: int = 0) -> None:
        if spec.analytic is None or spec.memory is None or not spec.clusters:
            raise DeviceError(f"device {spec.name} cannot be simulated: its file has no [analytic] table")
        if unit not in spec.simulated_units:
            known = ", ".join(spec.simulated_units)
            raise DeviceError(f"device {spec.name}'s analytic model has no unit {unit!r}: it has {known}")
        self.spec = spec
        self.unit = unit
        self._analytic: Analytic = spec.analytic
        self._memory: Memory = spec.memory
        self._seed = seed
        self._visits = 0

    @property
    def provenance(self) -> Provenance:
        return "simulated"

    @property
    def needs_runner(self) -> bool:
        return False

    @cached_property
    def target(self) -> Target:
        from fusion import best_target, target_named

        return best_target(target_named(self.spec.target), frozenset(self.spec.features))

    @property
    def machine(self) -> Machine:
        from fusion import Processor

        return Processor(self.target)

    def describe(self) -> DeviceDescription:
        return self._description

    @cached_property
    def _description(self) -> DeviceDescription:
        # The figures of the file are the device: when one changes, earlier simulations are of another device.
        figures = repr((self.spec.clusters, self._memory, self.spec.gpu, self._analytic))
        digest = hashlib.sha256(figures.encode()).hexdigest()[:12]
        return DeviceDescription(
            name=self.spec.name,
            fingerprint=f"{self.spec.name}-simulated-{digest}",
            processor=f"analytic model of {self.spec.title}",
            cores=len(self.spec.cores),
        )

    def prepare(self, runner: Runner, progress: Progress = no_progress) -> None:
        """Nothing to bring: no code is executed."""

    def go_round(self, work: Round) -> tuple[RawSamples, ...]:
        made: list[RawSamples] = []
        began_ms = 0.0
        for visit in work.visits:
            made.append(self._visit(visit, work.threads, began_ms))
            began_ms += sum(made[-1].warmups_ms) + sum(made[-1].samples_ms)
        return tuple(made)

    def _visit(self, visit: Visit, threads: int, began_ms: float) -> RawSamples:
        times = [(block.hash, self.block_ms(block, threads)) for block in visit.blocks]
        total = sum(time for _, time in times)
        if visit.program == "model" or len(visit.blocks) > 1:
            total += self._analytic.model_us / 1e3
        # The counter makes a second visit to the same block another draw, as on a real device.
        self._visits += 1
        draw = f"{self._description.fingerprint}|{self._seed}|{self._visits}|{visit.program}"
        digest = hashlib.sha256(draw.encode()).digest()
        random = np.random.default_rng(int.from_bytes(digest[:8], "little"))
        noisy = total * np.exp(self._analytic.noise * random.standard_normal(visit.warmup + visit.runs))
        samples = tuple(float(value) for value in noisy)
        return RawSamples(samples[: visit.warmup], samples[visit.warmup :], tuple(times), began_ms=began_ms)

    def state(self) -> DeviceState:
        return DeviceState()

    def close(self) -> None:
        """Nothing was opened."""

    def block_ms(self, block: Block, threads: int) -> float:
        """Time of one block without noise, milliseconds."""
        if self.unit == "gpu":
            return gpu_block_ms(block, self._gpu, self._analytic)
        tiles = tile_count(block)
        efficiency = self._analytic.cpu_efficiency * (self._analytic.raw_product if is_raw_product(block) else 1.0)
        speeds = np.array(self.spec.cores[:threads]) * efficiency * 1e9
        compute = makespan(fp32_flops(block, self.target) / tiles, tiles, speeds) * _MS_PER_S
        return self._analytic.block_us / 1e3 + max(compute, self._memory_ms(block))

    @property
    def _gpu(self) -> Gpu:
        if self.spec.gpu is None:
            raise DeviceError(f"device {self.spec.name} has no GPU")
        return self.spec.gpu

    def _memory_ms(self, block: Block) -> float:
        """Weights always come from DRAM, since a whole model's do not fit; activations also from there beyond the
        caches."""
        caches = (self._memory.l3_kib + self._memory.system_cache_kib) * 1024
        activations = activation_bytes(block)
        bytes_from_dram = block.cost.weight_bytes + max(0.0, activations - caches)
        dram_s = bytes_from_dram / (self._memory.dram_gbps * self._analytic.bandwidth_efficiency * 1e9)
        return (dram_s + activations / (self._analytic.activation_gbps * 1e9)) * _MS_PER_S


def fp32_flops(block: Block, target: Target) -> float:
    """Operations in fp32 that take a core as long as a block's own: those of narrow products are fewer by the rate of
    their instructions."""
    sizes = block.sizes
    rate = _RATES.get((block.precision, target.int8 if block.precision == "int8" else ""), 1.0)
    product = 2 * sizes["rows"] * sizes["inner"] * sizes["columns"] if block.anchor == "gemm" else 0
    return block.cost.flops - product * (1 - 1 / rate)


def is_raw_product(block: Block) -> bool:
    """Whether a matrix product stores its result before anything is applied to it."""
    return block.anchor == "gemm" and not block.epilogue


def activation_bytes(block: Block) -> int:
    """Bytes that a block takes from earlier blocks and leaves for later ones."""
    return block.cost.bytes_moved - block.cost.weight_bytes


def tile_count(block: Block) -> int:
    """Tiles that the cores can take independently."""
    sizes = block.sizes
    if block.anchor in _BY_HEAD:
        return sizes["heads"] * -(-sizes["rows"] // _TILE_ROWS)
    columns = sizes.get("columns", sizes.get("hidden", 1))
    return -(-sizes["rows"] // _TILE_ROWS) * (-(-columns // _TILE_COLUMNS) if block.anchor == "gemm" else 1)


def makespan(tile_flops: float, tiles: int, speeds: np.ndarray) -> float:
    """Seconds until the last of ``tiles`` equal tiles is done when free cores take the next one.

    ``speeds`` (cores,) are flop/s. The k-th tile of core i ends at ``k * tile_flops / speeds[i]``; with greedy taking
    the tiles done are the ``tiles`` earliest of these moments, but a slow core that has begun must still end its tile.
    """
    durations = tile_flops / np.asarray(speeds, dtype=float)
    starts = np.arange(tiles)[:, None] * durations[None, :]  # (tiles, cores): when core i could begin its k-th tile
    order = np.argsort(starts, axis=None, kind="stable")[:tiles]
    return float((starts + durations[None, :]).ravel()[order].max())
