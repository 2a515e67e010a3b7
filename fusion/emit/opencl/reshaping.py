"""OpenCL of blocks that move numbers about, choose among those of a row, or pool rows as a mask says."""

from __future__ import annotations

import math

from fusion.block import RESULT, Block, attribute_numbers, result_size
from fusion.emit.layout import row_stride
from fusion.emit.opencl.family import Family
from fusion.emit.opencl.kernel import OpenClUnit, access, make_kernel, operand_stride, padded

_FUNCTIONS = {"sum": "total + x", "max": "fmax(total, x)", "min": "fmin(total, x)"}


def emit_view(block: Block, family: Family) -> OpenClUnit:
    """The operand read as axes of ``sizes`` and written in the order ``perm``, as rows of another length; a work-item a
    number."""
    columns, (result_rows, result_columns) = block.sizes["columns"], result_size(block)
    attributes = dict(block.attributes)
    sizes = attribute_numbers(attributes["sizes"]) or (block.sizes["rows"] * columns,)
    perm = attribute_numbers(attributes["perm"]) or (0,)
    strides = [math.prod(sizes[axis + 1 :]) for axis in range(len(sizes))]
    place = f"out + r * {row_stride(result_columns)} + n"
    # The place of a number in the result, taken apart from the last axis that is written to the first.
    steps = "".join(
        f"  at += rest % {sizes[axis]} * {strides[axis]};\n  rest /= {sizes[axis]};\n" for axis in reversed(perm)
    )
    body = (
        f"  const int n = get_global_id(0), r = get_global_id(1);\n"
        f"  if (n >= {result_columns} || r >= {result_rows}) return;\n"
        f"  int rest = r * {result_columns} + n, at = 0;\n{steps}"
        f"  const int from = at / {columns} * {operand_stride(block, 0, columns)} + at % {columns};\n"
        f"  {access(block, RESULT).store1(access(block, 0).load1('in0 + from'), place)}\n"
    )
    return _unit(block, 1, body, (result_columns, result_rows))


def emit_concat(block: Block, family: Family) -> OpenClUnit:
    """``out[r] = [in0[r], in1[r], ...]``; a work-item a number."""
    rows, columns = block.sizes["rows"], block.sizes["columns"]
    text, first = "", 0
    for index, width in enumerate(attribute_numbers(dict(block.attributes)["widths"])):
        source = f"in{index} + r * {operand_stride(block, index, width)} + n - {first}"
        text += f"  {'else ' if index else ''}if (n < {first + width}) x = {access(block, index).load1(source)};\n"
        first += width
    body = (
        f"  const int n = get_global_id(0), r = get_global_id(1);\n"
        f"  if (n >= {columns} || r >= {rows}) return;\n"
        f"  float x = 0.0f;\n{text}"
        f"  {access(block, RESULT).store1('x', f'out + r * {row_stride(columns)} + n')}\n"
    )
    return _unit(block, 1, body, (columns, rows))


def emit_top(block: Block, family: Family) -> OpenClUnit:
    """``out[r]`` = the first few numbers of ``in[r]`` in order of size, or the columns where they stand: of equal ones
    the first comes first, or the last; a work-item a row."""
    rows, columns, attributes, (_, count) = (
        block.sizes["rows"],
        block.sizes["columns"],
        dict(block.attributes),
        result_size(block),
    )
    sign = "" if int(attributes["largest"]) else "-"
    order = f"{columns - 1} - i" if int(attributes["last"]) else "i"
    later = "n >= before" if int(attributes["last"]) else "n <= before"
    source = access(block, 0)
    found = "(float)before" if int(attributes["indices"]) else source.load1("row + before")
    body = (
        f"  const int r = get_global_id(0);\n  if (r >= {rows}) return;\n"
        f"  global const {source.number} *row = in0 + r * {operand_stride(block, 0, columns)};\n"
        f"  int before = -1;\n"
        f"  for (int k = 0; k < {count}; k++) {{\n"
        f"    int best = -1;\n"
        f"    for (int i = 0; i < {columns}; i++) {{\n"
        f"      const int n = {order};\n"
        f"      const float a = {sign}{source.load1('row + n')};\n"
        f"      if (before >= 0) {{ /* after the one before, in the order that is asked for */\n"
        f"        const float b = {sign}{source.load1('row + before')};\n"
        f"        if (a > b || (a == b && {later})) continue;\n"
        f"      }}\n"
        f"      if (best < 0 || a > {sign}{source.load1('row + best')}) best = n;\n"
        f"    }}\n"
        f"    before = best < 0 ? 0 : best;\n"
        f"    {access(block, RESULT).store1(found, f'out + r * {row_stride(count)} + k')}\n"
        f"  }}\n"
    )
    return _unit(block, 1, body, (rows, 1))


