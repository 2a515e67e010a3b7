"""How code points join into grapheme clusters, by asking the library's ``Precompiled`` normaliser.

It replaces clusters of at most 5 bytes whole and longer ones character by character. With a table that replaces every
character by one letter, the number of letters tells where clusters end; and what cannot be told so does not matter.
"""

from __future__ import annotations

import struct
from functools import cache
from typing import Any

import numpy as np

from fusion.tokenizer.questions import CODE_POINTS, characters

# Classes and flags, as runtime/text/clusters.h has them.
OTHER, CONTROL, EXTEND, PREPEND, LEADING, VOWEL, TRAILING, LV, LVT, SPACING = range(10)
PICTOGRAPH, CONSONANT, LINKER, CONJUNCT_EXTEND = 16, 32, 64, 128
_LINES = "\r\n"  # controls, of which the second parts the questions
_LETTER, _MARKS, _MARK = "a", "\u0301\u0302", "\u0301"
_JOINER, _COPYRIGHT, _KA, _VIRAMA = "\u200d", "\u00a9", "\u0915", "\u094d"
_L, _V, _T = "\u1100", "\u1161", "\u11a8"


@cache
def cluster_classes() -> np.ndarray:
    """Class and flags of every code point [0x110000]."""
    extends = _counted(_LETTER + "{}") == 1
    prepends = _counted("{}" + _LETTER) == 1
    # Marks that stand apart are a cluster of 4 bytes.
    ends = (_counted("{}" + _MARKS) == 2) & ~extends
    ends[[ord(line) for line in _LINES]] = True
    goes_on = {other: (_counted("{}" + other + _MARK) == 3) & ~prepends for other in (_L, _V, _T)}
    follows_vowel = _counted(_V + "{}" + _MARK) == 3
    stretches = extends & (_counted(_COPYRIGHT + "{}" + _JOINER + _COPYRIGHT + _MARK) == 5)
    classes = np.full(CODE_POINTS, OTHER, np.uint8)
    for kind, which in (
        (SPACING, extends),
        (EXTEND, stretches),
        (PREPEND, prepends),
        (LEADING, goes_on[_L] & goes_on[_V]),
        (LV, goes_on[_V] & ~goes_on[_L]),
        (VOWEL, goes_on[_V] & ~goes_on[_L] & follows_vowel),
        (LVT, goes_on[_T] & ~goes_on[_V]),
        (TRAILING, goes_on[_T] & ~goes_on[_V] & follows_vowel),
        (CONTROL, ends),
    ):
        classes[which & (classes != CONTROL)] = kind
    return classes | _flags(extends, ends)


def _flags(extends: np.ndarray, ends: np.ndarray) -> np.ndarray:
    pictographs = _counted("{}" + _JOINER + _COPYRIGHT + _MARK) == 4
    consonants = _counted("{}" + _VIRAMA + _KA + _MARK) == 4
    linkers = _counted(_KA + "{}" + _KA + _MARK) == 4
    conjuncts = _counted(_KA + _VIRAMA + "{}" + _KA + _MARK) == 5
    flags = np.zeros(CODE_POINTS, np.uint8)
    flags[pictographs & ~extends & ~ends] |= PICTOGRAPH
    flags[consonants & ~extends & ~ends] |= CONSONANT
    flags[linkers & extends] |= LINKER
    flags[conjuncts & extends] |= CONJUNCT_EXTEND
    return flags


def _counted(form: str) -> np.ndarray:
    """How many letters each code point in that form becomes [0x110000]; 0 for ends of lines and surrogates."""
    asked = [character for character in characters() if character not in _LINES]
    answers = _one_letter_each().normalize_str("\n".join(form.format(character) for character in asked)).split("\n")
    counts = np.zeros(CODE_POINTS, np.int64)
    counts[[ord(character) for character in asked]] = [len(answer) for answer in answers]
    return counts


@cache
def _one_letter_each() -> Any:
    """A normaliser that replaces all but NUL and the end of a line by one letter: SentencePiece's trie of one byte."""
    from tokenizers import normalizers

    first, value, size = 256, 512, 1024
    units = [0] * size
    units[0] = first << 10
    for byte in set(range(1, 256)) - {ord("\n")}:
        place = first ^ byte
        units[place] = byte | 1 << 8 | (value ^ place) << 10
    units[value] = 1 << 31
    return normalizers.Precompiled(struct.pack(f"<I{size}I", 4 * size, *units) + b"z\0")
