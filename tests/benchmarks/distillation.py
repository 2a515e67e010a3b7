"""What each part of the recipe is worth: students of several sizes distilled in several ways, over tasks and seeds.

    python -m tests.benchmarks.distillation --data DIR --out DIR --tasks mrpc,stsb,docpairs --seeds 0,1,2 \
        --students 6x256-h8-f1024,6x192-h6-f768 --recipes default,no-changes --tokens 500000

Teachers and students are kept in OUT, a finished run is a row of OUT/distillation.jsonl, and a killed call goes on.
``--processes`` makes several at once: on a GPU, or on many cores (with OMP_NUM_THREADS=1). Each line of a file of
``--runs`` holds options of further runs, such as ``--tasks stsb --students 2x192-h6-f384 --tokens 60000,300000``.
Choices are made on the held-out tenth of train; the dev score stands beside it. Prints a table of means over seeds, as
differences from the teacher, with the standard deviation over seeds where there are several; and how well cheaper
levels rank students as dearer ones do.
"""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from search.teachers.fine_tuning import FineTuning
from tests.benchmarks.distillation_report import levels, table
from tests.benchmarks.distillation_runs import Rows, Run, Setting, run_all


def asked(given: argparse.Namespace) -> Iterator[Run]:
    """The runs that the command line asks for: each teacher before its students, cheaper levels first."""
    students = [line for name in given.students for line in _names(name)]
    for seed in map(int, given.seeds.split(",")):
        for named in given.tasks.split(","):
            name, _, kind = named.partition(":")
            teacher = Run(name, kind or None, seed, given.passes, given.rate)  # type: ignore[arg-type]
            yield teacher
            own = [int(each) for each in given.student_seeds.split(",")] if given.student_seeds else [None]
            for tokens in map(int, str(given.tokens).split(",")):
                for student_seed in own:
                    for student in students:
                        for recipe in given.recipes.split(","):
                            yield replace(
                                teacher, student=student, recipe=recipe, tokens=tokens, student_seed=student_seed
                            )


def _names(students: str) -> list[str]:
    """Names of students: separated by commas, or those of a file, one at the beginning of each line."""
    path = Path(students)
    text = path.read_text(encoding="utf-8") if path.is_file() else students.replace(",", "\n")
    return [line.split()[0] for line in text.splitlines() if line.strip()]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument(
        "--tasks", default="mrpc,stsb,docpairs", help="stsb:similarity for sentence embeddings; also task files (.toml)"
    )
    parser.add_argument("--seeds", default="0", help="of teachers, and of students that have none of their own")
    parser.add_argument("--student-seeds", default="", help="several students of each teacher")
    parser.add_argument("--students", action="append", default=[], help="names, or a file with one a line")
    parser.add_argument("--recipes", default="default")
    parser.add_argument("--tokens", default="0", help="one or several lengths")
    parser.add_argument("--passes", type=int, default=FineTuning().passes)
    parser.add_argument("--rate", type=float, default=FineTuning().learning_rate)
    return parser


def main() -> None:
    own = _parser()
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, parents=[own]
    )
    parser.add_argument("--data", type=Path, required=True, help="folder with GLUE's folders")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--runs", type=Path, help="a file with options of one or several runs in each line")
    parser.add_argument("--teacher", help="Hugging Face folder or hub name  [default: all-MiniLM-L6-v2]")
    parser.add_argument("--seq-len", type=int, default=128)
    parser.add_argument("--corpus", type=Path)
    parser.add_argument("--processes", type=int, default=1)
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    lines = given.runs.read_text(encoding="utf-8").splitlines() if given.runs else []
    wanted = [given] if given.students or not lines else []
    wanted += [own.parse_args(shlex.split(line)) for line in lines if line.strip()]
    runs = dict.fromkeys(run for each in wanted for run in asked(each))
    rows, failed = Rows(given.out), False
    setting = Setting(given.data, given.out, given.teacher, given.corpus, given.seq_len)
    for told in run_all(list(runs), rows, setting, given.processes):
        print(told, flush=True)
        failed |= told.startswith("error: ")
    print(table(rows.all()))
    print(levels(rows.all()))
    raise SystemExit(int(failed))


if __name__ == "__main__":
    main()
