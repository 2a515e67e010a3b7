"""What is said of files of one's own, and what they are understood to hold."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple, cast

from data.tasks.examples import Examples, Kind
from data.tasks.own.checks import Located
from data.tasks.own.columns import Wanted


@dataclass(frozen=True)
class OwnFiles:
    """What the user says of the files: all but ``train`` may be left open.

    ``labels`` are the names of classes in the order of their numbers, or of numbered tags.
    """

    train: Path
    dev: Path | None = None
    columns: Wanted = field(default_factory=Wanted)
    kind: Kind | None = None
    metric: str | None = None
    name: str | None = None
    labels: tuple[str, ...] = ()


def name_of_files(path: Path) -> str:
    """What a task is called after its training file or task file: where that is just "train", after the folder."""
    folder = path.absolute().parent.name
    return folder if folder and path.stem.lower() in ("train", "training", "task") else path.stem or "own"


class Part(NamedTuple):
    """Examples of one file, each with its row."""

    path: Path
    rows: list[Located]

    @property
    def examples(self) -> Examples:
        return cast(Examples, tuple(example for _, example in self.rows))


class Understood(NamedTuple):
    """What the files hold; ``dev`` is None where there is no such file."""

    kind: Kind
    label_names: tuple[str, ...]
    train: Part
    dev: Part | None
    remarks: tuple[str, ...]
