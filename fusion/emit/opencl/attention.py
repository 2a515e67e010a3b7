"""OpenCL of attention: as one kernel, which never holds more than a few scores, or its three operators apart."""

from __future__ import annotations

from fusion.block import RESULT, Block
from fusion.emit.layout import row_stride
from fusion.emit.opencl.family import Family
from fusion.emit.opencl.kernel import OpenClUnit, access, cl_float, group_along, make_kernel, operand_stride

# Keys at a time, whose scores are the lanes of one vector.
_KEYS = 4
_WIDTHS = (16, 8, 4)


def _width(family: Family, size: int) -> int:
    """The widest vector of which a head is a whole number."""
    return next((width for width in _WIDTHS if width <= family.width and size % width == 0), 1)


def emit_attention(block: Block, family: Family) -> OpenClUnit:
    """``out = softmax(scale Q K^T + mask) V`` of each head, a few queries a work-item, with a running maximum and sum
    over the keys (online softmax, Milakov and Gimelshein 2018)."""
    rows, heads, size = block.sizes["rows"], block.sizes["heads"], block.sizes["head_size"]
    width, queries = _width(family, size), min(family.queries, rows)
    body = (
        f"  const int first = get_global_id(0) * {queries}, head = get_global_id(1);\n"
        f"  if (first >= {rows} || head >= {heads}) return;\n"
        f"{_beginning(block, width, queries)}"
        f"  for (int j = 0; j < {block.sizes['keys']}; j += {_KEYS}) {{\n{_scores(block, width, queries)}"
        f"{_values(block, width, queries)}  }}\n{_ending(block, width, queries)}"
    )
    items, group = (-(-rows // queries), heads), group_along(family)
    return OpenClUnit(block, (make_kernel(block, "", width, body, items, group, operands=block.operand_count),))


def _strides(block: Block) -> list[int]:
    width = block.sizes["heads"] * block.sizes["head_size"]
    return [operand_stride(block, operand, width) for operand in range(3)]


def _beginning(block: Block, width: int, queries: int) -> str:
    """Scaled queries, results of zero, running maxima and sums."""
    rows, size = block.sizes["rows"], block.sizes["head_size"]
    scale, strides = cl_float(float(dict(block.attributes)["scale"])), _strides(block)
    text = "".join(
        f"  global const {access(block, index).number} *{name} = in{index} + head * {size};\n"
        for index, name in ((1, "keys"), (2, "values"))
    )
    for q in range(queries):
        row = f"min(first + {q}, {rows - 1})" if rows % queries else f"(first + {q})"
        text += f"  global const {access(block, 0).number} *q{q} = in0 + {row} * {strides[0]} + head * {size};\n"
        text += f"  float top{q} = -FLT_MAX, sum{q} = 0.0f;\n"
        for part in range(size // width):
            text += f"  const pb_vec q{q}_{part} = {access(block, 0).load(f'q{q} + {part * width}')} * {scale};\n"
            text += f"  pb_vec o{q}_{part} = pb_splat(0.0f);\n"
    return text


def _scores(block: Block, width: int, queries: int) -> str:
    """The scores of a few keys, then what they become as weights; ``shrink`` is what earlier results shrink by."""
    keys, size, stride = block.sizes["keys"], block.sizes["head_size"], _strides(block)[1]
    text = "".join(f"    float4 s{q};\n" for q in range(queries))
    for key in range(_KEYS):
        at = f"min(j + {key}, {keys - 1})" if keys % _KEYS else f"(j + {key})"
        text += f"    {{\n      global const {access(block, 1).number} *key = keys + {at} * {stride};\n"
        for part in range(size // width):
            text += f"      const pb_vec k{part} = {access(block, 1).load(f'key + {part * width}')};\n"
        for q in range(queries):
            product = " + ".join(f"q{q}_{part} * k{part}" for part in range(size // width))
            text += f"      s{q}.s{key} = pb_sum({product});\n"
        text += "    }\n"
    text += _mask(block, queries)
    for q in range(queries):
        text += (
            f"    const float most{q} = fmax(top{q}, fmax(fmax(s{q}.x, s{q}.y), fmax(s{q}.z, s{q}.w)));\n"
            f"    const float shrink{q} = pb_exp1(top{q} - most{q});\n"
            f"    s{q} = pb_exp4(s{q} - most{q});\n    top{q} = most{q};\n"
            f"{_without_beyond(keys, q)}"
            f"    sum{q} = sum{q} * shrink{q} + (s{q}.x + s{q}.z) + (s{q}.y + s{q}.w);\n"
        )
    return text


def _mask(block: Block, queries: int) -> str:
    """What is added to the scores of masked keys."""
    attributes, keys = dict(block.attributes), block.sizes["keys"]
    if "masked_bias" not in attributes:
        return ""
    masked = cl_float(float(attributes["masked_bias"]))
    lanes = (f"min(j + {key}, {keys - 1})" if keys % _KEYS else f"j + {key}" for key in range(_KEYS))
    biases = ", ".join(f"pb_key_bias((global const int *)in3, {masked}, {lane})" for lane in lanes)
    return f"    const float4 bias = (float4)({biases});\n" + "".join(f"    s{q} += bias;\n" for q in range(queries))


def _without_beyond(keys: int, q: int) -> str:
    """Weights of nothing for keys beyond the last."""
    if not keys % _KEYS:
        return ""
    lanes = ", ".join(f"j + {key} < {keys} ? 1.0f : 0.0f" for key in range(_KEYS))
    return f"    s{q} *= (float4)({lanes});\n"


def _values(block: Block, width: int, queries: int) -> str:
    """The values of those keys, weighted, on top of what earlier ones have come to."""
    keys, size, stride = block.sizes["keys"], block.sizes["head_size"], _strides(block)[2]
    parts, text = size // width, ""
    for q in range(queries):
        text += "".join(f"    o{q}_{part} *= shrink{q};\n" for part in range(parts))
    for key in range(_KEYS):
        at = f"min(j + {key}, {keys - 1})" if keys % _KEYS else f"(j + {key})"
        text += f"    {{\n      global const {access(block, 2).number} *value = values + {at} * {stride};\n"
        for part in range(parts):
            text += f"      const pb_vec v{part} = {access(block, 2).load(f'value + {part * width}')};\n"
            text += "".join(
                f"      o{q}_{part} = mad(pb_splat(s{q}.s{key}), v{part}, o{q}_{part});\n" for q in range(queries)
            )
        text += "    }\n"
    return text


def _ending(block: Block, width: int, queries: int) -> str:
    rows, size = block.sizes["rows"], block.sizes["head_size"]
    stride, text = row_stride(block.sizes["heads"] * size), ""
    for q in range(queries):
        check = f"if (first + {q} < {rows}) " if rows % queries else ""
        place = f"out + (first + {q}) * {stride} + head * {size}"
        stores = "".join(
            f"    {access(block, RESULT).store(f'o{q}_{part} / sum{q}', f'{place} + {part * width}')}\n"
            for part in range(size // width)
        )
        text += f"  {check}{{\n{stores}  }}\n"
    return text


def emit_scores(block: Block, family: Family) -> OpenClUnit:
    """``out[head, row, key] = Q K^T``."""
    rows, keys, heads, size = (block.sizes[name] for name in ("rows", "keys", "heads", "head_size"))
    width, strides, queries, others = _width(family, size), _strides(block), access(block, 0), access(block, 1)
    place = f"out + (head * {rows} + row) * {row_stride(keys)} + key"
    query, key = queries.load("q + d"), others.load("k + d")
    body = (
        f"  const int key = get_global_id(0), row = get_global_id(1) % {rows}, head = get_global_id(1) / {rows};\n"
        f"  if (key >= {keys} || head >= {heads}) return;\n"
        f"  global const {queries.number} *q = in0 + row * {strides[0]} + head * {size};\n"
        f"  global const {others.number} *k = in1 + key * {strides[1]} + head * {size};\n"
        f"  pb_vec sums = pb_splat(0.0f);\n"
        f"  for (int d = 0; d < {size}; d += {width}) sums = mad({query}, {key}, sums);\n"
        f"  {access(block, RESULT).store1('pb_sum(sums)', place)}\n"
    )
    return OpenClUnit(
        block, (make_kernel(block, "", width, body, (keys, rows * heads), group_along(family), operands=2),)
    )


def emit_softmax(block: Block, family: Family) -> OpenClUnit:
    """``out[row] = softmax(scale in[row] + bias)`` over keys; a work-item a row."""
    rows, keys, attributes = block.sizes["rows"], block.sizes["keys"], dict(block.attributes)
    source, result = access(block, 0), access(block, RESULT)
    score = f"{source.load1('from + j')} * {cl_float(float(attributes['scale']))}"
    if "masked_bias" in attributes:
        score += f" + pb_key_bias((global const int *)in1, {cl_float(float(attributes['masked_bias']))}, j)"
    body = (
        f"  const int r = get_global_id(0);\n  if (r >= {rows}) return;\n"
        f"  global const {source.number} *from = in0 + r * {row_stride(keys)};\n"
        f"  global {result.number} *row = out + r * {row_stride(keys)};\n"
        f"  float top = -FLT_MAX, sum = 0.0f;\n"
        f"  for (int j = 0; j < {keys}; j++) top = fmax(top, {score});\n"
        f"  for (int j = 0; j < {keys}; j++) sum += pb_exp({score} - top);\n"
        f"  for (int j = 0; j < {keys}; j++) {result.store1(f'pb_exp({score} - top) / sum', 'row + j')}\n"
    )
    return OpenClUnit(
        block, (make_kernel(block, "", 1, body, (rows, 1), group_along(family), operands=block.operand_count),)
    )


def emit_context(block: Block, family: Family) -> OpenClUnit:
    """``out[row, head] = weights[head, row] V``."""
    rows, keys, heads, size = (block.sizes[name] for name in ("rows", "keys", "heads", "head_size"))
    width, values = _width(family, size), operand_stride(block, 1, heads * size)
    weight, value = access(block, 0).load1("weight + j"), access(block, 1).load(f"in1 + j * {values} + n")
    body = (
        f"  const int n = get_global_id(0) * {width}, row = get_global_id(1);\n"
        f"  if (n >= {heads * size} || row >= {rows}) return;\n"
        f"  global const {access(block, 0).number} *weight = in0 + (n / {size} * {rows} + row) * {row_stride(keys)};\n"
        f"  pb_vec sums = pb_splat(0.0f);\n"
        f"  for (int j = 0; j < {keys}; j++)\n"
        f"    sums = mad(pb_splat({weight}), {value}, sums);\n"
        f"  {access(block, RESULT).store('sums', f'out + row * {row_stride(heads * size)} + n')}\n"
    )
    items = (heads * size // width, rows)
    return OpenClUnit(block, (make_kernel(block, "", width, body, items, group_along(family), operands=2),))
