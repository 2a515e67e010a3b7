"""C of pooling over tokens, and of rows that are scaled and shifted as the mask says."""

from __future__ import annotations

from fusion.block import Block
from fusion.emit.c.unit import Unit, operand_stride, wrap
from fusion.emit.layout import round_up, row_stride
from fusion.target import Target

_ROWS_A_TILE = 8
_VECTORS_A_TILE = 4


def emit_pool(block: Block, target: Target) -> Unit:
    """``output`` = sum, maximum or minimum over rows r of ``scales[kept(r)][count] input[r] + shifts[kept(r)][count]``.

    A tile is a few vectors of columns. The weights hold both tables, masked tokens before kept ones.
    """
    columns, step = block.sizes["columns"], _VECTORS_A_TILE * target.lanes
    width = round_up(columns, target.lanes)
    function = str(dict(block.attributes)["function"])
    body = (
        f"{_mask(block, target)}"
        f"  const float *rows = o->inputs[0];\n"
        f"  for (int n = tile * {step}; n < tile * {step} + {step} && n < {width}; n += {target.lanes})\n"
        f"    pb_store(o->output + n, pb_pool_{function}(rows + n, {operand_stride(block, 0, columns)}, "
        f"{block.sizes['rows']}, mask, scales, shifts, {_table_width(block, target)}));\n"
    )
    return Unit(block, wrap(block, target, "", body), tiles=-(-width // step))


def emit_mask_rows(block: Block, target: Target) -> Unit:
    """``output[r] = scales[kept(r)][count] input[r] + shifts[kept(r)][count]``."""
    rows, columns, tokens = (block.sizes[name] for name in ("rows", "columns", "tokens"))
    bit = "mask[r] != 0" if rows == tokens else "0"
    body = (
        f"{_mask(block, target)}"
        f"  for (int r = tile * {_ROWS_A_TILE}; r < tile * {_ROWS_A_TILE} + {_ROWS_A_TILE} && r < {rows}; r++) {{\n"
        f"    const float *x = (const float *)o->inputs[0] + (long)r * {operand_stride(block, 0, columns)};\n"
        f"    float *out = o->output + (long)r * {row_stride(columns)};\n"
        f"    const int entry = ({bit}) * {_table_width(block, target)};\n"
        f"    for (int n = 0; n < {round_up(columns, target.lanes)}; n += {target.lanes})\n"
        f"      pb_store(out + n, pb_scaled(pb_load(x + n), scales[entry], shifts[entry]));\n"
        f"  }}\n"
    )
    return Unit(block, wrap(block, target, "", body), tiles=-(-rows // _ROWS_A_TILE))


def _mask(block: Block, target: Target) -> str:
    """The mask, and the tables from how many tokens it keeps on; nothing without a mask."""
    if "tokens" not in block.sizes:
        return "  const int *mask = 0;\n  const float *scales = 0, *shifts = 0;\n"
    return (
        f"  const int *mask = o->inputs[1];\n"
        f"  const float *scales = o->weights + pb_count(mask, {block.sizes['tokens']});\n"
        f"  const float *shifts = scales + {2 * _table_width(block, target)};\n"
    )


def _table_width(block: Block, target: Target) -> int:
    return round_up(block.sizes.get("tokens", 0) + 1, target.lanes)
