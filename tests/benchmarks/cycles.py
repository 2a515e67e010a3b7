"""Cycle counts beside measured times, where these can be had: ``python -m tests.benchmarks.cycles``, minutes.

Phones' processors are counted loop by loop (``profiling/processor_latency.py``). Here the same method, with a model
of this machine's cores, predicts blocks and whole models that are then measured, one thread, 128 tokens, in fp32 or
int8.
Nothing is fitted: the clock, and the bytes that a core reads a second from L2 and from as much memory as a model's
weights are, come from loops of their own between the rounds. The least of many visits counts: all that a shared machine
adds makes a run longer. ``--store`` writes the errors to ``fusion/cycles/checked.json``.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import cast

import numpy as np
from scipy.stats import spearmanr

from data.architecture import Architecture, Precision
from data.device_spec import Cluster, Core, DeviceSpec, Memory, load_device
from data.errors import DeviceError
from data.processor import shared_flags
from fusion.block import Block
from fusion.build.machine import Processor
from fusion.build.runner import Runner, build_model_suite
from fusion.planning.architecture_plan import plan_architecture
from fusion.target import Target, host_target_named
from profiling.device import Round, Visit
from profiling.host import HostDevice
from profiling.processor_latency import block_seconds

# Runs of a few milliseconds at most: longer ones are never undisturbed on a shared machine.
MODELS = (
    Architecture(2, 128, 2, 512),
    Architecture(12, 128, 2, 512),
    Architecture(6, 192, 3, 640),
    Architecture(3, 224, 7, 896),
    Architecture(2, 256, 4, 1024),
    Architecture(4, 256, 8, 512),
    Architecture(2, 320, 10, 256),
    Architecture(2, 312, 12, 1200),
    Architecture(2, 384, 12, 1536),
    Architecture(2, 448, 7, 512),
    Architecture(2, 512, 8, 512),
)
_STORED = Path(__file__).parents[2] / "fusion" / "cycles" / "checked.json"
# Blocks that take less are not told from what surrounds them.
_LEAST_US = 15.0
_RUNS, _WARMUP = 7, 3
_PROBE_ROUNDS, _PROBE_BYTES = 100_000, 16 << 20


@dataclass(frozen=True)
class Kind:
    """A kind of processor whose cores are counted: the core's model, KiB of its L1 data cache, and the flags that tell
    such a processor from others."""

    name: str
    core: str
    l1_kib: int
    has: frozenset[str]
    lacks: frozenset[str] = frozenset()


_KINDS = (
    Kind("Sapphire Rapids", "sapphire-rapids", 48, frozenset({"amx_tile", "avx512_fp16"})),
    Kind("AMD Zen 4", "zen4", 32, frozenset({"sse4a", "avx512_bf16"}), frozenset({"avx_vnni"})),
)


@dataclass(frozen=True)
class Machine:
    """What was measured of this machine: Hz, and bytes a second by how many are gone through."""

    clock_hz: float
    read_rates: Mapping[int, float]

    def best(self, other: Machine) -> Machine:
        """The better of both in all."""
        rates = {size: max(rate, other.read_rates[size]) for size, rate in self.read_rates.items()}
        return Machine(max(self.clock_hz, other.clock_hz), rates)


@dataclass(frozen=True)
class Compared:
    """A block in a model, or a whole model: milliseconds."""

    name: str
    measured_ms: float
    counted_ms: float

    @property
    def error(self) -> float:
        return self.counted_ms / self.measured_ms - 1


class _Probe:
    """``machine_probe.c``, compiled for a target."""

    def __init__(self, target: Target) -> None:
        source = Path(__file__).with_name("machine_probe.c")
        with tempfile.TemporaryDirectory() as folder:
            made = Path(folder) / "probe.so"
            flags = ["-target", target.shared_triple, f"-mcpu={target.cpu}", *target.flags]
            words = [*flags, "-O3", "-std=gnu11", "-shared", "-fPIC", str(source), "-o", str(made)]
            subprocess.run([sys.executable, "-m", "ziglang", "cc", *words], check=True)
            self._library = ctypes.CDLL(str(made))
        self._library.clock_hz.restype = self._library.read_rate.restype = ctypes.c_double
        self._library.read_rate.argtypes = [ctypes.c_long] * 2

    def machine(self, sizes: Sequence[int]) -> Machine:
        clock = self._library.clock_hz(ctypes.c_long(_PROBE_ROUNDS))
        return Machine(clock, {size: self._library.read_rate(size, max(2 * size, _PROBE_BYTES)) for size in sizes})


def this_kind() -> Kind:
    """The kind of this machine's processor.

    Raises:
        DeviceError: no core is counted that stands for its own.
    """
    flags = shared_flags(Path("/proc/cpuinfo").read_text())
    for kind in _KINDS:
        if kind.has <= flags and not kind.lacks & flags:
            return kind
    raise DeviceError(f"no core is counted that stands for this machine's: {', '.join(kind.name for kind in _KINDS)}")


def l2_bytes() -> int:
    """Bytes of a core's L2 cache, as Linux tells."""
    text = Path("/sys/devices/system/cpu/cpu0/cache/index2/size").read_text().strip()
    return int(text.removesuffix("K")) * 1024


