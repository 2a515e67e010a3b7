"""What a search knows, as immutable records: its options, what was timed, its trials, its finalists."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import median, quantiles
from typing import TYPE_CHECKING, Literal

from data.architecture import Architecture
from data.tasks import Kind

if TYPE_CHECKING:
    from data.measurement import Measurement

# The teacher itself; the teacher scaled uniformly (the baseline); the largest, before anything is known of any; what
# promises most by the cuts, before there is a score; Bayesian optimisation; the fastest, where nothing else fits.
Proposer = Literal["teacher", "uniform", "largest", "cut", "bayesian", "fastest"]
Provenance = Literal["measured", "simulated", "published"]


@dataclass(frozen=True)
class SpaceFile:
    """Candidate values that a file at ``path`` names, ascending; None where it names none, and the default holds.

    ``heads`` are numbers of heads, ``head_size`` widths of one: a file names one of the two at most.
    """

    path: str
    layers: tuple[int, ...] | None = None
    hidden: tuple[int, ...] | None = None
    heads: tuple[int, ...] | None = None
    head_size: tuple[int, ...] | None = None
    intermediate: tuple[int, ...] | None = None


@dataclass(frozen=True)
class SearchOptions:
    """What the user asked for. ``budget_ms`` is milliseconds, ``max_bytes`` bytes of fp32 weights, ``max_memory``
    bytes of memory that the compiled model holds while it runs.

    ``threads`` None means the device's own default. ``train``, ``dev`` and the names of columns are those of a task of
    the user's own, which ``task`` is then the name of; ``task`` may be the path of a task file as well. ``effort`` is
    how much is spent on learning, ``corpus`` a file of general text, ``finalists`` how many are to meet the budget in
    the final. A study is resumed only with equal options, except
    for ``require_device``, which does not change what is searched.
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
    train: str | None = None
    dev: str | None = None
    text: str | None = None
    text_pair: str | None = None
    label: str | None = None
    kind: Kind | None = None
    metric: str | None = None
    effort: Literal["brief", "full"] = "full"
    corpus: str | None = None
    finalists: int = 2
    space: SpaceFile | None = None
    max_memory: int | None = None


@dataclass(frozen=True)
class Candidate:
    """An architecture, its predicted latency with 90% interval (ms), and the probability that it is admitted: that its
    median is within the budget, and so far within that a later measurement meets it as well.

    ``provenance`` is that of the measurements which the prediction rests on: where a phone was attached later, what had
    been predicted of its analytic model stays so marked.
    """

    architecture: Architecture
    predicted_ms: float
    lower_ms: float
    upper_ms: float
    probability_within: float
    provenance: Provenance


@dataclass(frozen=True)
class Divergence:
    """How far a student's answers on the held-out tenth of train are from its teacher's: the mean over examples and its
    standard error.

    Of classes and tags the Kullback-Leibler divergence in both directions, halved (nats); of regression the mean
    square, in the training labels' variance; of cosines the mean square.
    """

    mean: float
    standard_error: float


@dataclass(frozen=True)
class Trial:
    """A candidate and what a short distillation made of it.

    ``proposed`` until it is ``finished`` (with its scores) or ``failed`` (with the error). Scores are on the held-out
    tenth of train; ``score`` is the task's main metric, ``divergence`` what trials are compared by, ``cut_score`` and
    ``cut_divergence`` those of the student as it was cut, before it learnt anything. ``directory`` is relative to
    ``--out``.
    """

    index: int
    candidate: Candidate
    proposer: Proposer
    status: Literal["proposed", "finished", "failed"] = "proposed"
    score: float | None = None
    scores: dict[str, float] | None = None
    standard_error: float = 0.0
    divergence: Divergence | None = None
    cut_score: float | None = None
    cut_divergence: Divergence | None = None
    seconds: float = 0.0
    directory: str = ""
    finished_at: str = ""
    error: str = ""


@dataclass(frozen=True)
class Cut:
    """A candidate as it is cut out of the teacher, before it learns, and how far it is from the teacher then."""

    architecture: Architecture
    divergence: Divergence


