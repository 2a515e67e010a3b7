"""C of a matrix product with packed weights and a fused epilogue."""

from __future__ import annotations

from fusion.block import Block
from fusion.emit.layout import round_up, row_stride
from fusion.emit.tiling import Tiling, choose_tiling, packed_elements
from fusion.emit.unit import EpilogueCode, Unit, epilogue_code, norm_call, operand_stride, wrap
from fusion.target import Target


def emit_gemm(block: Block, target: Target) -> Unit:
    """``output[rows x columns] = epilogue(input[rows x inner] * weights[inner x columns])``.

    A tile is one panel of columns for one block of rows. Tiles are ordered by row block, so that the thread which
    finishes the last panel of a row block can normalise its rows while they are in cache.
    """
    rows, inner, columns = block.sizes["rows"], block.sizes["inner"], block.sizes["columns"]
    tiling = choose_tiling(rows, inner, columns, target)
    panels = -(-columns // tiling.panel(target))
    row_blocks = -(-rows // tiling.row_block)
    code = epilogue_code(block, columns, target, packed_elements(inner, columns, target, tiling))
    body = _body(rows, inner, columns, panels, tiling, target, code)
    return Unit(
        block,
        wrap(
            block, target, _panel_functions(rows, inner, columns, operand_stride(block, 0, inner), tiling, target), body
        ),
        tiles=panels * row_blocks,
        ready_count=row_blocks if code.norm else 0,
    )


def _widths(columns: int, tiling: Tiling, target: Target) -> list[int]:
    """Distinct panel widths in vectors: the full one, then the last one when it differs."""
    panel = tiling.panel(target)
    rest = -(-(columns % panel) // target.lanes)
    return list(dict.fromkeys(([tiling.vectors] if columns >= panel else []) + ([rest] if rest else [])))


def _panel_functions(rows: int, inner: int, columns: int, a: int, tiling: Tiling, target: Target) -> str:
    return "".join(
        _panel_function(rows, inner, columns, a, tiling, width, target) for width in _widths(columns, tiling, target)
    )


def _panel_function(rows: int, inner: int, columns: int, a: int, tiling: Tiling, width: int, target: Target) -> str:
    """A function that multiplies rows first .. last-1, ``a`` elements apart, with one panel of ``width`` vectors."""
    c, b = row_stride(columns), width * target.lanes
    heights = sorted({tiling.rows, rows % tiling.rows} - {0}, reverse=True)
    text = f"static void panel_{width}(const pb_operands *o, const float *b, float *c, int first, int last) {{\n"
    text += "  const float *a = o->inputs[0];\n"
    blocked = tiling.depth_block < inner
    if blocked:
        text += f"  for (long k = 0; k < {inner}; k += {tiling.depth_block}) {{\n"
        text += f"  const long depth = {inner} - k < {tiling.depth_block} ? {inner} - k : {tiling.depth_block};\n"
    else:
        text += "  const char *ahead = o->ahead;\n  long lines = o->ahead_lines;\n"
    offset, depth = ("k + ", "depth") if blocked else ("", str(inner))
    line = f"b + k * {b}" if blocked else "b"
    text += "  int r = first;\n"
    for height in heights:
        rows_in, rows_out = f"a + {offset}(long)r * {a}, {a}, 1", f"c + (long)r * {c}, {c}"
        loop = f"for (; r + {height} <= last; r += {height})" if height == tiling.rows else f"if (r + {height} <= last)"
        calls = [f"pb_tile({height}, {width}, {add}, {rows_in}, {line}, {b}, {rows_out}, {depth});" for add in (0, 1)]
        if blocked:
            text += f"  if (k == 0) {loop}\n    {calls[0]}\n  if (k > 0) {loop}\n    {calls[1]}\n"
        elif height == tiling.rows:
            text += (
                f"  for (; r + {height} <= last && lines > 0; r += {height}, ahead += {64 * inner}, lines -= {inner})\n"
                f"    pb_tile_ahead({height}, {width}, 0, {rows_in}, {line}, {b}, {rows_out}, {depth}, ahead);\n"
            )
        if not blocked:
            text += f"  {loop}\n    {calls[0]}\n"
    text += "  }\n" if blocked else ""
    return text + "}\n\n"


def _body(rows: int, inner: int, columns: int, panels: int, tiling: Tiling, target: Target, code: EpilogueCode) -> str:
    panel, stride = tiling.panel(target), row_stride(columns)
    row_blocks = -(-rows // tiling.row_block)
    widths = _widths(columns, tiling, target)
    text = (
        f"{_tile_order(panels, row_blocks, tiling)}"
        f"  const int first = block * {tiling.row_block};\n"
        f"  const int last = first + {tiling.row_block} < {rows} ? first + {tiling.row_block} : {rows};\n"
        f"  const float *b = o->weights + (long)panel * {panel * inner};\n"
        f"  float *c = o->output + panel * {panel};\n"
    )
    calls = [f"panel_{width}(o, b, c, first, last);" for width in widths]
    if len(calls) == 2:
        text += f"  if (panel < {panels - 1}) {calls[0]}\n  else {calls[1]}\n"
    else:
        text += f"  {calls[0]}\n"
    text += _elementwise(columns, panel, stride, target, code)
    if code.norm:
        text += (
            f"  if (atomic_fetch_add_explicit(&o->ready[block], 1, memory_order_acq_rel) < {panels - 1}) return;\n"
            f"  atomic_store_explicit(&o->ready[block], 0, memory_order_relaxed);\n"
            f"  for (int r = first; r < last; r++)\n"
            f"    {norm_call(code, columns, f'o->output + (long)r * {stride}')}\n"
        )
    return text


def _tile_order(panels: int, row_blocks: int, tiling: Tiling) -> str:
    """Which panel and which block of rows a tile is. Weights that stay in cache are gone through for each block of
    rows, so that rows are complete early; others a panel at a time, so that each is read from memory once."""
    if tiling.panels_first:
        return f"  const int panel = tile / {row_blocks}, block = tile % {row_blocks};\n"
    return f"  const int block = tile / {panels}, panel = tile % {panels};\n"


def _elementwise(columns: int, panel: int, stride: int, target: Target, code: EpilogueCode) -> str:
    """The loop over the tile that applies the element-wise steps; nothing when there are none."""
    if not code.statements:
        return ""
    width = round_up(columns, target.lanes)
    return (
        f"  const int left = panel * {panel}, right = left + {panel} < {width} ? left + {panel} : {width};\n"
        f"  for (int r = first; r < last; r++)\n"
        f"    for (int n = left; n < right; n += {target.lanes}) {{\n"
        f"      float *p = o->output + (long)r * {stride} + n;\n"
        f"      pb_vec x = pb_load(p);\n      " + "\n      ".join(code.statements) + "\n      pb_store(p, x);\n    }\n"
    )
