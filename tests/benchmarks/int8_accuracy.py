"""What int8 costs in accuracy: teachers and students of several tasks, in fp32 and as the compiler's int8 scheme.

    nohup setsid nice python -m tests.benchmarks.int8_accuracy --data DIR --out DIR >DIR/log 2>&1 &

The sentence encoder that teachers are made of, as it comes; for each task its teacher, fine-tuned as a search does it;
two students distilled from it, which are int8 afterwards (post-training); and the same students where the last
``--aware`` share of their steps learns as an int8 model does. Teachers, students and rows are kept in OUT: a killed
call goes on, a finished one prints its tables again.

Points are hundredths of the task's metric; a loss is fp32's score less int8's on the same examples, its standard error
is from resampling them. "Changed" is the share of examples whose class is another. "pairs" has the weights that x86
without VNNI gets, where neighbours are made smaller; "products" leaves the embedding tables in fp32. Ends with 1 where
the bar is missed: a mean loss on dev of at most .5 points, none over 1.0, cosines of embeddings to fp32 of .99 at least
on average.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.benchmarks.int8_runs import SENTENCES, Case, Setting, compared, kept_row

KINDS = ("int8", "pairs", "products")
_MEAN_LOSS, _MOST_LOSS, _LEAST_COSINE = 0.5, 1.0, 0.99


def cases(tasks: Sequence[str], students: Sequence[str], tokens: int, aware: Sequence[float]) -> list[Case]:
    """The teachers first, then their students, those that learn as int8 models last."""
    with_students = [task for task in tasks if task != SENTENCES]
    made = [
        Case(task, student, tokens, share)
        for share in (0.0, *aware)
        for task in with_students
        for student in students
        if student
    ]
    return [Case(task) for task in tasks] + made


def table(rows: Sequence[dict[str, Any]], part: str, kind: str) -> str:
    """One line a model: its fp32 score, what int8 loses, and how far its outputs are from fp32's."""
    lines = [
        "| model | fp32 | int8 | loss, points | changed | divergence | output r | embedding cosine: mean, least |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for row in rows:
        found, case = row[part], row["case"]
        int8 = found[kind]
        aware = f", aware {case['quantised']:g}" if case["quantised"] else ""
        changed = "–" if int8["changed"] is None else f"{int8['changed']:.1%}"
        mean, least = int8["embedding_cosine"]
        lines.append(
            f"| {case['task']} {case['student'] or 'teacher'}{aware} | {100 * found['fp32']:.2f} ± "
            f"{100 * found['error']:.2f} | {100 * int8['score']:.2f} | {100 * int8['loss']:+.2f} ± "
            f"{100 * int8['loss_error']:.2f} | {changed} | {int8['divergence']:.2g} | "
            f"{int8['output_correlation']:.5f} | {mean:.5f}, {least:.5f} |"
        )
    return "\n".join(lines)


def judged(rows: Sequence[dict[str, Any]], kind: str) -> tuple[str, bool]:
    """The bar beside what was found on dev, and whether it is met."""
    losses = [100 * row["dev"][kind]["loss"] for row in rows]
    cosine = min(row["dev"][kind]["embedding_cosine"][0] for row in rows)
    mean = sum(losses) / len(losses)
    told = (
        f"{kind}, {len(rows)} models: mean loss {mean:+.2f} points (at most {_MEAN_LOSS}), largest {max(losses):+.2f} "
        f"(at most {_MOST_LOSS}), smallest mean cosine {cosine:.5f} (at least {_LEAST_COSINE})"
    )
    return told, mean <= _MEAN_LOSS and max(losses) <= _MOST_LOSS and cosine >= _LEAST_COSINE


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with GLUE's folders")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--tasks", default="sentences,mrpc,stsb,rte,docpairs")
    parser.add_argument("--students", default="6x192-h6-f384,4x256-h8-f1024")
    parser.add_argument("--tokens", type=int, default=300_000, help="that each student learns from")
    parser.add_argument("--aware", default="0.2", help="shares of steps, separated by commas; empty for none")
    given = parser.parse_args()
    setting = Setting(given.data, given.out)
    aware = [float(share) for share in given.aware.split(",") if share]
    rows = []
    for case in cases(given.tasks.split(","), given.students.split(","), given.tokens, aware):
        rows.append(kept_row(case, setting, "accuracy", compared))
        print(table(rows[-1:], "dev", "int8").splitlines()[-1], flush=True)
    for part in ("dev", "held_out"):
        for kind in KINDS:
            print(f"\n{part}, {kind}\n{table(rows, part, kind)}")
    verdicts = []
    for share in (0.0, *aware):
        chosen = [row for row in rows if row["case"]["quantised"] in ({0.0} if not share else {share})]
        for kind in KINDS:
            told, met = judged(chosen, kind)
            verdicts.append(met)
            print(f"\n{'after training' if not share else f'aware {share:g}'}: {told}: {'met' if met else 'MISSED'}")
    raise SystemExit(int(not all(verdicts)))


if __name__ == "__main__":
    main()
