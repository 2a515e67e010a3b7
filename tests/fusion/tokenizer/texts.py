"""Generated Unicode strings: every script, emoji, marks that combine, white space and controls of all kinds."""

from __future__ import annotations

import random
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from functools import cache

_BLOCK = 128
_SURROGATES = range(0xD800, 0xE000)
_SPECIAL = ("[SEP]", "[CLS]", "[MASK]", "[mask]", "[UNK]", "</s>", "<s>", "<mask>", "<unk>", "<pad>", "[sep]")
_SPACES = " \t\n\r\x0b\x0c\x1c\x1d\x1e\x1f\x85\xa0\u1680\u2000\u2003\u2009\u200a\u2028\u2029\u202f\u205f\u3000"
_INVISIBLE = "\0\x01\x7f\xad\u061c\u180e\u200b\u200c\u200d\u200e\u2060\ufe0e\ufe0f\ufeff\ufffd\ufffe\U000e0001"
# What tokenizers themselves write for a space, a byte, or the rest of a word.
_MARKS = "\u2581\u0120\u010a##'"
_SKIN = tuple(map(chr, range(0x1F3FB, 0x1F400)))
_FLAG = tuple(map(chr, range(0x1F1E6, 0x1F200)))
_KEYCAP = "\ufe0f\u20e3"
_CONTRACTIONS = ("'s", "'t", "'re", "'ve", "'m", "'ll", "'d", "'S", "'x", "\u2019s", "''")
_LETTERS = "etaoinshrdlu"


def generated_texts(count: int, seed: int) -> Iterator[str]:
    """So many texts, of up to a few dozen parts each; equal seeds give equal texts."""
    chance = random.Random(seed)
    makers: Sequence[Callable[[random.Random], str]] = (
        *(_word, _word, _capitalised, _any, _of_one_block, _of_one_block, _marked, _marked, _emoji, _joined),
        *(_hangul, _ideographs, _conjunct, _spaces, _invisible, _special, _contraction, _number, _punctuation),
        *(_repeated, _tokenizer_marks, _decomposed),
    )
    for _ in range(count):
        few = chance.sample(makers, chance.randint(1, 6))
        between = chance.choice(("", " ", " ", "  "))
        yield between.join(chance.choice(few)(chance) for _ in range(chance.randint(0, 24)))


@cache
def assigned_characters() -> tuple[str, ...]:
    """Every character that Python's Unicode has a name or a use for, in the order of code points."""
    every = (chr(code) for code in range(0x110000) if code not in _SURROGATES)
    return tuple(character for character in every if unicodedata.category(character) not in ("Cn", "Co"))


@cache
def _blocks() -> tuple[tuple[str, ...], ...]:
    """The assigned characters by blocks of 128 code points, those of ideographs and Hangul counted once."""
    blocks: dict[int, list[str]] = {}
    for character in assigned_characters():
        blocks.setdefault(_kind_of_block(ord(character)), []).append(character)
    return tuple(map(tuple, blocks.values()))


def _kind_of_block(code: int) -> int:
    if 0x3400 <= code < 0xA000 or 0x20000 <= code < 0x40000:
        return -1
    if 0xAC00 <= code < 0xD7A4:
        return -2
    return code // _BLOCK


@cache
def _marks() -> tuple[str, ...]:
    return tuple(character for character in assigned_characters() if unicodedata.category(character)[0] == "M")


@cache
def _pictographs() -> tuple[str, ...]:
    return tuple(character for character in assigned_characters() if unicodedata.category(character) == "So")


@cache
def _decomposing() -> tuple[str, ...]:
    return tuple(one for one in assigned_characters() if unicodedata.decomposition(one))


def _word(chance: random.Random) -> str:
    return "".join(chance.choices(_LETTERS, k=chance.randint(1, 9)))


def _capitalised(chance: random.Random) -> str:
    return chance.choice((str.upper, str.title))(_word(chance))


def _any(chance: random.Random) -> str:
    """Any code point, with those that nothing is assigned to."""
    code = chance.randrange(0x110000 - len(_SURROGATES))
    return chr(code if code < _SURROGATES.start else code + len(_SURROGATES))


