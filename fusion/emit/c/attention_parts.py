"""C of attention's three operators as blocks of their own, with the kernels of the fused one."""

from __future__ import annotations

from fusion.block import FLOAT_BYTES, Block
from fusion.emit.c.product import product_function
from fusion.emit.c.unit import Unit, c_float, operand_stride, wrap
from fusion.emit.layout import round_up, row_stride
from fusion.target import Target

QUERY_BLOCK = 32
ROWS_A_TILE = 8


def emit_scores(block: Block, target: Target) -> Unit:
    """``output[head, row, key] = Q K^T``; a tile is a block of queries of one head."""
    rows, keys, size = block.sizes["rows"], block.sizes["keys"], block.sizes["head_size"]
    heads, width = block.sizes["heads"], block.sizes["heads"] * block.sizes["head_size"]
    queries, padded = min(QUERY_BLOCK, rows), round_up(keys, target.lanes)
    strides, out = [operand_stride(block, operand, width) for operand in (0, 1)], row_stride(keys)
    body = (
        f"{_tile_of(rows, queries, heads)}"
        f"  const float *q = (const float *)o->inputs[0] + (long)first * {strides[0]} + head * {size};\n"
        f"  const float *k = (const float *)o->inputs[1] + head * {size};\n"
        f"  pb_transpose(k, {strides[1]}, o->scratch, {padded}, {keys}, {size}, 1.0f);\n"
        f"  scores(q, {strides[0]}, o->scratch, {padded}, o->output + (long)(head * {rows} + first) * {out}, "
        f"{out}, {size}, count);\n"
    )
    helper = product_function("scores", {queries, rows % queries or queries}, keys, target)
    source = wrap(block, target, helper, body)
    return Unit(block, source, tiles=-(-rows // queries) * heads, scratch_bytes=size * padded * FLOAT_BYTES)


def emit_softmax(block: Block, target: Target) -> Unit:
    """``output[row] = softmax(scale * input[row] + bias)`` over keys."""
    rows, keys, attributes = block.sizes["rows"], block.sizes["keys"], dict(block.attributes)
    mask, stride = "0, 0.0f", row_stride(keys)
    if "masked_bias" in attributes:
        mask = f"o->inputs[1], {c_float(float(attributes['masked_bias']))}"
    body = (
        f"  for (int r = tile * {ROWS_A_TILE}; r < tile * {ROWS_A_TILE} + {ROWS_A_TILE} && r < {rows}; r++)\n"
        f"    pb_softmax((const float *)o->inputs[0] + (long)r * {stride}, o->output + (long)r * {stride}, "
        f"{keys}, {mask}, {c_float(float(attributes['scale']))});\n"
    )
    return Unit(block, wrap(block, target, "", body), tiles=-(-rows // ROWS_A_TILE))


def emit_context(block: Block, target: Target) -> Unit:
    """``output[row, head] = weights[head, row] V``; a tile is a block of queries of one head."""
    rows, keys, size = block.sizes["rows"], block.sizes["keys"], block.sizes["head_size"]
    heads, width = block.sizes["heads"], block.sizes["heads"] * block.sizes["head_size"]
    queries, padded = min(QUERY_BLOCK, rows), round_up(size, target.lanes)
    stride = operand_stride(block, 1, width)
    body = (
        f"{_tile_of(rows, queries, heads)}"
        f"  const float *weights = (const float *)o->inputs[0] + (long)(head * {rows} + first) * {row_stride(keys)};\n"
        f"  float *values = o->scratch, *result = values + {keys * padded};\n"
        f"  pb_copy_rows((const float *)o->inputs[1] + head * {size}, {stride}, values, {padded}, {keys}, {size});\n"
        f"  context(weights, {row_stride(keys)}, values, {padded}, result, {padded}, {keys}, count);\n"
        f"  for (int r = 0; r < count; r++)\n"
        f"    pb_store_scaled(o->output + (long)(first + r) * {row_stride(width)} + head * {size}, "
        f"result + r * {padded}, 1.0f, {size});\n"
    )
    helper = product_function("context", {queries, rows % queries or queries}, size, target)
    scratch = (keys + queries) * padded * FLOAT_BYTES
    return Unit(block, wrap(block, target, helper, body), tiles=-(-rows // queries) * heads, scratch_bytes=scratch)


def _tile_of(rows: int, queries: int, heads: int) -> str:
    return (
        f"  const int head = tile % {heads}, first = tile / {heads} * {queries};\n"
        f"  const int count = first + {queries} < {rows} ? {queries} : {rows} - first;\n"
    )
