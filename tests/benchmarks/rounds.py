"""What a round costs on this machine, and how much its process matters: ``python -m tests.benchmarks.rounds``.

The same visits are made by a process each and by a process a round, in turn, and then by one process in all.
"""

from __future__ import annotations

from itertools import pairwise
from statistics import median, stdev
from time import perf_counter

import click
import numpy as np

from data.device_spec import load_device
from fusion import Runner, build_model_suite, plan_architecture
from profiling import Device, RawSamples, Round, Visit, open_device
from profiling.sampling import SamplingRange, sample_architectures
from search.commands._options import Command, run_command
from search.commands.standard_output import write_out

WARMUP, RUNS = 1, 4


@click.command(cls=Command, help=__doc__)
@click.option("--models", type=click.IntRange(min=2), default=16, show_default=True, help="Whole models in a round.")
@click.option("--rounds", type=click.IntRange(min=3), default=12, show_default=True, help="Rounds of each kind.")
@click.option("--threads", type=click.IntRange(min=1), default=2, show_default=True, help="CPU threads.")
@run_command
def main(models: int, rounds: int, threads: int) -> None:
    device = open_device(load_device("host"))
    architectures = sample_architectures(SamplingRange(), models, 0)
    runner = build_model_suite(architectures, device.machine)
    visits = [Visit(each.name, plan_architecture(each), WARMUP, RUNS) for each in architectures]
    random = np.random.default_rng(0)
    orders = [[visits[place] for place in random.permutation(models)] for _ in range(rounds)]
    alone, together = [], []
    for order in orders:  # in turn, so that what the machine does meanwhile is the same for both
        alone.append([_made(device, runner, [visit], threads) for visit in order])
        together.append(_made(device, runner, order, threads))
    whole = _made(device, runner, [visit for order in orders for visit in order], threads)
    _tell("a process for each visit", [made for each in alone for made in each])
    _tell("a process for each round", together)
    _tell("one process for all rounds", [whole])
    names = [[visit.program for visit in order] for order in orders]
    write_out("")
    apart = [_by_program(order, raws) for order, (_, raws) in zip(names, together, strict=True)]
    size = len(visits)
    inside = [_by_program(order, whole[1][k * size : (k + 1) * size]) for k, order in enumerate(names)]
    for title, found in (("processes", apart), ("rounds of one process", inside)):
        spread = median(stdev(np.log([each[name] for each in found])) for name in found[0])
        write_out(
            f"the same model's medians in different {title}: standard deviation {spread:.1%} (median of the models)"
        )


def _made(device: Device, runner: Runner, visits: list[Visit], threads: int) -> tuple[float, tuple[RawSamples, ...]]:
    """Milliseconds that a round takes from outside, and its samples."""
    began = perf_counter()
    raws = device.go_round(Round(tuple(visits), threads, runner, time_limit_s=600.0))
    return (perf_counter() - began) * 1e3, raws


def _tell(title: str, made: list[tuple[float, tuple[RawSamples, ...]]]) -> None:
    """How long the processes took beside the runs, before the first visit and for each."""
    runs = [sum(sum(raw.warmups_ms) + sum(raw.samples_ms) for raw in raws) for _, raws in made]
    count = sum(len(raws) for _, raws in made)
    beside = sum(wall_ms for wall_ms, _ in made) - sum(runs)
    before = median(raws[0].began_ms or 0.0 for _, raws in made)
    between = [
        (later.began_ms or 0.0) - (raw.began_ms or 0.0) - sum(raw.warmups_ms) - sum(raw.samples_ms)
        for _, raws in made
        for raw, later in pairwise(raws)
    ]
    each = f", {median(between):.2f} ms from visit to visit" if between else ""
    first = f"{before:.1f} ms from the process's start to its first visit{each}"
    write_out(f"{title}: {beside / count:.2f} ms a visit beside its runs of {sum(runs) / count:.1f} ms; {first}")


def _by_program(order: list[str], raws: tuple[RawSamples, ...]) -> dict[str, float]:
    return {name: median(raw.samples_ms) for name, raw in zip(order, raws, strict=True)}


if __name__ == "__main__":
    main()
