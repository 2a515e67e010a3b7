"""C of attention as one kernel: scores, mask, softmax and weighted values of a block of queries of one head."""

from __future__ import annotations

from fusion.block import FLOAT_BYTES, Block
from fusion.emit.unit import Unit, c_float, wrap
from fusion.layout import round_up, row_stride
from fusion.target import Target
from fusion.tiling import choose_tiling

_QUERY_BLOCK = 32


def emit_attention(block: Block, target: Target) -> Unit:
    """``output = softmax(scale * Q K^T + bias) V`` from merged rows [Q | K | V] and an optional key mask (int32).

    A tile is one block of queries of one head. Keys and values are packed into the thread's scratch, so that the
    same register tiles as in the matrix product apply, whatever the head size.
    """
    rows, keys = block.sizes["rows"], block.sizes["keys"]
    heads, size = block.sizes["heads"], block.sizes["head_size"]
    queries = min(_QUERY_BLOCK, rows)
    blocks = -(-rows // queries)
    padded_size, padded_keys = round_up(size, target.lanes), round_up(keys, target.lanes)
    scratch = {
        "keys_t": size * padded_keys,
        "values": keys * padded_size,
        "scores": queries * row_stride(keys),
        "context": queries * padded_size,
        "bias": padded_keys,
    }
    helpers = _product("scores", queries, rows, keys, target) + _product("context", queries, rows, size, target)
    source = wrap(block, target, helpers, _body(block, target, queries, blocks, scratch))
    return Unit(block, source, tiles=blocks * heads, scratch_bytes=FLOAT_BYTES * sum(scratch.values()))


def _product(name: str, queries: int, rows: int, columns: int, target: Target) -> str:
    """A function that multiplies ``count`` rows with an unpacked matrix of ``columns`` columns, a panel at a time."""
    tiling = choose_tiling(queries, columns, columns, target)
    vectors = -(-columns // target.lanes)
    whole, rest = divmod(vectors, tiling.vectors)
    heights = sorted({tiling.rows, queries % tiling.rows, (rows % queries) % tiling.rows} - {0}, reverse=True)
    text = (
        f"static void {name}(const float *a, long a_stride, const float *b, long b_stride, float *c, long c_stride, "
        f"long depth, int count) {{\n"
    )
    for width, first, last in ((tiling.vectors, 0, whole * tiling.vectors), (rest, whole * tiling.vectors, vectors)):
        if first == last:
            continue
        step = width * target.lanes
        text += f"  for (int n = {first * target.lanes}; n < {last * target.lanes}; n += {step}) {{\n    int r = 0;\n"
        for height in heights:
            text += (
                f"    for (; r + {height} <= count; r += {height})\n"
                f"      pb_tile({height}, {width}, 0, a + r * a_stride, a_stride, b + n, b_stride, "
                f"c + r * c_stride + n, c_stride, depth);\n"
            )
        text += "  }\n"
    return text + "}\n\n"


def _body(block: Block, target: Target, queries: int, blocks: int, scratch: dict[str, int]) -> str:
    rows, keys = block.sizes["rows"], block.sizes["keys"]
    size, width = block.sizes["head_size"], block.sizes["heads"] * block.sizes["head_size"]
    attributes = dict(block.attributes)
    scale, first_row = c_float(float(attributes["scale"])), int(attributes.get("first_row", 0))
    stride, score_stride = row_stride(3 * width), row_stride(keys)
    padded_size, padded_keys = round_up(size, target.lanes), round_up(keys, target.lanes)
    return (
        f"  const int head = tile / {blocks}, first = tile % {blocks} * {queries};\n"
        f"  const int count = first + {queries} < {rows} ? {queries} : {rows} - first;\n"
        f"  const float *q = (const float *)o->inputs[0] + (long)(first + {first_row}) * {stride} + head * {size};\n"
        f"  const float *k = (const float *)o->inputs[0] + {width} + head * {size}, *v = k + {width};\n"
        f"{_scratch_pointers(scratch)}"
        f"{_key_bias(attributes, keys, padded_keys)}"
        f"  for (int j = 0; j < {keys}; j++) {{\n"
        f"    for (int d = 0; d < {size}; d++) keys_t_s[d * {padded_keys} + j] = k[(long)j * {stride} + d];\n"
        f"    for (int d = 0; d < {size}; d++) values_s[j * {padded_size} + d] = v[(long)j * {stride} + d];\n"
        f"  }}\n"
        f"  scores(q, {stride}, keys_t_s, {padded_keys}, scores_s, {score_stride}, {size}, count);\n"
        f"  float sums[{queries}];\n"
        f"  for (int r = 0; r < count; r++)\n"
        f"    sums[r] = pb_softmax(scores_s + r * {score_stride}, {keys}, bias_s, {scale});\n"
        f"  context(scores_s, {score_stride}, values_s, {padded_size}, context_s, {padded_size}, {keys}, count);\n"
        f"  for (int r = 0; r < count; r++) {{\n"
        f"    const float factor = 1.0f / sums[r];\n"
        f"    float *out = o->output + (long)(first + r) * {row_stride(width)} + head * {size};\n"
        f"    for (int d = 0; d < {size}; d++) out[d] = context_s[r * {padded_size} + d] * factor;\n"
        f"  }}\n"
    )


def _scratch_pointers(scratch: dict[str, int]) -> str:
    text, offset = "", 0
    for name, elements in scratch.items():
        text += f"  float *{name}_s = o->scratch + {offset};\n"
        offset += elements
    return text


def _key_bias(attributes: dict[str, float | int | str], keys: int, padded_keys: int) -> str:
    """What is added to each key's scores: the mask's number, and minus infinity beyond the last key."""
    if "masked_bias" not in attributes:
        return f"  for (int j = 0; j < {padded_keys}; j++) bias_s[j] = j < {keys} ? 0.0f : -__builtin_inff();\n"
    masked = c_float(float(attributes["masked_bias"]))
    return (
        f"  const int *mask = o->inputs[1];\n"
        f"  for (int j = 0; j < {padded_keys}; j++)\n"
        f"    bias_s[j] = j >= {keys} ? -__builtin_inff() : mask[j] ? 0.0f : {masked};\n"
    )
