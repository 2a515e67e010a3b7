"""The options of `search` that say what is to be learnt: a task by name, a task file, or files of one's own."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from data.tasks import Kind

_FILE = click.Path(path_type=Path)
_KINDS = ["classification", "regression", "tokens", "similarity"]
_OPTIONS = (
    click.option("--task", help="docpairs (built in), a GLUE task such as mrpc, or a task.toml.  [default: docpairs]"),
    click.option("--data-dir", type=_FILE, help="Folder with GLUE's TSV files (MRPC/train.tsv ...)."),
    click.option("--train", type=_FILE, help="Texts of your own to learn: CSV, TSV, JSON Lines, Parquet or CoNLL."),
    click.option("--dev", type=_FILE, help="Texts to judge by.  [default: a tenth of --train]"),
    click.option("--text", help="Column of the texts, by name or number.  [default: guessed from the header]"),
    click.option("--text-pair", help="Column of the second texts, where there are pairs."),
    click.option("--label", help="Column of the labels."),
    click.option("--kind", type=click.Choice(_KINDS), help="What is learnt.  [default: told by the labels]"),
    click.option("--metric", help="Figure that ranks models, such as accuracy, f1, matthews, spearman, entity_f1."),
)


@dataclass(frozen=True)
class TaskChoice:
    """What the options say; all paths are absolute, so that a search can be resumed from elsewhere."""

    task: str | None
    data_dir: Path | None
    train: Path | None
    dev: Path | None
    text: str | None
    text_pair: str | None
    label: str | None
    kind: Kind | None
    metric: str | None

    @property
    def name(self) -> str:
        """What the task is called, in the name of the output folder as well."""
        from data.tasks import DOCPAIRS, is_task_file, name_of_files

        if self.train is not None:
            return name_of_files(self.train)
        return name_of_files(Path(self.task)) if self.task and is_task_file(self.task) else self.task or DOCPAIRS

    def fields(self) -> dict[str, Any]:
        """The fields of ``SearchOptions`` that hold it."""
        from data.tasks import is_task_file

        task = _absolute(Path(self.task)) if self.task and is_task_file(self.task) else self.name
        paths = {"data_dir": self.data_dir, "train": self.train, "dev": self.dev}
        columns = {"text": self.text, "text_pair": self.text_pair, "label": self.label}
        named = {name: _absolute(path) if path else None for name, path in paths.items()}
        return {"task": task, **named, **columns, "kind": self.kind, "metric": self.metric}

    def check(self) -> None:
        """Refuses options that do not go together, and files that are not there.

        Raises:
            InputError: with the option named.
            UnknownNameError: no such task.
            DataFileError: a task file that cannot be understood.
        """
        from data.errors import InputError, UnknownNameError
        from data.tasks import DOCPAIRS, is_task_file, task_names

        if self.train is not None:
            self._check_files()
            return
        alone = {"--dev": self.dev, "--text": self.text, "--text-pair": self.text_pair, "--label": self.label}
        given = [name for name, value in alone.items() if value is not None]
        if given:
            raise InputError(f"{given[0]} belongs to --train FILE, which is missing")
        if self.task is not None and is_task_file(self.task):
            self._check_task_file(Path(self.task))
            return
        if self.name not in task_names():
            raise UnknownNameError("task", self.name, task_names())
        if self.data_dir is not None and not os.path.isdir(self.data_dir):
            raise InputError(f"--data-dir {self.data_dir} is not a folder")
        if self.data_dir is not None and self.name == DOCPAIRS:
            raise InputError(f"--data-dir {self.data_dir}: task {DOCPAIRS} is built in and reads no files; add --task")

    def _check_files(self) -> None:
        from data.errors import InputError

        for option, value in (("--task", self.task), ("--data-dir", self.data_dir)):
            if value is not None:
                raise InputError(f"{option} {value}: --train brings a task of its own; leave out one of the two")
        for option, path in (("--train", self.train), ("--dev", self.dev)):
            if path is not None and not os.path.isfile(path):
                problem = "is a folder: name a file in it" if os.path.isdir(path) else "is not there"
                raise InputError(f"{option} {path} {problem}")

    def _check_task_file(self, path: Path) -> None:
        from data.errors import InputError
        from data.tasks import read_task_file

        for option, value in (("--data-dir", self.data_dir), ("--kind", self.kind), ("--metric", self.metric)):
            if value is not None:
                raise InputError(f"{option} {value}: {path} describes its task itself; say it there")
        read_task_file(path)


def _absolute(path: Path) -> str:
    return str(path.expanduser().absolute())


def task_options(command: Callable[..., None]) -> Callable[..., None]:
    """Decorator of a command's callback: its options of a task arrive as one ``choice``."""

    @wraps(command)
    def wrapper(*arguments: Any, **given: Any) -> None:
        choice = TaskChoice(**{name: given.pop(name) for name in TaskChoice.__dataclass_fields__})
        command(*arguments, choice=choice, **given)

    decorated: Callable[..., None] = wrapper
    for option in reversed(_OPTIONS):
        decorated = option(decorated)
    return decorated
