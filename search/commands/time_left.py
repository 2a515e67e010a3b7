"""How long a job still takes: each stage's expected seconds, corrected by its own pace once that can be trusted.

The first item of a stage often takes ten times as long as the others (imports, a compiler's first run, caches), so that
a pace counts from the end of the first item, after some seconds, and the more the further the stage has gone. Stages
that are over tell how fast this machine is beside what was expected, for those to come.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from data.progress import ProgressEvent

# A pace of fewer seconds says nothing; at this share of the stage it weighs as much as what was expected.
_FIRST_TRUSTED_S, _EQUAL_WEIGHT_SHARE = 3.0, 0.1
# What a stage takes that outlasts its expectation, as a share of what it took so far.
_OVERDUE_SHARE = 0.1
# A stage whose first event says that less is done was seen from its beginning: some tell of a step when it is over.
_FROM_THE_BEGINNING = 0.05
# Expected seconds of finished stages that weigh as much as the belief that this machine is as expected; the limits.
_SPEED_PRIOR_S, _SLOWEST, _FASTEST = 60.0, 3.0, 0.4


@dataclass(frozen=True)
class StagePlan:
    """One stage of a job.

    ``seconds`` is what its ``items`` are expected to take in all. ``events`` are the stages of the progress events that
    are told in it; those named ``counts`` say how far it is, and those named ``within`` how far the current item is. A
    ``paced`` stage takes longer on a slower machine; one that ends by the clock does not.
    """

    name: str
    seconds: float
    events: frozenset[str]
    counts: str = ""
    within: str = ""
    items: int = 1
    paced: bool = True


class StagePace:
    """How fast one stage goes, and what is left of it."""

    def __init__(self, started_s: float, expected_s: float | None = None) -> None:
        self.expected_s = expected_s
        self.started_s = started_s
        self.share = 0.0
        self.started_share: float | None = None
        self._trusted: tuple[float, float] | None = None  # (seconds, share) at the end of the first item
        self._last_s = started_s

    def advance(self, share: float, now_s: float) -> None:
        """``share`` of the stage, from 0 to 1, is done."""
        if self.started_share is None:
            self.started_share = share
        elif share > self.share and self._trusted is None:
            self._trusted = (now_s, share)
        if share > self.share:
            self._last_s = now_s
        self.share = max(self.share, share)

    def left_s(self, now_s: float, speed: float = 1.0) -> float | None:
        """Seconds until the stage ends; None where nothing was expected and there is no pace yet."""
        if self.share >= 1.0:
            return 0.0
        own, weight = self._own_left_s()
        if self.expected_s is None:
            expected, weight = 0.0, 1.0
        else:
            expected = self.expected_s * speed * (1.0 - self.share) / (1.0 - (self.started_share or 0.0))
        if weight == 0.0 or own is None:
            return None if self.expected_s is None else _without_news(expected, now_s - self._last_s)
        return _without_news(weight * own + (1.0 - weight) * expected, now_s - self._last_s)

    def _own_left_s(self) -> tuple[float | None, float]:
        """Seconds left at the stage's own pace, and what that weighs, from 0 to 1."""
        if self._trusted is None:
            return None, 0.0
        begun_s, begun_share = self._trusted
        seconds, gone = self._last_s - begun_s, self.share - begun_share
        if gone <= 0.0 or seconds < _FIRST_TRUSTED_S:
            return None, 0.0
        return seconds / gone * (1.0 - self.share), gone / (gone + _EQUAL_WEIGHT_SHARE)


class TimeLeft:
    """Seconds left of a whole job, from its plan and the progress events that it tells."""

    def __init__(self, plan: Sequence[StagePlan], now_s: float) -> None:
        self._plan = tuple(plan)
        self._current = 0
        self._items: tuple[float, float] | None = None  # (done, total) of the stage's own items
        self._paces = {0: StagePace(now_s, plan[0].seconds)} if plan else {}
        self._ended: dict[int, float] = {}

    def observe(self, event: ProgressEvent, now_s: float) -> None:
        """Takes note of one event; one that belongs to no later stage is of the current one."""
        if not self._plan:
            return
        found = (i for i in range(self._current, len(self._plan)) if event.stage in self._plan[i].events)
        self._enter(next(found, self._current), now_s)
        plan, pace = self._plan[self._current], self._paces[self._current]
        if event.total and event.stage == plan.counts:
            self._items = (event.done, event.total)
            pace.advance(event.done / event.total, now_s)
        elif event.total and event.stage == plan.within and self._items:
            done, total = self._items
            if done < total:
                pace.advance((done + event.done / event.total) / total, now_s)

    def left_s(self, now_s: float) -> float | None:
        """Seconds until the job ends; None without a plan."""
        if not self._plan:
            return None
        current, speed = self._plan[self._current], self._speed()
        left = self._paces[self._current].left_s(now_s, speed if current.paced else 1.0) or 0.0
        later = self._plan[self._current + 1 :]
        return left + sum(stage.seconds * (speed if stage.paced else 1.0) for stage in later)

    def learned(self) -> dict[str, float]:
        """What each stage took that was seen from its beginning to its end, in seconds."""
        whole = {}
        for index, ended_s in self._ended.items():
            plan, pace = self._plan[index], self._paces[index]
            counted = pace.share >= 1.0 and (pace.started_share or 0.0) <= _FROM_THE_BEGINNING
            if counted or not plan.counts:
                whole[plan.name] = ended_s - pace.started_s
        return whole

    def end(self, now_s: float) -> None:
        """The job is over: its last stage as well."""
        if self._plan:
            self._ended[self._current] = now_s

    def _enter(self, index: int, now_s: float) -> None:
        if index == self._current:
            return
        self._ended[self._current] = now_s
        self._current, self._items = index, None
        self._paces[index] = StagePace(now_s, self._plan[index].seconds)

    def _speed(self) -> float:
        """Seconds over expected seconds of the paced stages so far, near 1 while little is known."""
        known = [(self._plan[i].seconds, end - self._paces[i].started_s) for i, end in self._ended.items()]
        paced = [each for each, i in zip(known, self._ended, strict=True) if self._plan[i].paced]
        expected, took = (sum(values) for values in zip(*paced, strict=True)) if paced else (0.0, 0.0)
        speed = (took + _SPEED_PRIOR_S) / (expected + _SPEED_PRIOR_S)
        # A machine that others use slows all stages alike; one that compiles quickly need not train quickly.
        return min(max(speed if speed > 1.0 else math.sqrt(speed), _FASTEST), _SLOWEST)


def _without_news(left_s: float, silent_s: float) -> float:
    """What is left when nothing was heard for ``silent_s``: it passes, but what is overdue has not ended."""
    return max(left_s - silent_s, _OVERDUE_SHARE * (left_s + silent_s))
