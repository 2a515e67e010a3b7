"""C of attention as one kernel: scores, mask, softmax and weighted values of a block of queries of one head."""

from __future__ import annotations

from dataclasses import dataclass

from fusion.block import FLOAT_BYTES, Block
from fusion.emit.c.narrow import leaves_narrow_copy, narrow_result
from fusion.emit.c.product import product_function
from fusion.emit.c.tiling import product_cost
from fusion.emit.c.unit import Unit, c_float, last_tile_only, operand_stride, tile_in_pairs, wrap
from fusion.emit.layout import round_up, row_stride
from fusion.target import Target

_QUERY_BLOCKS = (16, 32, 48, 64)
_KEY_BLOCK = 128
# A phone's eight cores. Where each takes one tile or two, the fast ones wait for a slow one that has taken its first:
# blocks of queries are then short. With fewer tiles the fast ones have them all.
_PHONE_CORES, _SHORT_QUERIES = 8, 32
# What a tile does besides its products, as rows of scores: transposing queries, copying values.
_OVERHEAD_ROWS = 3


@dataclass(frozen=True)
class Blocking:
    """How queries and keys are cut; ``queries`` is the block, ``width`` its length in whole vectors."""

    queries: int
    width: int
    keys: int


def emit_attention(block: Block, target: Target) -> Unit:
    """``output = softmax(scale * Q K^T + bias) V`` of queries, keys and values (rows x heads*head_size each, perhaps
    columns of one tensor) and an optional key mask (int32).

    A tile is one block of queries of one head. Queries lie in the vectors' lanes, so that the softmax over keys needs
    no sums across lanes; keys are taken a block at a time with running maxima and sums (online softmax, Milakov and
    Gimelshein, 2018), so that the scratch does not grow with the number of keys.
    """
    rows, heads = block.sizes["rows"], block.sizes["heads"]
    blocking = attention_blocking(block, target)
    size = block.sizes["head_size"]
    scratch = {
        "queries": size * blocking.width,
        "scores": blocking.keys * blocking.width,
        "values": blocking.keys * round_up(size, target.lanes),
        "context": blocking.queries * round_up(size, target.lanes),
        "top": blocking.width,
        "sums": blocking.width,
        "factors": blocking.width,
    }
    source = wrap(block, target, _helpers(block, blocking, target), _body(block, blocking, target, scratch))
    query_blocks = -(-rows // blocking.queries)
    ready_count = query_blocks if leaves_narrow_copy(block) else 0
    return Unit(block, source, query_blocks * heads, FLOAT_BYTES * sum(scratch.values()), ready_count)


def attention_blocking(block: Block, target: Target) -> Blocking:
    """The query block whose register tiles waste least, and keys in equal blocks; on phones, a short one where few
    heads would make few tiles."""
    rows, keys, size, heads = (block.sizes[name] for name in ("rows", "keys", "head_size", "heads"))
    parts = -(-keys // _KEY_BLOCK)
    key_block = -(-keys // parts)

    def cost(queries: int) -> float:
        total = 0.0
        for count in parts_of(rows, queries):
            total += product_cost(key_block, count, target) * size + product_cost(count, size, target) * key_block
            total += _OVERHEAD_ROWS * key_block * size / target.lanes
        return total

    sizes = [min(longest, rows) for longest in _QUERY_BLOCKS]
    queries = min(sizes, key=cost)
    if target.machine == "aarch64" and _PHONE_CORES <= heads * -(-rows // queries) < 2 * _PHONE_CORES:
        queries = min((short for short in sizes if short <= _SHORT_QUERIES), key=cost)
    return Blocking(queries, round_up(queries, target.lanes), key_block)


def parts_of(size: int, step: int) -> list[int]:
    return [min(step, size - first) for first in range(0, size, step)]


def _helpers(block: Block, blocking: Blocking, target: Target) -> str:
    """The two products: scores (keys x queries) and context (queries x head size)."""
    rows, keys, size = block.sizes["rows"], block.sizes["keys"], block.sizes["head_size"]
    key_counts, query_counts = parts_of(keys, blocking.keys), parts_of(rows, blocking.queries)
    text = product_function("scores", key_counts, blocking.width, target)
    text += product_function("context", query_counts, size, target, transposed=True)
    if len(key_counts) > 1:
        text += product_function("add_context", query_counts, size, target, transposed=True, add=True)
    return text


def _body(block: Block, blocking: Blocking, target: Target, scratch: dict[str, int]) -> str:
    rows, keys, heads = block.sizes["rows"], block.sizes["keys"], block.sizes["heads"]
    size, width = block.sizes["head_size"], block.sizes["heads"] * block.sizes["head_size"]
    queries, lanes = blocking.queries, target.lanes
    strides = [operand_stride(block, operand, width) for operand in range(3)]
    padded = round_up(size, lanes)
    scale, wide = c_float(float(dict(block.attributes)["scale"])), blocking.width
    pointers = "".join(
        f"  const float *{name} = (const float *)o->inputs[{operand}] + head * {size};\n"
        for operand, name in enumerate("qkv")
    )
    context = f"context(scores_s, {blocking.width}, values_s, {padded}, context_s, {padded}, n, count);"
    query_blocks = -(-rows // queries)
    if leaves_narrow_copy(block) and min(heads, query_blocks) > 1:
        order = tile_in_pairs("head", heads, query_blocks) + f"  const int first = block * {queries};\n"
    else:
        order = f"  const int head = tile % {heads}, first = tile / {heads} * {queries};\n"
    return (
        f"{order}"
        f"  const int count = first + {queries} < {rows} ? {queries} : {rows} - first;\n"
        f"{pointers}"
        f"{_scratch_pointers(scratch)}"
        f"  pb_transpose(q + (long)first * {strides[0]}, {strides[0]}, queries_s, {wide}, count, {size}, {scale});\n"
        f"  for (int j = 0; j < {keys}; j += {blocking.keys}) {{\n"
        f"    const int n = j + {blocking.keys} < {keys} ? {blocking.keys} : {keys} - j;\n"
        f"    scores(k + (long)j * {strides[1]}, {strides[1]}, queries_s, {wide}, scores_s, {wide}, "
        f"{size}, n);\n"
        f"{_softmax_loops(block, blocking, lanes)}"
        f"    pb_copy_rows(v + (long)j * {strides[2]}, {strides[2]}, values_s, {padded}, n, {size});\n"
        + (
            f"    if (j == 0) {{\n"
            f"      {context}\n"
            f"    }} else {{\n"
            f"      pb_scale_rows(context_s, {padded}, factors_s, count, {padded});\n"
            f"      add_{context}\n"
            f"    }}\n"
            if keys > blocking.keys
            else f"    {context}\n"
        )
        + f"  }}\n"
        f"  for (int r = 0; r < count; r++)\n"
        f"    pb_store_scaled(o->output + (long)(first + r) * {row_stride(width)} + head * {size}, "
        f"context_s + r * {padded}, 1.0f / sums_s[r], {size});\n"
        f"{_narrow_rows(block, heads, queries)}"
    )


def _narrow_rows(block: Block, heads: int, queries: int) -> str:
    """The narrow copy of a block of queries, left by the tile that ends the last of its heads."""
    stride = row_stride(block.sizes["heads"] * block.sizes["head_size"])
    statement = narrow_result(block, f"o->output + (long)r * {stride}")
    if not statement:
        return ""
    return (
        f"{last_tile_only(f'first / {queries}', heads)}  for (int r = first; r < first + count; r++)\n    {statement}\n"
    )


def _softmax_loops(block: Block, blocking: Blocking, lanes: int) -> str:
    """Two vectors of queries at a time, which share what the mask adds, then one that is left over."""
    pairs, rest = divmod(blocking.width // lanes, 2)
    loops = ((2, 0, pairs * 2 * lanes), (1, pairs * 2 * lanes, blocking.width))
    return "".join(
        f"    for (int c = {first}; c < {last}; c += {vectors * lanes})\n"
        f"      pb_online_softmax({vectors}, scores_s + c, {blocking.width}, n, j == 0, {_mask(block)}, top_s + c, "
        f"sums_s + c, factors_s + c);\n"
        for vectors, first, last in loops[: 1 + rest]
        if first < last
    )


def _scratch_pointers(scratch: dict[str, int]) -> str:
    text, offset = "", 0
    for name, elements in scratch.items():
        text += f"  float *{name}_s = o->scratch + {offset};\n"
        offset += elements
    return text


def _mask(block: Block) -> str:
    """The mask from key ``j`` on, and what it adds to the scores of masked keys."""
    attributes = dict(block.attributes)
    if "masked_bias" not in attributes:
        return "0, 0.0f"
    return f"(const int *)o->inputs[3] + j, {c_float(float(attributes['masked_bias']))}"
