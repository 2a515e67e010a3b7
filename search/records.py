"""What a search knows, as immutable records: its options, its feasible set, its trials, its finalists, its result."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import median, quantiles
from typing import TYPE_CHECKING, Literal

from data.architecture import Architecture

if TYPE_CHECKING:
    from data.measurement import Measurement

Proposer = Literal["initial", "bayesian"]
Provenance = Literal["measured", "simulated", "published"]


@dataclass(frozen=True)
class SearchOptions:
    """What the user asked for. ``budget_ms`` is milliseconds, ``max_bytes`` bytes of fp32 weights.

    ``threads`` None means the device's own default. A study is resumed only with equal options, except for
    ``require_device``, which does not change what is searched.
    """

    device: str
    budget_ms: float
    task: str
    unit: str = "cpu"
    data_dir: str | None = None
    teacher: str | None = None
    trials: int = 6
    seq_len: int = 128
    max_bytes: int | None = None
    threads: int | None = None
    seed: int = 0
    require_device: bool = False


@dataclass(frozen=True)
class Candidate:
    """An architecture, its predicted latency with 90% interval (ms), and the probability that it meets the budget."""

    architecture: Architecture
    predicted_ms: float
    lower_ms: float
    upper_ms: float
    probability_within: float


@dataclass(frozen=True)
class Trial:
    """A candidate and what a short distillation made of it.

    ``proposed`` until it is ``finished`` (with its scores) or ``failed`` (with the error). Scores are on the task's
    dev set; ``score`` is the task's main metric. ``directory`` is relative to ``--out``.
    """

    index: int
    candidate: Candidate
    proposer: Proposer
    status: Literal["proposed", "finished", "failed"] = "proposed"
    score: float | None = None
    scores: dict[str, float] | None = None
    seconds: float = 0.0
    directory: str = ""
    finished_at: str = ""
    error: str = ""


@dataclass(frozen=True)
class Timing:
    """Raw samples (ms) of one model on one device; ``warmups_ms`` came before them."""

    samples_ms: tuple[float, ...]
    warmups_ms: tuple[float, ...]
    provenance: Provenance
    device: str
    fingerprint: str
    threads: int
    session: str
    binary_hash: str
    created_at: str

    @classmethod
    def of(cls, measurement: Measurement) -> Timing:
        """The part of a stored measurement that a study keeps."""
        return cls(
            samples_ms=tuple(measurement.samples_ms),
            warmups_ms=tuple(measurement.warmups_ms),
            provenance=measurement.provenance,
            device=measurement.device,
            fingerprint=measurement.fingerprint,
            threads=measurement.threads,
            session=measurement.session,
            binary_hash=measurement.binary_hash,
            created_at=measurement.created_at,
        )

    @property
    def median_ms(self) -> float:
        """Median of the samples: what is compared with the budget."""
        return median(self.samples_ms)

    @property
    def p90_ms(self) -> float:
        """90th percentile of the samples."""
        return quantiles(self.samples_ms, n=10, method="inclusive")[8] if len(self.samples_ms) > 1 else self.median_ms


@dataclass(frozen=True)
class BlockShare:
    """Where the latency goes: one block of the compiled model, how often it runs and its time in one run, ms."""

    name: str
    anchor: str
    count: int
    total_ms: float


@dataclass(frozen=True)
class Trained:
    """A trial's architecture after the full distillation. ``directory`` (HF checkpoint) is relative to ``--out``."""

    score: float
    scores: dict[str, float]
    seconds: float
    directory: str
    finished_at: str


@dataclass(frozen=True)
class Checked:
    """A full model exported and compiled; ``max_difference`` is the largest |logit difference| from ONNX Runtime."""

    onnx: str
    max_difference: float


@dataclass(frozen=True)
class Finalist:
    """A trial that went into the final: what was predicted, measured and learned.

    ``screening`` is the latency with the weights of the short distillation; a trial that misses the budget there is not
    distilled further, and has no ``trained``, ``checked`` and ``timing``.
    """

    trial: int
    screening: Timing
    trained: Trained | None = None
    checked: Checked | None = None
    timing: Timing | None = None
    shares: tuple[BlockShare, ...] = ()

    def meets(self, budget_ms: float) -> bool:
        """Whether it is complete and has a median latency within the budget."""
        return self.timing is not None and self.timing.median_ms <= budget_ms


@dataclass(frozen=True)
class TeacherSummary:
    """The fine-tuned teacher and its scores on the dev set."""

    name: str
    architecture: Architecture
    score: float
    scores: dict[str, float]


@dataclass(frozen=True)
class TaskSummary:
    """What was learned, and the score of the best constant answer."""

    name: str
    metric: str
    majority: float
    train_examples: int
    dev_examples: int


@dataclass(frozen=True)
class DeviceSummary:
    """Where latencies come from. ``attached`` is False where an analytic model stands in for the device."""

    name: str
    title: str
    unit: str
    fingerprint: str
    processor: str
    target: str
    threads: int
    provenance: Provenance

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
class FeasibleSet:
    """The candidates which the predictor expects within the budget, or else those measured within it, and how many the
    space had.

    ``fastest`` is the fastest of the whole space; ``provenance`` is that of the predictor's measurements.
    """

    candidates: tuple[Candidate, ...]
    space_size: int
    fastest: Candidate
    quality: PredictorQuality
    provenance: Provenance


@dataclass(frozen=True)
class SearchResult:
    """All that a search found. ``winner`` is the number of a trial; ``seconds`` is wall clock for each stage."""

    options: SearchOptions
    device: DeviceSummary
    task: TaskSummary
    teacher: TeacherSummary
    feasible: FeasibleSet
    trials: tuple[Trial, ...]
    finalists: tuple[Finalist, ...]
    winner: int
    seconds: dict[str, float]

    @property
    def confirmation(self) -> Literal["confirmed", "pending"]:
        """``pending`` until the latency was measured on the device itself."""
        return "confirmed" if self.device.attached else "pending"

    @property
    def winning_trial(self) -> Trial:
        """The trial whose architecture won."""
        return self.trials[self.winner]

    @property
    def winning_finalist(self) -> Finalist:
        """The finalist that won; it is complete."""
        return next(finalist for finalist in self.finalists if finalist.trial == self.winner)
