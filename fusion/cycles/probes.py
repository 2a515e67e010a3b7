"""Probes: for each loop that emitted code runs, a C function of nothing but that loop.

The runtime's own functions are instantiated as emitters instantiate them, with strides and lengths of BERT-base, since
constants decide what the compiler makes of a loop.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from fusion.emit.c.tiling import SINGLE_ROW_TILE, register_tiles
from fusion.emit.c.work import tile_loop
from fusion.target import Target

# Elements from row to row, and the length of a row: those of 768 columns.
_STRIDE, _COLUMNS = 784, 768
_QUERIES, _KEYS, _HEAD_SIZE = 64, 128, 64
_MANY_KEYS = 1024
# Whole vectors before the last one of a row that is normalised: loops leave that one out.
_ROW_VECTORS = 193


@dataclass(frozen=True)
class Marker:
    """What is counted to tell how many steps one pass through a compiled loop makes: ``each`` of them a step."""

    kind: str
    each: int = 1


@dataclass(frozen=True)
class Probe:
    """A loop by its name: the body of a C function that goes round an outer loop, and what marks the steps of its inner
    loops, in order; where the compiler leaves only one loop, it holds the steps itself."""

    name: str
    body: str
    markers: tuple[Marker, ...]
    # The probe whose entry is taken off, and the vectors of results that share what is left: steps done in registers.
    beyond: str = ""
    results: int = 1
    finish: str = ""


_PARAMETERS = (
    "const pb_operands *o, const float *restrict a, const float *b, float *restrict c, const int *restrict mask, "
    "const char *ahead, int last"
)
_FINISH = "FINISH"
_LONG_STEPS = ("gelu", "gelu_tanh", "relu", "tanh", "sigmoid", "silu")


def probes(target: Target) -> tuple[Probe, ...]:
    """All probes of the fp32 code for a target."""
    return (*_tiles(target), *_ends(target), *_steps(), *_row_functions(target), *_attention(target))


def probe_unit(found: Sequence[Probe]) -> str:
    """One C unit of probes; :func:`function_name` says what each is called."""
    functions = (
        f"{_finish(place, probe)}void {function_name(place)}({_PARAMETERS});\n"
        f"void {function_name(place)}({_PARAMETERS}) {{\n"
        f"  (void)o, (void)a, (void)b, (void)c, (void)mask, (void)ahead;\n"
        f"{probe.body.replace(_FINISH, f'finish_{place}')}}}\n"
        for place, probe in enumerate(found)
    )
    return '#include "attention.h"\n#include "rows.h"\n\n' + "\n".join(functions)


def function_name(place: int) -> str:
    """The C name of the probe at a place."""
    return f"probe_{place}"


def tile_sizes(target: Target) -> tuple[tuple[int, int], ...]:
    """(rows, vectors) of every register tile that code for a target has: those of its list, and what is left over."""
    sizes = {SINGLE_ROW_TILE, *register_tiles(target)}
    return tuple(sorted({(h, w) for rows, vectors in sizes for h in range(1, rows + 1) for w in range(1, vectors + 1)}))


def _tiles(target: Target) -> list[Probe]:
    found = []
    for height, width in tile_sizes(target):
        columns, marker = width * target.lanes, (Marker("multiply-add", height * width),)
        rows = f"  for (int r = 0; r < last; r += {height})\n    "
        call = f"pb_tile_to({height}, {width}, 0, a + (long)r * {_STRIDE}, {_STRIDE}, 1, b, {columns}, "
        call += f"c + (long)r * {_STRIDE}, {_STRIDE}, {_COLUMNS}, "
        found.append(Probe(tile_loop(height, width), f"{rows}{call}0, 0, (pb_end){{0}});\n", marker))
        fetching = f"{rows}{call}1, ahead + {64 * _COLUMNS}L * r, (pb_end){{0}});\n"
        found.append(Probe(tile_loop(height, width, "fetch"), fetching, marker))
        across = f"pb_tile({height}, {width}, 0, a + r, 1, {_QUERIES}, b, {_HEAD_SIZE}, c + r * {_HEAD_SIZE}, "
        across += f"{_HEAD_SIZE}, {_KEYS});\n"
        found.append(Probe(tile_loop(height, width, "across"), rows + across, marker))
    return found


def _ends(target: Target) -> list[Probe]:
    """Steps of an epilogue that are done before a register tile is stored, as what they add to its end."""
    height, width = register_tiles(target)[0]
    steps = {
        "bias": "x += pb_load(o->weights + n);",
        "residual": f"x += pb_load((const float *)o->inputs[1] + r * {_STRIDE} + n);",
        "no_norm": f"x = x * pb_load(o->weights + n) + pb_load(o->weights + {_COLUMNS} + n);",
        "relu": "x = pb_relu(x);",
    }
    columns = width * target.lanes
    body = (
        f"  for (int r = 0; r < last; r += {height})\n"
        f"    pb_tile_to({height}, {width}, 0, a + (long)r * {_STRIDE}, {_STRIDE}, 1, b, {columns}, "
        f"c + (long)r * {_STRIDE}, {_STRIDE}, {_COLUMNS}, 0, 0, (pb_end){{{_FINISH}, o, r, 0}});\n"
    )
    marker = (Marker("multiply-add", height * width),)
    return [
        Probe(f"end {name}", body, marker, tile_loop(height, width), height * width, finish)
        for name, finish in steps.items()
    ]


def _finish(place: int, probe: Probe) -> str:
    """The function of a probe that finishes sums in registers."""
    if not probe.finish:
        return ""
    return (
        f"PB_INLINE pb_vec finish_{place}(const pb_operands *o, pb_vec x, const long r, const long n) {{\n"
        f"  (void)o, (void)r, (void)n;\n  {probe.finish}\n  return x;\n}}\n"
    )


def _steps() -> list[Probe]:
    """Loops over the columns of rows: copied, summed, or one step of an epilogue done in place."""
    rows = f"  for (int r = 0; r < last; r++)\n    for (int n = 0; n < {_COLUMNS}; n += PB_LANES) {{\n"
    load, store = f"pb_load(c + (long)r * {_STRIDE} + n)", f"pb_store(c + (long)r * {_STRIDE} + n, x);\n    }}\n"
    other = f"pb_load(a + (long)r * {_STRIDE} + n)"
    statements = {
        "sum": f"pb_vec x = {other} + pb_load(b + (long)mask[r] * {_STRIDE} + n);",
        "bias": f"pb_vec x = {load}; x += pb_load(o->weights + n);",
        "residual": f"pb_vec x = {load}; x += {other};",
        "no_norm": f"pb_vec x = {load}; x = x * pb_load(o->weights + n) + pb_load(o->weights + {_COLUMNS} + n);",
        **{step: f"pb_vec x = {load}; x = pb_{step}(x);" for step in _LONG_STEPS},
    }
    return [
        Probe(f"rows {name}", f"{rows}      {text}\n      {store}", (Marker("store"),))
        for name, text in statements.items()
    ]


def _row_functions(target: Target) -> list[Probe]:
    columns = _ROW_VECTORS * target.lanes
    by_key = Marker("scalar store", target.lanes), Marker("store"), Marker("scalar sum", target.lanes), Marker("store")
    calls = {
        "layer_norm": (f"pb_layer_norm(row, {columns}, b, b + {columns}, 1e-5f);", "load load store"),
        "l2_norm": (f"pb_l2_norm(row, {columns}, 0.0f, 1e-12f, 0.0f);", "load store"),
        "row_softmax": (f"pb_row_softmax(row, {columns});", "load store store"),
        "softmax": (f"pb_softmax(a + (long)r * {_MANY_KEYS}, row, {_MANY_KEYS}, mask, -1e4f, 0.125f);", ""),
    }
    return [
        Probe(
            f"rows {name}",
            f"  for (int r = 0; r < last; r++) {{\n    float *row = c + (long)r * {_STRIDE};\n    {call}\n  }}\n",
            tuple(Marker(kind) for kind in kinds.split()) or by_key,
        )
        for name, (call, kinds) in calls.items()
    ]


def _attention(target: Target) -> list[Probe]:
    """The steps of attention around its products: :mod:`fusion.emit.c.attention`."""
    lanes = target.lanes
    found = [
        Probe(
            f"online_softmax {vectors}",
            f"  for (int n = 0; n < last; n += {vectors * lanes})\n"
            f"    pb_online_softmax({vectors}, c + n, {_QUERIES}, {_KEYS}, 1, mask, -1e4f, c + {_QUERIES * _KEYS} + n, "
            f"c + {_QUERIES * (_KEYS + 1)} + n, c + {_QUERIES * (_KEYS + 2)} + n);\n",
            (Marker("load", vectors), Marker("store", vectors)),
        )
        for vectors in (1, 2)
    ]
    found.append(
        Probe(
            "transpose",
            f"  pb_transpose(a, {_STRIDE}, c, {_QUERIES}, last, {_HEAD_SIZE}, 0.125f);\n",
            (Marker("store", lanes),),
        )
    )
    moves = {
        "copy_rows": f"pb_copy_rows(a, {_STRIDE}, c, {_HEAD_SIZE}, last, {_HEAD_SIZE});",
        "scale_rows": f"pb_scale_rows(c, {_HEAD_SIZE}, a, last, {_HEAD_SIZE});",
        "store_scaled": f"for (int r = 0; r < last; r++) pb_store_scaled(c + (long)r * {_STRIDE}, "
        f"a + (long)r * {_HEAD_SIZE}, 1.0f / b[r], {_HEAD_SIZE});",
    }
    return found + [Probe(name, f"  {text}\n", (Marker("store"),)) for name, text in moves.items()]


_Q = r"q\d+"
# How many vectors an instruction multiplies and adds, loads or stores; patterns with a second group hold two of them.
_MARKS: Mapping[str, Mapping[str, str]] = MappingProxyType(
    {
        "aarch64": MappingProxyType(
            {
                "multiply-add": r"fmla ",
                "load": rf"(ldr|ldur|ldp) {_Q}(?P<two>, {_Q})?|ld1 ",
                "store": rf"(str|stur|stp) {_Q}(?P<two>, {_Q})?|st1 ",
                "scalar store": r"stu?r s",
                "scalar sum": r"fadd s",
            }
        ),
        "x86_64": MappingProxyType(
            {
                "multiply-add": r"vfn?m(add|sub)\d+ps ",
                "load": r"v(?!broadcast)\w+p[sdb] -?\w*\(%r(?!ip).*,|vmovdq\w+ -?\w*\(%r(?!ip).*,",
                "store": r"v\w+ (%[xyz]mm\d+, )+-?\w*\(%r",
                "scalar store": r"vmovss %xmm\d+, -?\w*\(%r",
                "scalar sum": r"vaddss ",
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
