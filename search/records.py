"""What a search knows, as immutable records: what was timed, its trials, its finalists."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from data.architecture import Architecture, Precision
from search.latencies import Prediction, Provenance, TimedOnEach, Timing, largest_share

# The teacher itself; the teacher scaled uniformly (the baseline); the largest, before anything is known of any; what
# promises most by the cuts, before there is a score; Bayesian optimisation; the fastest, where nothing else fits.
Proposer = Literal["teacher", "uniform", "largest", "cut", "bayesian", "fastest"]


@dataclass(frozen=True)
class Candidate:
    """An architecture, its predicted latency with 90% interval (ms), and the probability that it is admitted: that its
    median is within the budget, and so far within that a later measurement meets it as well.

    ``also`` is what is predicted on further devices; ``probability_within`` is then that of all devices together, the
    product of theirs, as if their predictors erred independently. ``provenance`` is that of the measurements which the
    prediction rests on: where a phone was attached later, what had been predicted of its analytic model stays so
    marked.
    """

    architecture: Architecture
    predicted_ms: float
    lower_ms: float
    upper_ms: float
    probability_within: float
    provenance: Provenance
    also: tuple[Prediction, ...] = ()

    @property
    def latencies_ms(self) -> tuple[float, ...]:
        """What is predicted on every device, ms."""
        return self.predicted_ms, *(each.predicted_ms for each in self.also)

    def share_of(self, limits_ms: Sequence[float]) -> float:
        """The largest share that its predicted latencies have of these limits, one for each device; a fraction of 1."""
        return largest_share(self.latencies_ms, limits_ms)

    def measured(self, timings: Sequence[Timing]) -> Candidate:
        """The same after it was timed on every device and admitted, with what was measured for what was predicted."""
        further = zip(self.also, timings[1:], strict=True)
        return replace(
            self,
            predicted_ms=timings[0].median_ms,
            probability_within=1.0,
            also=tuple(replace(each, predicted_ms=found.median_ms, probability_within=1.0) for each, found in further),
        )


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
    """A candidate as it is cut out of the teacher, before it learns, and how far it is from the teacher then.

    ``latency_ms`` is what was known of its latency when it was cut: timed, or else predicted.
    """

    architecture: Architecture
    divergence: Divergence
    latency_ms: float | None = None


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
class Admission(TimedOnEach):
    """A candidate as it was predicted, timed with random weights before any training: on the device, and on further
    ones (``also``).

    Only what is ``admitted``, since it surely meets all budgets, is trained.
    """

    candidate: Candidate
    proposer: Proposer
    timing: Timing
    admitted: bool
    also: tuple[Timing, ...] = ()


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
class ProductCost:
    """What a product with weights costs when it alone is int8: ``divergence`` from the model in fp32.

    ``modules`` are the names of its linear modules, ``share`` is that of the multiplications with weights.
    """

    modules: tuple[str, ...]
    share: float
    divergence: float


@dataclass(frozen=True)
class Int8Choice:
    """Which products of an int8 model stay fp32: ``fp32`` names their modules, ``share`` of the multiplications with
    weights.

    ``divergence`` is how far the model so is from itself in fp32, ``undivided`` where all products are int8, over some
    of the training texts (:class:`Divergence`; of cosines as a share of their variance); ``costs`` of each product
    alone, the dearest first. Where ``divergence`` is above ``limit`` no more could stay fp32.
    """

    fp32: tuple[str, ...]
    share: float
    divergence: float
    undivided: float
    limit: float
    costs: tuple[ProductCost, ...] = ()


@dataclass(frozen=True)
class Trained:
    """A trial's architecture after the full distillation, scored on the held-out tenth of train in its precision.

    ``directory`` (HF checkpoint) is relative to ``--out``; ``int8`` says how it is int8, None in fp32.
    """

    score: float
    scores: dict[str, float]
    standard_error: float
    seconds: float
    directory: str
    finished_at: str
    precision: Precision = "fp32"
    int8: Int8Choice | None = None

    @property
    def fp32_modules(self) -> tuple[str, ...]:
        """The modules whose products are fp32 in an int8 model."""
        return self.int8.fp32 if self.int8 else ()


@dataclass(frozen=True)
class Checked:
    """A full model exported and compiled; ``max_difference`` is the largest |logit difference| from ONNX Runtime."""

    onnx: str
    max_difference: float


@dataclass(frozen=True)
class Finalist(TimedOnEach):
    """What went into the final: learned, compiled, and measured with its real weights.

    ``trial`` is the number of the trial, None for the teacher itself; ``dev`` is None until the winner is chosen.
    ``shares`` are those of the first device, ``also`` the timings on further ones.
    """

    trial: int | None
    trained: Trained
    checked: Checked
    timing: Timing
    shares: tuple[BlockShare, ...] = ()
    dev: DevScore | None = None
    also: tuple[Timing, ...] = ()

    def meets(self, *budgets_ms: float) -> bool:
        """Whether its median latency is within the budget of every device."""
        return all(timing.median_ms <= most for timing, most in zip(self.timings, budgets_ms, strict=True))
