"""Whether other programs took the processor away while something was timed.

A thread that waits at a barrier for one that was preempted makes the whole run late, so timings fall into two groups,
undisturbed and several times slower; no average of the two means anything. The operating system counts preemptions.
"""

from __future__ import annotations

from collections.abc import Sequence

from data.measurement import Measurement

# Key in a measurement's ``state_after``: involuntary context switches a second while it ran.
PREEMPTIONS = "preemptions_per_s"
# An idle machine shows a few a second; one busy competitor, hundreds.
DISTURBED_ABOVE = 60.0


def is_disturbed(measurement: Measurement) -> bool:
    """Whether preemptions were counted and are too many to trust the figures."""
    return measurement.state_after.get(PREEMPTIONS, 0.0) > DISTURBED_ABOVE


def most_trusted(rows: Sequence[Measurement]) -> Measurement:
    """Of several measurements of one thing, the first undisturbed one, or else the one of the lowest median."""
    undisturbed = [row for row in rows if not is_disturbed(row)]
    return undisturbed[0] if undisturbed else min(rows, key=lambda row: row.median_ms)
