"""Whether a row can be trusted: other programs took no processor away, the clock held, the median is certain.

A thread that waits at a barrier for one that was preempted makes the whole run late, so timings fall into two groups,
undisturbed and several times slower; no average of the two means anything. The operating system counts preemptions.
"""

from __future__ import annotations

from collections.abc import Sequence

from data.measurement import Mark, Measurement

# Key in a measurement's ``state_after``: involuntary context switches a second while it ran.
PREEMPTIONS = "preemptions_per_s"
# An idle machine shows a few a second; one busy competitor, hundreds.
DISTURBED_ABOVE = 60.0
# Marks of a row whose figures are those of a slower machine.
_SLOWED: frozenset[Mark] = frozenset({"clock dropped", "hot", "unsteady"})


def is_slowed(measurement: Measurement) -> bool:
    """Whether the figures are not the undisturbed machine's: too many preemptions, heat, a clock that fell, or a
    program that did not become steady."""
    preempted = measurement.state_after.get(PREEMPTIONS, 0.0) > DISTURBED_ABOVE
    return preempted or not _SLOWED.isdisjoint(measurement.marks)


def is_disturbed(measurement: Measurement) -> bool:
    """Whether a row should be taken again: it was slowed, or its median is not as certain as was asked for."""
    return is_slowed(measurement) or "wide interval" in measurement.marks


def most_trusted(rows: Sequence[Measurement]) -> Measurement:
    """Of several measurements of one thing, the first undisturbed one, or else the one of the lowest median."""
    undisturbed = [row for row in rows if not is_disturbed(row)]
    return undisturbed[0] if undisturbed else min(rows, key=lambda row: row.median_ms)
