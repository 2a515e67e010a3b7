"""Tables of code points: what each is and becomes, in records that equal ones share, in blocks of 128."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from fusion.tokenizer.questions import CODE_POINTS, fill_planes

# Flags of a record, as runtime/text/table.h has them.
SPACE, PUNCTUATION, LETTER, NUMBER, BLANK, WORD_CHARACTER, REGEX_SPACE, HANGUL, APART = (1 << bit for bit in range(9))
_BLOCK = 128
_MOST_RECORDS = 1 << 16

# A piece of what a character becomes: its rank among marks that combine (0 is what they combine with), and its text.
Piece = tuple[int, str]


@dataclass(frozen=True)
class CharacterTables:
    """What is known of code points: flags, ranks and clusters [0x110000], and what becomes of those that change."""

    flags: np.ndarray = field(default_factory=lambda: np.zeros(CODE_POINTS, np.uint16))
    ranks: np.ndarray = field(default_factory=lambda: np.zeros(CODE_POINTS, np.uint8))
    clusters: np.ndarray = field(default_factory=lambda: np.zeros(CODE_POINTS, np.uint8))
    pieces: Mapping[int, Sequence[Piece]] = field(default_factory=dict)

    def packed(self) -> tuple[bytes, bytes, bytes, bytes]:
        """Blocks, characters, records and pieces, as sections of a table.

        Raises:
            ValueError: there are more different records than 65536, or a piece is longer than 255 bytes.
        """
        places, text = self._packed_pieces()
        keys = self.flags.astype(np.uint64) | self.ranks.astype(np.uint64) << 16
        keys |= self.clusters.astype(np.uint64) << 24 | places.astype(np.uint64) << 32
        fill_planes(keys)
        records, numbers = np.unique(keys, return_inverse=True)
        if len(records) > _MOST_RECORDS:
            raise ValueError(f"{len(records)} kinds of characters are more than a table holds")
        rows, blocks = np.unique(numbers.reshape(-1, _BLOCK), axis=0, return_inverse=True)
        return (
            blocks.reshape(-1).astype("<u2").tobytes(),
            rows.astype("<u2").tobytes(),
            records.astype("<u8").tobytes(),
            text,
        )

    def _packed_pieces(self) -> tuple[np.ndarray, bytes]:
        """1 + the place of each code point's pieces [0x110000], and all pieces, equal ones once."""
        places = np.zeros(CODE_POINTS, np.uint32)
        text, known = bytearray(), dict[bytes, int]()
        for code, pieces in self.pieces.items():
            packed = _packed(pieces)
            if packed not in known:
                known[packed] = len(text) + 1
                text += packed
            places[code] = known[packed]
        return places, bytes(text)


def _packed(pieces: Sequence[Piece]) -> bytes:
    texts = [(rank, text.encode()) for rank, text in pieces]
    if len(texts) > 255 or any(len(text) > 255 for _, text in texts):
        raise ValueError("a character becomes more than a table holds")
    return bytes([len(texts)]) + b"".join(struct.pack("BB", rank, len(text)) + text for rank, text in texts)
