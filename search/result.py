"""The result of a search, and what it was made with: teacher, task and devices, and what was predicted at first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import mean
from typing import Literal

from data.architecture import Architecture, Precision
from data.measurement import runs_on
from data.tasks import Kind
from search.latencies import Provenance
from search.options import LatencySource, SearchOptions
from search.records import Admission, Candidate, Cut, DevScore, Finalist, Trial


@dataclass(frozen=True)
class TeacherSummary:
    """The teacher and its scores on the held-out tenth of train; ``dev`` is None until the winner is chosen."""

    name: str
    architecture: Architecture
    score: float
    scores: dict[str, float]
    standard_error: float
    dev: DevScore | None = None


@dataclass(frozen=True)
class TaskSummary:
    """What was learned, and the score of the best constant answer on dev and on the held-out tenth of train.

    ``measures`` are what the scores on the held-out tenth and on dev are called: the metric, or how well a student
    agrees with the teacher where there are no labels. ``fingerprint`` is that of all examples.
    """

    name: str
    kind: Kind
    metric: str
    measures: tuple[str, str]
    majority: float
    held_out_majority: float
    train_examples: int
    held_out_examples: int
    dev_examples: int
    fingerprint: str = ""


@dataclass(frozen=True)
class UnitTiming:
    """The largest uniformly scaled teacher whose median (ms) was within the budget on a unit, or the fastest where none
    was."""

    unit: str
    architecture: str
    parameters: int
    median_ms: float
    within: bool


@dataclass(frozen=True)
class UnitChoice:
    """The unit of a device that a search is for, and what was timed on each before."""

    device: str
    unit: str
    timed: tuple[UnitTiming, ...]


@dataclass(frozen=True)
class DeviceSummary:
    """Where latencies come from. ``attached`` is False where an analytic model stands in for the device. ``units`` is
    what its unit was chosen by, where several were asked for."""

    name: str
    title: str
    unit: str
    fingerprint: str
    processor: str
    target: str
    threads: int
    provenance: Provenance
    units: tuple[UnitTiming, ...] = ()

    @property
    def runs_on(self) -> str:
        """The unit, and of a processor the number of threads."""
        return runs_on(self.unit, self.threads)

    @property
    def attached(self) -> bool:
        """Whether latencies are measured on the device itself."""
        return self.provenance == "measured"


@dataclass(frozen=True)
class PredictorQuality:
    """The latency predictor's error on held-out whole models: MAPE and shares are fractions of 1.

    ``held_out`` holds name, latency and predicted latency (both ms) of each of them.
    """

    n: int
    mape: float
    within_10: float
    spearman: float
    held_out: tuple[tuple[str, float, float], ...] = ()


@dataclass(frozen=True)
class FurtherOutlook:
    """What there is to say of the predictor of a further device; as in :class:`Outlook`."""

    quality: PredictorQuality
    provenance: Provenance
    later: float
    source_quality: dict[LatencySource, PredictorQuality] = field(default_factory=dict)


@dataclass(frozen=True)
class Outlook:
    """What the predictor said of the space before anything was timed.

    ``possible`` candidates of ``space_size`` had a chance to meet the budgets that was worth a look, ``fastest`` was
    the fastest of all; ``provenance`` is that of the predictor's measurements. ``later`` is the standard deviation of
    the logarithm that a later session's median has, as the profile found it. ``values`` are the space's, by name;
    ``also`` is of the predictors of further devices, ``source_quality`` how far off predictions from each source that
    was at hand are.
    """

    space_size: int
    possible: int
    fastest: Candidate
    quality: PredictorQuality
    provenance: Provenance
    later: float
    values: dict[str, tuple[int, ...] | tuple[Precision, ...]] = field(default_factory=dict)
    also: tuple[FurtherOutlook, ...] = ()
    source_quality: dict[LatencySource, PredictorQuality] = field(default_factory=dict)

    @property
    def laters(self) -> tuple[float, ...]:
        """``later`` of every device."""
        return self.later, *(each.later for each in self.also)


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
