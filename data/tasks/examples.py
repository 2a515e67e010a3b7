"""Examples of the four kinds of task, and the metrics that each kind has."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from typing import Literal

Kind = Literal["classification", "regression", "tokens", "similarity"]
Metric = Literal[
    "accuracy",
    "f1",
    "matthews",
    "pearson",
    "spearman",
    "pearson_spearman",
    "entity_f1",
    "entity_precision",
    "entity_recall",
]
# The first is a kind's own where none is asked for.
METRICS: dict[Kind, tuple[Metric, ...]] = {
    "classification": ("accuracy", "f1", "matthews"),
    "regression": ("pearson_spearman", "pearson", "spearman"),
    "tokens": ("entity_f1", "entity_precision", "entity_recall"),
    "similarity": ("spearman", "pearson"),
}


@dataclass(frozen=True)
class Example:
    """One text or pair of texts; ``label`` is a class number, a value, or how similar the two are.

    It is NaN where nobody has labelled it: plain sentences of "similarity", whose ``second`` is None.
    """

    first: str
    second: str | None
    label: float


@dataclass(frozen=True)
class TaggedWords:
    """A sentence of "tokens": ``tags`` are numbers in ``Task.label_names``, one for each word."""

    words: tuple[str, ...]
    tags: tuple[int, ...]


Examples = tuple[Example, ...] | tuple[TaggedWords, ...]


def text_of(example: Example | TaggedWords) -> Hashable:
    """What makes two examples the same but for their labels."""
    return example.words if isinstance(example, TaggedWords) else (example.first, example.second)
