"""Hashed slots of words and of merges, as ``runtime/text`` looks them up: open addressing, one place after another."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

_START, _PRIME = 2166136261, 16777619  # FNV-1a
_MASK = 0xFFFFFFFF


def word_slots(words: Sequence[bytes], index_bits: int) -> np.ndarray:
    """Slots uint32 of words by number, empty ones left out: the number + 1 in the low bits, more of the hash above."""
    low = np.uint32((1 << index_bits) - 1)
    hashes = _final(_hashes(words))
    numbers = np.array([number for number, word in enumerate(words) if word], np.int64)
    values = (hashes[numbers] & ~low) | (numbers + 1).astype(np.uint32)
    return _placed(hashes[numbers], values)


def merge_slots(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Slots uint32 of pairs of ids, each the pair's rank + 1."""
    hashes = (left.astype(np.uint32) * np.uint32(0x9E3779B1) ^ right.astype(np.uint32)) * np.uint32(0x85EBCA6B)
    hashes ^= hashes >> np.uint32(15)
    return _placed(hashes, np.arange(1, len(left) + 1, dtype=np.uint32))


def _hashes(words: Sequence[bytes]) -> np.ndarray:
    """FNV-1a of each word, uint32 [words]; all words advance a byte at a time."""
    lengths = np.array([len(word) for word in words])
    text = np.frombuffer(b"".join(words) + b"\0", np.uint8).astype(np.uint32)
    starts = np.cumsum(lengths) - lengths
    states = np.full(len(words), _START, np.uint32)
    for place in range(int(lengths.max(initial=0))):
        going_on = np.flatnonzero(lengths > place)
        states[going_on] = (states[going_on] ^ text[starts[going_on] + place]) * np.uint32(_PRIME)
    return states


def _final(states: np.ndarray) -> np.ndarray:
    states = (states ^ states >> np.uint32(16)) * np.uint32(0x7FEB352D)
    return states ^ states >> np.uint32(15)


def _placed(hashes: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Values at the places that their hashes say, or the next free ones; at most half of the places are taken."""
    size = 1 << max(1, int(2 * len(values) - 1).bit_length())
    slots = [0] * size
    for place, value in zip((hashes & np.uint32(size - 1)).tolist(), values.tolist(), strict=True):
        while slots[place]:
            place = (place + 1) & (size - 1)
        slots[place] = value
    return np.array(slots, "<u4")
