"""Latencies of one model on a device: what it may take there, what is predicted, what was timed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median, quantiles
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from data.measurement import Measurement

Provenance = Literal["measured", "simulated", "published"]


@dataclass(frozen=True)
class DeviceBudget:
    """A device, by its bundled name or the path of its file, and the median latency that a model may have there, ms."""

    device: str
    budget_ms: float

    @property
    def name(self) -> str:
        """What the device is called in messages: of a path its last part."""
        return Path(self.device).stem if self.device.endswith(".toml") else self.device

    def __str__(self) -> str:
        """As ``--also`` has it."""
        return f"{self.device}:{exact_ms(self.budget_ms)}"


def exact_ms(budget_ms: float) -> str:
    """A budget as options have it, without rounding: ``8ms``, ``0.35ms``."""
    return f"{repr(float(budget_ms)).removesuffix('.0')}ms"


def on_each(budgets: Sequence[DeviceBudget]) -> str:
    """Budgets for people, each with its device: ``8 ms on host and 50 ms on s20``; nothing where there are none."""
    return listed([f"{each.budget_ms:g} ms on {each.name}" for each in budgets])


def budgets_told(budgets: Sequence[DeviceBudget]) -> str:
    """Budgets for people; of one device alone without its name."""
    return on_each(budgets) if len(budgets) > 1 else f"{budgets[0].budget_ms:g} ms"


def timings_told(timings: Sequence[Timing], budgets: Sequence[DeviceBudget]) -> str:
    """Medians with their provenance, for people; of one device alone without its name."""
    if len(timings) == 1:
        return f"{timings[0].median_ms:.3g} ms {timings[0].provenance}"
    pairs = zip(timings, budgets, strict=True)
    return listed([f"{timing.median_ms:.3g} ms {timing.provenance} on {each.name}" for timing, each in pairs])


def listed(parts: Sequence[str]) -> str:
    """``a``, ``a and b``, ``a, b and c``."""
    return " and ".join([", ".join(parts[:-1]), parts[-1]] if len(parts) > 1 else parts)


def largest_share(latencies_ms: Sequence[float], limits_ms: Sequence[float]) -> float:
    """The largest share that a latency has of its limit, as a fraction of 1; both hold one value for each device."""
    return max(latency / most for latency, most in zip(latencies_ms, limits_ms, strict=True))


@dataclass(frozen=True)
class Prediction:
    """A predicted latency with its 90% interval (ms), and the probability that it is admitted on that device."""

    predicted_ms: float
    lower_ms: float
    upper_ms: float
    probability_within: float
    provenance: Provenance


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


class TimedOnEach:
    """What was timed on every device: on the first (``timing``), and on further ones (``also``)."""

    timing: Timing
    also: tuple[Timing, ...]

    @property
    def timings(self) -> tuple[Timing, ...]:
        """On every device."""
        return self.timing, *self.also

    def share_of(self, limits_ms: Sequence[float]) -> float:
        """The largest share that its latencies have of these limits, one for each device; a fraction of 1."""
        return largest_share([timing.median_ms for timing in self.timings], limits_ms)
