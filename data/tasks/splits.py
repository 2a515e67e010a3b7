"""Training examples set aside to judge by: the same each time, with every class and range of values in its share."""

from __future__ import annotations

import math
import random
from collections import defaultdict
from collections.abc import Iterator
from typing import cast

import numpy as np

from data.errors import InputError
from data.tasks.examples import Example, Examples, Kind

_SEED = 0
_TENTH = 0.1
_FEWEST = 10
# Plain sentences are set aside in pairs, each in two of them.
_MOST_SENTENCES = 1000


def divide(examples: Examples, kind: Kind, most: int | None = None) -> tuple[Examples, Examples]:
    """(nine tenths, one tenth) of these, both in their order; the tenth has at most some ``most``.

    Plain sentences are set aside as unlabelled pairs, for a single sentence has nothing to be judged by. A class with
    one example keeps it in the nine tenths; any other gives one at least.

    Raises:
        InputError: there are fewer than ten examples.
    """
    if len(examples) < _FEWEST:
        raise InputError(f"{len(examples)} training examples are too few to set a tenth aside: {_FEWEST} at least")
    plain = kind == "similarity" and all(isinstance(each, Example) and each.second is None for each in examples)
    limit = min(most or len(examples), _MOST_SENTENCES if plain else len(examples))
    share = min(_TENTH, limit / len(examples))
    generator = random.Random(_SEED)
    draw = _of_each_class if kind == "classification" else _of_each_range
    chosen = set(draw(examples, share, generator))
    train, dev = _part(examples, chosen, False), _part(examples, chosen, True)
    return train, _pairs(dev, generator) if plain else dev


def _of_each_class(examples: Examples, share: float, generator: random.Random) -> Iterator[int]:
    classes: dict[float, list[int]] = defaultdict(list)
    for index, label in enumerate(_labels(examples)):
        classes[label].append(index)
    for label in sorted(classes):
        members = classes[label]
        if len(members) > 1:
            yield from generator.sample(members, max(1, round(len(members) * share)))


def _of_each_range(examples: Examples, share: float, generator: random.Random) -> Iterator[int]:
    """One of each run of neighbouring values; where there are none, of neighbouring examples."""
    labels = _labels(examples)
    order = sorted(range(len(labels)), key=labels.__getitem__)
    count = max(1, round(len(order) * share))
    for run in range(count):
        yield generator.choice(order[len(order) * run // count : len(order) * (run + 1) // count])


def _labels(examples: Examples) -> list[float]:
    """Labels to sort by, 0 for all that have none."""
    labels = [example.label if isinstance(example, Example) else 0.0 for example in examples]
    return [0.0 if math.isnan(label) else label for label in labels]


def _part(examples: Examples, chosen: set[int], inside: bool) -> Examples:
    kept = (example for index, example in enumerate(examples) if (index in chosen) == inside)
    return cast(Examples, tuple(kept))


def _pairs(sentences: Examples, generator: random.Random) -> tuple[Example, ...]:
    """Each sentence beside the one that shares most rare words with it, and beside any other: near ones and far."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    texts = [example.first for example in sentences if isinstance(example, Example)]
    words = TfidfVectorizer(token_pattern=r"\S+").fit_transform(texts)
    alike = (words @ words.T).toarray()
    np.fill_diagonal(alike, -1)
    count = len(texts)
    near = alike.argmax(axis=1).tolist()
    far = [(index + generator.randrange(1, count)) % count for index in range(count)] if count > 1 else [0]
    return tuple(
        Example(text, texts[other], math.nan) for index, text in enumerate(texts) for other in (near[index], far[index])
    )
