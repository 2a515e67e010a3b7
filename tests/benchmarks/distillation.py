"""What each part of the recipe is worth: students of several sizes distilled in several ways, over tasks and seeds.

    python -m tests.benchmarks.distillation --data DIR --out DIR --tasks mrpc,stsb,docpairs --seeds 0,1,2 \
        --students 6x256-h8-f1024,6x192-h6-f768 --recipes default,no-changes --tokens 500000

Teachers and students are kept in OUT, a finished run is a row of OUT/distillation.jsonl, and a killed call goes on.
Choices are made on the held-out tenth of train; the dev score stands beside it. Prints a table of means over seeds, as
differences from the teacher, with the standard deviation over seeds where there are several; and how well cheaper
levels rank students as dearer ones do.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from data.architecture import Architecture
from data.progress import ProgressEvent
from data.tasks import DOCPAIRS, Kind, Task, load_task
from search.distillation.distillation import distill
from search.distillation.recipe import Changes, Recipe, default_recipe
from search.real_stages import Sizes
from search.teachers.fine_tuning import FineTuning
from search.teachers.source import head_of
from search.teachers.teacher import Teacher, prepare_teacher

_NO_CHANGES = Changes(swapped=0.0, repaired=0.0, replaced=0.0, replaced_tokens=0.15, corpus=0.0)
_ROWS = "distillation.jsonl"


def variants() -> dict[str, Recipe]:
    """The default recipe, with one part left out or put in at a time."""
    base = default_recipe()
    losses, changes = base.losses, base.changes
    only_labels = replace(losses, labels=1.0, logits=0.0, hidden=0.0, queries=0.0, keys=0.0, values=0.0)
    return {
        "default": base,
        "labels-only": replace(base, losses=only_labels, changes=_NO_CHANGES),
        "labels-only-slower": replace(
            base, losses=only_labels, changes=_NO_CHANGES, learning_rate=base.learning_rate / 3
        ),
        "no-changes": replace(base, changes=_NO_CHANGES),
        "no-labels": replace(base, losses=replace(losses, labels=0.0, logits=1.0)),
        "no-hidden": replace(base, losses=replace(losses, hidden=0.0)),
        "no-relations": replace(base, losses=replace(losses, queries=0.0, keys=0.0, values=0.0)),
        "layers-first": replace(base, layers_first=0.4),
        "averaged": replace(base, averaged=0.2),
        "slower-below": replace(base, rate_decay=0.85),
        "rate-half": replace(base, learning_rate=base.learning_rate / 2),
        "rate-double": replace(base, learning_rate=base.learning_rate * 2),
        "batch-16": replace(base, batch_size=16),
        "replaced": replace(base, changes=replace(changes, replaced=0.6)),
        "pairs": replace(base, changes=replace(changes, swapped=0.15, repaired=0.15)),
        "corpus": replace(base, changes=replace(changes, corpus=0.2)),
        "all-changes": replace(base, changes=Changes(0.1, 0.1, 0.6, 0.15, 0.0)),
    }


@dataclass(frozen=True)
class Run:
    """One distillation; ``tokens`` 0 is the student as it was cut, and no student is the teacher itself."""

    task: str
    kind: Kind | None
    seed: int
    passes: int
    rate: float
    student: str = ""
    recipe: str = ""
    tokens: int = 0


def architecture_of(name: str, teacher: Teacher | Sizes, **others: Any) -> Architecture:
    """A student's sizes from a name such as ``6x192-h6-f768``, all else as the teacher has it."""
    sizes, heads, intermediate = name.split("-")
    layers, hidden = sizes.split("x")
    return Architecture(
        layers=int(layers),
        hidden=int(hidden),
        heads=int(heads[1:]),
        intermediate=int(intermediate[1:]),
        vocab_size=teacher.vocab_size,
        max_positions=teacher.max_positions,
        **others,
    )


# Sizes that have no part in those of the encoder.
_ANY_SIZES = Sizes(1, 1, 1, 1, vocab_size=1, max_positions=512, token_types=1, factorised=False)


