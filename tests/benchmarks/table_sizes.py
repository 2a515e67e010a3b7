"""Which encoders a table of really distilled students holds: one narrow band of latency, and some of all latencies.

    python -m tests.benchmarks.table_sizes > docs/results/table_sizes.txt

Latencies are those of the simulated Galaxy S20's CPU, without noise, so that the choice is the same on every machine:
the band lies at an eighth of the teacher's, two hundredths wide on either side; the others are spread evenly (in the
logarithm) from a sixteenth to a third. In the band every depth gets its turn. Prints a name, the latency's share of the
teacher's, and which part it belongs to.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from data.architecture import Architecture
from data.device_spec import load_device
from fusion.planning.architecture_plan import plan_architecture
from profiling.simulated import SimulatedDevice
from search.optimization.space import SearchSpace
from search.real_stages import teacher_sizes

_BAND, _HALF_WIDTH = 1 / 8, 0.02
_IN_BAND, _OTHERS = 40, 24
_FASTEST, _SLOWEST = 1 / 16, 1 / 3
_SEED = 0


def shares() -> Mapping[Architecture, float]:
    """Of every candidate of the default teacher's space: its latency, as a share of the teacher's."""
    device = SimulatedDevice(load_device("s20"))
    threads = device.spec.default_threads

    def latency(architecture: Architecture) -> float:
        return sum(device.block_ms(block, threads) for block in plan_architecture(architecture))

    space = SearchSpace.from_teacher(teacher_sizes(None), seq_len=128, labels=2)
    whole = latency(space.template)
    return {each: latency(each) / whole for each in space.architectures()}


def in_band(candidates: Mapping[Architecture, float], random: np.random.Generator) -> Iterator[Architecture]:
    """Of the band, one of each depth in turn, each at random."""
    depths: dict[int, list[Architecture]] = {}
    for architecture, share in candidates.items():
        if abs(share / _BAND - 1) <= _HALF_WIDTH:
            depths.setdefault(architecture.layers, []).append(architecture)
    turns = {depth: [own[place] for place in random.permutation(len(own))] for depth, own in sorted(depths.items())}
    while any(turns.values()):
        yield from (own.pop() for own in turns.values() if own)


def of_all_latencies(candidates: Mapping[Architecture, float], random: np.random.Generator) -> Iterator[Architecture]:
    """One near each of some latencies, fastest first."""
    for wanted in np.geomspace(_FASTEST, _SLOWEST, _OTHERS):
        near = [each for each, share in candidates.items() if abs(share / wanted - 1) <= _HALF_WIDTH]
        yield near[int(random.integers(len(near)))]


def main() -> None:
    candidates, random = shares(), np.random.default_rng(_SEED)
    band = [each for each, _ in zip(in_band(candidates, random), range(_IN_BAND), strict=False)]
    for part, chosen in (("band", band), ("spread", list(of_all_latencies(candidates, random)))):
        for each in chosen:
            print(each.name, f"{candidates[each]:.4f}", part)


if __name__ == "__main__":
    main()
