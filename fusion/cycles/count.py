"""Counts the cycles of all loops on all cores and stores them: ``python -m fusion.cycles.count``, minutes.

``--names REGEX`` counts only what it finds and shows it instead. Without llvm-mca the stored counts serve; whoever
changes a loop, the compiler or a core's model runs this once.
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from itertools import count
from pathlib import Path

from data.errors import ToolchainError
from data.home import home
from data.kept import replacing
from data.usable_processors import usable_processors
from fusion.build.toolchain import toolchain
from fusion.cycles.assembly import Loop, loops_of
from fusion.cycles.cores import CORES, Core, core_named
from fusion.cycles.probe import Marker, Probe, function_name, mark_count, probe_unit
from fusion.cycles.probes import probes
from fusion.cycles.table import FILE, Count
from fusion.target import Target, target_named

# Which code is counted on which cores: none of those with smmla is known well.
COUNTED: Mapping[str, tuple[str, ...]] = {
    "aarch64-neon": ("neoverse-n1", "cortex-a55"),
    "aarch64-dotprod": ("neoverse-n1", "cortex-a55"),
    "x86_64-avx512": ("sapphire-rapids", "zen4"),
    "x86_64-avx512-vnni": ("sapphire-rapids", "zen4"),
    "x86_64-avx2": ("sapphire-rapids", "zen4"),
}
# Loops go round for at least so many steps: enough for a core to be full.
_STEPS = 16


def counted_loops(target: Target, wanted: str = "") -> dict[str, tuple[Probe, Loop]]:
    """The loops of a target's probes whose names hold ``wanted``, a regular expression, and of those that they need.

    Raises:
        ToolchainError: the compiler failed, or made of a probe what cannot be counted.
    """
    known = {probe.name: probe for probe in probes(target)}
    names = {name for name in known if re.search(wanted, name)}
    names |= {beyond for name in names if (beyond := known[name].beyond)}
    found = [known[name] for name in known if name in names]
    assembly = toolchain(target, home() / "compiled").assembly(probe_unit(found))
    loops = {}
    for place, probe in enumerate(found):
        outermost = loops_of(assembly, function_name(place), target.machine)
        if len(outermost) != 1:
            raise ToolchainError(f"the probe {probe.name} has {len(outermost)} loops, not one, for {target.name}")
        loops[probe.name] = (probe, outermost[0])
    return loops


def counts_of(loops: Mapping[str, tuple[Probe, Loop]], core: Core) -> dict[str, Count]:
    """Cycles of each loop on a core.

    Raises:
        ToolchainError: llvm-mca is not installed, or an instruction is not known.
    """
    with ThreadPoolExecutor(max_workers=usable_processors().count) as pool:
        found = list(pool.map(lambda item: counted(item[0], item[1], core), loops.values()))
    counts = dict(zip(loops, found, strict=True))
    for name, (probe, _) in loops.items():
        if probe.beyond:
            more = counts[name].entry - counts[probe.beyond].entry
            counts[name] = Count(max(0.0, more) / probe.results, 0.0)
    return counts


def counted(probe: Probe, loop: Loop, core: Core) -> Count:
    """Cycles of a loop: of a step where all its inner loops make one, and of all else in a round of the outer one."""
    if not loop.inner:
        return Count(core.cycles(loop.unrolled({})) / float(_steps(probe, loop, probe.markers[0], core.machine)), 0.0)
    if len(loop.inner) != len(probe.markers):
        raise ToolchainError(f"the probe {probe.name} has {len(loop.inner)} inner loops, not {len(probe.markers)}")
    passes = {
        inner: _steps(probe, inner, marker, core.machine)
        for inner, marker in zip(loop.inner, probe.markers, strict=True)
    }
    steps = next(
        number for number in count(_STEPS) if all((number / each).denominator == 1 for each in passes.values())
    )
    once, twice = (
        core.cycles(loop.unrolled({inner: int(times * steps / each) for inner, each in passes.items()}))
        for times in (1, 2)
    )
    step = (twice - once) / steps
    beside = float(_steps_beside(probe, loop, core.machine))
    return Count(step, max(0.0, once - (steps + beside) * step))


def _steps_beside(probe: Probe, loop: Loop, machine: str) -> Fraction:
    """Steps that stand apart from the inner loop: a pipelined loop ends with one that loads nothing for a next."""
    marker, *others = probe.markers
    if others or not marker.pipelined:
        return Fraction(0)
    own = (part for part in loop.body if isinstance(part, str))
    return Fraction(sum(mark_count(instruction, marker.kind, machine) for instruction in own), marker.each)


def _steps(probe: Probe, loop: Loop, marker: Marker, machine: str) -> Fraction:
    """How many steps one pass through a compiled loop makes."""
    found = sum(mark_count(instruction, marker.kind, machine) for instruction in loop.instructions())
    if not found:
        raise ToolchainError(f"a loop of {probe.name} has no {marker.kind}")
    return Fraction(found, marker.each)


def all_counts(wanted: str = "") -> dict[str, dict[str, dict[str, tuple[float, float]]]]:
    """Counts by target, core and loop, rounded to hundredths of a cycle."""
    document: dict[str, dict[str, dict[str, tuple[float, float]]]] = {}
    for name, cores in COUNTED.items():
        loops = counted_loops(target_named(name), wanted)
        for core in cores:
            counts = counts_of(loops, core_named(core))
            document.setdefault(name, {})[core] = {
                loop: (round(each.step, 2), round(each.entry, 1)) for loop, each in sorted(counts.items())
            }
    return document


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--names", metavar="REGEX", default="")
    wanted = parser.parse_args().names
    counts = all_counts(wanted)
    if wanted:
        for target, cores in counts.items():
            for core, loops in cores.items():
                for name, (step, entry) in loops.items():
                    print(f"{target:16} {core:16} {name:24} {step:8.2f} a step {entry:8.1f} an entry")
        return
    with replacing(Path(__file__).with_name(FILE)) as file:
        file.write_text(_text(counts), encoding="utf-8")
    print(f"{sum(len(loops) for cores in counts.values() for loops in cores.values())} counts on {len(CORES)} cores")


def _text(counts: Mapping[str, Mapping[str, Mapping[str, tuple[float, float]]]]) -> str:
    """JSON with a loop a line."""
    said = "Cycles of a step and of an entry, by target, core and loop. Made by: python -m fusion.cycles.count"
    targets = []
    for target, cores in counts.items():
        parts = []
        for core, loops in cores.items():
            lines = ",\n".join(f"    {json.dumps(name)}: {json.dumps(numbers)}" for name, numbers in loops.items())
            parts.append(f"   {json.dumps(core)}: {{\n{lines}\n   }}")
        targets.append(f"  {json.dumps(target)}: {{\n" + ",\n".join(parts) + "\n  }")
    return f'{{\n "about": {json.dumps(said)},\n "counts": {{\n' + ",\n".join(targets) + "\n }\n}\n"


if __name__ == "__main__":
    main()