class Bench:
    """Tasks and teachers of the runs, made when they are needed, and the rows that are there."""

    def __init__(self, data: Path, out: Path, corpus: Path | None) -> None:
        self._data, self._out = data, out
        self._corpus = tuple(line for line in corpus.read_text().splitlines() if line.strip()) if corpus else ()
        self._tasks: dict[tuple[str, Kind | None], Task] = {}
        self.rows = {json.dumps(row["run"]): row for row in _read_rows(out / _ROWS)}

    def run(self, run: Run) -> dict[str, Any]:
        """The row of a run, made now where it is not there."""
        key = json.dumps(asdict(run))
        if key not in self.rows:
            started = time.monotonic()
            row = {"run": asdict(run)} | self._make(run) | {"seconds": round(time.monotonic() - started, 1)}
            with (self._out / _ROWS).open("a", encoding="utf-8") as file:
                file.write(json.dumps(row) + "\n")
            self.rows[key] = row
        return self.rows[key]

    def _task(self, run: Run) -> Task:
        name = (run.task, run.kind)
        if name not in self._tasks:
            folder = None if run.task == DOCPAIRS else self._data
            task = load_task(run.task, folder)
            self._tasks[name] = replace(task, kind=run.kind, metric="spearman") if run.kind else task
        return self._tasks[name]

    def _teacher(self, run: Run, task: Task) -> Teacher:
        settings = FineTuning(passes=run.passes, least_tokens=0, learning_rate=run.rate)
        folder = self._out / "teachers"
        return prepare_teacher(task, None, 128, folder, run.seed, _told, settings)

    def _make(self, run: Run) -> dict[str, Any]:
        task = self._task(run)
        choosing = task.held_out()
        teacher = self._teacher(run, choosing)
        if not run.student:
            return {"held_out": teacher.scores, "dev": _dev_scores(teacher.directory, task), "metric": task.metric}
        name = "-".join(str(part) for part in asdict(run).values() if part is not None)
        done = distill(
            teacher,
            choosing,
            architecture_of(run.student, teacher, labels=task.labels, head=head_of(task)),
            tokens=run.tokens,
            recipe=variants()[run.recipe],
            seed=run.seed,
            corpus=self._corpus,
            out_dir=self._out / "students" / name,
            progress=_told,
        )
        dev = _dev_scores(done.directory, task)
        apart = {"apart": done.divergence.mean, "cut_apart": done.divergence_before.mean}
        return {"held_out": done.scores, "cut": done.scores_before, "dev": dev, "metric": task.metric} | apart


def _dev_scores(folder: Path, task: Task) -> dict[str, float]:
    from search.learning.evaluation import dev_predictions

    predictions, _ = dev_predictions(folder, task, 128)
    return task.score(predictions) | {"standard_error": task.standard_error(predictions)}


def _told(event: ProgressEvent) -> None:
    if sys.stderr.isatty():
        print(f"\r{event.stage} {event.done}/{event.total} {event.message:40s}", end="", file=sys.stderr, flush=True)


def _read_rows(path: Path) -> Iterator[dict[str, Any]]:
    if path.exists():
        yield from (json.loads(line) for line in path.read_text(encoding="utf-8").splitlines())


