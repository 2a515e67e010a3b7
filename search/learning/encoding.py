"""Token ids of a task's texts, kept ragged (unpadded), and batches of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from data.tasks import Example, Examples, Kind, TaggedWords

if TYPE_CHECKING:
    import torch


# What a loss passes over: the label of tokens that do not begin a word.
NO_LABEL = -100
_EVALUATION_TOKENS = 4096  # per batch: keeps both cores busy, and the activations in tens of megabytes


@dataclass(frozen=True)
class Encoded:
    """Tokenised texts, one after another.

    ``tokens`` and ``types`` are (total,) int32, ``special`` (total,) bool tells what the tokenizer added; text i is
    ``[offsets[i], offsets[i + 1])``. An example is one text, but of "similarity", where it is ``texts_each`` texts one
    after another. ``labels`` is (n,) float32, of "tokens" (total,) with :data:`NO_LABEL` but at a word's first token.
    ``words`` (words,) bool tells which words of all sentences of "tokens", in order, have a token: those that were cut
    off, and those of characters that the tokenizer drops, have none; ``dropped`` counts the latter. ``cut`` is the
    number of texts that were longer than allowed.
    """

    kind: Kind
    tokens: np.ndarray
    types: np.ndarray
    special: np.ndarray
    offsets: np.ndarray
    labels: np.ndarray
    texts_each: int
    words: np.ndarray
    cut: int
    dropped: int = 0

    def __len__(self) -> int:
        """Number of examples."""
        return (len(self.offsets) - 1) // self.texts_each

    @property
    def lengths(self) -> np.ndarray:
        """Number of tokens of each text, (texts,)."""
        return np.diff(self.offsets)

    @property
    def example_lengths(self) -> np.ndarray:
        """Tokens of the longest text of each example, (n,)."""
        return self.lengths.reshape(-1, self.texts_each).max(axis=1)

    def span(self, text: int) -> slice:
        """Where a text lies in ``tokens``."""
        return slice(int(self.offsets[text]), int(self.offsets[text + 1]))

    def texts_of(self, examples: Sequence[int] | np.ndarray) -> np.ndarray:
        """The texts of these examples, in their order."""
        each = np.arange(self.texts_each)
        return np.asarray(np.asarray(examples, np.int64)[:, None] * self.texts_each + each).reshape(-1)


def encode(tokenizer: Any, examples: Examples, kind: Kind, max_tokens: int) -> Encoded:
    """Tokenise a task's examples with the teacher's tokenizer, each text cut to ``max_tokens``."""
    if kind == "tokens":
        return _encode_words(tokenizer, [each for each in examples if isinstance(each, TaggedWords)], max_tokens)
    pairs = [each for each in examples if isinstance(each, Example)]
    first = [example.first for example in pairs]
    second = [example.second or "" for example in pairs] if pairs and pairs[0].second is not None else None
    labels = np.array([example.label for example in pairs], np.float32)
    texts_each = 1
    if kind == "similarity" and second is not None:
        first = [text for pair in zip(first, second, strict=True) for text in pair]
        second, texts_each = None, 2
    batch = _tokenised(tokenizer, first, second, max_tokens)
    return _ragged(kind, batch, labels, texts_each, np.zeros(0, bool), _count_cut(tokenizer, first, second, batch))


def _tokenised(tokenizer: Any, first: Sequence[Any], second: Sequence[str] | None, most: int, **how: Any) -> Any:
    return tokenizer(
        list(first),
        None if second is None else list(second),
        truncation=True,
        max_length=most,
        return_special_tokens_mask=True,
        **how,
    )


def _count_cut(tokenizer: Any, first: Sequence[str], second: Sequence[str] | None, batch: Any) -> int:
    """How many texts lost tokens: those at full length whose whole encoding is longer."""
    lengths = np.array([len(ids) for ids in batch["input_ids"]])
    count = 0
    for index in np.flatnonzero(lengths == lengths.max(initial=0)).tolist():
        pair = None if second is None else second[index]
        count += len(tokenizer(first[index], pair, truncation=False, verbose=False)["input_ids"]) > lengths[index]
    return count


def _encode_words(tokenizer: Any, sentences: Sequence[TaggedWords], max_tokens: int) -> Encoded:
    batch = _tokenised(tokenizer, [list(each.words) for each in sentences], None, max_tokens, is_split_into_words=True)
    labels = [np.zeros(0, np.float32)]
    kept = [np.zeros(0, bool)]
    cut = dropped = 0
    for row, sentence in enumerate(sentences):
        words = batch.word_ids(row)
        labels.append(_first_token_labels(words, sentence.tags))
        found = np.isin(np.arange(len(sentence.tags)), [word for word in words if word is not None])
        is_cut = len(words) >= max_tokens and not found[-1:].all()
        before = int(np.flatnonzero(found).max(initial=-1)) + 1 if is_cut else len(found)
        kept.append(found)
        cut += is_cut
        dropped += int((~found[:before]).sum())
    return _ragged("tokens", batch, np.concatenate(labels), 1, np.concatenate(kept), cut, dropped)


def _first_token_labels(words: Sequence[int | None], tags: Sequence[int]) -> np.ndarray:
    """The tag of its word at each word's first token, (s,) float32."""
    labels = np.full(len(words), NO_LABEL, np.float32)
    seen: set[int] = set()
    for position, word in enumerate(words):
        if word is not None and word not in seen:
            labels[position] = tags[word]
            seen.add(word)
    return labels


