"""SentencePiece's table of replacements, ``precompiled_charsmap``, as its trainer writes it, of any replacements."""

from __future__ import annotations

import struct
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from functools import cache

_LEAF, _HAS_VALUE, _FREE = 1 << 31, 1 << 8, -1
_MARKS = "\u0300\u0301\u0302\u0303\u0308\u0327\u0328\u0323\u3099\u309a\u064b\u0651\u05bc"


@cache
def compatibility_charsmap() -> bytes:
    """Unicode's NFKC of every character and of letters with one mark; controls go, other spaces become spaces."""
    replacements: dict[bytes, bytes] = {}
    for code in (*range(1, 0xD800), *range(0xE000, 0x30000)):
        character = chr(code)
        becomes = unicodedata.normalize("NFKC", character)
        if unicodedata.category(character) == "Cc":
            becomes = " " if character.isspace() else ""
        _add(replacements, character, becomes)
        if unicodedata.decomposition(character) and code < 0x3100:
            _add(replacements, unicodedata.normalize("NFD", character), becomes)
    for letter in "aeiouAEIOUnsc":
        for mark in _MARKS:
            _add(replacements, letter + mark, unicodedata.normalize("NFKC", letter + mark))
    replacements["\u200b".encode()] = b" "
    return charsmap(replacements)


def _add(replacements: dict[bytes, bytes], text: str, becomes: str) -> None:
    if text != becomes and "\0" not in text + becomes:
        replacements[text.encode()] = becomes.encode()


def charsmap(replacements: Mapping[bytes, bytes]) -> bytes:
    """A table of replacements of texts without NUL: a double array, then what takes their place, ended by NUL."""
    texts, places = bytearray(), dict[bytes, int]()
    for becomes in dict.fromkeys(replacements.values()):
        places[becomes] = len(texts)
        texts += becomes + b"\0"
    units = _double_array({key: places[becomes] for key, becomes in replacements.items()})
    return struct.pack(f"<I{len(units)}I", 4 * len(units), *units) + bytes(texts)


def _double_array(values: Mapping[bytes, int]) -> list[int]:
    """Units of Darts-clone: a node's children lie where its base differs from their labels, its value at the base."""
    units, bases = [0], set[int]()
    waiting: list[tuple[int, Sequence[tuple[bytes, int]], int]] = [(0, sorted(values.items()), 0)]
    first_free = 1
    while waiting:
        place, entries, depth = waiting.pop()
        groups = list(_by_label(entries, depth))
        while first_free < len(units) and units[first_free] != _FREE:
            first_free += 1
        base = _base(units, bases, [label for label, _ in groups], first_free)
        bases.add(base)
        units[place] |= (place ^ base) << 10
        for label, inner in groups:
            at = base ^ label
            units[at] = label if label else inner[0][1] | _LEAF
            if label:
                waiting.append((at, inner, depth + 1))
            else:
                units[place] |= _HAS_VALUE
    # Units that nothing uses have a label that no child of theirs can have.
    return [unit if unit != _FREE else _LEAF for unit in units]


def _by_label(entries: Sequence[tuple[bytes, int]], depth: int) -> Iterator[tuple[int, list[tuple[bytes, int]]]]:
    """Entries by their next byte, 0 for those that end here."""
    groups: dict[int, list[tuple[bytes, int]]] = {}
    for key, value in entries:
        groups.setdefault(key[depth] if depth < len(key) else 0, []).append((key, value))
    yield from groups.items()


def _base(units: list[int], bases: set[int], labels: Sequence[int], first_free: int) -> int:
    # Nodes rarely fit where little is free.
    free = max(first_free, len(units) - 4 * 256)
    while True:
        base = free ^ labels[0]
        if base not in bases and all(_is_free(units, base ^ label) for label in labels):
            return base
        free += 1


def _is_free(units: list[int], place: int) -> bool:
    while place >= len(units):
        units += [_FREE] * 256
    return place > 0 and units[place] == _FREE
