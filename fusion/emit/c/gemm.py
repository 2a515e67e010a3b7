"""C of a matrix product with packed weights and a fused epilogue."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from textwrap import indent

from fusion.block import Block
from fusion.emit.c.narrow import (
    in_turn,
    leaves_narrow_copy,
    narrow_pointers,
    narrow_result,
    narrow_tile,
    rounded_rows,
)
from fusion.emit.c.packed_matrix import PackedMatrix, packed_matrix
from fusion.emit.c.tiling import Tiling, row_pieces
from fusion.emit.c.unit import (
    EpilogueCode,
    Unit,
    epilogue_code,
    last_tile_only,
    norm_call,
    operand_stride,
    tile_in_pairs,
    wrap,
)
from fusion.emit.layout import round_up, row_stride
from fusion.target import Target


@dataclass(frozen=True)
class _Loops:
    """A product, its packed matrix, and whether steps are done in registers; ``magnitudes``, whether tiles that are
    whole rows know their largest magnitudes there already."""

    block: Block
    matrix: PackedMatrix
    target: Target
    finish: bool
    magnitudes: bool

    @property
    def tiling(self) -> Tiling:
        return self.matrix.tiling

    @property
    def rows(self) -> int:
        return self.block.sizes["rows"]

    @property
    def inner(self) -> int:
        return self.block.sizes["inner"]

    @property
    def columns(self) -> int:
        return self.block.sizes["columns"]


def emit_gemm(block: Block, target: Target) -> Unit:
    """``output[rows x columns] = epilogue(input[rows x inner] * weights[inner x columns])``.

    A tile is one panel of columns for one block of rows, or all panels of a few rows, which it makes int8. Tiles are
    ordered by row block, so that the thread which finishes the last panel of a row block can normalise its rows while
    they are in cache.
    """
    rows, columns = block.sizes["rows"], block.sizes["columns"]
    matrix = packed_matrix(block, target)
    tiling = matrix.tiling
    panels = -(-columns // tiling.panel(target))
    row_blocks = -(-rows // tiling.row_block)
    code = epilogue_code(block, columns, target, matrix.elements)
    magnitudes = tiling.whole_rows and code.short == len(code.statements)
    loops = _Loops(block, matrix, target, bool(code.short), magnitudes)
    helpers = _finish(code) + "".join(_panel_function(loops, width) for width in _widths(columns, tiling, target))
    if tiling.whole_rows:
        return Unit(block, wrap(block, target, helpers, _whole_rows_body(loops, panels, code)), tiles=row_blocks)
    return Unit(
        block,
        wrap(block, target, helpers, _body(loops, panels, code)),
        tiles=panels * row_blocks,
        ready_count=row_blocks if _whole_rows(block, panels, code) else 0,
    )


def _widths(columns: int, tiling: Tiling, target: Target) -> list[int]:
    """Distinct panel widths in vectors: the full one, then the last one when it differs."""
    panel = tiling.panel(target)
    rest = -(-(columns % panel) // target.lanes)
    return list(dict.fromkeys(([tiling.vectors] if columns >= panel else []) + ([rest] if rest else [])))


def _finish(code: EpilogueCode) -> str:
    """The steps of the epilogue that are done in registers."""
    if not code.short:
        return ""
    statements = "".join(f"  {statement}\n" for statement in code.statements[: code.short])
    return (
        f"PB_INLINE pb_vec finish(const pb_operands *o, pb_vec x, const long r, const long n) {{\n"
        f"  (void)o, (void)r, (void)n;\n{statements}  return x;\n}}\n\n"
    )


def _segments(loops: _Loops) -> list[tuple[int, int]]:
    """(height of register tiles, row where they end)."""
    segments, end = [], 0
    for height, count in row_pieces(loops.rows, loops.tiling.rows):
        end += height * count
        segments.append((height, end))
    return segments


def _first_row(loops: _Loops, block: str) -> str:
    """C of the first row of a block of rows, which is a number of register tiles: the higher ones come first."""
    pieces, each = row_pieces(loops.rows, loops.tiling.rows), loops.tiling.row_block // loops.tiling.rows
    if len(pieces) == 1:
        return f"{block} * {each * pieces[0][0]}"
    (_, high_count), (low, _) = pieces
    return f"{block} * {each * low} + ({block} * {each} < {high_count} ? {block} * {each} : {high_count})"


def _panel_function(loops: _Loops, width: int) -> str:
    """A function that multiplies rows first .. last-1 with one panel of ``width`` vectors from ``column`` on."""
    tiling, inner, block = loops.tiling, loops.inner, loops.block
    narrow = block.reads_narrow_rows
    text = (
        f"static void panel_{width}(const pb_operands *o, const float *b, const long column, const int first, "
        f"const int last{', pb_ivec *most' if loops.magnitudes else ''}) {{\n"
        f"{narrow_pointers(block, loops.matrix) if narrow else '  const float *a = o->inputs[0];' + chr(10)}"
        f"  float *c = o->output + column;\n"
        f"{_ahead(loops)}"
    )
    if narrow:
        return (
            text + _rows_loops(loops, _narrow_call(loops, width), loops.matrix.groups, end=True, fetch=True) + "}\n\n"
        )
    if tiling.depth_block == inner:
        return text + _depth_loops(loops, width, "0", inner, add=False, end=True, fetch=True) + "}\n\n"
    whole, rest = divmod(inner - 1, tiling.depth_block)
    text += _depth_loops(loops, width, "0", tiling.depth_block, add=False, end=False, fetch=True)
    if whole > 1:
        stop = whole * tiling.depth_block
        text += f"  for (long k = {tiling.depth_block}; k < {stop}; k += {tiling.depth_block})\n"
        text += _depth_loops(loops, width, "k", tiling.depth_block, add=True, end=False, fetch=False)
    last = str(whole * tiling.depth_block)
    return text + _depth_loops(loops, width, last, rest + 1, add=True, end=True, fetch=False) + "}\n\n"


def _ahead(loops: _Loops) -> str:
    """C of the cache lines that a panel's tiles fetch: a tile's, or where it is all panels, what those before leave."""
    if not loops.tiling.whole_rows:
        return "  const char *ahead = o->ahead;\n  long lines = o->ahead_lines;\n"
    return (
        f"  const long before = column / {loops.tiling.panel(loops.target)} * {loops.matrix.groups};\n"
        f"  const char *ahead = o->ahead + 64 * before;\n  long lines = o->ahead_lines - before;\n"
    )


def _narrow_call(loops: _Loops, width: int) -> Callable[[int], str]:
    """The start of a narrow tile's call, by the tile's height."""
    return lambda height: narrow_tile(loops.block, loops.matrix, height, width)


def _depth_loops(loops: _Loops, width: int, k: str, depth: int, *, add: bool, end: bool, fetch: bool) -> str:
    """Loops over the rows for ``depth`` elements of the inner dimension from ``k`` on; the first ones fetch ahead."""
    c, b = row_stride(loops.columns), width * loops.target.lanes
    a = operand_stride(loops.block, 0, loops.inner)
    a_from, b_from = ("a", "b") if k == "0" else (f"a + {k}", f"b + {k} * {b}")

    def call(height: int) -> str:
        return (
            f"pb_tile_to({height}, {width}, {int(add)}, {a_from} + (long)r * {a}, {a}, 1, {b_from}, {b}, "
            f"c + (long)r * {c}, {c}, {depth}, "
        )

    return _rows_loops(loops, call, depth, end=end, fetch=fetch)


def _rows_loops(loops: _Loops, call: Callable[[int], str], steps: int, *, end: bool, fetch: bool) -> str:
    """Loops over the rows with the call of a register tile, by its height; each takes ``steps`` steps, and the first
    ones fetch a cache line ahead in each."""
    finish = "{finish, o, r, column}" if end and loops.finish else "{0}"
    if loops.magnitudes:
        finish = f"{{{'finish' if loops.finish else '0'}, o, r, column, most + (r - first)}}"
    text = "  {\n    int r = first;\n"
    for height, stop in _segments(loops):
        rows = f"r < last && r < {stop}" if stop < loops.rows else "r < last"
        if fetch and height == loops.tiling.rows:
            text += (
                f"    for (; {rows} && lines > 0; r += {height}, ahead += 64 * {steps}, lines -= {steps})\n"
                f"      {call(height)}1, ahead, (pb_end){finish});\n"
            )
        text += f"    for (; {rows}; r += {height})\n      {call(height)}0, 0, (pb_end){finish});\n"
    return text + "  }\n"


def _body(loops: _Loops, panels: int, code: EpilogueCode) -> str:
    row_blocks = -(-loops.rows // loops.tiling.row_block)
    order, one_panel = _tile_order(loops, panels, row_blocks), _one_panel(loops, panels, code)
    return order + _row_range(loops, "block") + one_panel + _whole_rows(loops.block, panels, code)


def _whole_rows_body(loops: _Loops, panels: int, code: EpilogueCode) -> str:
    """As :func:`_body`, of a tile that makes whole rows and finds their largest magnitudes on the way."""
    most_rows = loops.tiling.row_block
    return (
        f"{_row_range(loops, 'tile')}"
        f"  pb_ivec most[{most_rows}] = {{{{0}}}};\n"
        f"  for (int panel = 0; panel < {panels}; panel++) {{\n"
        f"{indent(_one_panel(loops, panels, code), '  ')}"
        f"  }}\n"
        f"  {rounded_rows(loops.block, most_rows)}\n"
    )


def _row_range(loops: _Loops, block: str) -> str:
    """C of the first row of a block of rows, and of the one behind its last."""
    row_blocks = -(-loops.rows // loops.tiling.row_block)
    return (
        f"  const int first = {_first_row(loops, block)};\n"
        f"  const int last = {block} < {row_blocks - 1} ? {_first_row(loops, f'({block} + 1)')} : {loops.rows};\n"
    )


def _one_panel(loops: _Loops, panels: int, code: EpilogueCode) -> str:
    """C that makes one panel of rows ``first`` .. ``last - 1``, but for what takes whole rows."""
    columns, tiling, target = loops.columns, loops.tiling, loops.target
    panel = tiling.panel(target)
    text = f"  const float *b = o->weights + (long)panel * {loops.matrix.panel_elements};\n"
    most = ", most" if loops.magnitudes else ""
    calls = [f"panel_{width}(o, b, panel * {panel}, first, last{most});" for width in _widths(columns, tiling, target)]
    if len(calls) == 2:
        text += f"  if (panel < {panels - 1}) {calls[0]}\n  else {calls[1]}\n"
    else:
        text += f"  {calls[0]}\n"
    return text + _elementwise(loops, code)


def _whole_rows(block: Block, panels: int, code: EpilogueCode) -> str:
    """What is done with rows once they are complete: their normalisation, and their narrow copy."""
    columns = block.sizes["columns"]
    row = f"o->output + (long)r * {row_stride(columns)}"
    ends = (norm_call(code, columns, row) if code.norm else "", narrow_result(block, row))
    statements = [statement for statement in ends if statement]
    return last_tile_only("block", panels) + in_turn(statements, columns) if statements else ""


def _tile_order(loops: _Loops, panels: int, row_blocks: int) -> str:
    """Which panel and which block of rows a tile is. Weights that stay in cache are gone through for each block of
    rows, or two where that leaves a narrow copy, so that rows are complete early; others a panel at a time, so that
    each is read from memory once."""
    if loops.tiling.panels_first:
        return f"  const int panel = tile / {row_blocks}, block = tile % {row_blocks};\n"
    if leaves_narrow_copy(loops.block) and min(panels, row_blocks) > 1:
        return tile_in_pairs("panel", panels, row_blocks)
    return f"  const int block = tile / {panels}, panel = tile % {panels};\n"


def _elementwise(loops: _Loops, code: EpilogueCode) -> str:
    """The loop over the tile that applies the longer element-wise steps; nothing when there are none."""
    statements = code.statements[code.short :]
    if not statements:
        return ""
    panel, lanes = loops.tiling.panel(loops.target), loops.target.lanes
    stride, width = row_stride(loops.columns), round_up(loops.columns, lanes)
    if loops.tiling.whole_rows:
        statements = (*statements, "most[r - first] = pb_most(most[r - first], x);")
    return (
        f"  const int left = panel * {panel}, right = left + {panel} < {width} ? left + {panel} : {width};\n"
        f"  for (int r = first; r < last; r++)\n"
        f"    for (int n = left; n < right; n += {lanes}) {{\n"
        f"      float *p = o->output + (long)r * {stride} + n;\n"
        f"      pb_vec x = pb_load(p);\n      " + "\n      ".join(statements) + "\n      pb_store(p, x);\n    }\n"
    )
