"""What Hugging Face's ``tokenizers`` makes of single code points, by asking it about every one that may be a character.

Its answers are the tables: they are of the Unicode versions that its parts were built with, whichever those are.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import numpy as np

CODE_POINTS = 0x110000
_SURROGATES = slice(0xD800, 0xE000)
# Unicode has assigned nothing in planes 4 to 13, and 15 and 16 are for private use. Only the last two code points of
# each are special; so some at both ends stand for the plane, and all tables take a quarter of the time.
_PLANES_OF_A_KIND = (*range(4, 14), 15, 16)
_PLANE, _END = 0x10000, 128
_CHUNK = 1 << 16  # code points in one question, so that answers stay small
# Between the characters of a question: ASCII that no part changes, and that nothing else becomes.
BETWEEN = "|"


@cache
def characters() -> tuple[str, ...]:
    """The characters to ask about: every code point but surrogates, and of planes of one kind those at their ends."""
    asked = np.ones(CODE_POINTS, bool)
    asked[_SURROGATES] = False
    for inside in _insides():
        asked[inside] = False
    return tuple(map(chr, np.flatnonzero(asked).tolist()))


def fill_planes(values: np.ndarray) -> None:
    """Sets what is known of each code point [0x110000] where none was asked about, in place."""
    for inside in _insides():
        values[inside] = values[inside.start - 1]


def _insides() -> list[slice]:
    return [slice(plane * _PLANE + _END, (plane + 1) * _PLANE - _END) for plane in _PLANES_OF_A_KIND]


def normalised(normalise: Callable[[str], str], texts: Sequence[str]) -> list[str]:
    """What each of many short texts becomes; they are asked together, between bars.

    Raises:
        ValueError: something else became a bar, so that the answers cannot be told apart.
    """
    answers = normalise(BETWEEN.join("" if text == BETWEEN else text for text in texts)).split(BETWEEN)
    if len(answers) != len(texts):
        raise ValueError("the normaliser makes bars of other characters")
    return [text if text == BETWEEN else answer for text, answer in zip(texts, answers, strict=True)]


def removed(pre_tokenizer: Any) -> np.ndarray:
    """Whether a pre-tokenizer leaves each code point out [0x110000]."""
    return _asked(lambda text: pre_tokenizer.pre_tokenize_str(text), _mark_removed)


def isolated(pre_tokenizer: Any) -> np.ndarray:
    """Whether a pre-tokenizer makes a word of each code point, also between letters [0x110000]."""
    return _asked(lambda text: pre_tokenizer.pre_tokenize_str(text), _mark_isolated)


Words = Sequence[tuple[str, tuple[int, int]]]


def _asked(ask: Callable[[str], Words], mark: Callable[[Words, np.ndarray], None]) -> np.ndarray:
    """Asks for characters between letters; ``mark`` marks places [2 n + 1] of a text of n of them."""
    found = np.zeros(CODE_POINTS, bool)
    every = characters()
    for first in range(0, len(every), _CHUNK):
        part = every[first : first + _CHUNK]
        places = np.zeros(2 * len(part) + 1, bool)
        mark(ask("".join(f"a{character}" for character in part) + "a"), places)
        found[[ord(character) for character in part]] = places[1::2]
    return found


def _mark_removed(words: Words, places: np.ndarray) -> None:
    places[:] = True
    for _, (start, end) in words:
        places[start:end] = False


def _mark_isolated(words: Words, places: np.ndarray) -> None:
    for _, (start, end) in words:
        if end - start == 1 and start % 2:
            places[start] = True


@cache
def added_token_spaces() -> np.ndarray:
    """Whether added tokens that strip white space take each code point with them [0x110000]."""
    from tokenizers import AddedToken

    def mark(spans: Sequence[tuple[int, int]], places: np.ndarray) -> None:
        for start, end in spans:
            places[start // 3] = end - start == 2

    return _asked_of_added(AddedToken("A", rstrip=True, normalized=False), "A{}x", mark)


@cache
def added_token_words() -> np.ndarray:
    """Whether added tokens that are single words are none beside each code point [0x110000]."""
    from tokenizers import AddedToken

    def mark(spans: Sequence[tuple[int, int]], places: np.ndarray) -> None:
        places[:] = True
        for start, _ in spans:
            places[start // 3] = False

    found = _asked_of_added(AddedToken("A", single_word=True, normalized=False), "A{} ", mark)
    found[ord("A")] = True  # asked about itself, it is two tokens
    return found


def _asked_of_added(token: Any, form: str, mark: Callable[[Any, np.ndarray], None]) -> np.ndarray:
    """Asks where an added token lies beside each character, which stands in the middle of three."""
    from tokenizers import Tokenizer, models

    tokenizer = Tokenizer(models.WordLevel({"?": 0}, unk_token="?"))
    tokenizer.add_tokens([token])
    found = np.zeros(CODE_POINTS, bool)
    every = characters()
    for first in range(0, len(every), _CHUNK):
        part = every[first : first + _CHUNK]
        answer = tokenizer.encode("".join(form.format(character) for character in part))
        spans = [span for number, span in zip(answer.ids, answer.offsets, strict=True) if number and span[0] % 3 == 0]
        places = np.zeros(len(part), bool)
        mark(spans, places)
        found[[ord(character) for character in part]] = places
    return found
