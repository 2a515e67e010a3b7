"""int8 products beside fp32's, each target that this machine runs: ``python -m tests.benchmarks.int8``.

A product alone, without an epilogue, as generated code computes it; both precisions in turn in one process, on one core
unless told otherwise, weights and rows in the caches that hold them. Then what making rows int8 takes of BERT-base.
Smallest times count: what else the machine does only adds.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import click

from data.errors import DeviceError
from fusion import Processor, build_suite, make_block
from fusion.block import NARROW_OPERAND, NARROW_RESULT, Block
from fusion.build.runner import visit_line
from fusion.target import Target, host_target_named, host_targets
from search.commands._options import Command, run_command
from search.commands.standard_output import write_out

# (inner, columns) of BERT-base's and MiniLM's products, and of a student's, 128 rows each.
ROWS = 128
SHAPES = ((768, 768), (768, 3072), (3072, 768), (384, 1536), (1536, 384), (192, 768))
# BERT-base: how often a layer has a product of a shape, and makes rows of a length; twelve layers.
PRODUCTS = {(768, 768): 4, (768, 3072): 1, (3072, 768): 1}
QUANTISED = {768: 3, 3072: 1}
WARMUP, RUNS = 1, 3
LIMIT_S = 600.0


@click.command(cls=Command, help=__doc__)
@click.option("--target", "names", multiple=True, help="A target, once or more often.  [default: all that run here]")
@click.option("--threads", type=click.IntRange(min=1), default=1, show_default=True, help="CPU threads.")
@click.option("--rounds", type=click.IntRange(min=1), default=30, show_default=True, help="Turns of each block.")
@run_command
def main(names: Sequence[str], threads: int, rounds: int) -> None:
    targets = [host_target_named(name) for name in names] or list(host_targets())
    write_out(f"| target | inner x columns, {ROWS} rows | fp32 GOP/s | int8 GOP/s | fp32's time / int8's |")
    write_out("| --- | --- | ---: | ---: | ---: |")
    shares = []
    for target in targets:
        least_ms = _least_ms(target, threads, rounds)
        for inner, columns in SHAPES:
            times_ms = [least_ms[product(inner, columns, precision).hash] for precision in ("fp32", "int8")]
            speeds = " | ".join(f"{2e-6 * ROWS * inner * columns / time_ms:.0f}" for time_ms in times_ms)
            write_out(f"| {target.name} | {inner} x {columns} | {speeds} | {times_ms[0] / times_ms[1]:.2f} |")
        shares.append(f"{target.name} {_quantising_share(least_ms):.1%}")
    write_out(f"making rows int8, beside the int8 products of BERT-base: {', '.join(shares)}")


def product(inner: int, columns: int, precision: str) -> Block:
    """A product of all rows of a tensor."""
    attributes = {NARROW_OPERAND: f"0,{ROWS}"} if precision == "int8" else {}
    return replace(
        make_block("gemm", {"rows": ROWS, "inner": inner, "columns": columns}, (), {**attributes}), precision=precision
    )


def made_rows(columns: int, *, narrow: bool) -> Block:
    """Rows that go through a function of nearly no work, with or without a narrow copy."""
    attributes = {NARROW_RESULT: "int8"} if narrow else {}
    return make_block("rowwise", {"rows": ROWS, "columns": columns}, ("relu",), {**attributes})


def _blocks() -> list[Block]:
    products = [product(*shape, precision) for shape in SHAPES for precision in ("fp32", "int8")]
    return products + [made_rows(columns, narrow=narrow) for columns in QUANTISED for narrow in (False, True)]


def _quantising_share(least_ms: Mapping[str, float]) -> float:
    products_ms = sum(count * least_ms[product(*shape, "int8").hash] for shape, count in PRODUCTS.items())
    narrow_ms, plain_ms = (
        sum(count * least_ms[made_rows(columns, narrow=narrow).hash] for columns, count in QUANTISED.items())
        for narrow in (True, False)
    )
    return (narrow_ms - plain_ms) / products_ms


def _least_ms(target: Target, threads: int, rounds: int) -> dict[str, float]:
    """The smallest time of each block, milliseconds, by its hash."""
    blocks = _blocks()
    with TemporaryDirectory() as folder:
        runner = build_suite(blocks, Processor(target), Path(folder))
        visits = "".join(visit_line(block.hash, WARMUP, RUNS, 0) for block in blocks) * rounds
        command = runner.round_command("-", threads=threads)
        done = subprocess.run(command, input=visits, capture_output=True, text=True, timeout=LIMIT_S, check=False)
    if done.returncode:
        raise DeviceError(f"the blocks cannot be timed: {done.stderr.strip()}")
    least_ms: dict[str, float] = {}
    for result in map(json.loads, done.stdout.splitlines()):
        name, fastest = result["program"], min(result["samples_ms"])
        least_ms[name] = min(fastest, least_ms.get(name, fastest))
    return least_ms


if __name__ == "__main__":
    main()
