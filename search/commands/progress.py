"""Live progress of the long commands on standard error: stage, done of total, best so far, time left."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress, TaskID

    from data.progress import ProgressEvent

PLAIN_INTERVAL_S = 10.0


@dataclass
class _Stage:
    """What is known of a stage that has begun: when, how far it was then, when it was last printed."""

    started_s: float
    started_done: int
    last_done: int = 0
    printed_s: float = float("-inf")
    printed_done: int | None = None


class ProgressPrinter:
    """Context manager whose instance takes ``ProgressEvent``s.

    On a terminal there is one live line for each stage; otherwise a plain line at a stage's begin and end, and
    at most one every ten seconds between. ``enabled=False`` prints nothing.
    """

    def __init__(self, enabled: bool = True, console: Console | None = None) -> None:
        self._enabled = enabled
        self._console = console
        self._stages: dict[str, _Stage] = {}
        self._tasks: dict[str, TaskID] = {}
        self._live: Progress | None = None

    def __enter__(self) -> ProgressPrinter:
        terminal = self._console.is_terminal if self._console else sys.stderr.isatty()
        if self._enabled and terminal:
            self._live = _live_progress(self._console)
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = None

    def __call__(self, event: ProgressEvent) -> None:
        """Shows one event."""
        if not self._enabled:
            return
        stage = self._stages.get(event.stage)
        restarted = stage is None or event.done < stage.last_done
        if stage is None or restarted:
            stage = self._stages[event.stage] = _Stage(time.monotonic(), event.done)
        stage.last_done = event.done
        if self._live is not None:
            self._show_live(self._live, event, restarted)
        else:
            self._print_plain(event, stage)

    def note(self, text: str) -> None:
        """One line that stays, above the live ones."""
        if not self._enabled:
            return
        if self._live is not None:
            self._live.console.print(text, markup=False, highlight=False, soft_wrap=True)
        else:
            print(text, file=sys.stderr, flush=True)

    def _show_live(self, live: Progress, event: ProgressEvent, restarted: bool) -> None:
        if event.stage not in self._tasks:
            self._tasks[event.stage] = live.add_task(event.stage, total=event.total, message="", best="")
        task = self._tasks[event.stage]
        if restarted:
            live.reset(task)
        best = f"best {event.best}" if event.best else ""
        live.update(task, completed=event.done, total=event.total, message=event.message, best=best)

    def _print_plain(self, event: ProgressEvent, stage: _Stage) -> None:
        now = time.monotonic()
        finished = event.total is not None and event.done >= event.total
        if finished and stage.printed_done == event.done:
            return
        if not finished and now - stage.printed_s < PLAIN_INTERVAL_S:
            return
        stage.printed_s, stage.printed_done = now, event.done
        left_s = time_left(event, now - stage.started_s, stage.started_done)
        print(plain_line(event, left_s), file=sys.stderr, flush=True)


def time_left(event: ProgressEvent, elapsed_s: float, started_done: int) -> float | None:
    """Seconds until the stage ends at the pace so far, or None when there is no pace yet.

    Args:
        event: the newest event of the stage.
        elapsed_s: seconds since the stage's first event.
        started_done: what was already done at that first event (a resumed stage does not begin at 0).
    """
    advanced = event.done - started_done
    if event.total is None or advanced <= 0 or event.done >= event.total:
        return None
    return elapsed_s / advanced * (event.total - event.done)


def plain_line(event: ProgressEvent, left_s: float | None) -> str:
    """``trials 2/6, 4x192-h6-f512, best 0.78, 3m10s left``."""
    count = f"{event.done}/{event.total}" if event.total is not None else str(event.done)
    parts = [f"{event.stage} {count}", event.message, f"best {event.best}" if event.best else ""]
    if left_s is not None:
        parts.append(f"{format_seconds(left_s)} left")
    return ", ".join(part for part in parts if part)


def format_seconds(seconds: float) -> str:
    """``8s``, ``3m10s``, ``1h05m``."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m{whole % 60:02d}s"
    return f"{whole // 3600}h{whole % 3600 // 60:02d}m"


def _live_progress(console: Console | None) -> Progress:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    return Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[best]}", style="green"),
        TextColumn("{task.fields[message]}", style="dim"),
        console=console or Console(stderr=True),
    )
