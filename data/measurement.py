"""The measurement record: where profiling, prediction and search meet."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from statistics import median
from typing import Literal

Provenance = Literal["measured", "simulated", "published"]
Subject = Literal["block", "model"]


@dataclass(frozen=True)
class Measurement:
    """Raw timings of one block or one whole model, with all that is needed to judge them later.

    Times are milliseconds of wall clock. ``signature`` is the canonical JSON of the block or of the
    architecture, ``subject_hash`` its content hash. ``reference_ms`` is the reference block's median next
    to this measurement in the session, from which drift is corrected. ``serial`` is the phone's, where several of
    one model share the work; ``cpus`` are the processors that the program was allowed to run on, as it says itself.
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

    @property
    def median_ms(self) -> float:
        """Median of the raw samples, milliseconds: the statistic used everywhere."""
        return median(self.samples_ms)
