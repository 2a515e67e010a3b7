"""How far a session's figures can be trusted: drift, spread, marks, and whether sessions agree with each other."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from data.disturbance import is_slowed
from data.drift import drift_of
from data.measurement import Measurement

# Above these the figures are still stored, but the machine is called unstable beside them.
DRIFT_LIMIT = 0.15
SPREAD_LIMIT = 0.10
DISTURBED_LIMIT = 0.25
AGREEMENT_LIMIT = 0.05
# Fewer subjects than this say nothing about whether two sessions agree.
_FEWEST_SHARED = 5
# The share of rows above which a mark is told to people.
_WORTH_TELLING = 0.1


@dataclass(frozen=True)
class SessionQuality:
    """``drift``: the reference's range over its median; ``spread``: median interquartile range over the median.

    ``disturbed`` is the share of rows during which other programs took cores away or the machine was slowed down;
    ``interval_width`` the median width of the 95% interval of a row's median, over that median; ``marks`` the share of
    rows that bear each mark; ``disagreement`` the median difference, subject by subject, between sessions after their
    drift is corrected, None where there is only one; ``blind`` the share of rows before which a device with a limit of
    temperature told none.
    """

    drift: float
    spread: float
    disturbed: float = 0.0
    interval_width: float = 0.0
    marks: Mapping[str, float] = field(default_factory=dict)
    disagreement: float | None = None
    blind: float = 0.0

    @property
    def stable(self) -> bool:
        """Whether all are within their limits."""
        agreed = self.disagreement is None or self.disagreement <= AGREEMENT_LIMIT
        within = self.drift <= DRIFT_LIMIT and self.spread <= SPREAD_LIMIT and self.disturbed <= DISTURBED_LIMIT
        return agreed and within

    @property
    def warning(self) -> str:
        """One line for people, empty where the session was stable."""
        if self.stable:
            return ""
        told = [f"{mark} in {share:.0%}" for mark, share in self.marks.items() if share > _WORTH_TELLING]
        marks = f", {', '.join(told)}" if told else ""
        agree = "" if self.disagreement is None else f", sessions differ by {self.disagreement:.0%}"
        return (
            f"the machine was unstable while measuring (reference block drifted {self.drift:.0%}, samples spread "
            f"{self.spread:.0%}, other programs took cores away in {self.disturbed:.0%} of the rows{marks}{agree}): "
            "close them and profile again for better predictions"
        )

    @property
    def notice(self) -> str:
        """One line for people about what could not be looked at, empty where all could."""
        if not self.blind:
            return ""
        return (
            f"the phone told no possible temperature before {self.blind:.0%} of the rows: nothing kept it from being "
            "measured while it was too warm; let it cool between sessions, and look at the spread"
        )


def session_quality(rows: Sequence[Measurement], limited: bool = False) -> SessionQuality:
    """Quality of a series of measurements; nothing is known (zeros) about an empty one.

    ``limited`` is whether the device has a limit of temperature, above which it is not measured.
    """
    references = np.array([row.reference_ms for row in rows if row.reference_ms is not None])
    spreads = [np.subtract(*np.percentile(row.samples_ms, [75, 25])) / row.median_ms for row in rows]
    # The 5th to 95th percentile, so that one preempted run is not taken for drift.
    drift = float(np.subtract(*np.percentile(references, [95, 5])) / np.median(references)) if references.size else 0.0
    disturbed = float(np.mean([is_slowed(row) for row in rows])) if rows else 0.0
    marks = Counter(mark for row in rows for mark in row.marks)
    return SessionQuality(
        drift,
        float(np.median(spreads)) if spreads else 0.0,
        disturbed,
        float(np.median([row.relative_width for row in rows])) if rows else 0.0,
        {mark: count / len(rows) for mark, count in sorted(marks.items())},
        disagreement(rows),
        float(np.mean(["temperature_c" not in row.state_before for row in rows])) if limited and rows else 0.0,
    )


def disagreement(rows: Sequence[Measurement]) -> float | None:
    """Median over subjects of how far a session's lowest median lies from the earliest session's.

    Rows are corrected for drift where that makes them agree, so that a phone that is slower as a whole agrees with
    itself. None where no two sessions share enough subjects.
    """
    drift = drift_of(rows)
    lowest: dict[str, dict[str, float]] = defaultdict(dict)
    for row in rows:
        if not is_slowed(row):
            time_ms = drift.corrected_ms(row)
            sessions = lowest[row.subject_hash]
            sessions[row.session] = min(time_ms, sessions.get(row.session, time_ms))
    differences: list[float] = []
    for sessions in lowest.values():
        first, *later = (sessions[name] for name in sorted(sessions))
        differences.extend(abs(time_ms / first - 1) for time_ms in later)
    return float(np.median(differences)) if len(differences) >= _FEWEST_SHARED else None