def table(rows: Iterable[Mapping[str, Any]]) -> str:
    """Markdown: scores (in hundredths) of each teacher, and each student's difference from its own, over seeds."""
    teachers = {_teacher_key(row["run"]): row for row in rows if not row["run"]["student"]}
    groups: dict[tuple[Any, ...], list[Mapping[str, Any]]] = {}
    for row in rows:
        run = row["run"]
        groups.setdefault((run["task"], run["kind"], run["student"], run["recipe"], run["tokens"]), []).append(row)
    lines = [
        "| task | student | recipe | tokens | seeds | held out | dev | dev less teacher's | apart | seconds |",
        "|" + " --- |" * 10,
    ]
    for (task, kind, student, recipe, tokens), found in groups.items():
        metric = found[0]["metric"]
        lost = [
            row["dev"][metric] - teachers[_teacher_key(row["run"])]["dev"][metric]
            for row in found
            if _teacher_key(row["run"]) in teachers
        ]
        cells = [
            f"{task} {kind or ''}".strip(),
            student or "teacher",
            recipe,
            str(tokens),
            str(len(found)),
            _spread([row["held_out"][metric] for row in found]),
            _spread([row["dev"][metric] for row in found]),
            _spread(lost),
            _means([row["apart"] for row in found if "apart" in row]),
            str(round(mean(row["seconds"] for row in found))),
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def levels(rows: Iterable[Mapping[str, Any]]) -> str:
    """Markdown: Spearman correlation, over students of one task and seed, of what cheaper levels say with what dearer
    ones do: held-out scores, and closeness (minus the divergence from the teacher); and of one seed with another at the
    same level, the ceiling that noise sets. Level 0 is the student as it was cut; size is its number of weights without
    embeddings and head."""
    lines = ["| task | level | with | seeds | students | correlation |", "| --- | --- | --- | --- | --- | --- |"]
    found = _by_level(rows)
    for (task, tokens, judge, seed), own in sorted(found.items()):
        for (task_b, tokens_b, judge_b, seed_b), other in sorted(found.items()):
            # What is read once, at the end, is what all else should foretell.
            foretold = tokens == tokens_b > 0 and judge != judge_b == "dev"
            later = seed == seed_b and (tokens < tokens_b or foretold)
            again = judge == judge_b and tokens == tokens_b > 0 and seed < seed_b
            common = sorted(own.keys() & other.keys())
            if task == task_b and (later or again) and len(common) > 3:
                rank = _spearman([own[name] for name in common], [other[name] for name in common])
                seeds = str(seed) if later else f"{seed}, {seed_b}"
                cells = [task, f"{judge}, {tokens}", f"{judge_b}, {tokens_b}", seeds, str(len(common)), f"{rank:.2f}"]
                lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _by_level(rows: Iterable[Mapping[str, Any]]) -> dict[tuple[str, int, str, int], dict[str, float]]:
    """Values by student for each (task, tokens, judge, seed)."""
    found: dict[tuple[str, int, str, int], dict[str, float]] = {}
    for row in rows:
        run, metric = row["run"], row["metric"]
        if not run["student"] or run["recipe"] != "default":
            continue
        task, seed, tokens = f"{run['task']} {run['kind'] or ''}".strip(), run["seed"], run["tokens"]
        values = {(0, "score"): row["cut"][metric], (tokens, "score"): row["held_out"][metric]}
        values |= {(tokens, "dev"): row["dev"][metric]}
        values |= {(0, "size"): float(architecture_of(run["student"], _ANY_SIZES).encoder_parameters)}
        values |= {(tokens, "closeness"): -row["apart"]} if "apart" in row else {}
        values |= {(0, "closeness"): -row["cut_apart"]} if "cut_apart" in row else {}
        for (level, judge), value in values.items():
            found.setdefault((task, level, judge, seed), {})[run["student"]] = value
    return found


def _spearman(one: list[float], other: list[float]) -> float:
    from scipy.stats import spearmanr

    return float(spearmanr(one, other).statistic)


def _teacher_key(run: Mapping[str, Any]) -> tuple[Any, ...]:
    return (run["task"], run["kind"], run["seed"], run["passes"], run["rate"])


def _spread(values: list[float]) -> str:
    if not values:
        return ""
    deviation = f" ± {100 * stdev(values):.1f}" if len(values) > 1 else ""
    return f"{100 * mean(values):.1f}{deviation}"


def _means(values: list[float]) -> str:
    return f"{mean(values):.4f}" if values else ""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with GLUE's folders")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--tasks", default="mrpc,stsb,docpairs", help="stsb:similarity for sentence embeddings")
    parser.add_argument("--seeds", default="0")
    parser.add_argument("--students", default="")
    parser.add_argument("--recipes", default="default")
    parser.add_argument("--tokens", type=int, default=0)
    parser.add_argument("--passes", type=int, default=FineTuning().passes)
    parser.add_argument("--rate", type=float, default=FineTuning().learning_rate)
    parser.add_argument("--corpus", type=Path)
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    bench = Bench(given.data, given.out, given.corpus)
    for seed in map(int, given.seeds.split(",")):
        for named in given.tasks.split(","):
            name, _, kind = named.partition(":")
            teacher = Run(name, kind or None, seed, given.passes, given.rate)  # type: ignore[arg-type]
            print(json.dumps(bench.run(teacher)), flush=True)
            for student in filter(None, given.students.split(",")):
                for recipe in given.recipes.split(","):
                    row = bench.run(replace(teacher, student=student, recipe=recipe, tokens=given.tokens))
                    print(json.dumps(row), flush=True)
    print(table(list(bench.rows.values())))
    print(levels(list(bench.rows.values())))


if __name__ == "__main__":
    main()
