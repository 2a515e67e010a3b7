"""Live progress of the long commands on standard error: stage, done of total, best so far, time left of the job."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING

from search.commands.interrupts import Interrupts
from search.commands.jobs import Job, keep_durations
from search.commands.time_left import StagePace, TimeLeft

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress, TaskID

    from data.progress import ProgressEvent

PLAIN_INTERVAL_S = 10.0


@dataclass
class _Stage:
    """What is known of a stage that has begun: its pace, how far it was, when it was last printed."""

    pace: StagePace
    last_done: int = 0
    printed_s: float = float("-inf")
    printed_done: int | None = None


class ProgressPrinter:
    """Context manager whose instance takes ``ProgressEvent``s.

    On a terminal there is one live line for each stage; otherwise a plain line at a stage's begin and end, and
    at most one every ten seconds between. With a ``job`` each tells how long all of it still takes, and what its stages
    took is kept for the next job of its kind. ``enabled=False`` prints nothing.
    """

    def __init__(
        self,
        job: Job | None = None,
        *,
        enabled: bool = True,
        console: Console | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._job = job
        self._enabled = enabled
        self._console = console
        self._clock = clock
        self._stages: dict[str, _Stage] = {}
        self._tasks: dict[str, TaskID] = {}
        self._live: Progress | None = None
        self._left = TimeLeft(job.stages if job else (), clock())
        self._interrupts = Interrupts()

    def __enter__(self) -> ProgressPrinter:
        self._interrupts.listen()
        terminal = self._console.is_terminal if self._console else sys.stderr.isatty()
        if self._enabled and terminal:
            self._live = _live_progress(self._console)
            if self._job is not None:
                self._live.add_task("in all", total=1.0, count="", message="", best="", left=self._job_left)
            self._live.start()
        elif self._enabled and self._job is not None:
            self.note(f"{self._job.title}: {self._job_left()} left in all")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._interrupts.end()
        if self._live is not None:
            self._live.stop()
            self._live = None
        if self._job is not None and kind is None:
            self._left.end(self._clock())
            keep_durations(self._job, self._left.learned())

    def __call__(self, event: ProgressEvent) -> None:
        """Shows one event; raises ``KeyboardInterrupt`` where a library has swallowed one meanwhile."""
        self._interrupts.check()
        now = self._clock()
        self._left.observe(event, now)
        if not self._enabled:
            return
        stage = self._stages.get(event.stage)
        restarted = stage is None or event.done < stage.last_done
        if stage is None or restarted:
            stage = self._stages[event.stage] = _Stage(StagePace(now))
        stage.last_done = event.done
        if event.total:
            stage.pace.advance(event.done / event.total, now)
        if self._live is not None:
            self._show_live(self._live, event, stage, restarted)
        else:
            self._print_plain(event, stage, now)

    def note(self, text: str) -> None:
        """One line that stays, above the live ones."""
        if not self._enabled:
            return
        if self._live is not None:
            self._live.console.print(text, markup=False, highlight=False, soft_wrap=True)
        else:
            print(text, file=sys.stderr, flush=True)

    def _job_left(self) -> str:
        """Time left of the whole job, for people; nothing without one."""
        left_s = self._left.left_s(self._clock())
        return format_seconds(left_s) if left_s is not None else ""

    def _show_live(self, live: Progress, event: ProgressEvent, stage: _Stage, restarted: bool) -> None:
        if event.stage not in self._tasks:
            self._tasks[event.stage] = live.add_task(event.stage, total=event.total, count="", message="", best="")
        task = self._tasks[event.stage]
        if restarted:
            live.reset(task)

        def left() -> str:
            left_s = stage.pace.left_s(self._clock())
            return format_seconds(left_s) if left_s else ""

        best = f"best {event.best}" if event.best else ""
        count = count_of(event)
        live.update(
            task, completed=event.done, total=event.total, count=count, message=event.message, best=best, left=left
        )

    def _print_plain(self, event: ProgressEvent, stage: _Stage, now: float) -> None:
        finished = event.total is not None and event.done >= event.total
        if finished and stage.printed_done == event.done:
            return
        if not finished and now - stage.printed_s < PLAIN_INTERVAL_S:
            return
        stage.printed_s, stage.printed_done = now, event.done
        print(plain_line(event, stage.pace.left_s(now), self._left.left_s(now)), file=sys.stderr, flush=True)


def plain_line(event: ProgressEvent, stage_s: float | None, job_s: float | None) -> str:
    """``trials 2/6, 4x192-h6-f512, best 0.78, stage 3m10s, 6m00s left in all``; without a job ``3m10s left``."""
    parts = [f"{event.stage} {count_of(event)}", event.message, f"best {event.best}" if event.best else ""]
    if stage_s:
        parts.append(f"stage {format_seconds(stage_s)}" if job_s is not None else f"{format_seconds(stage_s)} left")
    if job_s is not None:
        parts.append(f"{format_seconds(job_s)} left in all")
    return ", ".join(part for part in parts if part)


def count_of(event: ProgressEvent) -> str:
    """``2/6``, or ``2`` where the number is not known ahead."""
    return f"{event.done}/{event.total}" if event.total is not None else str(event.done)


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
    from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn, TimeElapsedColumn
    from rich.text import Text

    class LeftColumn(ProgressColumn):
        """Time left, asked for at each refresh."""

        def render(self, task: Task) -> Text:
            left = task.fields.get("left")
            return Text(left() if left is not None else "", style="cyan")

    return Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        TextColumn("{task.fields[count]}"),
        TimeElapsedColumn(),
        TextColumn("left"),
        LeftColumn(),
        TextColumn("{task.fields[best]}", style="green"),
        TextColumn("{task.fields[message]}", style="dim"),
        console=console or Console(stderr=True),
        refresh_per_second=2,
    )
