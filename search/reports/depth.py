"""Deeper or wider at equal latency: what a study's own students say of it, with how little so few can say."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING, Any

from data.architecture import Architecture
from search.reports.figures import ACCENT, QUIET, PointNames, scatter_sizes
from search.reports.latency_source import source_mark
from search.result import SearchResult

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.axes import Axes

# Latencies this near to their median, as a share of it, count as nearly equal; what differs is allowed for.
_NEARLY = 0.1
# Fewer leave no degree of freedom worth the name beside depth and latency.
_FEWEST = 6
_NORMAL_90 = 1.645


@dataclass(frozen=True)
class Student:
    """A student's sizes, its latency in ms as it was timed (or predicted), and how far it is from the teacher."""

    architecture: Architecture
    latency_ms: float
    divergence: float


@dataclass(frozen=True)
class DepthAnswer:
    """How depth and closeness to the teacher go together among ``students`` of nearly equal latency.

    ``correlation`` is Spearman's, less what latency explains of both, with its 90% ``interval``; None where too few are
    left, or they are all equally deep.
    """

    how: str
    students: tuple[Student, ...]
    correlation: float | None = None
    interval: tuple[float, float] | None = None

    @property
    def told(self) -> str:
        """The answer in one sentence."""
        count, how = len(self.students), self.how
        if not count:
            return f"none were judged {how}"
        among = f"of {count} students within {_NEARLY:.0%} of {self._median_ms:.3g} ms, judged {how}"
        depths = {student.architecture.layers for student in self.students}
        if len(depths) == 1:
            return f"{among}, it cannot be told: all have {depths.pop()} layers"
        if self.correlation is None or self.interval is None:
            return f"{among}, it cannot be told: they are too few"
        low, high = self.interval
        figure = f"rank correlation of depth and closeness {self.correlation:.2f}, 90% interval {low:.2f} to {high:.2f}"
        if low <= 0 <= high:
            return f"{among}, it cannot be told ({figure})"
        return f"{among}, {'deeper' if low > 0 else 'wider'} ones were nearer to the teacher ({figure})"

    @property
    def _median_ms(self) -> float:
        return median(student.latency_ms for student in self.students)

    def to_dict(self) -> dict[str, Any]:
        """For ``result.json``."""
        return {
            "n": len(self.students),
            "latency_ms": self._median_ms if self.students else None,
            "correlation": self.correlation,
            "interval_90": list(self.interval) if self.interval else None,
            "told": self.told,
        }


def depth_answers(result: SearchResult) -> dict[str, DepthAnswer]:
    """The answer by the ``trials``, as they were timed, and by the ``cuts``, as they were timed or predicted."""
    timed = {each.candidate.architecture: each.timing.median_ms for each in result.admissions}
    trials = [
        Student(trial.candidate.architecture, timed[trial.candidate.architecture], trial.divergence.mean)
        for trial in result.trials
        if trial.divergence is not None and trial.candidate.architecture in timed
    ]
    cuts = []
    for cut in result.cuts:
        latency_ms = timed.get(cut.architecture, cut.latency_ms)
        if latency_ms is not None:
            cuts.append(Student(cut.architecture, latency_ms, cut.divergence.mean))
    return {
        "trials": answer("after a short distillation, by timed latency", trials),
        "cuts": answer(f"as they were cut, by latency predicted{source_mark(result)} where they were not timed", cuts),
    }


def answer(how: str, students: Sequence[Student]) -> DepthAnswer:
    """What students of nearly equal latency say: those near the median of all.

    The rank correlation of depth and closeness, with the ranks of latency held fixed (the partial correlation of
    ranks); its interval is Fisher's, with Bonett and Wright's variance for ranks (2000), a degree of freedom less.
    """
    middle = median(student.latency_ms for student in students) if students else 0.0
    near = tuple(student for student in students if abs(student.latency_ms / middle - 1) <= _NEARLY)
    if len(near) < _FEWEST or len({student.architecture.layers for student in near}) == 1:
        return DepthAnswer(how, near)
    correlation = _partial_rank_correlation(near)
    if correlation is None:
        return DepthAnswer(how, near)
    # Of ranks in perfect order Fisher's transform is infinite: they are taken for as good as so many can tell.
    bounded = math.copysign(min(abs(correlation), 1 - 1 / len(near) ** 2), correlation)
    half = _NORMAL_90 * math.sqrt((1 + bounded**2 / 2) / (len(near) - 4))
    middle_z = math.atanh(bounded)
    low, high = math.tanh(middle_z - half), math.tanh(middle_z + half)
    return DepthAnswer(how, near, correlation, (min(low, correlation), max(high, correlation)))


def _partial_rank_correlation(students: Sequence[Student]) -> float | None:
    """Of depth and closeness, latency held fixed; None where latency alone gives the order of either."""
    from scipy.stats import rankdata

    def ranks(values: list[float]) -> np.ndarray:
        found: np.ndarray = rankdata(values)
        return found - found.mean()

    depth = ranks([float(student.architecture.layers) for student in students])
    closeness = ranks([-student.divergence for student in students])
    latency = ranks([student.latency_ms for student in students])
    explained = float(latency @ latency)
    if explained:
        depth = depth - latency * float(depth @ latency) / explained
        closeness = closeness - latency * float(closeness @ latency) / explained
    scale = math.sqrt(float(depth @ depth) * float(closeness @ closeness))
    return float(depth @ closeness) / scale if scale > 1e-9 * len(students) else None


def plot_depths(axes: Axes, answers: dict[str, DepthAnswer]) -> PointNames:
    """Depth against width of students of nearly equal latency, larger where nearer to the teacher."""
    looks: dict[str, dict[str, Any]] = {
        "cuts": {"edgecolors": QUIET, "facecolors": "none", "label": "as they were cut"},
        "trials": {"color": ACCENT, "alpha": 0.7, "label": "after a short distillation"},
    }
    names: dict[str, list[str]] = {}
    for name, look in looks.items():
        students = sorted(answers[name].students, key=lambda student: student.divergence, reverse=True)
        names[look["label"]] = scatter_sizes(axes, [student.architecture for student in students], **look)
    return names
