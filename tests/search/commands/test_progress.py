"""Progress for people: what a line says, how often one is printed, and the time left."""

from __future__ import annotations

import contextlib
import io
import os
import signal
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from rich.console import Console

from data.progress import ProgressEvent
from search.commands.jobs import Job
from search.commands.progress import ProgressPrinter, format_seconds, plain_line
from search.commands.time_left import StagePlan


def test_a_line_says_stage_count_best_and_time_left() -> None:
    event = ProgressEvent("trials", 2, 6, "4x192-h6-f512", "0.78")
    shown = "trials 2/6, 4x192-h6-f512, best 0.78"
    assert plain_line(event, 190.0, None) == f"{shown}, 3m10s left"
    assert plain_line(event, 190.0, 400.0) == f"{shown}, stage 3m10s, 6m40s left in all"
    assert plain_line(ProgressEvent("profile", 3, None), None, None) == "profile 3"


@pytest.mark.parametrize(("seconds", "text"), [(8.4, "8s"), (190, "3m10s"), (3900, "1h05m"), (59.7, "1m00s")])
def test_seconds_are_readable(seconds: float, text: str) -> None:
    assert format_seconds(seconds) == text


def test_without_a_terminal_a_stage_prints_its_begin_and_its_end(capsys: pytest.CaptureFixture[str]) -> None:
    with ProgressPrinter() as printer:
        for done in range(101):
            printer(ProgressEvent("blocks", done, 100))
        printer(ProgressEvent("blocks", 100, 100))
        printer.note("a note")
    captured = capsys.readouterr()
    assert captured.err.splitlines() == ["blocks 0/100", "blocks 100/100", "a note"]
    assert captured.out == ""


def test_a_stage_that_begins_again_is_shown_again(capsys: pytest.CaptureFixture[str]) -> None:
    with ProgressPrinter() as printer:
        for done in (0, 4, 0, 4):
            printer(ProgressEvent("distil", done, 4))
    assert capsys.readouterr().err.splitlines() == ["distil 0/4", "distil 4/4", "distil 0/4", "distil 4/4"]


def test_an_interrupt_that_a_library_swallows_is_raised_at_the_next_event() -> None:
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt), ProgressPrinter() as printer:
        printer(ProgressEvent("teacher", 0, 2))
        with contextlib.suppress(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(5)
        printer(ProgressEvent("teacher", 1, 2))
    assert signal.getsignal(signal.SIGINT) is before


def test_beside_the_main_thread_it_listens_to_no_signal() -> None:
    before = signal.getsignal(signal.SIGINT)

    def show() -> object:
        with ProgressPrinter(enabled=False) as printer:
            printer(ProgressEvent("teacher", 0, 2))
            return signal.getsignal(signal.SIGINT)

    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(show).result() is before


def test_on_a_terminal_lines_are_live() -> None:
    screen = io.StringIO()
    with ProgressPrinter(console=Console(file=screen, force_terminal=True, width=120)) as printer:
        printer(ProgressEvent("trials", 1, 4, "6x192", "0.7"))
        printer(ProgressEvent("trials", 0, 4))
        printer(ProgressEvent("profile", 5, None))
        printer.note("a [bracketed] note")
    assert "trials" in screen.getvalue()
    assert "a [bracketed] note" in screen.getvalue()


def test_the_time_left_of_the_whole_job_is_shown_from_the_first_line(
    capsys: pytest.CaptureFixture[str], tmp_path: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("POCKETBERT_HOME", str(tmp_path))
    stages = (StagePlan("task", 20.0, frozenset(["task"])), StagePlan("trials", 100.0, frozenset(["trials"]), "trials"))
    clock = iter((0.0, 0.0, 0.0, 20.0, 20.0, 70.0, 70.0, 120.0)).__next__
    with ProgressPrinter(Job("search", "host", stages), clock=clock) as printer:
        printer(ProgressEvent("task", 0, 1))
        printer(ProgressEvent("task", 1, 1))
        printer(ProgressEvent("trials", 0, 2))
        printer(ProgressEvent("trials", 1, 2))
    lines = capsys.readouterr().err.splitlines()
    assert lines[:2] == ["search: 2m00s left in all", "task 0/1, 2m00s left in all"]
    assert lines[-1] == "trials 1/2, 50s left in all"


def test_it_can_be_silenced(capsys: pytest.CaptureFixture[str]) -> None:
    with ProgressPrinter(enabled=False) as printer:
        printer(ProgressEvent("trials", 0, 1))
        printer.note("nothing")
    assert capsys.readouterr().err == ""
