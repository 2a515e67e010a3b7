"""The time left of a whole job on made-up streams of events: near the truth from the first minute on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

import pytest

from data.progress import ProgressEvent
from search.commands.jobs import expected, keep_durations, profile_job, search_job
from search.commands.time_left import StagePace, StagePlan, TimeLeft
from search.options import SearchOptions

Told = tuple[float, ProgressEvent]


def plan(seconds: Sequence[float]) -> tuple[StagePlan, ...]:
    """A search in short: a task, a profile that ends by the clock, a teacher, trials with distillations in them."""
    task, profile, teacher, trials, final = seconds
    return (
        StagePlan("task", task, frozenset(["task"])),
        StagePlan("profile", profile, frozenset(["compile", "measure"]), paced=False),
        StagePlan("teacher", teacher, frozenset(["teacher"]), counts="teacher"),
        StagePlan("trials", trials / 4, frozenset(["trials", "distillation"]), "trials", "distillation", items=4),
        StagePlan("final", final / 2, frozenset(["final", "distillation"]), "final", "distillation", items=2),
    )


def whole(stages: Sequence[StagePlan]) -> tuple[StagePlan, ...]:
    return expected("search", "never seen", tuple(stages)).stages


def counted(begin: float, seconds: float, stage: str, items: int, first: float = 10.0) -> Iterator[Told]:
    """Items of equal length but the first, which takes ``first`` times as long, within so many seconds."""
    each = seconds / (items - 1 + first)
    for done in range(1, items + 1):
        yield begin + each * (first + done - 1), ProgressEvent(stage, done, items)


def nested(begin: float, seconds: float, stage: str, items: int) -> Iterator[Told]:
    each = seconds / items
    for item in range(items):
        yield begin + item * each, ProgressEvent(stage, item, items)
        yield from counted(begin + item * each, each * 0.98, "distillation", 125)
        yield begin + (item + 1) * each, ProgressEvent(stage, item + 1, items)


def stream(seconds: Sequence[float]) -> list[Told]:
    task, profile, teacher, trials, final = seconds
    told = [(0.0, ProgressEvent("task", 0, 1)), (task, ProgressEvent("task", 1, 1))]
    told.append((task, ProgressEvent("compile", 0, None, "100 blocks")))
    # Twice as many come to light half way through: the stage's own count begins again.
    told += counted(task + profile * 0.3, profile * 0.3, "measure", 100)
    told += counted(task + profile * 0.6, profile * 0.4, "measure", 200)
    begin = task + profile
    told += counted(begin, teacher, "teacher", 250)
    told += nested(begin + teacher, trials, "trials", 4)
    told += nested(begin + teacher + trials, final, "final", 2)
    return told


TRUTH = (20.0, 240.0, 120.0, 200.0, 200.0)


@pytest.mark.parametrize(
    ("believed", "factor"),
    [(TRUTH, 1.15), ((25.0, 330.0, 130.0, 180.0, 200.0), 1.35), ((10.0, 240.0, 70.0, 110.0, 100.0), 1.6)],
    ids=["as expected", "as the defaults", "half as fast as expected"],
)
def test_from_the_first_minute_on_the_time_left_is_near_the_truth(believed: Sequence[float], factor: float) -> None:
    left, events = TimeLeft(whole(plan(believed)), 0.0), stream(TRUTH)
    ends = sum(TRUTH)
    for now, event in events:
        left.observe(event, now)
        shown, true = left.left_s(now), ends - now
        assert shown is not None
        # The last half minute is forgiven some seconds.
        if now >= 60.0:
            assert true / factor - 10.0 <= shown <= true * factor + 10.0, (now, event)


def test_a_slow_first_item_is_not_taken_for_the_pace() -> None:
    pace = StagePace(0.0)
    pace.advance(0.0, 0.0)
    pace.advance(0.01, 30.0)
    assert pace.left_s(31.0) is None
    for done in range(2, 20):
        pace.advance(done / 100, 29.0 + done)
    assert pace.left_s(48.0) == pytest.approx(81.0)


def test_what_is_silent_passes_and_what_is_overdue_has_not_ended() -> None:
    pace = StagePace(0.0, 100.0)
    assert pace.left_s(40.0) == pytest.approx(60.0)
    assert 10.0 <= (pace.left_s(150.0) or 0.0) <= 50.0


def test_a_resumed_stage_is_expected_to_take_what_is_left_of_it() -> None:
    left = TimeLeft(whole(plan((0.0, 0.0, 0.0, 100.0, 0.0)))[3:4], 0.0)
    left.observe(ProgressEvent("trials", 2, 4), 0.0)
    assert left.left_s(0.0) == pytest.approx(100.0)


def test_what_a_job_took_is_expected_of_the_next(tmp_path: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POCKETBERT_HOME", str(tmp_path))
    job = expected("search", "host", plan((1.0, 1.0, 1.0, 4.0, 2.0)))
    left, begin = TimeLeft(job.stages, 0.0), 100.0
    for now, event in stream(TRUTH):
        left.observe(event, begin + now)
    left.end(begin + sum(TRUTH))
    keep_durations(job, left.learned())
    again = expected("search", "host", plan((1.0, 1.0, 1.0, 8.0, 2.0)))
    # Twice as many trials as before are expected to take twice as long.
    more = [*again.stages[:3], StagePlan("trials", 0.0, frozenset(), items=8), again.stages[4]]
    seconds = [stage.seconds for stage in expected("search", "host", tuple(more)).stages]
    assert seconds[1:] == pytest.approx([240.0, 120.0, 400.0, 200.0], rel=0.05)
    assert expected("search", "another", job.stages[:1]).stages[0].seconds == 1.0


def test_what_an_analytic_model_took_is_not_expected_of_the_phone(
    tmp_path: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("POCKETBERT_HOME", str(tmp_path))
    simulated, phone = (profile_job("s20", kind, "cpu", 8, 128, False, None) for kind in ("simulated", "measured"))
    keep_durations(simulated, {"compile": 0.1, "measure": 1.0})
    again = profile_job("s20", "simulated", "cpu", 8, 128, False, None)
    assert [stage.seconds for stage in again.stages[:2]] == [0.1, 1.0]
    assert profile_job("s20", "measured", "cpu", 8, 128, False, None).stages == phone.stages
    assert profile_job("s20", "simulated", "cpu", 8, 128, False, 60.0).stages[1].seconds == 60.0


def test_one_trial_has_one_finalist(tmp_path: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POCKETBERT_HOME", str(tmp_path))
    options = SearchOptions(device="host", budget_ms=8.0, task="docpairs", trials=1)
    one, two = (search_job(replace(options, finalists=count), [1]).stages[-2] for count in (1, 2))
    assert one == two and one.name == "final"


def test_learning_is_expected_to_take_as_long_as_there_is_to_learn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("POCKETBERT_HOME", str(tmp_path))
    path = tmp_path / "train.csv"

    def seconds(stage: str, effort: Literal["brief", "full"] = "full") -> float:
        options = SearchOptions(device="host", budget_ms=8.0, task="own", train=str(path), effort=effort, seq_len=32)
        return next(each for each in search_job(options, [4]).stages if each.name == stage).seconds

    path.write_text("a text of forty characters, and a label\n" * 3000)
    short = seconds("teacher")
    path.write_text("a text of forty characters, and a label\n" * 6000)
    # A million tokens of passes with two runs a text, six passes at most, and one over pairs before.
    assert seconds("teacher") - short == pytest.approx(13 * 3000 * 40 / 4 / 1500)
    assert seconds("final", "brief") < seconds("final") / 4
    twice = seconds("teacher")
    path.write_text(("a text of forty characters, and a label " * 100 + "\n") * 6000)
    assert seconds("teacher") - twice == pytest.approx((7 * 32 - 13 * 10) * 6000 / 1500), "what is cut is not learnt"
    assert seconds("teacher", "brief") < seconds("teacher") / 2
