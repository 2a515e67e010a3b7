"""How far a session's figures can be trusted: what its halves show, marks, and what more time would give."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from data.measurement import PREEMPTIONS, Measurement
from data.statistic import Statistic, choose_statistic

# Above this share of difference between sessions the machine is said to allow no better.
UNSTEADY = 0.04
# An idle machine shows a few involuntary context switches a second; one busy competitor, hundreds.
_PREEMPTED_ABOVE = 60.0
# The share of rows above which a mark is told to people.
_WORTH_TELLING = 0.1


@dataclass(frozen=True)
class SessionQuality:
    """``statistic`` is the chosen one with its agreement; it rests on ``rounds`` with so many ``visits`` to the least
    visited model, which took ``seconds`` of runs.

    ``preempted`` is the share of rows in whose round other programs took cores away; ``marks`` the share of rows that
    bear each mark; ``blind`` the share of rows before which a device with a limit of temperature told none.
    """

    statistic: Statistic = field(default_factory=Statistic)
    rounds: int = 0
    visits: int = 0
    seconds: float = 0.0
    preempted: float = 0.0
    marks: Mapping[str, float] = field(default_factory=dict)
    blind: float = 0.0

    @property
    def stable(self) -> bool:
        """Whether a later session is expected to agree with this one well enough."""
        later = self.statistic.later_session
        return later is None or later <= UNSTEADY

    @property
    def warning(self) -> str:
        """One line for people, empty where the session was stable."""
        later, agreement, drift = self.statistic.later_session, self.statistic.agreement, self.statistic.drift
        if self.stable or later is None or agreement is None or drift is None:
            return ""
        told = [f"{mark} in {share:.0%}" for mark, share in self.marks.items() if share > _WORTH_TELLING]
        told += [f"other programs took cores away in {self.preempted:.0%}"] if self.preempted > _WORTH_TELLING else []
        of_rows = f" ({', '.join(told)} of the rows)" if told else ""
        return f"this machine allows no better than {later:.1%} between sessions as it is{of_rows}: {self.advice}"

    @property
    def advice(self) -> str:
        """What it would take to get steadier figures."""
        agreement, drift = self.statistic.agreement or 0.0, self.statistic.drift or 0.0
        if drift > 1.5 * agreement:
            return "its speed drifts, which longer measuring does not cure; close other programs and profile again"
        # Differences between halves fall with the root of the number of rounds.
        times = (agreement / (UNSTEADY / 2)) ** 2
        longer = f"measure about {max(times, 2.0):.0f} times as long (--time-limit)"
        return f"close other programs, or {longer}, and profile again"

    @property
    def notice(self) -> str:
        """One line for people about what could not be looked at, empty where all could."""
        if not self.blind:
            return ""
        return (
            f"the phone told no possible temperature before {self.blind:.0%} of the rows: nothing kept it from being "
            "measured while it was too warm; let it cool between sessions, and look at the agreement of the halves"
        )


def session_quality(rows: Sequence[Measurement], limited: bool = False) -> SessionQuality:
    """Quality of a series of measurements; nothing is known (zeros) about an empty one.

    ``limited`` is whether the device has a limit of temperature, above which it is not measured.
    """
    if not rows:
        return SessionQuality()
    marks = Counter(mark for row in rows for mark in row.marks)
    return SessionQuality(
        statistic=choose_statistic(rows),
        rounds=len({(row.session, row.round) for row in rows}),
        visits=min(Counter(row.subject_hash for row in rows).values()),
        seconds=sum(sum(row.warmups_ms) + sum(row.samples_ms) for row in rows) / 1e3,
        preempted=float(np.mean([row.state_after.get(PREEMPTIONS, 0.0) > _PREEMPTED_ABOVE for row in rows])),
        marks={mark: count / len(rows) for mark, count in sorted(marks.items())},
        blind=float(np.mean(["temperature_c" not in row.state_before for row in rows])) if limited else 0.0,
    )
