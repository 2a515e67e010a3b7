"""Processors as ``/proc/cpuinfo`` lists them: which cores there are, and what instructions all of them have."""

from __future__ import annotations

import re
from dataclasses import dataclass

# Cores of Armv8.0, by implementer and part: they lack the atomics of Armv8.1, whatever the kernel says. Some kernels
# say what their little cores have: the Exynos 9810's do, and its big ones (0x53, 0x002) stop at the first atomic.
_WITHOUT_ATOMICS = frozenset(
    [(0x41, part) for part in (0xD03, 0xD04, 0xD07, 0xD08, 0xD09)]  # Cortex-A53, A35, A57, A72, A73
    + [(0x4E, part) for part in (0x000, 0x003)]  # Denver
    + [(0x51, part) for part in (0x201, 0x205, 0x211, 0x800, 0x801)]  # Kryo, Kryo 2xx
    + [(0x53, part) for part in (0x001, 0x002)]  # Exynos M1 to M3
)
_ATOMICS = "atomics"
# How the flags' line begins: on x86, on Arm; and what every 64-bit Arm has. A line without it is what the kernel shows
# 32-bit programs, which says nothing of the rest.
_FLAG_LINES = ("flags", "Features")
_EVERY_ARM64 = "asimd"


@dataclass(frozen=True)
class Processor:
    """One processor: its number, and its implementer and part where it is an Arm that tells them."""

    number: int
    part: tuple[int, int] | None


def processors(cpuinfo: str) -> tuple[Processor, ...]:
    """Every processor that the text lists, in its order."""
    found = []
    for section in re.split(r"^(?=processor\s*:)", cpuinfo, flags=re.MULTILINE):
        known = fields(section)
        number = known.get("processor", "")
        if number.isdecimal():
            part = (_hexadecimal(known.get("CPU implementer", "")), _hexadecimal(known.get("CPU part", "")))
            found.append(Processor(int(number), None if None in part else part))  # type: ignore[arg-type]
    return tuple(found)


def shared_flags(cpuinfo: str) -> frozenset[str]:
    """The instruction sets that all processors have, in the kernel's names; empty where it does not tell."""
    lines = (line.partition(":") for line in cpuinfo.splitlines())
    stated = [(name.strip(), frozenset(value.split())) for name, _, value in lines if name.strip() in _FLAG_LINES]
    if not stated or any(name == "Features" and _EVERY_ARM64 not in flags for name, flags in stated):
        return frozenset()
    flags = frozenset.intersection(*(flags for _, flags in stated))
    if any(processor.part in _WITHOUT_ATOMICS for processor in processors(cpuinfo)):
        flags -= {_ATOMICS}
    return flags


def fields(text: str) -> dict[str, str]:
    """``name: value`` lines; the first of equal names."""
    found: dict[str, str] = {}
    for line in text.splitlines():
        name, colon, value = line.partition(":")
        if colon:
            found.setdefault(name.strip(), value.strip())
    return found


def _hexadecimal(text: str) -> int | None:
    return int(text, 16) if re.fullmatch(r"0x[0-9a-fA-F]+", text) else None
