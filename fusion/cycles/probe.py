"""A probe: a C function of nothing but one of the loops that emitted code runs, and how its steps are told.

The runtime's own functions are instantiated as emitters instantiate them, with strides and lengths of BERT-base, since
constants decide what the compiler makes of a loop.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

# Elements from row to row, and the length of a row: those of 768 columns.
STRIDE, COLUMNS = 784, 768


@dataclass(frozen=True)
class Marker:
    """What is counted to tell how many steps one pass through a compiled loop makes: ``each`` of them a step.

    ``pipelined``: the loop's last step may stand behind it."""

    kind: str
    each: int = 1
    pipelined: bool = False


@dataclass(frozen=True)
class Probe:
    """A loop by its name: the body of a C function that goes round an outer loop, and what marks the steps of its inner
    loops, in order; where the compiler leaves only one loop, it holds the steps itself. ``headers`` are those of the
    runtime that it needs beside those of all."""

    name: str
    body: str
    markers: tuple[Marker, ...]
    headers: tuple[str, ...] = ()
    # The probe whose entry is taken off, and the vectors of results that share what is left: steps done in registers.
    beyond: str = ""
    results: int = 1
    finish: str = ""


_PARAMETERS = (
    "const pb_operands *o, const float *restrict a, const float *b, float *restrict c, const int *restrict mask, "
    "const char *ahead, int last"
)
FINISH = "FINISH"


def probe_unit(found: Sequence[Probe]) -> str:
    """One C unit of probes; :func:`function_name` says what each is called."""
    functions = (
        f"{_finish(place, probe)}void {function_name(place)}({_PARAMETERS});\n"
        f"void {function_name(place)}({_PARAMETERS}) {{\n"
        f"  (void)o, (void)a, (void)b, (void)c, (void)mask, (void)ahead;\n"
        f"{probe.body.replace(FINISH, f'finish_{place}')}}}\n"
        for place, probe in enumerate(found)
    )
    headers = sorted({"attention.h", "rows.h"}.union(*(probe.headers for probe in found)))
    return "".join(f'#include "{header}"\n' for header in headers) + "\n" + "\n".join(functions)


def function_name(place: int) -> str:
    """The C name of the probe at a place."""
    return f"probe_{place}"


def all_sizes(tiles: Iterable[tuple[int, int]]) -> tuple[tuple[int, int], ...]:
    """(rows, vectors) of every register tile that code with these tiles has: they, and what is left over."""
    return tuple(sorted({(h, w) for rows, vectors in tiles for h in range(1, rows + 1) for w in range(1, vectors + 1)}))


def _finish(place: int, probe: Probe) -> str:
    """The function of a probe that finishes sums in registers."""
    if not probe.finish:
        return ""
    return (
        f"PB_INLINE pb_vec finish_{place}(const pb_operands *o, pb_vec x, const long r, const long n) {{\n"
        f"  (void)o, (void)r, (void)n;\n  {probe.finish}\n  return x;\n}}\n"
    )


_Q = r"q\d+"
# How many vectors an instruction multiplies and adds, loads or stores; patterns with a second group hold two of them.
_MARKS: Mapping[str, Mapping[str, str]] = MappingProxyType(
    {
        "aarch64": MappingProxyType(
            {
                "multiply-add": r"fmla ",
                "int8": r"sdot |smmla |sadalp ",
                "load": rf"(ldr|ldur|ldp) {_Q}(?P<two>, {_Q})?|ld1 ",
                "store": rf"(str|stur|stp) {_Q}(?P<two>, {_Q})?|st1 ",
                "scalar store": r"stu?r s",
                "scalar sum": r"fadd s",
                "row load": rf"(ldr|ldur|ldp) {_Q}(?P<two>, {_Q})?|ld1 ",
            }
        ),
        "x86_64": MappingProxyType(
            {
                "multiply-add": r"vfn?m(add|sub)\d+ps ",
                "int8": r"vpdpbusd |vpmaddwd ",
                "load": r"v(?!broadcast)\w+p[sdb] -?\w*\(%r(?!ip).*,|vmovdq\w+ -?\w*\(%r(?!ip).*,",
                "store": r"v\w+ (%[xyz]mm\d+, )+-?\w*\(%r",
                "scalar store": r"vmovss %xmm\d+, -?\w*\(%r",
                "scalar sum": r"vaddss ",
                "row load": r"v\w+ -?\w*\(%r(?!ip).*,",
            }
        ),
    }
)


def mark_count(instruction: str, kind: str, machine: str) -> int:
    """How many vectors of that kind an instruction stands for."""
    match = re.match(_MARKS[machine][kind], instruction)
    if match is None:
        return 0
    return 2 if match.groupdict().get("two") else 1
