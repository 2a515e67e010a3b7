"""What a replay of table 1 is asked for, and what it keeps: a JSON file for each finished row, task and seed."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

from data.errors import DataFileError
from data.progress import Progress, ProgressEvent
from data.tasks import Task
from search.distillation.recipe import default_recipe
from search.study import atomic_write
from search.teachers.fine_tuning import FineTuning
from tests.benchmarks.provenance import ROOT

ROWS = {
    "teacher": "teacher, fine-tuned",
    "half-depth": "half-depth student (DistilBERT's recipe)",
    "bottleneck": "bottleneck student (MobileBERT's recipe)",
    "random": "deep-narrow, random initialisation, labels only",
    "undistilled": "deep-narrow, the same cut, labels only",
    "distilled": "deep-narrow, the same cut, distilled",
    "searched": "searched model, distilled",
}
# Learning rates tried for each row that has one of its own; the distilled rows learn as fast as the recipe says.
RATES = {
    "half-depth": (3e-5, 1e-4, 3e-4),
    "bottleneck": (3e-4, 1e-3, 3e-3),
    "random": (1e-4, 3e-4, 1e-3),
    "undistilled": (1e-4, 3e-4, 1e-3),
}
TRIED_SHARE = 1 / 3  # of the tokens, for each rate
_SOURCES = ("data/tasks", "search/learning", "search/teachers", "search/students", "search/distillation")
_OWN_SOURCES = ("table1_replays.py", "table1_learning.py", "table1_training.py")
_KEPT_EVERY_S = 1.0

Sizes = tuple[int, int, int, int]
Kept = TypeVar("Kept")


@dataclass(frozen=True)
class Settings:
    """What was asked for. ``deep_narrow`` and ``searched`` are layers, width, heads and inner width; ``rates`` () are
    each row's own; ``limit`` 0 takes all examples; ``corpus`` is general text, for recipes that mix some in."""

    tasks: tuple[str, ...]
    rows: tuple[str, ...]
    seeds: tuple[int, ...]
    teacher: str | None
    teacher_hash: str
    tokens: int
    passes: int
    seq_len: int
    deep_narrow: Sizes
    searched: Sizes | None
    rates: tuple[float, ...]
    limit: int
    corpus: tuple[str, ...]
    threads: int
    rounds: int

    def rates_of(self, row: str) -> tuple[float, ...]:
        """The rates to try, none where the row has none of its own."""
        return (self.rates or RATES[row]) if row in RATES else ()

    @property
    def fine_tuning(self) -> FineTuning:
        """The teacher's."""
        return FineTuning(passes=self.passes, least_tokens=0)

    def key(self, task: Task, row: str, seed: int) -> str:
        """Equal where a finished row is what would be made now: data, teacher, sizes, lengths, recipe and code."""
        parts: list[Any] = [row, seed, task.fingerprint, self.teacher_hash, asdict(self.fine_tuning), self.seq_len]
        if row != "teacher":
            # The rate is chosen with the first seed's teacher.
            parts += [self.tokens, self.rates_of(row), self.seeds[0] if row in RATES else 0]
        if row in ("random", "undistilled", "distilled"):
            parts.append(self.deep_narrow)
        if row == "searched":
            parts.append(self.searched)
        if row in ("undistilled", "distilled", "searched"):
            corpus = hashlib.sha256("\n".join(self.corpus).encode()).hexdigest()
            parts += [asdict(default_recipe()), corpus]
        return hashlib.sha256(json.dumps([*parts, source_hash()]).encode()).hexdigest()[:12]


@cache
def source_hash() -> str:
    """Of all code that a trained model depends on."""
    files = [path for folder in _SOURCES for path in (ROOT / folder).rglob("*.py")]
    digest = hashlib.sha256()
    for path in [*sorted(files), *(Path(__file__).with_name(name) for name in _OWN_SOURCES)]:
        digest.update(path.name.encode() + path.read_bytes())
    return digest.hexdigest()


@dataclass(frozen=True)
class Record:
    """One finished row of one task with one seed.

    ``score`` is the metric on dev, read once, and ``standard_error`` its own over dev's examples; ``held_out`` the
    metric on the held-out tenth of train. ``rate`` and what was ``tried`` (score on the held-out tenth by rate, None
    where the training diverged) are of rows with a rate of their own. ``seconds`` trained the model, ``rate_seconds``
    went into the choice of its rate, which the first seed makes for all. ``shape`` tells which models are equally fast.
    """

    key: str
    task: str
    row: str
    seed: int
    metric: str
    score: float
    standard_error: float
    scores: dict[str, float]
    held_out: float
    rate: float | None
    tried: dict[str, float | None]
    shape: str
    parameters: int
    seconds: float
    rate_seconds: float
    model: str
    date: str


@dataclass(frozen=True)
class Tried:
    """Scores on the held-out tenth by rate, and the seconds that all of them took."""

    scores: dict[str, float | None]
    seconds: float

    @property
    def best(self) -> float | None:
        """The rate with the highest score, the lower of equals; None where all diverged."""
        found = {float(rate): score for rate, score in self.scores.items() if score is not None}
        return min(found, key=lambda rate: (-found[rate], rate), default=None)


def read_kept(path: Path, kind: type[Kept]) -> Kept | None:
    """What an earlier run finished.

    Raises:
        DataFileError: the file is damaged.
    """
    from pydantic import TypeAdapter, ValidationError

    if not path.exists():
        return None
    try:
        return TypeAdapter(kind).validate_json(path.read_bytes(), strict=False)
    except ValidationError as error:
        raise DataFileError(path, "damaged; remove it to do that part again") from error


def keep(path: Path, record: Any) -> None:
    """Writes a finished part, whole or not at all."""
    atomic_write(path, json.dumps(asdict(record), indent=1))


def count_others(folder: Path, shown: Sequence[Record]) -> int:
    """Records in a folder that are none of those shown."""
    names = {record_path(folder, record.task, record.row, record.seed, record.key) for record in shown}
    return sum(path not in names for path in folder.glob("*.json"))


def record_path(folder: Path, task: str, row: str, seed: int, key: str) -> Path:
    """Where a finished row is kept."""
    return folder / f"{task}-{row}-{seed}-{key}.json"


class Clock:
    """Takes progress events, and counts the seconds of a piece of work over all processes that worked at it.

    A process that tells of no progress found all finished, and adds nothing.
    """

    def __init__(self, path: Path, progress: Progress) -> None:
        self._path, self._progress = path, progress
        self._before = float(json.loads(path.read_text(encoding="utf-8"))) if path.exists() else 0.0
        self._began = self._kept = time.monotonic()
        self._working = False

    @property
    def seconds(self) -> float:
        """So far."""
        return self._before + (time.monotonic() - self._began if self._working else 0.0)

    def __call__(self, event: ProgressEvent) -> None:
        """Hands the event on."""
        self._working = True
        if time.monotonic() - self._kept >= _KEPT_EVERY_S:
            self._keep()
        self._progress(event)

    def __enter__(self) -> Clock:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._keep()

    def _keep(self) -> None:
        self._kept = time.monotonic()
        atomic_write(self._path, json.dumps(self.seconds))
