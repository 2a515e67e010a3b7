"""Probes of the loops of int8 and half: register tiles, rows that are made narrow, tables of bytes."""

from __future__ import annotations

from fusion.cycles.probe import COLUMNS, STRIDE, Marker, Probe, all_sizes
from fusion.emit.c.half_packing import HALF_DEPTH
from fusion.emit.c.narrow_tiling import SINGLE_ROW_HALF, SINGLE_ROW_INT8, half_register_tiles, int8_register_tiles
from fusion.emit.c.work import tile_loop
from fusion.emit.layout import narrow_stride
from fusion.target import Target

# Vectors of a row that is made int8: whole blocks of four.
_ROW_VECTORS = 192
# Keeps the compiler from going through several rows at once, as it does with tiles of one row and vector.
_APART = '__asm__ volatile("");'
# Where a tile's scales and corrections lie among the operands, in fp32 numbers.
_ROW_SCALES, _CORRECTIONS = 1024, 2048


def int8_probes(target: Target) -> tuple[Probe, ...]:
    """All probes of a target's int8 code."""
    return (*_int8_tiles(target), *_int8_rows(target))


def half_probes(target: Target) -> tuple[Probe, ...]:
    """All probes of a target's code in half; none where it does not calculate in half."""
    return (*_half_tiles(target), _halved_row(target)) if target.half else ()


def _int8_tiles(target: Target) -> list[Probe]:
    found = []
    stride, groups = narrow_stride(COLUMNS, 1), COLUMNS // target.int8_group
    for height, width in all_sizes((SINGLE_ROW_INT8, *int8_register_tiles(target))):
        # smmla: squares of two rows and two columns.
        squares = -(-height // 2) * 2 if target.int8 == "mmla" else height
        call = (
            f"  for (int r = 0; r < last; r += {height}) {{\n    {_APART}\n"
            f"    pb_int8_tile({height}, {width}, (const char *)a + (long)r * {stride}, {stride}, "
            f"o->weights + {_ROW_SCALES} + r, (const signed char *)b, o->weights, "
            f"(const int *)o->weights + {_CORRECTIONS}, c + (long)r * {STRIDE}, {STRIDE}, {groups}, "
        )
        found += _with_fetching(call, height, width, "int8", Marker("int8", squares * width), groups)
    return found


def _with_fetching(call: str, height: int, width: int, precision: str, marker: Marker, steps: int) -> list[Probe]:
    """The probes of a tile that fetches nothing, and of one that fetches a line a step."""
    found = []
    for kind, fetching in (("", "0, 0"), ("fetch", f"1, ahead + {64 * steps}L * r")):
        body = f"{call}{fetching}, (pb_end){{0}});\n  }}\n"
        found.append(Probe(tile_loop(height, width, kind, precision), body, (marker,), (f"{precision}.h",)))
    return found


def _half_tiles(target: Target) -> list[Probe]:
    """Tiles whose inner dimension is summed up in half at once; and beyond that, what one more such part costs besides
    its steps: its sums are widened and added to those before."""
    found = []
    stride = narrow_stride(COLUMNS, 2)
    for height, width in all_sizes((SINGLE_ROW_HALF, *half_register_tiles())):
        marker = Marker("multiply-add", height * -(-width // 2))
        rows = f"  for (int r = 0; r < last; r += {height}) {{\n    {_APART}\n"
        operand, to = f"(const char *)a + (long)r * {stride}, {stride}", f"c + (long)r * {STRIDE}, {STRIDE}"
        call = f"{rows}    pb_half_tile({height}, {width}, {operand}, b, o->weights, {to}, {HALF_DEPTH}, "
        found += _with_fetching(call, height, width, "fp16", marker, HALF_DEPTH)
        part = (
            f"{rows}"
            f"    pb_half sums[PB_MAX_ROWS][PB_HALF_VECTORS];\n"
            f"    pb_half_sums({height}, {width}, {operand}, (const char *)b, {HALF_DEPTH}, 0, 0, sums);\n"
            f'    __asm__ volatile("" ::: "memory");\n'
            f"    pb_half_to({height}, {width}, sums, 1, 0, {to}, (pb_end){{0}});\n  }}\n"
        )
        found.append(Probe(tile_loop(height, width, "more", "fp16"), part, (marker,), ("fp16.h",)))
    return found


def _int8_rows(target: Target) -> list[Probe]:
    columns = _ROW_VECTORS * target.lanes
    quantised = (
        f"  for (int r = 0; r < last; r++)\n    pb_quantise_row(a + (long)r * {STRIDE}, {columns}, {columns}, "
        f"(char *)c + (long)r * {columns}, o->output + r);\n"
    )
    one, other = (
        f"pb_load_table((const signed char *){table} + (long){row} * {COLUMNS} + n) * o->weights[{row}]"
        for table, row in (("a", "r"), ("b", "mask[r]"))
    )
    looked_up = (
        f"  for (int r = 0; r < last; r++)\n    for (int n = 0; n < {COLUMNS}; n += PB_LANES)\n"
        f"      pb_store(c + (long)r * {STRIDE} + n, {one} + {other});\n"
    )
    return [
        Probe("rows int8", quantised, (Marker("row load"), Marker("row load")), ("int8.h",)),
        Probe("rows int8 table", looked_up, (Marker("store"),), ("int8_tables.h",)),
    ]


def _halved_row(target: Target) -> Probe:
    columns = (_ROW_VECTORS + 1) * target.lanes
    body = (
        f"  for (int r = 0; r < last; r++)\n    pb_halve_row(c + (long)r * {STRIDE}, {columns}, "
        f"(char *)a + 2L * r * {STRIDE});\n"
    )
    return Probe("rows fp16", body, (Marker("load"),), ("fp16.h",))
