"""The measurement record: where profiling, prediction and search meet."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from statistics import median
from typing import Literal

from data.order_statistics import median_interval, relative_width

Provenance = Literal["measured", "simulated", "published"]
Subject = Literal["block", "model"]
# What may be said against a row: the clock fell while it was measured; the device was warmer than its limit; the
# program did not become steady; the median's interval is wider than asked for; the program could use fewer cores than
# it has threads, or others than those of its affinity.
Mark = Literal["clock dropped", "hot", "unsteady", "wide interval", "few cores", "other cores"]


@dataclass(frozen=True)
class Measurement:
    """Raw timings of one block or one whole model, with all that is needed to judge them later.

    Times are milliseconds of wall clock. ``signature`` is the canonical JSON of the block or of the
    architecture, ``subject_hash`` its content hash. ``reference_ms`` is the reference block's median next
    to this measurement in the session, from which drift is corrected. ``serial`` is the phone's, where several of
    one model share the work; ``cpus`` are the processors that the program was allowed to run on, as it says itself.
    ``outliers`` are indices of samples far from the median, which are kept; ``marks`` is what speaks against the row.
    ``steps_ms`` is how long each block of the program took in its quietest runs (lower decile), in order; their sum is
    about the time of a run that nothing disturbs. Empty for devices that do not tell.
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

    @property
    def median_ms(self) -> float:
        """Median of the raw samples, milliseconds: what a confirmation and people are told."""
        return median(self.samples_ms)

    @property
    def undisturbed_ms(self) -> float:
        """Time of a run whose every block is as fast as in its quietest runs; the median where blocks are unknown."""
        return sum(self.steps_ms) if self.steps_ms else self.median_ms

    @property
    def interval_ms(self) -> tuple[float, float]:
        """95% confidence interval of the median, milliseconds, from the order statistics of the samples."""
        return median_interval(self.samples_ms)

    @property
    def relative_width(self) -> float:
        """Width of :attr:`interval_ms` over the median."""
        return relative_width(self.samples_ms)
