"""The result of a search, as an immutable record of all its records."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import mean
from typing import Literal

from search.records import (
    Admission,
    Candidate,
    Cut,
    DeviceSummary,
    Finalist,
    Outlook,
    SearchOptions,
    TaskSummary,
    TeacherSummary,
    Trial,
)


@dataclass(frozen=True)
class SearchResult:
    """All that a search found.

    ``admissions`` are all models timed on this device before any training, the teacher among them where it can be
    compiled; ``cuts`` are candidates that were judged before they learnt. ``winner`` is the number of a trial, None
    where the teacher itself won; ``seconds`` is wall clock for each stage.
    """

    options: SearchOptions
    device: DeviceSummary
    task: TaskSummary
    teacher: TeacherSummary
    outlook: Outlook
    admissions: tuple[Admission, ...]
    cuts: tuple[Cut, ...]
    trials: tuple[Trial, ...]
    finalists: tuple[Finalist, ...]
    winner: int | None
    seconds: dict[str, float]

    @property
    def confirmation(self) -> Literal["confirmed", "pending"]:
        """``pending`` until the latency was measured on the device itself."""
        return "confirmed" if self.device.attached else "pending"

    @property
    def winning_finalist(self) -> Finalist:
        """The finalist that won."""
        return next(finalist for finalist in self.finalists if finalist.trial == self.winner)

    @property
    def winning_candidate(self) -> Candidate:
        """The winner as it was predicted."""
        return self.admission_of(self.winner).candidate

    @property
    def teacher_admission(self) -> Admission | None:
        """How the teacher itself was timed before any training; None where it cannot be compiled."""
        return next((each for each in self.admissions if each.proposer == "teacher"), None)

    def admission_of(self, trial: int | None) -> Admission:
        """How a trial's architecture, or the teacher itself (None), was timed before any training."""
        if trial is None:
            return next(each for each in self.admissions if each.proposer == "teacher")
        architecture = self.trials[trial].candidate.architecture
        return next(
            each
            for each in self.admissions
            if each.candidate.architecture == architecture and each.proposer != "teacher"
        )

    @property
    def baseline(self) -> Admission | None:
        """See :func:`baseline_of`."""
        return baseline_of(self.admissions)

    @property
    def prediction_error(self) -> float:
        """Mean |predicted / timed - 1| of all that was timed, each as predicted before its timing."""
        return mean(abs(each.candidate.predicted_ms / each.timing.median_ms - 1) for each in self.admissions)

    @property
    def share_of_budget(self) -> float:
        """How much of the budget the winner uses, as a fraction of 1."""
        return self.winning_finalist.timing.median_ms / self.options.budget_ms

    @property
    def equals(self) -> tuple[Finalist, ...]:
        """Finalists faster than the winner whose held-out score is within its standard error of it, fastest first."""
        winner = self.winning_finalist
        least = winner.trained.score - winner.trained.standard_error
        found = [
            finalist
            for finalist in self.finalists
            if finalist.meets(self.options.budget_ms)
            and finalist.trained.score >= least
            and finalist.timing.median_ms < winner.timing.median_ms
        ]
        return tuple(sorted(found, key=lambda finalist: finalist.timing.median_ms))


@dataclass(frozen=True)
class BudgetOutcome:
    """What became of one of several budgets: its result, in a folder below ``--out``, or why there is none."""

    budget_ms: float
    folder: str
    result: SearchResult | None
    problem: str = ""


def baseline_of(admissions: Sequence[Admission]) -> Admission | None:
    """The largest uniformly scaled teacher that was timed within the budget: what one has without a search."""
    within = [each for each in admissions if each.proposer == "uniform" and each.admitted]
    return max(within, key=lambda each: each.timing.median_ms, default=None)
