"""The C tokenizer under libFuzzer and sanitizers: ``python -m tests.benchmarks.tokenizer_fuzz --seconds 600``.

Needs clang with its runtime (Debian: clang-14, libclang-rt-14-dev). Inputs are texts of any bytes, and tables of which
some bytes are changed. What is found lies in the output directory, as libFuzzer leaves it.
"""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import click

from tests.fusion.tokenizer.fuzzing import built_target, written_inputs, written_tables

_FLAGS = ("-fsanitize=fuzzer,address,undefined",)
_INPUTS = 400
_LONGEST = 4096  # bytes of an input
_FIGURES = re.compile(r"stat::number_of_executed_units: *(\d+)|cov: (\d+) ft: (\d+) corp: (\d+)")


@click.command(help=__doc__)
@click.option("--seconds", type=click.IntRange(min=1), default=600, show_default=True, help="How long to try.")
@click.option("--clang", default="clang", show_default=True, help="The compiler.")
@click.option("--out", type=click.Path(path_type=Path), default=Path("fuzz"), show_default=True, help="Where to work.")
def main(seconds: int, clang: str, out: Path) -> None:
    corpus = out / "corpus"
    corpus.mkdir(parents=True, exist_ok=True)
    tables = written_tables(out)
    written_inputs(corpus, len(tables), _INPUTS)
    program = built_target([clang], _FLAGS, out / "fuzz", ())
    limits = [f"-max_total_time={seconds}", f"-max_len={_LONGEST}", "-timeout=10", "-print_final_stats=1"]
    command = [str(program.resolve()), *limits, f"-artifact_prefix={out}/", str(corpus)]
    environment = os.environ | {"POCKETBERT_TABLES": ":".join(map(str, tables))}
    log = out / "log.txt"
    with log.open("w") as stream:
        code = subprocess.run(command, env=environment, stderr=stream, check=False).returncode
    text = log.read_text(errors="replace")
    if code:
        raise SystemExit(f"libFuzzer found something (exit code {code}):\n{text[-4000:]}")
    click.echo("\n".join(line for line in text.splitlines()[-30:] if _FIGURES.search(line)))


if __name__ == "__main__":
    main()
