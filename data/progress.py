"""Progress of a long stage, as an event that anyone may show."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace


@dataclass(frozen=True)
class ProgressEvent:
    """One step of a long stage.

    ``done`` of ``total`` steps are finished (``total`` is None where the number is not known ahead);
    ``message`` says what happens now, ``best`` what is the best found so far.
    """

    stage: str
    done: int
    total: int | None
    message: str = ""
    best: str = ""


Progress = Callable[[ProgressEvent], None]


def no_progress(event: ProgressEvent) -> None:
    """Show nothing: the progress of callers who do not listen."""


def part_of(progress: Progress, before: int, each: int, total: int) -> Progress:
    """Tells the steps of one of several trainings as those of all: ``before`` are done, its own count ``each`` as many
    of the ``total``."""

    def told(event: ProgressEvent) -> None:
        progress(replace(event, done=before + each * event.done, total=total))

    return told
