"""The Cortex-A55, cycle by cycle: it issues in order, at most two instructions a cycle, by Arm's published rules.

LLVM's model of this core takes 128-bit multiply-adds for twice as fast as they are, pairs no other 128-bit instruction
with anything, and lets a load of 128 bits pass in one cycle, which takes two; so no answer of llvm-mca's would do.
"""

from __future__ import annotations

import re
import tomllib
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Literal

from data.errors import ToolchainError

_REGISTER = re.compile(r"\b(?P<kind>[vqdshb]|[xw])(?P<number>\d+)\b|\b(?P<sp>sp)\b")
_WIDE = re.compile(r"\bv\d+\.(4s|16b|8h|2d)\b|\bv\d+\.[bhsd]\[|^\w+ q\d")
_BOTH_READ_AND_WRITTEN = re.compile(
    r"(fml[as]|ml[as]|[su]ml[as]l2?|fmla?l2?|bi[ft]|bsl|ins|[su]dot|[su]mmla|sli|[su]sra|movk|[su]adalp)\b"
)
_LANE_WRITTEN = re.compile(r"mov v\d+\.[bhsd]\[|\w+2 ")
_NOTHING_WRITTEN = re.compile(r"(st\w*|prf\w*|cmp|cmn|tst|fcmp|ccmp|fccmp|b|b\.\w+|cbn?z|tbn?z)\b")
_FLAGS_WRITTEN = re.compile(r"(adds|subs|ands|cmp|cmn|tst|fcmp|ccmp|fccmp) ")
_FLAGS_READ = re.compile(r"(b\.\w+|csel|fcsel|csinc|csinv|csneg|cset|csetm|cinc|ccmp|fccmp)\b")
_FLAGS = "flags"
# A store's data are read a stage later than operands are.
_STORED_LATER = 1


@dataclass(frozen=True)
class _Timing:
    """A row of ``cortex-a55.toml``."""

    pattern: re.Pattern[str]
    latency: int
    unit: str
    cycles: int = 1
    slot: Literal["both", "first", "alone"] = "both"
    busy: int = 1


@dataclass(frozen=True)
class _Instruction:
    timing: _Timing
    reads: frozenset[str]
    stored: frozenset[str]
    writes: frozenset[str]
    wide: bool


def in_order_cycles(instructions: Sequence[str], iterations: int) -> int:
    """Cycles of so many rounds through the instructions, everything in L1 cache and every jump foreseen.

    Raises:
        ToolchainError: an instruction is not in the table.
    """
    ready: dict[str, int] = defaultdict(int)
    free: dict[str, int] = defaultdict(int)
    first: _Instruction | None = None
    cycle, after = 0, 0
    for instruction in [_understood(text) for text in instructions] * iterations:
        timing = instruction.timing
        earliest = max((ready[register] for register in instruction.reads), default=0)
        earliest = max(earliest, free[timing.unit], *(ready[name] - _STORED_LATER for name in instruction.stored), 0)
        if first is not None and earliest <= cycle and _pairs(first, instruction):
            first = None
        else:
            cycle, first = max(after, earliest), instruction
            if timing.slot == "alone":
                first = None
        after = max(after, cycle + timing.cycles)
        free[timing.unit] = cycle + (timing.busy if timing.busy > 1 else 0)
        ready.update(dict.fromkeys(instruction.writes, cycle + timing.latency))
    return after


def _pairs(older: _Instruction, younger: _Instruction) -> bool:
    """Whether the younger instruction may be issued in the same cycle."""
    one, two = older.timing, younger.timing
    if two.slot != "both" or two.cycles > 1 or (younger.wide and two.unit == "vector"):
        return False
    if one.unit == two.unit and one.unit not in ("integer", "vector"):
        return False
    return not (older.writes & (younger.reads | younger.writes))


@cache
def _understood(text: str) -> _Instruction:
    timing = next((row for row in _table() if row.pattern.match(text)), None)
    if timing is None:
        raise ToolchainError(f"not in the table of the Cortex-A55: {text}")
    name, _, operands = text.partition(" ")
    found = [_register(match) for match in _REGISTER.finditer(operands)]
    writes, reads, stored = set[str](), set(found), set[str]()
    if not _NOTHING_WRITTEN.match(text):
        count = 2 if name == "ldp" else 1
        writes = set(found[:count])
        if not (_BOTH_READ_AND_WRITTEN.match(text) or _LANE_WRITTEN.match(text)):
            reads = set(found[count:])
    elif name.startswith("st"):
        place = operands.index("[")
        stored = {_register(match) for match in _REGISTER.finditer(operands[:place])}
        reads = {_register(match) for match in _REGISTER.finditer(operands[place:])}
    if _FLAGS_WRITTEN.match(text):
        writes.add(_FLAGS)
    if _FLAGS_READ.match(text):
        reads.add(_FLAGS)
    return _Instruction(timing, frozenset(reads), frozenset(stored), frozenset(writes), bool(_WIDE.search(text)))


def _register(match: re.Match[str]) -> str:
    if match["sp"]:
        return "sp"
    return ("x" if match["kind"] in "xw" else "v") + match["number"]


@cache
def _table() -> tuple[_Timing, ...]:
    text = resources.files("fusion.cycles").joinpath("cortex-a55.toml").read_text(encoding="utf-8")
    return tuple(_rows(tomllib.loads(text)["instructions"]))


def _rows(rows: Sequence[dict[str, str | int]]) -> Iterator[_Timing]:
    for row in rows:
        yield _Timing(**{**row, "pattern": re.compile(str(row["pattern"]))})  # type: ignore[arg-type]
