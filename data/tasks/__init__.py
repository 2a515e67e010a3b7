"""Labelled text: GLUE tasks from files or the hub, and the built-in docpairs."""

from __future__ import annotations

from pathlib import Path

from data.errors import UnknownNameError
from data.tasks.examples import METRICS, Example, Examples, Kind, Metric, TaggedWords
from data.tasks.task import Task

__all__ = [
    "DOCPAIRS",
    "METRICS",
    "Example",
    "Examples",
    "Kind",
    "Metric",
    "TaggedWords",
    "Task",
    "load_task",
    "task_names",
]

DOCPAIRS = "docpairs"


def task_names() -> tuple[str, ...]:
    """Names that :func:`load_task` knows; the first is the default."""
    from data.tasks.glue import LAYOUTS

    return (DOCPAIRS, *LAYOUTS)


def load_task(name: str, data_dir: Path | None = None, seed: int = 0) -> Task:
    """The task called ``name``.

    Args:
        name: One of :func:`task_names`.
        data_dir: Folder that holds GLUE's folders (``MRPC/train.tsv``, ...); docpairs needs none.
        seed: Chooses docpairs' sample and mismatches; GLUE's examples are given.

    Raises:
        UnknownNameError: no such task.
        InputError: the files or the hub cannot be read.
        DataFileError: a malformed row, with file and line.
    """
    if name not in task_names():
        raise UnknownNameError("task", name, task_names())
    if name == DOCPAIRS:
        from data.tasks.docpairs import load_docpairs

        return load_docpairs(seed)
    from data.tasks.glue import load_glue

    return load_glue(name, data_dir)
