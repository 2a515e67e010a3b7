"""Labelled text: GLUE tasks from files or the hub, the built-in docpairs, and files of one's own."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from data.errors import InputError, UnknownNameError
from data.tasks.examples import METRICS, Example, Examples, Kind, Metric, TaggedWords
from data.tasks.own.columns import Wanted
from data.tasks.own.parts import OwnFiles, name_of_files
from data.tasks.task import Task

__all__ = [
    "DOCPAIRS",
    "METRICS",
    "Example",
    "Examples",
    "Kind",
    "Metric",
    "OwnFiles",
    "TaggedWords",
    "Task",
    "Wanted",
    "is_task_file",
    "load_files",
    "load_task",
    "name_of_files",
    "read_task_file",
    "task_names",
]

DOCPAIRS = "docpairs"


def task_names() -> tuple[str, ...]:
    """Names that :func:`load_task` knows; the first is the default."""
    from data.tasks.glue import LAYOUTS

    return (DOCPAIRS, *LAYOUTS)


def is_task_file(name: str) -> bool:
    """Whether a task's name is that of a file which describes it."""
    return name.endswith(".toml")


def load_task(
    name: str, data_dir: Path | None = None, seed: int = 0, *, kind: Kind | None = None, metric: str | None = None
) -> Task:
    """The task called ``name``.

    Args:
        name: One of :func:`task_names`, or a task file (``.toml``, see docs/tasks.md).
        data_dir: Folder that holds GLUE's folders (``MRPC/train.tsv``, ...); docpairs and task files need none.
        seed: Chooses docpairs' sample and mismatches; other examples are given.
        kind: Another kind than the task's own: "similarity" for pairs with a score.
        metric: Another metric than the task's own.

    Raises:
        UnknownNameError: no such task.
        InputError: the files or the hub cannot be read, or kind or metric do not suit the task.
        DataFileError: a malformed row, with file and line.
    """
    if is_task_file(name):
        return load_files(_described(Path(name), kind, metric))
    if name not in task_names():
        raise UnknownNameError("task", name, task_names())
    if name == DOCPAIRS:
        from data.tasks.docpairs import load_docpairs

        task = load_docpairs(seed)
    else:
        from data.tasks.glue import load_glue

        task = load_glue(name, data_dir)
    return _judged_otherwise(_of_kind(task, kind), metric)


def load_files(files: OwnFiles) -> Task:
    """A task from files of one's own (CSV, TSV, JSON Lines, Parquet, CoNLL).

    Raises:
        InputError: a file that cannot be read, or options that do not suit it.
        DataFileError: content that cannot be learnt from, with file and row.
    """
    from data.tasks.own.load import load_own

    return load_own(files)


def read_task_file(path: Path) -> OwnFiles:
    """What a task file says.

    Raises:
        InputError: it cannot be read.
        DataFileError: no TOML, no ``train``, an unknown key, or a value of another kind.
    """
    from data.tasks.own.task_file import read_task_file

    return read_task_file(path)


def _described(path: Path, kind: Kind | None, metric: str | None) -> OwnFiles:
    if kind or metric:
        raise InputError(f"{path} describes its task: say kind and metric there")
    return read_task_file(path)


def _of_kind(task: Task, kind: Kind | None) -> Task:
    if kind is None or kind == task.kind:
        return task
    if kind == "similarity" and task.kind == "regression" and task.paired:
        return replace(task, kind="similarity", metric=METRICS["similarity"][0])
    raise InputError(f"task {task.name} is of kind {task.kind}, and cannot be learnt as {kind}")


def _judged_otherwise(task: Task, metric: str | None) -> Task:
    from data.tasks.own.load import metric_of

    return task if metric is None else replace(task, metric=metric_of(task.kind, metric))
