"""OpenCL of row-wise blocks: summed embeddings, element-wise steps, and functions of whole rows."""

from __future__ import annotations

from fusion.block import RESULT, Block
from fusion.emit.layout import row_stride
from fusion.emit.opencl.family import Family
from fusion.emit.opencl.kernel import (
    Epilogue,
    Kernel,
    OpenClUnit,
    access,
    cl_float,
    epilogue_of,
    group_along,
    make_kernel,
    matrix_bytes,
    operand_stride,
    padded,
)


def emit_embeddings(block: Block, family: Family) -> OpenClUnit:
    """``out[r] = epilogue(sum of table_i[ids_i[r]])``; of a window the neighbours' rows side by side."""
    columns, entries = block.sizes["hidden"], block.table_entries
    parts = block.window_offsets
    width = padded(columns // max(1, len(parts)))
    epilogue = epilogue_of(block, columns, matrix_bytes(block, sum(entries) * width), len(entries))
    if parts:
        return OpenClUnit(block, _window_kernels(block, family, epilogue, width))
    terms, first = [], 0
    for index, count in enumerate(entries):
        ids = f"((global const int *)in{index})[r]"
        terms.append(f"pb_load((global const pb_number *)weights + {first} + {ids} * {width} + n)")
        first += count * width
    return OpenClUnit(block, row_kernels(block, family, columns, " + ".join(terms), epilogue))


def _window_kernels(block: Block, family: Family, epilogue: Epilogue, width: int) -> tuple[Kernel, ...]:
    """Numbers one by one, since a part of a row may begin anywhere; then the row's function."""
    rows, columns = block.sizes["rows"], block.sizes["hidden"]
    part = columns // len(block.window_offsets)
    offsets = ", ".join(map(str, block.window_offsets))
    body = (
        f"  const int n = get_global_id(0), r = get_global_id(1);\n"
        f"  if (n >= {columns} || r >= {rows}) return;\n"
        f"  const int offsets[] = {{{offsets}}};\n"
        f"  const int at = r + offsets[n / {part}];\n"
        f"  pb_vec x = 0.0f;\n"
        f"  if (at >= 0 && at < {rows})\n"
        f"    x = pb_load1((global const pb_number *)weights + ((global const int *)in0)[at] * {width} + n % {part});\n"
        f"{_lines(epilogue.statements, 2)}"
        f"  {access(block, RESULT).store1('x', f'out + r * {row_stride(columns)} + n')}\n"
    )
    operands = 1 + block.epilogue.count("residual")
    kernel = make_kernel(block, "", 1, body, (columns, rows), operands=operands)
    return kernel, *row_function(block, family, columns, epilogue, operands)


def emit_rowwise(block: Block, family: Family) -> OpenClUnit:
    """``out[r] = epilogue(in[r])``."""
    columns = block.sizes["columns"]
    value = access(block, 0).load(f"in0 + r * {operand_stride(block, 0, columns)} + n")
    return OpenClUnit(block, row_kernels(block, family, columns, value, epilogue_of(block, columns, 0)))


def emit_position_ids(block: Block, family: Family) -> OpenClUnit:
    """``out[r]`` = how many of ``ids[0..r]`` are not padding, plus padding; padding where ``ids[r]`` is."""
    rows, padding = block.sizes["rows"], int(dict(block.attributes)["padding"])
    body = (
        f"  const int r = get_global_id(0);\n"
        f"  if (r >= {rows}) return;\n"
        f"  global const int *ids = (global const int *)in0;\n"
        f"  int seen = 0;\n"
        f"  for (int i = 0; i <= r; i++) seen += ids[i] != {padding};\n"
        f"  ((global int *)out)[r] = {padding} + (ids[r] == {padding} ? 0 : seen);\n"
    )
    return OpenClUnit(block, (make_kernel(block, "", 1, body, (rows, 1), operands=1),))


def row_kernels(block: Block, family: Family, columns: int, value: str, epilogue: Epilogue) -> tuple[Kernel, ...]:
    """One kernel that makes the rows of a block: a value at (r, n), the epilogue's statements, then its function of
    whole rows, by the work-items that share a row."""
    operands = block.operand_count
    write = (
        f"    pb_vec x = {value};\n{_lines(epilogue.statements, 4)}"
        f"    {access(block, RESULT).store('x', f'out + r * {row_stride(columns)} + n')}\n"
    )
    if not epilogue.row_function:
        body = (
            f"  const int n = get_global_id(0) * {family.width}, r = get_global_id(1);\n"
            f"  if (n >= {columns} || r >= {block.sizes['rows']}) return;\n  {{\n{write}  }}\n"
        )
        items = (-(-columns // family.width), block.sizes["rows"])
        return (make_kernel(block, "", family.width, body, items, group_along(family), operands=operands),)
    made = f"  for (int n = lane * {family.width}; n < {columns}; n += {_step(family)}) {{\n{write}  }}\n"
    return (_row_kernel(block, "", family, columns, made, epilogue, operands),)


def row_function(block: Block, family: Family, columns: int, epilogue: Epilogue, operands: int) -> tuple[Kernel, ...]:
    """The kernel that brings what a block has made to its end, where that takes whole rows."""
    if not epilogue.row_function:
        return ()
    return (_row_kernel(block, "_rows", family, columns, "", epilogue, operands),)


def _row_kernel(
    block: Block, part: str, family: Family, columns: int, made: str, epilogue: Epilogue, operands: int
) -> Kernel:
    items = family.row_items
    shared = f"  local float shared[{items}];\n" if items > 1 else ""
    body = (
        f"  const int lane = get_local_id(0), r = get_group_id(1);\n{shared}{made}"
        f"  global {access(block, RESULT).number} *row = out + r * {row_stride(columns)};\n"
        f"{_ROW_FUNCTIONS[epilogue.row_function](block, family, columns, epilogue)}"
    )
    size = (items, block.sizes["rows"])
    return make_kernel(
        block, part, family.width, body, size, (items, 1), operands=operands, helpers=_shared_helpers(items)
    )


def _shared_helpers(items: int) -> str:
    """What the work-items of a row find together."""
    text = ""
    for name, join in (("total", "all + shared[i]"), ("most", "fmax(all, shared[i])")):
        if items == 1:
            text += f"#define pb_{name}(x) (x)\n"
            continue
        text += (
            f"#define pb_{name}(x) pb_{name}_of(x, shared, lane)\n"
            f"static inline float pb_{name}_of(const float x, local float *shared, const int lane) {{\n"
            f"  shared[lane] = x;\n  barrier(CLK_LOCAL_MEM_FENCE);\n  float all = shared[0];\n"
            f"  for (int i = 1; i < {items}; i++) all = {join};\n"
            f"  barrier(CLK_LOCAL_MEM_FENCE);\n  return all;\n}}\n"
        )
    return text


def _each(family: Family, columns: int, vector: str, single: str) -> str:
    """C over the numbers of a row that are a work-item's own: whole vectors, then one by one what is left."""
    whole, width = columns // family.width, family.width
    text = f"  for (int n = lane * {width}; n < {whole * width}; n += {_step(family)}) {vector}\n" if whole else ""
    if columns % width:
        owner = whole % family.row_items
        text += f"  if (lane == {owner})\n    for (int n = {whole * width}; n < {columns}; n++) {single}\n"
    return text


def _step(family: Family) -> int:
    return family.width * family.row_items


def _layer_norm(block: Block, family: Family, columns: int, epilogue: Epilogue) -> str:
    row, epsilon = access(block, RESULT), cl_float(float(dict(block.attributes).get("epsilon", 0.0)))
    scale = f"(global const float *)weights + {epilogue.scale} + n"
    shift = f"(global const float *)weights + {epilogue.scale + padded(columns)} + n"
    vector, single = (f"({load('row + n')} - mean) * factor" for load in (row.load, row.load1))
    squares = _each(
        family,
        columns,
        f"{{ const pb_vec d = {row.load('row + n')} - mean; squares += d * d; }}",
        f"{{ const float d = {row.load1('row + n')} - mean; rest += d * d; }}",
    )
    result = _each(
        family,
        columns,
        row.store(f"{vector} * pb_load_constant({scale}) + pb_load_constant({shift})", "row + n"),
        row.store1(f"{single} * *({scale}) + *({shift})", "row + n"),
    )
    sums = _each(family, columns, f"sums += {row.load('row + n')};", f"rest += {row.load1('row + n')};")
    return (
        "  pb_vec sums = pb_splat(0.0f), squares = pb_splat(0.0f);\n  float rest = 0.0f;\n"
        f"{sums}"
        f"  const float mean = pb_total(pb_sum(sums) + rest) / {columns};\n  rest = 0.0f;\n{squares}"
        f"  const float factor = 1.0f / sqrt(pb_total(pb_sum(squares) + rest) / {columns} + {epsilon});\n{result}"
    )


def _l2_norm(block: Block, family: Family, columns: int, epilogue: Epilogue) -> str:
    row, attributes = access(block, RESULT), dict(block.attributes)
    inside, floor, outside = (cl_float(float(attributes[name])) for name in ("inside", "floor", "outside"))
    squares = _each(
        family,
        columns,
        f"{{ const pb_vec x = {row.load('row + n')}; squares += x * x; }}",
        f"{{ const float x = {row.load1('row + n')}; rest += x * x; }}",
    )
    return (
        f"  pb_vec squares = pb_splat(0.0f);\n  float rest = 0.0f;\n{squares}"
        f"  const float norm = fmax(sqrt(pb_total(pb_sum(squares) + rest) + {inside}), {floor}) + {outside};\n"
        f"{_in_place(block, family, columns, '{} / norm', '{} / norm')}"
    )


def _in_place(block: Block, family: Family, columns: int, vector: str, single: str) -> str:
    """C that replaces each number of the row by what is made of it, in vectors and one by one."""
    row = access(block, RESULT)
    return _each(
        family,
        columns,
        row.store(vector.format(row.load("row + n")), "row + n"),
        row.store1(single.format(row.load1("row + n")), "row + n"),
    )


def _exponentials(block: Block, family: Family, columns: int) -> str:
    """``most``, the largest of a row, and ``sum``, of the exponentials of what its numbers are below it."""
    row = access(block, RESULT)
    vector, single = row.load("row + n"), row.load1("row + n")
    largest = _each(family, columns, f"top = fmax(top, {vector});", f"first = fmax(first, {single});")
    sums = _each(family, columns, f"sums += pb_exp({vector} - most);", f"rest += pb_exp1({single} - most);")
    return (
        f"  pb_vec top = pb_splat(-FLT_MAX), sums = pb_splat(0.0f);\n  float first = -FLT_MAX, rest = 0.0f;\n{largest}"
        f"  const float most = pb_most(fmax(pb_largest(top), first));\n{sums}"
        f"  const float sum = pb_total(pb_sum(sums) + rest);\n"
    )


def _row_softmax(block: Block, family: Family, columns: int, epilogue: Epilogue) -> str:
    result = _in_place(block, family, columns, "pb_exp({} - most) / sum", "pb_exp1({} - most) / sum")
    return _exponentials(block, family, columns) + result


def _row_log_softmax(block: Block, family: Family, columns: int, epilogue: Epilogue) -> str:
    result = _in_place(block, family, columns, "{} - most - shift", "{} - most - shift")
    return f"{_exponentials(block, family, columns)}  const float shift = log(sum);\n{result}"


_ROW_FUNCTIONS = {
    "layer_norm": _layer_norm,
    "l2_norm": _l2_norm,
    "row_softmax": _row_softmax,
    "row_log_softmax": _row_log_softmax,
}


def _lines(statements: tuple[str, ...], spaces: int) -> str:
    return "".join(f"{' ' * spaces}{statement}\n" for statement in statements)
