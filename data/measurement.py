"""The measurement record: where profiling, prediction and search meet."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from statistics import median
from typing import Literal

from data.order_statistics import median_interval

Provenance = Literal["measured", "simulated", "published"]
Subject = Literal["block", "model"]
# What may be said against a row: the clock fell while it was measured; the device was warmer than its limit; the
# program could use fewer cores than it has threads. Rows of before visits may say that the program did not become
# steady, that the median's interval was wider than asked for, or that it used other cores than those of its affinity.
Mark = Literal["clock dropped", "hot", "unsteady", "wide interval", "few cores", "other cores"]
# Key in a measurement's ``state_after``: involuntary context switches a second while its round ran.
PREEMPTIONS = "preemptions_per_s"


def runs_on(unit: str, threads: int) -> str:
    """A unit for people, and of a processor the number of threads: a GPU's are its driver's own matter."""
    return f"{unit}, {threads} threads" if unit == "cpu" else unit


@dataclass(frozen=True)
class Measurement:
    """Raw timings of one visit to a block or to a whole model, with all that is needed to judge them later.

    Times are milliseconds of wall clock. ``signature`` is the canonical JSON of the block or of the architecture,
    ``subject_hash`` its content hash. ``round`` numbers the rounds of a session: the visits of one share what the
    machine did meanwhile. ``reference_ms`` is the time of a reference block beside rows of before rounds, None
    since. ``serial`` is the phone's, where several of one model share the work; ``cpus`` are the processors that the
    program was allowed to run on, as it says itself. ``outliers`` are indices of samples far from the median, which are
    kept; ``marks`` is what speaks against the row. ``steps_ms`` is how long each block of the program took, in order:
    the median over the visit's runs. Empty for devices that do not tell.
    """

    subject: Subject
    subject_hash: str
    signature: str
    device: str
    fingerprint: str
    unit: str
    threads: int
    affinity: str
    session: str
    position: int
    warmups_ms: tuple[float, ...]
    samples_ms: tuple[float, ...]
    reference_ms: float | None
    binary_hash: str
    compiler: str
    provenance: Provenance
    created_at: str
    state_before: Mapping[str, float] = field(default_factory=dict)
    state_after: Mapping[str, float] = field(default_factory=dict)
    serial: str = ""
    cpus: tuple[int, ...] = ()
    outliers: tuple[int, ...] = ()
    marks: tuple[Mark, ...] = ()
    steps_ms: tuple[float, ...] = ()
    round: int = 0

    @property
    def median_ms(self) -> float:
        """Median of the raw samples, milliseconds: of this visit alone."""
        return median(self.samples_ms)

    @property
    def interval_ms(self) -> tuple[float, float]:
        """95% confidence interval of the median, milliseconds, from the order statistics of the samples."""
        return median_interval(self.samples_ms)
