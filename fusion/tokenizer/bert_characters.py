"""What BERT's normaliser makes of each code point, in pieces that canonical ordering may move."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from fusion.tokenizer.characters import APART, HANGUL, PUNCTUATION, SPACE, CharacterTables, Piece
from fusion.tokenizer.questions import BETWEEN, CODE_POINTS, characters, isolated, normalised, removed

_SYLLABLES = range(0xAC00, 0xD7A4)
_LEADING, _VOWEL, _BEFORE_TRAILING = 0x1100, 0x1161, 0x11A7
_VOWELS, _TRAILINGS = 21, 28
# Marks of the lowest and the highest combining class: every other mark goes behind one or before the other.
_LOWEST, _HIGHEST = "\u0334", "\u0345"


@dataclass(frozen=True)
class BertNormaliser:
    """The settings of ``BertNormalizer``, accents as they turn out."""

    cleans: bool
    separates_ideographs: bool
    strips_accents: bool
    lowers: bool


@cache
def bert_tables(settings: BertNormaliser) -> CharacterTables:
    """Flags, ranks and pieces of every code point under these settings."""
    from tokenizers import pre_tokenizers

    pieces = _pieces(settings)
    tables = CharacterTables(pieces={code: own for code, own in pieces.items() if not _rule(code, own, pieces)})
    for code, own in pieces.items():
        tables.flags[code] = _rule(code, own, pieces)
    if settings.strips_accents:
        tables.ranks[:] = _ranks()
    words = pre_tokenizers.BertPreTokenizer()
    tables.flags[removed(words)] |= SPACE
    tables.flags[isolated(words)] |= PUNCTUATION
    return tables


def _rule(code: int, own: Sequence[Piece], pieces: Mapping[int, Sequence[Piece]]) -> int:
    """The flag of a rule by which the pieces are known, 0 where there is none."""
    if own == ((0, " "), (0, chr(code)), (0, " ")):
        return APART
    if code not in _SYLLABLES:
        return 0
    jamo = _jamo(code)
    known = own == tuple((0, part) for part in jamo) and not any(ord(part) in pieces for part in jamo)
    return HANGUL if known else 0


def _normaliser(cleans: bool, separates: bool, strips: bool, lowers: bool) -> Any:
    from tokenizers import normalizers

    return normalizers.BertNormalizer(
        clean_text=cleans, handle_chinese_chars=separates, strip_accents=strips, lowercase=lowers
    ).normalize_str


def _pieces(settings: BertNormaliser) -> dict[int, Sequence[Piece]]:
    """The pieces of every code point that does not stay as it is.

    Raises:
        ValueError: the library makes something else of a character than of its pieces.
    """
    every = characters()
    first = _normaliser(settings.cleans, settings.separates_ideographs, strips=False, lowers=False)
    cleaned = normalised(first, every)
    parts = normalised(_decompose(), cleaned) if settings.strips_accents else cleaned
    distinct = sorted(set("".join(parts)))
    last = _normaliser(False, False, settings.strips_accents, settings.lowers)
    becomes = dict(zip(distinct, normalised(last, distinct), strict=True))
    ranks = _ranks() if settings.strips_accents else np.zeros(CODE_POINTS, np.uint8)
    found: dict[int, Sequence[Piece]] = {}
    for character, own in zip(every, parts, strict=True):
        if own != character or becomes[own] != character:
            found[ord(character)] = tuple((int(ranks[ord(part)]), becomes[part]) for part in own)
    _check(settings, found)
    return found


def _decompose() -> Any:
    from tokenizers import normalizers

    return normalizers.NFD().normalize_str


def _check(settings: BertNormaliser, found: dict[int, Sequence[Piece]]) -> None:
    whole = _normaliser(settings.cleans, settings.separates_ideographs, settings.strips_accents, settings.lowers)
    for character, answer in zip(characters(), normalised(whole, characters()), strict=True):
        pieces = found.get(ord(character))
        if answer != (character if pieces is None else "".join(text for _, text in pieces)):
            raise ValueError(f"tokenizers makes something else of U+{ord(character):04X} than of its pieces")


@cache
def _ranks() -> np.ndarray:
    """The order in which decomposing puts marks [0x110000]: equal ones stay as they are, 0 is never moved."""
    decompose = _decompose()
    whole = zip(characters(), normalised(decompose, characters()), strict=True)
    every = [one for one, own in whole if one == own and one != BETWEEN]
    behind = _exchanged([one + _LOWEST for one in every])
    before = _exchanged([_HIGHEST + one for one in every])
    marks = [one for one, moved in zip(every, behind | before, strict=True) if moved]
    pairs = _exchanged([one + other for one in marks for other in marks]).reshape(len(marks), len(marks))
    _, order = np.unique(pairs.sum(axis=1), return_inverse=True)
    ranks = np.zeros(CODE_POINTS, np.uint8)
    ranks[[ord(mark) for mark in marks]] = order + 1
    return ranks


def _exchanged(pairs: Sequence[str]) -> np.ndarray:
    """Whether decomposing exchanges the two characters of each pair."""
    answers = normalised(_decompose(), pairs)
    return np.array([answer != pair for pair, answer in zip(pairs, answers, strict=True)], bool)


def _jamo(code: int) -> str:
    """What a Hangul syllable is composed of, by Unicode's arithmetic."""
    index = code - _SYLLABLES.start
    parts = [_LEADING + index // (_VOWELS * _TRAILINGS), _VOWEL + index // _TRAILINGS % _VOWELS]
    if index % _TRAILINGS:
        parts.append(_BEFORE_TRAILING + index % _TRAILINGS)
    return "".join(map(chr, parts))