def _ragged(
    kind: Kind, batch: Any, labels: np.ndarray, texts_each: int, words: np.ndarray, cut: int, dropped: int = 0
) -> Encoded:
    lengths = [len(ids) for ids in batch["input_ids"]]
    # Types are 0 where the tokenizer knows none.
    types = batch.get("token_type_ids") or [[0] * length for length in lengths]

    def joined(rows: Any, dtype: Any) -> np.ndarray:
        return np.concatenate([np.asarray(values, dtype) for values in rows] or [np.zeros(0, dtype)])

    return Encoded(
        kind=kind,
        tokens=joined(batch["input_ids"], np.int32),
        types=joined(types, np.int32),
        special=joined(batch["special_tokens_mask"], bool),
        offsets=np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
        labels=labels,
        texts_each=texts_each,
        words=words,
        cut=int(cut),
        dropped=dropped,
    )


@dataclass(frozen=True)
class Text:
    """One text's ``tokens`` and ``types``, (s,) int32 each, and ``labels`` (s,) where its tokens have some."""

    tokens: np.ndarray
    types: np.ndarray
    labels: np.ndarray | None = None


def text_of(encoded: Encoded, index: int) -> Text:
    """Text number ``index`` as it was encoded."""
    span = encoded.span(index)
    labels = encoded.labels[span] if encoded.kind == "tokens" else None
    return Text(encoded.tokens[span], encoded.types[span], labels)


def pad_texts(texts: Sequence[Text], padding: int = 0) -> dict[str, torch.Tensor]:
    """A batch padded to its longest text: input_ids, attention_mask, token_type_ids, each (b, longest) int64.

    Where the texts' tokens have labels, ``token_labels`` (b, longest) int64 as well.
    """
    import torch

    longest = max(len(text.tokens) for text in texts)
    batch = np.zeros((4, len(texts), longest), np.int64)
    batch[0], batch[3] = padding, NO_LABEL
    for row, text in enumerate(texts):
        length = len(text.tokens)
        batch[0, row, :length] = text.tokens
        batch[1, row, :length] = 1
        batch[2, row, :length] = text.types
        if text.labels is not None:
            batch[3, row, :length] = text.labels
    named = {"input_ids": batch[0], "attention_mask": batch[1], "token_type_ids": batch[2]}
    if texts[0].labels is not None:
        named["token_labels"] = batch[3]
    return {name: torch.from_numpy(values) for name, values in named.items()}


MODEL_INPUTS = ("input_ids", "attention_mask", "token_type_ids")


def pad(encoded: Encoded, texts: Sequence[int] | np.ndarray, padding: int = 0) -> dict[str, torch.Tensor]:
    """The model's inputs for some texts: input_ids, attention_mask, token_type_ids, each (b, longest) int64."""
    batch = pad_texts([text_of(encoded, int(index)) for index in texts], padding)
    return {name: batch[name] for name in MODEL_INPUTS}


def batches_by_length(encoded: Encoded) -> Iterator[np.ndarray]:
    """Batches of texts of similar length, longest first, of about ``_EVALUATION_TOKENS`` tokens each."""
    order = np.argsort(-encoded.lengths, kind="stable")
    start = 0
    while start < len(order):
        count = max(1, _EVALUATION_TOKENS // int(encoded.lengths[order[start]]))
        yield order[start : start + count]
        start += count
