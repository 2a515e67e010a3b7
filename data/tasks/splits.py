"""Training examples set aside to judge by: the same each time, with every class and range of values in its share."""

from __future__ import annotations

import math
import random
from collections import defaultdict
from collections.abc import Hashable, Iterator, Sequence
from typing import cast

import numpy as np

from data.errors import InputError
from data.tasks.examples import Example, Examples, Kind, TaggedWords, text_of

_SEED = 0
_FEWEST = 10
# Plain sentences are set aside in pairs, each in two of them.
_MOST_SENTENCES = 1000


def divide(examples: Examples, kind: Kind, share: float = 0.1) -> tuple[Examples, Examples]:
    """(train, dev): these in two parts, both in their order, of which dev is some ``share``.

    Examples of one text stay together. Plain sentences are set aside as unlabelled pairs, for a single sentence has
    nothing to be judged by. A class with one text keeps it in train; any other gives dev one at least.

    Raises:
        InputError: there are fewer than ten different texts.
    """
    everything: Sequence[Example | TaggedWords] = examples
    places: dict[Hashable, list[int]] = defaultdict(list)
    for index, example in enumerate(everything):
        places[text_of(example)].append(index)
    different = [examples[indices[0]] for indices in places.values()]
    if len(different) < _FEWEST:
        raise InputError(f"{len(different)} different training texts are too few to set some aside: {_FEWEST} at least")
    plain = kind == "similarity" and all(isinstance(each, Example) and each.second is None for each in examples)
    share = min(share, _MOST_SENTENCES / len(different)) if plain else share
    draw = _of_each_class if kind == "classification" else _of_each_range
    generator = random.Random(_SEED)
    groups = list(places.values())
    chosen = {index for text in draw(different, share, generator) for index in groups[text]}
    train, dev = (
        cast(Examples, tuple(each for index, each in enumerate(examples) if (index in chosen) == inside))
        for inside in (False, True)
    )
    return train, pair_up(cast(tuple[Example, ...], dev)) if plain else dev


def _of_each_class(examples: Sequence[Example | TaggedWords], share: float, generator: random.Random) -> Iterator[int]:
    classes: dict[float, list[int]] = defaultdict(list)
    for index, label in enumerate(_labels(examples)):
        classes[label].append(index)
    for label in sorted(classes):
        members = classes[label]
        if len(members) > 1:
            yield from generator.sample(members, max(1, round(len(members) * share)))


def _of_each_range(examples: Sequence[Example | TaggedWords], share: float, generator: random.Random) -> Iterator[int]:
    """One of each run of neighbouring values; where there are none, of neighbouring examples."""
    labels = _labels(examples)
    order = sorted(range(len(labels)), key=labels.__getitem__)
    count = max(1, round(len(order) * share))
    for run in range(count):
        yield generator.choice(order[len(order) * run // count : len(order) * (run + 1) // count])


def _labels(examples: Sequence[Example | TaggedWords]) -> list[float]:
    """Labels to sort by, 0 for all that have none."""
    labels = [example.label if isinstance(example, Example) else 0.0 for example in examples]
    return [0.0 if math.isnan(label) else label for label in labels]


def pair_up(sentences: Sequence[Example]) -> tuple[Example, ...]:
    """Each of the first thousand beside the one that shares most rare words with it, and beside any other.

    Raises:
        InputError: there are not two different ones.
    """
    from sklearn.feature_extraction.text import TfidfVectorizer

    texts = list(dict.fromkeys(sentence.first for sentence in sentences))[:_MOST_SENTENCES]
    if len(texts) < 2:
        raise InputError("two different sentences at least are needed to judge sentence embeddings by")
    words = TfidfVectorizer(token_pattern=r"\S+").fit_transform(texts)
    alike = (words @ words.T).toarray()
    np.fill_diagonal(alike, -1)
    count, generator = len(texts), random.Random(_SEED)
    near = alike.argmax(axis=1).tolist()
    far = [(index + generator.randrange(1, count)) % count for index in range(count)]
    return tuple(
        Example(text, texts[other], math.nan) for index, text in enumerate(texts) for other in (near[index], far[index])
    )
