"""Single distillations of a benchmark: which teacher, which student, how, how long; and the rows that they leave."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import asdict, dataclass, replace
from functools import cache
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from data.architecture import Architecture
from data.errors import PocketBertError
from data.progress import ProgressEvent
from data.tasks import DOCPAIRS, Kind, Task, is_task_file, load_task
from search.distillation.distillation import distill
from search.distillation.recipe import Changes, Recipe, default_recipe
from search.learning.evaluation import dev_predictions
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
    """One distillation; ``tokens`` 0 is the student as it was cut, and no student is the teacher itself.

    ``seed`` is the teacher's, and the student's too where that has none of its own.
    """

    task: str
    kind: Kind | None
    seed: int
    passes: int
    rate: float
    student: str = ""
    recipe: str = ""
    tokens: int = 0
    student_seed: int | None = None

    @property
    def teacher(self) -> Run:
        """The run that makes its teacher."""
        return replace(self, student="", recipe="", tokens=0, student_seed=None)


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


class Rows:
    """The finished runs of a folder, each a line of its ``distillation.jsonl``."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / _ROWS
        lines = self._path.read_text(encoding="utf-8").splitlines() if self._path.exists() else []
        self._rows = {Run(**row["run"]): row for row in map(json.loads, lines)}

    def __contains__(self, run: Run) -> bool:
        return run in self._rows

    def all(self) -> list[dict[str, Any]]:
        """In the order in which they were finished."""
        return list(self._rows.values())

    def add(self, run: Run, row: dict[str, Any]) -> None:
        """Keeps what a run gave."""
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
        self._rows[run] = row


@dataclass(frozen=True)
class Setting:
    """What all runs share: where tasks lie, where teachers and students are kept, what teachers are made of (None: the
    default), a file of general text, if any, and where texts are cut."""

    data: Path
    out: Path
    source: str | None = None
    corpus: Path | None = None
    seq_len: int = 128


def run_all(runs: Sequence[Run], rows: Rows, setting: Setting, processes: int) -> Iterator[str]:
    """Makes the runs that have no row yet, so many at once, in their order but each teacher before its students; yields
    a line for each that is finished or could not be made."""
    waiting = [run for run in runs if run not in rows]
    # A teacher whose row is there may have to be made anew, since its folder is not.
    teachers = list(dict.fromkeys(run.teacher for run in waiting))
    waiting = [run for run in waiting if run.student]
    # A process that has begun CUDA cannot be forked.
    with ProcessPoolExecutor(processes, get_context("spawn")) as pool:
        pending: dict[Future[dict[str, Any]], Run] = {}
        try:
            while True:
                while len(pending) < processes and (run := _next(teachers, waiting, pending.values())):
                    pending[pool.submit(make, run, setting)] = run
                if not pending:
                    return
                for future in wait(pending, return_when=FIRST_COMPLETED).done:
                    run = pending.pop(future)
                    told = _kept(run, rows, future.result)
                    if not run.student and told.startswith("error: "):
                        waiting = [each for each in waiting if each.teacher != run]
                    yield told
        finally:
            pool.shutdown(cancel_futures=True)


def _next(teachers: list[Run], waiting: list[Run], pending: Iterable[Run]) -> Run | None:
    """Takes the next run out of those that are left: a teacher, or a student whose teacher is there."""
    if teachers:
        return teachers.pop(0)
    made = [run for run in pending if not run.student]
    for place, run in enumerate(waiting):
        if run.teacher not in made:
            return waiting.pop(place)
    return None


def _kept(run: Run, rows: Rows, made: Callable[[], dict[str, Any]]) -> str:
    """Keeps the row of a run that has none, and tells of it."""
    try:
        row = made()
    except PocketBertError as error:
        return f"error: {run}: {error}"
    if run not in rows:
        rows.add(run, row)
    return json.dumps(row)


def make(run: Run, setting: Setting) -> dict[str, Any]:
    """The row of a run."""
    started = time.monotonic()
    task = _task(run.task, run.kind, setting.data)
    choosing = task.held_out()
    settings = FineTuning(passes=run.passes, least_tokens=0, learning_rate=run.rate)
    teacher = prepare_teacher(
        choosing, setting.source, setting.seq_len, setting.out / "teachers", run.seed, _told, settings
    )
    if run.student:
        found = _distilled(run, setting, task, choosing, teacher)
    else:
        found = {"held_out": teacher.scores, "dev": _dev_scores(teacher.directory, task, setting.seq_len)}
    row = {"run": asdict(run)} | found | {"metric": task.metric}
    return row | {"seconds": round(time.monotonic() - started, 1)}


def _distilled(run: Run, setting: Setting, task: Task, choosing: Task, teacher: Teacher) -> dict[str, Any]:
    name = "-".join(str(part) for part in asdict(run).values() if part is not None)
    done = distill(
        teacher,
        choosing,
        architecture_of(run.student, teacher, labels=task.labels, head=head_of(task), seq_len=setting.seq_len),
        tokens=run.tokens,
        recipe=variants()[run.recipe],
        seed=run.seed if run.student_seed is None else run.student_seed,
        corpus=_lines(setting.corpus),
        out_dir=setting.out / "students" / name.replace("/", "-"),
        progress=_told,
    )
    apart, before = done.divergence, done.divergence_before
    return {
        "held_out": done.scores,
        "cut": done.scores_before,
        "dev": _dev_scores(done.directory, task, setting.seq_len),
        "apart": apart.mean,
        "apart_error": apart.standard_error,
        "cut_apart": before.mean,
        "cut_apart_error": before.standard_error,
    }


@cache
def _task(name: str, kind: Kind | None, data: Path) -> Task:
    task = load_task(name, None if name == DOCPAIRS or is_task_file(name) else data)
    return replace(task, kind=kind, metric="spearman") if kind else task


@cache
def _lines(corpus: Path | None) -> tuple[str, ...]:
    return tuple(line for line in corpus.read_text().splitlines() if line.strip()) if corpus else ()


def _dev_scores(folder: Path, task: Task, seq_len: int) -> dict[str, float]:
    predictions, _ = dev_predictions(folder, task, seq_len)
    return task.score(predictions) | {"standard_error": task.standard_error(predictions)}


def _told(event: ProgressEvent) -> None:
    if sys.stderr.isatty():
        print(f"\r{event.stage} {event.done}/{event.total} {event.message:40s}", end="", file=sys.stderr, flush=True)
