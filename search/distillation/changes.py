"""Texts that are changed each time they are seen, so that the teacher's answers to them are learnt, not remembered.

Pairs are swapped and paired anew, tokens replaced by neighbours in the teacher's table of word embeddings (TinyBERT's
augmentation without its language model), and general text mixed in. A changed text has no label.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from search.distillation.recipe import Changes
from search.learning.encoding import NO_LABEL, Encoded, Text, text_of

if TYPE_CHECKING:
    from torch import Tensor

_NEIGHBOURS = 12
_CHUNK = 2048
_NEVER = -2.0  # below any cosine


@dataclass(frozen=True)
class Material:
    """What changes are made of: the ``encoded`` examples, ``neighbours`` (vocabulary, k) of each token, -1 where a
    token has none, and the ``corpus``, if any."""

    encoded: Encoded
    neighbours: np.ndarray
    corpus: Encoded | None
    longest: int


@dataclass(frozen=True)
class Changed:
    """The texts of a batch, and which of its examples kept their labels, (b,) bool."""

    texts: tuple[Text, ...]
    labelled: np.ndarray


def nearest_tokens(table: Tensor, used: np.ndarray, special: np.ndarray) -> np.ndarray:
    """The nearest tokens by cosine of every token that is ``used``, (vocabulary, k) int32; -1 for all others.

    Args:
        table: word embeddings, (vocabulary, hidden).
        used: token ids that occur.
        special: token ids that neither are replaced nor replace others.
    """
    import torch

    normal = torch.nn.functional.normalize(table.detach().float().cpu(), dim=1)
    found = np.full((len(normal), _NEIGHBOURS), -1, np.int32)
    chosen = np.setdiff1d(used, special)
    for start in range(0, len(chosen), _CHUNK):
        rows = torch.from_numpy(chosen[start : start + _CHUNK].astype(np.int64))
        cosines = normal[rows] @ normal.T
        cosines[torch.arange(len(rows)), rows] = _NEVER
        cosines[:, torch.from_numpy(special.astype(np.int64))] = _NEVER
        best = cosines.topk(min(_NEIGHBOURS, cosines.shape[1]), dim=1)
        found[rows.numpy(), : best.indices.shape[1]] = torch.where(best.values > _NEVER, best.indices, -1).numpy()
    return found


def changed_batch(material: Material, examples: np.ndarray, changes: Changes, random: np.random.Generator) -> Changed:
    """The texts of some examples, changed by chance."""
    texts: list[Text] = []
    labelled = []
    for example in examples:
        draws = random.random(4)
        own = [text_of(material.encoded, int(text)) for text in material.encoded.texts_of([example])]
        found = own
        if material.corpus is not None and draws[0] < changes.corpus:
            found = _from_corpus(material, len(own), random)
        else:
            if draws[1] < changes.repaired + changes.swapped:
                found = _paired_anew(material, int(example), own, draws[1] < changes.swapped, random)
            if draws[2] < changes.replaced:
                found = [_replaced(text, material, changes.replaced_tokens, random) for text in found]
        texts += found
        labelled.append(found is own)
    return Changed(tuple(texts), np.array(labelled))


def _replaced(text: Text, material: Material, share: float, random: np.random.Generator) -> Text:
    choices = material.neighbours[text.tokens, random.integers(0, _NEIGHBOURS, len(text.tokens))]
    chosen = (random.random(len(text.tokens)) < share) & (choices >= 0)
    return Text(np.where(chosen, choices, text.tokens), text.types, _without_labels(text))


def _without_labels(text: Text) -> np.ndarray | None:
    return None if text.labels is None else np.full_like(text.labels, NO_LABEL)


def _paired_anew(
    material: Material, example: int, own: list[Text], swapped: bool, random: np.random.Generator
) -> list[Text]:
    """The example's pair in the other order, or its first text with the second of another example; no pair stays."""
    encoded = material.encoded
    other = example if swapped else int(random.integers(len(encoded)))
    if encoded.texts_each == 2:
        first, second = text_of(encoded, 2 * example), text_of(encoded, 2 * other + 1)
        return [second, first] if swapped else [first, second]
    parts, others = _parts(encoded, example), _parts(encoded, other)
    if len(parts) != 2 or len(others) != 2:
        return own
    chosen = [parts[1], parts[0]] if swapped else [parts[0], others[1]]
    return [_joined(encoded, example, chosen, material.longest)]


def _parts(encoded: Encoded, text: int) -> list[np.ndarray]:
    """The token ids of the one or two texts that the tokenizer put together."""
    span = encoded.span(text)
    own = np.flatnonzero(~encoded.special[span])
    pieces = np.split(own, np.flatnonzero(np.diff(own) > 1) + 1)
    return [encoded.tokens[span][piece] for piece in pieces if len(piece)]


def _joined(encoded: Encoded, model: int, parts: list[np.ndarray], longest: int) -> Text:
    """Two texts put together as ``model``, another pair, was; the longer is cut where both are too long."""
    span = encoded.span(model)
    special, tokens, types = encoded.special[span], encoded.tokens[span], encoded.types[span]
    own = np.flatnonzero(~special)
    gap = int(own[np.flatnonzero(np.diff(own) > 1)[0]]) + 1
    second = int(own[own >= gap][0])
    frame = [tokens[: own[0]], tokens[gap:second], tokens[own[-1] + 1 :]]
    kinds = [types[: own[0]], types[gap:second], types[own[-1] + 1 :]]
    parts = _fitted(parts, longest - sum(len(piece) for piece in frame))
    pieces = [frame[0], parts[0], frame[1], parts[1], frame[2]]
    first_type, second_type = types[own[0]], types[second]
    filled = [
        kinds[0],
        np.full(len(parts[0]), first_type, np.int32),
        kinds[1],
        np.full(len(parts[1]), second_type, np.int32),
        kinds[2],
    ]
    return Text(np.concatenate(pieces), np.concatenate(filled))


def _fitted(parts: list[np.ndarray], most: int) -> list[np.ndarray]:
    lengths = [len(part) for part in parts]
    while sum(lengths) > most:
        lengths[int(np.argmax(lengths))] -= 1
    return [part[:length] for part, length in zip(parts, lengths, strict=True)]


def _from_corpus(material: Material, count: int, random: np.random.Generator) -> list[Text]:
    corpus = material.corpus
    assert corpus is not None
    found = []
    for index in random.integers(0, len(corpus.lengths), count):
        text = text_of(corpus, int(index))
        labels = np.full(len(text.tokens), NO_LABEL, np.float32) if material.encoded.kind == "tokens" else None
        found.append(Text(text.tokens[: material.longest], text.types[: material.longest], labels))
    return found
