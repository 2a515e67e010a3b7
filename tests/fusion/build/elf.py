"""What 64-bit little-endian ELF files say of themselves: enough to hold an executable to the rules of a loader."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

X86_64, AARCH64, SHARED = 62, 183, 3
LOAD, DYNAMIC, INTERPRETER, THREAD_LOCAL, READ_ONLY_LATER = 1, 2, 3, 7, 0x6474E552
EXECUTABLE, WRITABLE = 1, 2
NEEDED, HASH, STRINGS, SYMBOLS, TEXT_RELOCATIONS, FLAGS, RELR = 1, 4, 5, 6, 22, 30, 36
INIT, FINI, NAME, RUN_PATH = 12, 13, 14, 29
INIT_ARRAY, FINI_ARRAY, PREINIT_ARRAY = 25, 26, 32
GNU_HASH, FLAGS_1, ANDROID_RELR, VERSIONS_NEEDED = 0x6FFFFEF5, 0x6FFFFFFB, 0x6FFFE000, 0x6FFFFFFE
TEXT_RELOCATIONS_FLAG, PIE_FLAG = 4, 0x08000000
SYMBOLIC_FLAG = 2
# Sections that strip takes away.
SYMBOL_TABLE = 2


@dataclass(frozen=True)
class Segment:
    """A program header; sizes and places are bytes."""

    kind: int
    flags: int
    offset: int
    address: int
    file_bytes: int
    memory_bytes: int
    alignment: int


@dataclass(frozen=True)
class Elf:
    """A file, read whole."""

    content: bytes

    @classmethod
    def of(cls, path: Path) -> Elf:
        return cls(path.read_bytes())

    @cached_property
    def _header(self) -> tuple[int, ...]:
        assert self.content[:7] == b"\x7fELF\x02\x01\x01"
        return struct.unpack_from("<HHIQQQIHHHHHH", self.content, 16)

    @property
    def kind(self) -> int:
        return self._header[0]

    @property
    def machine(self) -> int:
        return self._header[1]

    @property
    def entry(self) -> int:
        return self._header[3]

    @cached_property
    def segments(self) -> list[Segment]:
        found = []
        for i in range(self._header[9]):
            kind, flags, offset, address, _, on_file, in_memory, alignment = struct.unpack_from(
                "<IIQQQQQQ", self.content, self._header[4] + i * self._header[8]
            )
            found.append(Segment(kind, flags, offset, address, on_file, in_memory, alignment))
        return found

    def of_kind(self, kind: int) -> list[Segment]:
        return [segment for segment in self.segments if segment.kind == kind]

    @cached_property
    def sections(self) -> list[tuple[int, int, int]]:
        """Kind, offset and bytes of each section."""
        found = []
        for i in range(self._header[11]):
            _, kind, _, _, offset, size = struct.unpack_from(
                "<IIQQQQ", self.content, self._header[5] + i * self._header[10]
            )
            found.append((kind, offset, size))
        return found

    @property
    def end(self) -> int:
        """Where the section headers end, which linkers write last."""
        return self._header[5] + self._header[10] * self._header[11]

    @property
    def interpreter(self) -> str:
        (segment,) = self.of_kind(INTERPRETER)
        return self.content[segment.offset : segment.offset + segment.file_bytes].rstrip(b"\0").decode()

    @cached_property
    def dynamic(self) -> list[tuple[int, int]]:
        """Tags and values of the dynamic segment, without the last."""
        (segment,) = self.of_kind(DYNAMIC)
        pairs = struct.iter_unpack("<QQ", self.content[segment.offset : segment.offset + segment.file_bytes])
        return [(tag, value) for tag, value in pairs if tag]

    def values(self, tag: int) -> list[int]:
        return [value for each, value in self.dynamic if each == tag]

    @property
    def needed(self) -> list[str]:
        return [self._text(offset) for offset in self.values(NEEDED)]

    @property
    def name(self) -> str:
        """What a library calls itself."""
        (offset,) = self.values(NAME)
        return self._text(offset)

    @property
    def imported(self) -> set[str]:
        """Names of dynamic symbols that are defined elsewhere."""
        return {name for name, section in self._symbols if not section}

    @property
    def exported(self) -> set[str]:
        """Names of dynamic symbols that are defined here."""
        return {name for name, section in self._symbols if section}

    @cached_property
    def _symbols(self) -> list[tuple[str, int]]:
        """Name and section of each dynamic symbol; the section of one that is defined elsewhere is 0."""
        (hashes,), (symbols,) = self.values(HASH), self.values(SYMBOLS)
        (count,) = struct.unpack_from("<I", self.content, self._place(hashes) + 4)
        rows = [struct.unpack_from("<IBBH", self.content, self._place(symbols) + 24 * i) for i in range(1, count)]
        return [(self._text(name), section) for name, _, _, section in rows]

    def _place(self, address: int) -> int:
        """The byte of the file that lies at an address."""
        (segment,) = [s for s in self.of_kind(LOAD) if s.address <= address < s.address + s.file_bytes]
        return address - segment.address + segment.offset

    def _text(self, offset: int) -> str:
        start = self._place(self.values(STRINGS)[0]) + offset
        return self.content[start : self.content.index(b"\0", start)].decode()
