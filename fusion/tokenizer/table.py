"""The table of a tokenizer: a header and sections, as ``runtime/text/table.h`` has them, little-endian and mapped."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass, fields

import numpy as np

VERSION = 1
WORD_PIECE, BYTE_LEVEL, UNIGRAM = 1, 2, 3
NEVER, FIRST, ALWAYS = range(3)  # what Settings.prepends says
_MAGIC = b"PBTOKENS"
_ALIGNMENT = 8
# In the order of pb_section_name.
SECTIONS = (
    *("settings", "template", "added", "added_text", "blocks", "characters", "records", "pieces"),
    *("word_ends", "word_text", "word_slots", "scores", "byte_ids", "merges", "merge_slots"),
    *("steps", "step_text", "charsmap_trie", "charsmap_text"),
)
_HEADER = struct.Struct(f"<8sIIQQQ{2 * len(SECTIONS)}Q")
_SUMMED_FROM = 40  # where the sections' places begin, behind the checksum


@dataclass(frozen=True)
class Settings:
    """A tokenizer's numbers, in the order of ``pb_settings``."""

    unknown_score: float = 0.0
    padding_id: int = 0
    padding_type: int = 0
    pads_left: bool = False
    cuts_left: bool = False
    slots_of_one: int = 0
    slots_of_two: int = 0
    trims: bool = False
    keeps_first_space: bool = False
    unknown_id: int = 0
    index_bits: int = 1
    longest_word: int = 0
    longest_characters: int = 0
    prefix: bytes = b""
    prepends: int = NEVER
    splits_at_spaces: bool = False
    splits_at_marks: bool = False

    def packed(self) -> bytes:
        """The section."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        values["prefix"] = struct.pack("<i16s", len(self.prefix), self.prefix)
        return b"".join(value if isinstance(value, bytes) else _packed(value) for value in values.values())


def _packed(value: float) -> bytes:
    return struct.pack("<d", value) if isinstance(value, float) else struct.pack("<i", value)


def packed_table(kind: int, sections: Mapping[str, bytes]) -> bytes:
    """A whole table of the sections that there are; the others are empty."""
    places, body = [], bytearray()
    for name in SECTIONS:
        content = sections.get(name, b"")
        places += [_HEADER.size + len(body), len(content)]
        body += content + bytes(-len(content) % _ALIGNMENT)
    size = _HEADER.size + len(body)
    unsigned = _HEADER.pack(_MAGIC, VERSION, kind, size, 0, 0, *places) + bytes(body)
    return _HEADER.pack(_MAGIC, VERSION, kind, size, *checksum(unsigned), *places) + bytes(body)


def checksum(table: bytes) -> tuple[int, int]:
    """The sum of a table's 32-bit words, and the sum of all sums on the way, modulo 2^64."""
    version, kind = struct.unpack_from("<II", table, 8)
    words = np.frombuffer(table, "<u4", offset=_SUMMED_FROM).astype(np.uint64)
    total = int(words.sum(dtype=np.uint64)) + kind
    left = np.arange(len(words), 0, -1, dtype=np.uint64)
    totals = int((words * left).sum(dtype=np.uint64)) + version + kind * len(words)
    return total % (1 << 64), totals % (1 << 64)