def _of_one_block(chance: random.Random) -> str:
    return "".join(chance.choices(chance.choice(_blocks()), k=chance.randint(1, 8)))


def _marked(chance: random.Random) -> str:
    base = chance.choice((chance.choice(_LETTERS), chance.choice(_decomposing()), chance.choice(assigned_characters())))
    return base + "".join(chance.choices(_marks(), k=chance.randint(1, 5)))


def _decomposed(chance: random.Random) -> str:
    form = chance.choice(("NFC", "NFD", "NFKC", "NFKD"))
    return unicodedata.normalize(form, "".join(chance.choices(_decomposing(), k=chance.randint(1, 4))))


def _emoji(chance: random.Random) -> str:
    pictograph = chance.choice(_pictographs())
    tags = "".join(chr(0xE0000 + ord(letter)) for letter in chance.choice(("gbeng", "gbsct"))) + "\U000e007f"
    return chance.choice(
        (
            pictograph + chance.choice(("", "\ufe0f", *_SKIN)),
            "".join(chance.choices(_FLAG, k=chance.randint(1, 4))),
            chance.choice("0123456789#*") + _KEYCAP,
            "\U0001f3f4" + tags,
        )
    )


def _joined(chance: random.Random) -> str:
    parts = [_emoji(chance) for _ in range(chance.randint(2, 4))]
    return chance.choice(("\u200d", "\u200d", "\u200d\u200d", "\ufe0f\u200d")).join(parts)


def _hangul(chance: random.Random) -> str:
    jamo = (range(0x1100, 0x1200), range(0xAC00, 0xD7A4), range(0xA960, 0xA97D), range(0xD7B0, 0xD7FC))
    return "".join(chr(chance.choice(chance.choice(jamo))) for _ in range(chance.randint(1, 6)))


def _ideographs(chance: random.Random) -> str:
    ranges = (range(0x3400, 0x4DC0), range(0x4E00, 0xA000), range(0xF900, 0xFB00), range(0x20000, 0x2A6E0))
    every = (*ranges, range(0x2A700, 0x32000), range(0x3040, 0x3100))
    return "".join(chr(chance.choice(chance.choice(every))) for _ in range(chance.randint(1, 4)))


def _conjunct(chance: random.Random) -> str:
    """Consonants and viramas of one Indic script, with joiners between them."""
    first = chance.choice((0x900, 0x980, 0xA00, 0xA80, 0xB00, 0xB80, 0xC00, 0xC80, 0xD00, 0xD80, 0x1000, 0x1780))
    virama = chr(first + 0x4D)
    letters = [chr(first + chance.randrange(_BLOCK)) for _ in range(chance.randint(1, 5))]
    between = chance.choice((virama, virama, virama + "\u200d", "\u200d" + virama, virama + virama, ""))
    return between.join(letters)


def _spaces(chance: random.Random) -> str:
    return "".join(chance.choices(_SPACES, k=chance.randint(1, 4)))


def _invisible(chance: random.Random) -> str:
    return "".join(chance.choices(_INVISIBLE, k=chance.randint(1, 3)))


def _special(chance: random.Random) -> str:
    return chance.choice(("", " ", "  ", "a")) + chance.choice(_SPECIAL) + chance.choice(("", " ", "\u3000 ", "b"))


def _contraction(chance: random.Random) -> str:
    return _word(chance) + chance.choice(_CONTRACTIONS)


def _number(chance: random.Random) -> str:
    digits = chance.choice(("0123456789", "٠١٢٣٤٥٦٧٨٩", "०१२३४५६७८९", "½²³①Ⅷ〇一"))
    return "".join(chance.choices(digits, k=chance.randint(1, 7)))


def _punctuation(chance: random.Random) -> str:
    return "".join(chance.choices("!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~«»…—„“¿、。「」", k=chance.randint(1, 4)))


def _repeated(chance: random.Random) -> str:
    """One thing again and again, also longer than what is a word to WordPiece."""
    once = chance.choice((chance.choice(_LETTERS), chance.choice(assigned_characters()), _word(chance)))
    return once * chance.choice((2, 3, 99, 100, 101, 300))


def _tokenizer_marks(chance: random.Random) -> str:
    return "".join(chance.choices(_MARKS + _LETTERS[:3], k=chance.randint(1, 4)))
