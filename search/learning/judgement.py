"""Whether a model has learnt anything of a task, given how few examples its development set has."""

from __future__ import annotations

import math
from collections.abc import Mapping

from data.tasks import Task

# Standard errors of a correlation that is not there; chance alone exceeds them once in 44 times.
_NOISE = 2.0
_CORRELATIONS = ("matthews", "pearson_spearman")


def nothing_learnt(task: Task, scores: Mapping[str, float], standard_error: float = 0.0, examples: str = "dev") -> str:
    """Why scores on the dev set are those of a model that has learnt nothing, or "" where it has.

    It has where it beats the best constant answer, and its answers correlate with the labels by more than chance
    allows. (Matthews's coefficient is the correlation of two classifications. Of n independent pairs, a correlation
    has a standard error of 1 / sqrt(n), whatever the metric's own majority is.) Chance finds next to no entities, so
    that their score need only be beyond its own standard error.

    Args:
        task: what it should have learnt.
        scores: all metrics on ``task.dev``.
        standard_error: of the main one.
        examples: what those of ``task.dev`` are called.
    """
    score, count = scores[task.metric], len(task.dev)
    told = f"its {task.metric} on {count} {examples} examples is {score:.3f}"
    if score <= task.majority:
        return f"{told}, where the best constant answer has {task.majority:.3f}"
    if task.kind == "tokens":
        noise = _NOISE * standard_error
        if score - task.majority <= noise:
            return f"{told}, beyond the best constant answer's {task.majority:.3f} by no more than chance, {noise:.3f}"
        return ""
    noise = _NOISE / math.sqrt(count)
    # Where no correlation was computed, what the score is above the constant answer's stands for it.
    correlation = next((scores[name] for name in _CORRELATIONS if name in scores), score - task.majority)
    if correlation <= noise:
        return (
            f"{told}, and its answers correlate with the labels by {correlation:.3f}, as chance does up to {noise:.3f}"
        )
    return ""