def weight_bytes(blocks: Sequence[Block]) -> int:
    """Bytes of weights that each run goes through, whole pages."""
    total = sum(block.cost.weight_bytes for block in blocks if block.anchor != "embeddings")
    return -(-total // 4096) * 4096


def specification(target: Target, machine: Machine, weights: int) -> DeviceSpec:
    """This machine as a device to be counted, for a model with so many bytes of weights."""
    per_cycle = {size: rate / machine.clock_hz for size, rate in machine.read_rates.items()}
    shared = per_cycle[2 * l2_bytes()]
    kind = this_kind()
    core = Core(kind.core, kind.l1_kib, per_cycle[l2_bytes() // 2], shared)
    cluster = Cluster("this machine", 1, machine.clock_hz / 1e9, 4 * target.lanes, l2_bytes() / 1024, core)
    return DeviceSpec(
        name="counted",
        title="this machine",
        kind="android",
        target=target.name,
        clusters=(cluster,),
        memory=Memory(machine.read_rates[weights] / 1e9, l3_kib=1 << 30),
    )


def measured(
    runner: Runner, plans: Mapping[str, tuple[Block, ...]], target: Target, rounds: int, sizes: Sequence[int]
) -> tuple[dict[str, float], dict[tuple[str, str], float], Machine]:
    """Least milliseconds of each model, and of each of its blocks by model and hash; and the machine at its best."""
    probe, machine = _Probe(target), Machine(0.0, dict.fromkeys(sizes, 0.0))
    device = HostDevice(load_device("host"), "cpu", target.name)
    visits = tuple(Visit(name, plan, _WARMUP, _RUNS) for name, plan in plans.items())
    models: dict[str, float] = {}
    blocks: dict[tuple[str, str], float] = {}
    for _ in range(rounds):
        for visit, raw in zip(visits, device.go_round(Round(visits, 1, runner, time_limit_s=300)), strict=True):
            models[visit.program] = min(models.get(visit.program, np.inf), *raw.samples_ms)
            for name, time in raw.block_ms:
                blocks[visit.program, name] = min(blocks.get((visit.program, name), np.inf), time)
        machine = machine.best(probe.machine(sizes))
    return models, blocks, machine


def compare(target: Target, precision: Precision, rounds: int) -> tuple[list[Compared], list[Compared], Machine]:
    """Whole models and blocks, and what was measured of the machine."""
    asked = [replace(model, precision=precision) for model in MODELS]
    runner = build_model_suite(asked, Processor(target))
    plans = {model.name: tuple(plan_architecture(model)) for model in asked}
    sizes = sorted({l2_bytes() // 2, 2 * l2_bytes(), *map(weight_bytes, plans.values())})
    times, block_times, machine = measured(runner, plans, target, rounds, sizes)
    models, blocks = [], []
    for name, plan in plans.items():
        spec = specification(target, machine, weight_bytes(plan))
        counted = {block: 1e3 * block_seconds(block, target, spec) for block in plan}
        models.append(Compared(name, times[name], sum(counted[block] for block in plan)))
        blocks += [
            Compared(f"{name}: {block.name}", block_times[name, block.hash], counted[block])
            for block in dict.fromkeys(plan)
        ]
    return models, [block for block in blocks if block.measured_ms >= _LEAST_US / 1e3], machine


def summary(models: Sequence[Compared], blocks: Sequence[Compared]) -> dict[str, float]:
    """Mean absolute errors, shares within bounds, and Spearman's rank correlation of the blocks."""
    errors, block_errors = (np.array([abs(each.error) for each in rows]) for rows in (models, blocks))
    rank = spearmanr([each.measured_ms for each in blocks], [each.counted_ms for each in blocks]).statistic
    return {
        "models": float(errors.mean()),
        "largest_of_models": float(errors.max()),
        "blocks": float(block_errors.mean()),
        "median_of_blocks": float(np.median(block_errors)),
        "blocks_within_20_percent": float((block_errors <= 0.2).mean()),
        "rank_correlation": float(rank),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=60)
    parser.add_argument("--code", default="avx512,avx2,avx512-vnni:int8", help="instructions, and a precision")
    parser.add_argument("--blocks", action="store_true", help="show every block")
    parser.add_argument("--store", action="store_true", help="write fusion/cycles/checked.json")
    options = parser.parse_args()
    kind, stored = this_kind(), {}
    for words in options.code.split(","):
        word, _, asked = words.partition(":")
        target, precision = host_target_named(word), cast("Precision", asked or "fp32")
        models, blocks, machine = compare(target, precision, options.rounds)
        code = f"{target.name} {precision}"
        stored[code] = {name: round(value, 3) for name, value in summary(models, blocks).items()}
        print(f"\n{kind.name}, {code}, {machine.clock_hz / 1e9:.2f} GHz, one thread\n")
        rates = ", ".join(f"{size >> 10} KiB {rate / 1e9:.1f}" for size, rate in machine.read_rates.items())
        print(f"GB/s read of {rates}\n\n| model | measured ms | counted ms | error |\n| --- | ---: | ---: | ---: |")
        for row in (*models, *(blocks if options.blocks else ())):
            print(f"| {row.name} | {row.measured_ms:.3f} | {row.counted_ms:.3f} | {row.error:+.1%} |")
        print("\n" + json.dumps(stored[code]), flush=True)
    if options.store:
        document = {"processor": kind.name, "date": datetime.now(UTC).date().isoformat(), "errors": stored}
        _STORED.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
