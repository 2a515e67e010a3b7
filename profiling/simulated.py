"""An analytic phone: counted cycles of the compiled code on clusters of unequal cores that take tiles as they can.

It stands in for a phone that is not attached; every figure from it is marked ``simulated``. For each block the time is

    block_us + max(makespan of its tiles over the cores + bytes from DRAM / bandwidth,
                   activation bytes / rate between blocks)

where a tile takes each core the cycles of its loops (``processor_latency.py``) over one fitted share, and cores take
equal tiles as they become free, as the compiled runtime does. A matrix product that stores its result as it is (only
plans without fusion have such) keeps a share of its speed. The GPU's time is that of the block's kernels
(``gpu_latency.py``). The constants and their sources stand in ``data/devices/*.toml``.
"""

from __future__ import annotations

import hashlib
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from data.device_spec import Analytic, DeviceSpec, Gpu, Memory
from data.errors import DeviceError
from data.measurement import Provenance
from data.progress import Progress, no_progress
from profiling.device import DeviceDescription, DeviceState, RawSamples, Round, Visit
from profiling.gpu_latency import gpu_block_ms
from profiling.processor_latency import core_clusters, memory_bytes, tile_count, tile_seconds

if TYPE_CHECKING:
    from fusion import Machine, Runner, Target
    from fusion.block import Block

_MS_PER_S = 1e3


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
        from fusion.emit.c.sharing import makespan

        if self.unit == "gpu":
            return gpu_block_ms(block, self._gpu, self._analytic)
        efficiency = self._analytic.cpu_efficiency * (self._analytic.raw_product if is_raw_product(block) else 1.0)
        cores = core_clusters(self.spec)[:threads]
        tile_s = [tile_seconds(block, self.target, cluster, core) / efficiency for cluster, core in cores]
        computing = makespan(tile_s, tile_count(block, self.target))
        dram_gbps = self._memory.dram_gbps * self._analytic.bandwidth_efficiency
        reading = memory_bytes(block, self.target) / (dram_gbps * 1e9)
        passing = activation_bytes(block) / (self._analytic.activation_gbps * 1e9)
        return self._analytic.block_us / 1e3 + max(computing + reading, passing) * _MS_PER_S

    @property
    def _gpu(self) -> Gpu:
        if self.spec.gpu is None:
            raise DeviceError(f"device {self.spec.name} has no GPU")
        return self.spec.gpu


def is_raw_product(block: Block) -> bool:
    """Whether a matrix product stores its result before anything is applied to it."""
    return block.anchor == "gemm" and not block.epilogue


def activation_bytes(block: Block) -> int:
    """Bytes that a block takes from earlier blocks and leaves for later ones."""
    return block.cost.bytes_moved - block.cost.weight_bytes


def simulated_note() -> str:
    """How far the counting of cycles errs where it can be checked: a clause that stands wherever latencies are
    simulated."""
    from fusion.cycles.table import method_error

    return f"simulated processors are counted: {method_error()}"
