"""Any text as C: literals, and names of macros."""

from __future__ import annotations

import re
from collections.abc import Set as AbstractSet

# Without the question mark, of which trigraphs are made, the quote and the backslash.
_PLAIN = frozenset(b" !#$%&'()*+,-./0123456789:;<=>@ABCDEFGHIJKLMNOPQRSTUVWXYZ[]^_`abcdefghijklmnopqrstuvwxyz{|}~")


def c_string(text: str) -> str:
    """A C literal of any text, in UTF-8: what is not a plain letter, digit or sign is written in octal."""
    return '"' + "".join(chr(byte) if byte in _PLAIN else f"\\{byte:03o}" for byte in text.encode()) + '"'


def c_name(text: str, prefix: str, taken: AbstractSet[str], suffixes: tuple[str, ...] = ("",)) -> str:
    """An identifier that tells the text, in capitals; with each suffix it is none of those ``taken``."""
    stem = f"{prefix}{re.sub('[^A-Z0-9]+', '_', text.upper(), flags=re.ASCII).strip('_') or 'UNNAMED'}"
    name, number = stem, 1
    while any(f"{name}{suffix}" in taken for suffix in suffixes):
        number += 1
        name = f"{stem}_{number}"
    return name