def emit_pool(block: Block, family: Family) -> OpenClUnit:
    """``out`` = sum, maximum or minimum over rows r of ``scales[kept(r)][count] in[r] + shifts[kept(r)][count]``; a
    work-item a vector of columns. The weights hold both tables, masked tokens before kept ones."""
    rows, columns = block.sizes["rows"], block.sizes["columns"]
    join = _FUNCTIONS[str(dict(block.attributes)["function"])]
    body = (
        f"  const int n = get_global_id(0) * {family.width};\n  if (n >= {columns}) return;\n"
        f"{_tables(block)}"
        f"  pb_vec total = pb_splat(0.0f);\n"
        f"  for (int r = 0; r < {rows}; r++) {{\n"
        f"    pb_vec x = {access(block, 0).load(f'in0 + r * {operand_stride(block, 0, columns)} + n')};\n"
        f"{_scaled(block, 'mask[r] != 0')}"
        f"    total = r ? {join} : x;\n"
        f"  }}\n"
        f"  {access(block, RESULT).store('total', 'out + n')}\n"
    )
    return _unit(block, family.width, body, (-(-columns // family.width), 1))


def emit_mask_rows(block: Block, family: Family) -> OpenClUnit:
    """``out[r] = scales[kept(r)][count] in[r] + shifts[kept(r)][count]``; a work-item a vector."""
    rows, columns = block.sizes["rows"], block.sizes["columns"]
    body = (
        f"  const int n = get_global_id(0) * {family.width}, r = get_global_id(1);\n"
        f"  if (n >= {columns} || r >= {rows}) return;\n"
        f"{_tables(block)}"
        f"  pb_vec x = {access(block, 0).load(f'in0 + r * {operand_stride(block, 0, columns)} + n')};\n"
        f"{_scaled(block, 'mask[r] != 0' if rows == block.sizes['tokens'] else '0')}"
        f"  {access(block, RESULT).store('x', f'out + r * {row_stride(columns)} + n')}\n"
    )
    return _unit(block, family.width, body, (-(-columns // family.width), rows))


def _tables(block: Block) -> str:
    """The mask, and the tables from how many tokens it keeps on; nothing without a mask."""
    if "tokens" not in block.sizes:
        return ""
    tokens = block.sizes["tokens"]
    return (
        f"  global const int *mask = (global const int *)in1;\n"
        f"  global const float *scales = (global const float *)weights + pb_count(mask, {tokens});\n"
        f"  global const float *shifts = scales + {2 * padded(tokens + 1)};\n"
    )


def _scaled(block: Block, kept: str) -> str:
    if "tokens" not in block.sizes:
        return ""
    entry = f"({kept}) * {padded(block.sizes['tokens'] + 1)}"
    return f"    x = pb_scaled(x, scales[{entry}], shifts[{entry}]);\n"


def _unit(block: Block, width: int, body: str, items: tuple[int, int]) -> OpenClUnit:
    return OpenClUnit(block, (make_kernel(block, "", width, body, items, operands=block.operand_count),))