@dataclass(frozen=True)
class Cuts:
    """All candidates that were cut to look at them; ``complete`` when no more are to be."""

    cuts: tuple[Cut, ...] = ()
    complete: bool = False


@dataclass(frozen=True)
class Known:
    """What other searches with the same task and teacher have shown: finished trials, and cuts."""

    trials: tuple[Trial, ...] = ()
    cuts: tuple[Cut, ...] = ()


NOTHING_KNOWN = Known()


@dataclass(frozen=True)
class Timing:
    """Raw samples (ms) of one model on one device; ``warmups_ms`` came before them, ``visits_ms`` is the median of each
    visit."""

    samples_ms: tuple[float, ...]
    warmups_ms: tuple[float, ...]
    provenance: Provenance
    device: str
    fingerprint: str
    threads: int
    session: str
    binary_hash: str
    created_at: str
    visits_ms: tuple[float, ...]

    @classmethod
    def of(cls, visits: Sequence[Measurement]) -> Timing:
        """The part of a model's stored measurements that a study keeps: one row for each visit, one at least."""
        last = visits[-1]
        return cls(
            samples_ms=tuple(sample for visit in visits for sample in visit.samples_ms),
            warmups_ms=tuple(sample for visit in visits for sample in visit.warmups_ms),
            provenance=last.provenance,
            device=last.device,
            fingerprint=last.fingerprint,
            threads=last.threads,
            session=last.session,
            binary_hash=last.binary_hash,
            created_at=last.created_at,
            visits_ms=tuple(visit.median_ms for visit in visits),
        )

    @property
    def median_ms(self) -> float:
        """Median of the samples of all visits: what is compared with the budget."""
        return median(self.samples_ms)

    @property
    def p90_ms(self) -> float:
        """90th percentile of the samples."""
        return quantiles(self.samples_ms, n=10, method="inclusive")[8] if len(self.samples_ms) > 1 else self.median_ms


@dataclass(frozen=True)
class Admission:
    """A candidate as it was predicted, timed on the device with random weights before any training.

    Only what is ``admitted``, since it surely meets the budget, is trained.
    """

    candidate: Candidate
    proposer: Proposer
    timing: Timing
    admitted: bool


@dataclass(frozen=True)
class Batch:
    """Candidates that were compiled and timed together, when there were so many ``trials``."""

    trials: int
    admissions: tuple[Admission, ...]


@dataclass(frozen=True)
class BlockShare:
    """Where the latency goes: one block of the compiled model, how often it runs and its time in one run, ms."""

    name: str
    anchor: str
    count: int
    total_ms: float


@dataclass(frozen=True)
class DevScore:
    """What a model reaches on the dev set, which is read once, when the winner is chosen.

    ``score`` is the task's main metric, ``standard_error`` its own; ``cut`` is how many of dev's texts were longer than
    ``--seq-len``.
    """

    score: float
    scores: dict[str, float]
    standard_error: float
    cut: int = 0


@dataclass(frozen=True)
class Trained:
    """A trial's architecture after the full distillation, scored on the held-out tenth of train.

    ``directory`` (HF checkpoint) is relative to ``--out``.
    """

    score: float
    scores: dict[str, float]
    standard_error: float
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
    """What went into the final: learned, compiled, and measured with its real weights.

    ``trial`` is the number of the trial, None for the teacher itself; ``dev`` is None until the winner is chosen.
    """

    trial: int | None
    trained: Trained
    checked: Checked
    timing: Timing
    shares: tuple[BlockShare, ...] = ()
    dev: DevScore | None = None

    def meets(self, budget_ms: float) -> bool:
        """Whether its median latency is within the budget."""
        return self.timing.median_ms <= budget_ms


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
class Outlook:
    """What the predictor said of the space before anything was timed.

    ``possible`` candidates of ``space_size`` had a chance to meet the budget that was worth a look, ``fastest`` was the
    fastest of all; ``provenance`` is that of the predictor's measurements. ``later`` is the standard deviation of the
    logarithm that a later session's median has, as the profile found it. ``values`` are the space's, by name.
    """

    space_size: int
    possible: int
    fastest: Candidate
    quality: PredictorQuality
    provenance: Provenance
    later: float
    values: dict[str, tuple[int, ...]] = field(default_factory=dict)
