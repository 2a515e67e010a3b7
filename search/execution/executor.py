"""What runs trials, whatever it is: trainings are begun, and their outcomes come back as they end."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from data.errors import InputError
from data.progress import Progress

if TYPE_CHECKING:
    from data.architecture import Architecture
    from data.tasks import Task
    from search.distillation.distilled import DistilledModel
    from search.options import SearchOptions
    from search.teachers.teacher import Teacher


@dataclass(frozen=True)
class Training:
    """A trial's distillation with all that it needs: ``distil(teacher, task, architecture, options, folder, progress)``
    leaves the student in ``folder``."""

    number: int
    distil: Callable[[Teacher, Task, Architecture, SearchOptions, Path, Progress], DistilledModel]
    teacher: Teacher
    task: Task
    architecture: Architecture
    options: SearchOptions
    folder: Path

    def run(self, progress: Progress) -> DistilledModel:
        """The student, distilled here and now."""
        return self.distil(self.teacher, self.task, self.architecture, self.options, self.folder, progress)


@dataclass(frozen=True)
class Outcome:
    """What became of the training of that number: its student, or why there is none; and its seconds."""

    number: int
    seconds: float
    student: DistilledModel | None = None
    error: str = ""


class Executor(Protocol):
    """Runs trainings."""

    @property
    def at_once(self) -> int:
        """How many run at once now; at least 1."""

    def begin(self, training: Training) -> None:
        """Begins a training; at most :attr:`at_once` are begun and not ended."""

    def next_outcome(self, progress: Progress) -> Outcome:
        """Waits for the end of one of the trainings that were begun.

        A training that says with an :class:`~data.errors.InputError` that there cannot be such a student has an outcome
        like others.

        Raises:
            PocketBertError: whatever else it raises, which says nothing about the candidate.
        """


class LocalExecutor:
    """Runs trainings in this process, one after another."""

    at_once = 1

    def __init__(self) -> None:
        self._begun: deque[Training] = deque()

    @property
    def waiting(self) -> int:
        """How many are begun and not ended."""
        return len(self._begun)

    def begin(self, training: Training) -> None:
        """Keeps it until :meth:`next_outcome`."""
        self._begun.append(training)

    def next_outcome(self, progress: Progress) -> Outcome:
        """Runs what was begun first."""
        training, started = self._begun.popleft(), time.monotonic()
        try:
            student = training.run(progress)
        except InputError as error:
            return Outcome(training.number, time.monotonic() - started, error=str(error))
        return Outcome(training.number, time.monotonic() - started, student)
