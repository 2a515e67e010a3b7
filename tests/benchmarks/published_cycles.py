"""Counted cycles beside what is published of phones: ``python -m tests.benchmarks.published_cycles``, a minute.

Everything but the published column is simulated. Register tiles as shares of a core's rate; the fused CPU latencies of
the S20 (Niu, Kong et al., 2020), by one fitted constant, each also by the constant of the other two; and, with nothing
fitted, what half and int8 gain over fp32 on one core, beside Bolt 1.0.0's figures of its own code for a TinyBERT of 32
tokens on the Kirin 810 and 990, whose sizes it does not say: public TinyBERT's are taken.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from scipy.optimize import minimize_scalar

from data.architecture import PRECISIONS, Architecture, Precision
from data.device_spec import DeviceSpec, load_device
from fusion.cycles.table import stored_counts
from fusion.emit.c.half_packing import HALF_DEPTH
from fusion.emit.c.work import tile_loop
from fusion.planning.architecture_plan import plan_architecture
from fusion.target import target_named
from profiling.processor_latency import block_seconds
from profiling.simulated import SimulatedDevice
from tests.benchmarks.table2 import MODELS, PUBLISHED, all_rows_ms

TINYBERT = Architecture(4, 312, 12, 1200, seq_len=32)
CORES = {"A76": ("gold", "neoverse-n1", 2), "A55": ("silver", "cortex-a55", 1)}
# How many times fp32's speed, by precision and core: Kirin 810 and 990.
BOLT = {
    ("fp16", "A76"): (1.47, 1.42),
    ("fp16", "A55"): (1.82, 1.80),
    ("int8", "A76"): (2.13, 2.15),
    ("int8", "A55"): (2.34, 2.31),
}
# What an A55 takes in cycles of its clock for each that an A76 takes, fp32: milliseconds times GHz.
BOLT_CORES = {"Kirin 810": 16.605 * 1.88 / (4.709 * 2.27), "Kirin 990": 17.630 * 1.86 / (4.029 * 2.86)}
# Rows, vectors, precision, and multiplications a step.
_TILES = ((8, 3, "fp32", 24), (12, 2, "fp32", 24), (10, 2, "int8", 20), (8, 4, "fp16", 16))
_TARGET = target_named("aarch64-dotprod")


def tile_shares() -> list[str]:
    """Lines of a table: each register tile's share of a core's rate, alone and while it fetches ahead."""
    lines = []
    for height, width, precision, multiplications in _TILES:
        for core, (_, model, rate) in CORES.items():
            counts = stored_counts(_TARGET.name, model)
            widened = counts[tile_loop(height, width, "more", precision)].entry if precision == "fp16" else 0.0
            shares = [
                multiplications / rate / (counts[tile_loop(height, width, kind, precision)].step + widened / HALF_DEPTH)
                for kind in ("", "fetch")
            ]
            lines.append(f"| {precision} {height} x {width} | {core} | {shares[0]:.0%} | {shares[1]:.0%} |")
    return lines


def model_ms(model: Architecture, precision: Precision, core: str) -> float:
    """Milliseconds of a model on one core of an S10, nothing fitted."""
    spec = load_device("s10")
    alone = replace(spec, clusters=tuple(each for each in spec.clusters if each.name == CORES[core][0]))
    plan = plan_architecture(replace(model, precision=precision))
    return 1e3 * sum(block_seconds(block, _TARGET, alone) for block in plan)


def fused_ms(name: str, efficiency: float) -> float:
    """Simulated milliseconds of a fused model on the S20's processor."""
    spec: DeviceSpec = load_device("s20")
    assert spec.analytic is not None
    device = SimulatedDevice(replace(spec, analytic=replace(spec.analytic, cpu_efficiency=efficiency)))
    return all_rows_ms(device, MODELS[name])


def fitted(names: Sequence[str]) -> float:
    """The constant by which these models' fused latencies come out best."""

    def left(efficiency: float) -> float:
        errors = [np.log(fused_ms(name, efficiency) / PUBLISHED[name]["cpu", True]) for name in names]
        return float(np.square(errors).sum())

    return float(minimize_scalar(left, bounds=(0.5, 1.0), method="bounded").x)


def main() -> None:
    print("| tile | core | of its rate | while it fetches |\n| --- | --- | ---: | ---: |")
    print("\n".join(tile_shares()))
    constant = fitted(list(MODELS))
    print(f"\nS20, fused, 8 threads, constant {constant:.3f}\n")
    print("| model | published ms | simulated ms | error | left out |")
    print("| --- | ---: | ---: | ---: | ---: |")
    for name in MODELS:
        published, found = PUBLISHED[name]["cpu", True], fused_ms(name, constant)
        left_out = fused_ms(name, fitted([other for other in MODELS if other != name])) / published - 1
        print(f"| {name} | {published} | {found:.1f} | {found / published - 1:+.1%} | {left_out:+.1%} |")
    times = {(precision, core): model_ms(TINYBERT, precision, core) for precision in PRECISIONS for core in CORES}
    print("\n| gain over fp32 | core | Kirin 810, 990 | counted | error |\n| --- | --- | ---: | ---: | ---: |")
    for (precision, core), gains in BOLT.items():
        gain = times["fp32", core] / times[precision, core]  # type: ignore[index]
        told = ", ".join(f"{gain / each - 1:+.0%}" for each in gains)
        print(f"| {precision} | {core} | {gains[0]}, {gains[1]} | {gain:.2f} | {told} |")
    clocks = {
        core: next(c.clock_ghz for c in load_device("s10").clusters if c.name == CORES[core][0]) for core in CORES
    }
    cycles = times["fp32", "A55"] * clocks["A55"] / (times["fp32", "A76"] * clocks["A76"])
    published_cycles = ", ".join(f"{value:.2f} ({name})" for name, value in BOLT_CORES.items())
    print(f"\nCycles of an A55 for each of an A76, fp32: {published_cycles}, counted {cycles:.2f}")


if __name__ == "__main__":
    main()
