"""A tokenizer's model as sections: words with their ids and scores, or bytes and merges."""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fusion.tokenizer.hashing import merge_slots, word_slots
from fusion.tokenizer.parts import check_settings, expect
from fusion.tokenizer.source import TokenizerSource

_UNKNOWN_PENALTY = 10.0  # what an unknown character costs beyond the worst score, as SentencePiece has it
_MOST_GAPS = 2  # ids up to so many times the number of words: each takes four bytes
_LONGEST_PREFIX = 16  # bytes
_FORMS = {
    "WordPiece": frozenset({"unk_token", "continuing_subword_prefix", "max_input_chars_per_word", "vocab"}),
    "BPE": frozenset({"dropout", "unk_token", "continuing_subword_prefix", "end_of_word_suffix", "fuse_unk"})
    | frozenset({"byte_fallback", "ignore_merges", "vocab", "merges"}),
    "Unigram": frozenset({"unk_id", "vocab", "byte_fallback"}),
}


@dataclass(frozen=True)
class ModelTables:
    """Sections of a model by name, and its settings, named as those of :class:`~fusion.tokenizer.table.Settings`."""

    sections: Mapping[str, bytes]
    settings: Mapping[str, Any]


def model_kind(source: TokenizerSource) -> str:
    """``WordPiece``, ``BPE`` or ``Unigram``; ``UnsupportedTokenizerError`` for others and unknown settings."""
    model = source.parts["model"]
    check_settings(source, "model", model, _FORMS)
    return str(model["type"])


def word_pieces(source: TokenizerSource) -> ModelTables:
    """WordPiece: words by id.

    Raises:
        UnsupportedTokenizerError: the unknown token is no word, or ids leave large gaps or are given twice.
    """
    model = source.parts["model"]
    vocabulary, unknown = model["vocab"], model["unk_token"]
    prefix = model["continuing_subword_prefix"].encode()
    if unknown not in vocabulary:
        source.refuse(f"the unknown token {unknown!r} outside of its vocabulary")
    if len(prefix) > _LONGEST_PREFIX:
        source.refuse(f"a continuing_subword_prefix of more than {_LONGEST_PREFIX} bytes")
    tables = _words(source, vocabulary)
    settings = {
        "unknown_id": vocabulary[unknown],
        "prefix": prefix,
        "longest_characters": min(model["max_input_chars_per_word"], 1 << 30),
    }
    return ModelTables(tables.sections, {**tables.settings, **settings})


def unigrams(source: TokenizerSource) -> ModelTables:
    """Unigram: words by id, with their scores; of two with one text the last counts.

    Raises:
        UnsupportedTokenizerError: it has byte_fallback, no unknown token, or a score that is no number.
    """
    model = source.parts["model"]
    expect(source, "model", model, byte_fallback=(False, None))
    if model["unk_id"] is None:
        source.refuse("model Unigram without unk_id")
    scores = [float(score) for _, score in model["vocab"]]
    if not all(map(math.isfinite, scores)):
        source.refuse("model Unigram with a score that is no number")
    tables = _words(source, {text: number for number, (text, _) in enumerate(model["vocab"])}, len(scores))
    settings = {"unknown_id": model["unk_id"], "unknown_score": min(scores) - _UNKNOWN_PENALTY}
    sections = {**tables.sections, "scores": np.array(scores, "<f8").tobytes()}
    return ModelTables(sections, {**tables.settings, **settings})


def byte_pairs(source: TokenizerSource) -> ModelTables:
    """Byte-level BPE: the id of each byte, and merges of ids by rank.

    Raises:
        UnsupportedTokenizerError: it has a setting that changes merging, or lacks a byte.
    """
    from tokenizers import pre_tokenizers

    model = source.parts["model"]
    expect(source, "model", model, dropout=(None, 0, 0.0), continuing_subword_prefix=(None, ""))
    expect(source, "model", model, end_of_word_suffix=(None, ""), byte_fallback=(False, None))
    expect(source, "model", model, ignore_merges=(False, None))
    vocabulary = model["vocab"]
    letters = _byte_letters()
    if set(letters) != set(pre_tokenizers.ByteLevel.alphabet()):
        source.refuse("letters for bytes that are not GPT-2's")
    missing = [byte for byte, letter in enumerate(letters) if letter not in vocabulary]
    if missing:
        source.refuse(f"model BPE without the byte 0x{missing[0]:02X}")
    pairs = [merge.split(" ") if isinstance(merge, str) else merge for merge in model["merges"]]
    merges = np.array([[vocabulary[a], vocabulary[b], vocabulary[a + b]] for a, b in pairs], "<u4").reshape(-1, 3)
    sections = {
        "byte_ids": struct.pack("<256I", *(vocabulary[letter] for letter in letters)),
        "merges": merges.tobytes(),
        "merge_slots": merge_slots(merges[:, 0], merges[:, 1]).tobytes(),
    }
    return ModelTables(sections, {})


def _byte_letters() -> list[str]:
    """How byte-level vocabularies write each byte: printable ones as themselves, others from U+0100 on."""
    printable = [*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    codes = dict.fromkeys(printable, 0) | {byte: 0x100 + place for place, byte in enumerate(others)}
    return [chr(codes[byte] or byte) for byte in range(256)]


def _words(source: TokenizerSource, vocabulary: Mapping[str, int], count: int | None = None) -> ModelTables:
    """Words by id; ids without one have an empty text, which is never looked up."""
    size = max(count or 0, 1 + max(vocabulary.values(), default=0))
    if len(set(vocabulary.values())) < len(vocabulary) or size > _MOST_GAPS * len(vocabulary) + 1000:
        source.refuse("a vocabulary with large gaps in its ids, or two words of one id")
    words = [b""] * size
    for text, number in vocabulary.items():
        words[number] = text.encode()
    bits = size.bit_length()
    sections = {
        "word_ends": np.cumsum([len(word) for word in words]).astype("<u4").tobytes(),
        "word_text": b"".join(words),
        "word_slots": word_slots(words, bits).tobytes(),
    }
    return ModelTables(sections, {"index_bits": bits, "longest_word": _longest(words)})


def _longest(words: Sequence[bytes]) -> int:
    return max(map(len, words))
