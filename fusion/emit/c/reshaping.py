"""C of blocks that move numbers about, or choose among those of a row: views, concatenation, the largest numbers."""

from __future__ import annotations

import math

from fusion.block import Block, attribute_numbers, result_size
from fusion.emit.c.unit import Unit, operand_stride, wrap
from fusion.emit.layout import row_stride
from fusion.target import Target

_ROWS_A_TILE = 8


def emit_view(block: Block, target: Target) -> Unit:
    """The operand read as axes of ``sizes`` and written in the order ``perm``, as rows of another length.

    A tile is one step along the outermost axis that is written.
    """
    columns, (result_rows, result_columns) = block.sizes["columns"], result_size(block)
    attributes = dict(block.attributes)
    sizes = attribute_numbers(attributes["sizes"]) or (block.sizes["rows"] * columns,)
    perm = attribute_numbers(attributes["perm"]) or (0,)
    strides = [math.prod(sizes[axis + 1 :]) for axis in range(len(sizes))]
    inner = math.prod(sizes) // sizes[perm[0]]
    loops = "".join(f"  for (int i{axis} = 0; i{axis} < {sizes[axis]}; i{axis}++)\n" for axis in perm[1:])
    offset = " + ".join([f"tile * {strides[perm[0]]}L", *(f"i{axis} * {strides[axis]}L" for axis in perm[1:])])
    body = (
        f"  const float *from = o->inputs[0];\n"
        f"  long to = tile * {inner}L;\n"
        f"{loops}"
        f"  {{\n"
        f"    const long at = {offset};\n"
        f"    o->output[to / {result_columns} * {row_stride(result_columns)} + to % {result_columns}] = "
        f"from[at / {columns} * {operand_stride(block, 0, columns)} + at % {columns}];\n"
        f"    to++;\n"
        f"  }}\n"
    )
    assert math.prod(sizes) == result_rows * result_columns
    return Unit(block, wrap(block, target, "", body), tiles=sizes[perm[0]])


def emit_concat(block: Block, target: Target) -> Unit:
    """``output[r] = [input0[r], input1[r], ...]``."""
    widths, pieces, first = attribute_numbers(dict(block.attributes)["widths"]), "", 0
    for index, width in enumerate(widths):
        source = f"(const float *)o->inputs[{index}] + (long)r * {operand_stride(block, index, width)}"
        pieces += f"    pb_store_scaled(out + {first}, {source}, 1.0f, {width});\n"
        first += width
    return _by_rows(block, target, pieces, row_stride(block.sizes["columns"]))


def emit_top(block: Block, target: Target) -> Unit:
    """``output[r]`` = the first few numbers of ``input[r]`` in order of size, or the columns where they stand."""
    columns, attributes, (_, count) = block.sizes["columns"], dict(block.attributes), result_size(block)
    source = f"(const float *)o->inputs[0] + (long)r * {operand_stride(block, 0, columns)}"
    flags = ", ".join(str(attributes[name]) for name in ("indices", "largest", "last"))
    call = f"    pb_top({source}, {columns}, out, {count}, {flags});\n"
    return _by_rows(block, target, call, row_stride(count))


def _by_rows(block: Block, target: Target, statements: str, stride: int) -> Unit:
    """A unit whose tiles are a few rows each."""
    rows = block.sizes["rows"]
    body = (
        f"  for (int r = tile * {_ROWS_A_TILE}; r < tile * {_ROWS_A_TILE} + {_ROWS_A_TILE} && r < {rows}; r++) {{\n"
        f"    float *out = o->output + (long)r * {stride};\n"
        f"{statements}"
        f"  }}\n"
    )
    return Unit(block, wrap(block, target, "", body), tiles=-(-rows // _ROWS_A_TILE))
