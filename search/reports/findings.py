"""What several budgets found, in sentences: each winner beside the teacher, and neighbouring budgets side by side."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from search.latencies import listed

_DIGITS = 3  # of scores

Document = dict[str, Any]


def findings(document: Document) -> list[str]:
    """Paragraphs made of the content of ``result.json`` of several budgets, from which the page's tables are filled."""
    budgets = document["budgets"]
    found = [entry for entry in budgets if entry["result"]]
    told = [_teacher_told(found[0]["result"]), *(_budget_told(entry) for entry in budgets)]
    return [" ".join(told), *([_neighbours_told(found)] if len(found) > 1 else [])]


def _teacher_told(first: Document) -> str:
    teacher, measure = first["teacher"], first["task"]["measures"][1]
    sizes, timing = teacher["architecture"], teacher["timing"]
    narrow = timing and teacher["precision"] != "fp32"
    takes = f"takes {_latencies_told(first, [timing])}" if timing else "is not compiled"
    takes += f" in {teacher['precision']}" if narrow else ""
    reaches = f"{'in fp32 ' if narrow else ''}reaches {_score_told(teacher['dev'])}"
    return (
        f"The teacher, {sizes['layers']}x{sizes['hidden']}, {takes} and {reaches} on dev "
        f"({measure}, ± one standard error)."
    )


def _budget_told(entry: Document) -> str:
    within, result = f"Within {entry['budget_ms']:g} ms", entry["result"]
    if not result:
        return f"{within} nothing was found."
    winner, teacher = result["winner"], result["teacher"]
    latencies = _latencies_told(result, [winner["timing"], *(each["timing"] for each in winner["also"])])
    reaches = f"reaches {_score_told(winner['dev'])}"
    if winner["trial"] is None:
        return f"{within} the teacher itself is the winner: it takes {latencies} and {reaches}."
    baseline, faster = result["baseline"], ""
    scaled = " (the scaled teacher)" if baseline and baseline["trial"] == winner["trial"] else ""
    if teacher["timing"]:
        times = teacher["timing"]["median_ms"] / winner["timing"]["median_ms"]
        faster = f", {times:.1f} times as fast as the teacher{_on(result, 0)},"
    difference = round(winner["dev"]["score"] - teacher["dev"]["score"], _DIGITS)
    beside = f"{abs(difference):.3f} {'above' if difference > 0 else 'below'}" if difference else "as much as"
    return f"{within} {winner['name']}{scaled} takes {latencies}{faster} and {reaches}, {beside} the teacher."


def _neighbours_told(found: Sequence[Document]) -> str:
    """How far dev scores of neighbouring budgets differ, beside what chance moves that by."""
    told = []
    for smaller, larger in pairwise(found):
        below, above = (entry["result"]["winner"]["dev"] for entry in (smaller, larger))
        difference = above["score"] - below["score"]
        error = math.hypot(below["standard_error"], above["standard_error"])
        moves = "rises" if difference > 0 else "falls"
        moved = f"{moves} by {abs(difference):.3f}" if round(difference, _DIGITS) else "stays the same"
        told.append(
            f"From {smaller['budget_ms']:g} to {larger['budget_ms']:g} ms the dev score {moved}, "
            f"{'more' if abs(difference) > error else 'no more'} than the standard error of {error:.3f}."
        )
    told.append("It is that of the difference: the root of the sum of the squares of both scores' standard errors.")
    return " ".join(told)


def _latencies_told(result: Document, timings: Sequence[Document]) -> str:
    """Medians on the first devices, with their provenance."""
    return listed(
        [
            f"{timing['median_ms']:.2f} ms {timing['provenance']}{_on(result, place)}"
            for place, timing in enumerate(timings)
        ]
    )


def _on(result: Document, place: int) -> str:
    """Where a latency is from; nothing where there is one device."""
    return f" on {result['devices'][place]['name']}" if len(result["devices"]) > 1 else ""


def _score_told(dev: Document) -> str:
    return f"{dev['score']:.3f} ± {dev['standard_error']:.3f}"
