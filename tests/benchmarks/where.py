"""Where the time of compiled models goes: ``python -m tests.benchmarks.where``.

Each distinct block is timed alone. With the machine's measured peak as the ideal, a model's time on several threads is

    ideal (operations / peak) + kernel (one thread, weights in cache) + memory (weights from memory) + waiting (threads)

where each term is what is lost on top of those before it. Waiting includes uneven shares and what threads take from
each other's memory bandwidth.
"""

from __future__ import annotations

import json
import subprocess
from collections import Counter
from typing import Any

import click

from fusion.block import Block
from fusion.build.machine import Processor
from fusion.build.runner import Runner, build_suite
from fusion.compare.peak import measure_peak
from fusion.compiled import compile_model
from fusion.target import host_target
from search.commands._options import Command, console, emit_json, run_command
from search.commands.standard_output import write_out
from tests.benchmarks.models import PUBLISHED, check_model, model_files

_COLD_BYTES = 64 << 20
_TIME_LIMIT_S = 300


@click.command(cls=Command, help=__doc__)
@click.option("--models", default=",".join(PUBLISHED), show_default=True, help="Names, or 2x64-h2-f128.")
@click.option("--threads", type=click.IntRange(min=2), default=2, show_default=True, help="CPU threads.")
@click.option("--repeats", type=click.IntRange(min=1), default=4, show_default=True, help="Processes a block and kind.")
@click.option("--seq-len", type=click.IntRange(min=1), default=128, show_default=True, help="Sequence length, tokens.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object on standard output.")
@run_command
def main(models: str, threads: int, repeats: int, seq_len: int, as_json: bool) -> None:
    names = [name.strip() for name in models.split(",") if name.strip()]
    for name in names:
        check_model(name)
    target = host_target()
    peak = measure_peak(target, threads).gflops
    _say(f"Peak of {threads} threads: {peak:.0f} GFLOP/s. Percent of each model's time:\n", as_json)
    _say("| model | ms | ideal | kernel | memory | waiting | in attention |", as_json)
    _say("| --- | ---: | ---: | ---: | ---: | ---: | ---: |", as_json)
    results = {}
    for name in names:
        blocks = compile_model(model_files(name, seq_len).onnx, seq_len=seq_len, threads=threads).blocks
        results[name] = _shares(Counter(blocks), threads, repeats, peak)
        _say(_row(name, results[name]), as_json)
    if as_json:
        emit_json({"peak_gflops": peak, "threads": threads, "models": results})
    console().print("smallest times of each block, weights from memory where not said otherwise", markup=False)


def _say(line: str, as_json: bool) -> None:
    """A line of the table, which makes way for the object where that is wanted."""
    if as_json:
        click.echo(line, err=True)
    else:
        write_out(line)


def _shares(counts: Counter[Block], threads: int, repeats: int, peak: float) -> dict[str, float]:
    """Milliseconds of one run on all threads, by what they are spent on."""
    runner = build_suite(list(counts), Processor(host_target()))
    total = dict.fromkeys(("ideal", "kernel", "memory", "waiting", "attention"), 0.0)
    for block, count in counts.items():
        hot, cold = (_shortest_ms(runner, block, 1, repeats, rotate) for rotate in (0, _COLD_BYTES))
        together = _shortest_ms(runner, block, threads, repeats, _COLD_BYTES)
        ideal = block.cost.flops / peak / 1e6
        parts = (ideal, hot / threads - ideal, (cold - hot) / threads, together - cold / threads)
        for kind, part in zip(total, parts, strict=False):
            total[kind] += count * part
        total["attention"] += count * together * (block.anchor == "attention")
    return total


def _shortest_ms(runner: Runner, block: Block, threads: int, repeats: int, rotate_bytes: int) -> float:
    command = runner.command(
        block.hash, threads=threads, warmup=5, runs=60, rotate_bytes=rotate_bytes, fill_weights=True
    )
    samples: list[float] = []
    for _ in range(repeats):
        done = subprocess.run(command, capture_output=True, text=True, timeout=_TIME_LIMIT_S, check=True)
        samples += json.loads(done.stdout)["samples_ms"]
    return min(samples)


def _row(name: str, shares: dict[str, Any]) -> str:
    parts = [shares[kind] for kind in ("ideal", "kernel", "memory", "waiting")]
    total = sum(parts)
    percents = " | ".join(f"{part / total:.0%}" for part in (*parts, shares["attention"]))
    return f"| {name} | {total:.2f} | {percents} |"


if __name__ == "__main__":
    main()
