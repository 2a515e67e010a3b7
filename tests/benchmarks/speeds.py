"""How much faster than their teacher students are: all compiled with random weights, timed in turn in one process.

    python -m tests.benchmarks.speeds --students 6x256-h8-f1024,5x256-h8-f768,6x192-h6-f384

Prints minimum, median and 90th percentile in ms, and the teacher's over each of them.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from fusion.compare.benchmark import time_in_turn
from fusion.compiled import CompiledModel, compile_model
from search.real_stages import teacher_sizes
from search.students.student import save_untrained
from search.teachers.source import resolve_teacher
from tests.benchmarks.distillation_runs import architecture_of
from tests.benchmarks.table1_latency import bound


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--students", required=True, help="names, separated by commas")
    parser.add_argument("--teacher", help="Hugging Face folder or hub name  [default: all-MiniLM-L6-v2]")
    parser.add_argument("--seq-len", type=int, default=128)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=10)
    given = parser.parse_args()
    sizes, source = teacher_sizes(given.teacher), resolve_teacher(given.teacher)
    own = f"{sizes.layers}x{sizes.hidden}-h{sizes.heads}-f{sizes.intermediate}"
    models: dict[str, CompiledModel] = {}
    with TemporaryDirectory() as folder:
        for name in [own, *given.students.split(",")]:
            architecture = architecture_of(name, sizes, seq_len=given.seq_len, labels=2)
            checkpoint = save_untrained(source, architecture, Path(folder) / name)
            models[name] = compile_model(checkpoint, given.seq_len, given.threads)
    turns = time_in_turn({name: bound(model) for name, model in models.items()}, given.rounds)
    print(f"{models[own].target.name}, {given.threads} threads, {given.seq_len} tokens, {turns.rounds} rounds")
    print("| model | min | median | 90% | teacher's over each |", "|" + " --- |" * 5, sep="\n")
    figures = {timing.engine: np.percentile(timing.samples_ms, [0, 50, 90]) for timing in turns.timings}
    for name, found in figures.items():
        ratios = " / ".join(f"{ratio:.2f}" for ratio in figures[own] / found)
        print(f"| {name} | {' | '.join(f'{value:.2f}' for value in found)} | {ratios} |")


if __name__ == "__main__":
    main()
