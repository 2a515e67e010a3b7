"""The result of a search, as an immutable record of all its records."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import mean
from typing import Literal

from search.options import SearchOptions
from search.records import (
    Admission,
    Candidate,
    Cut,
    DeviceSummary,
    Finalist,
    Outlook,
    TaskSummary,
    TeacherSummary,
    Trial,
)


@dataclass(frozen=True)
class SearchResult:
    """All that a search found.

    ``also`` are the further devices that the model has to suit. ``admissions`` are all models timed on the devices
    before any training, the teacher among them where it can be compiled; ``cuts`` are candidates that were judged
    before they learnt. ``winner`` is the number of a trial, None where the teacher itself won; ``seconds`` is wall
    clock for each stage.
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
    also: tuple[DeviceSummary, ...] = ()

    @property
    def devices(self) -> tuple[DeviceSummary, ...]:
        """Every device, in the order of the options' budgets."""
        return self.device, *self.also

    @property
    def confirmation(self) -> Literal["confirmed", "pending"]:
        """``pending`` until latencies were measured on every device itself."""
        return "confirmed" if all(device.attached for device in self.devices) else "pending"

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
    def prediction_errors(self) -> tuple[float, ...]:
        """Mean |predicted / timed - 1| on each device of all that was timed, each as predicted before its timing."""
        on_each = zip(
            *(zip(each.candidate.latencies_ms, each.timings, strict=True) for each in self.admissions), strict=True
        )
        return tuple(mean(abs(predicted / timing.median_ms - 1) for predicted, timing in pairs) for pairs in on_each)

    @property
    def share_of_budget(self) -> float:
        """How much of the budget the winner uses, of the device's where that is most, as a fraction of 1."""
        return max(self.shares_of_budgets)

    @property
    def shares_of_budgets(self) -> tuple[float, ...]:
        """How much of the budget of each device the winner uses, as a fraction of 1."""
        pairs = zip(self.winning_finalist.timings, self.options.budgets_ms, strict=True)
        return tuple(timing.median_ms / most for timing, most in pairs)

    @property
    def equals(self) -> tuple[Finalist, ...]:
        """Finalists faster than the winner, on every device, whose held-out score is within its standard error of it,
        fastest first."""
        winner = self.winning_finalist
        least = winner.trained.score - winner.trained.standard_error
        found = [
            finalist
            for finalist in self.finalists
            if finalist.meets(*self.options.budgets_ms)
            and finalist.trained.score >= least
            and finalist.share_of([timing.median_ms for timing in winner.timings]) < 1.0
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
