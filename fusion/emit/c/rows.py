"""C of row-wise blocks: summed embeddings, and element-wise or normalising steps on their own."""

from __future__ import annotations

from fusion.block import Block
from fusion.emit.c.narrow import narrow_result
from fusion.emit.c.unit import EpilogueCode, Unit, epilogue_code, norm_call, operand_stride, wrap
from fusion.emit.layout import round_up, row_stride
from fusion.target import Target

_ROWS_A_TILE = 8


def emit_embeddings(block: Block, target: Target) -> Unit:
    """``output[r] = epilogue(sum of table_i[ids_i[r]])``.

    The weights hold the tables one after the other, then the epilogue's constants; rows are padded to whole vectors
    with zeros.
    """
    rows, width = block.sizes["rows"], round_up(block.sizes["hidden"], target.lanes)
    entries = block.table_entries
    if block.window_offsets:
        return _emit_window(block, target)
    terms, offset = [], 0
    for index, count in enumerate(entries):
        terms.append(f"o->weights + {offset}L + (long)((const int *)o->inputs[{index}])[r] * {width}")
        offset += count * width
    code = epilogue_code(block, block.sizes["hidden"], target, offset, first_operand=len(entries))
    pointers = "".join(f"    const float *t{index} = {term};\n" for index, term in enumerate(terms))
    value = " + ".join(f"pb_load(t{index} + n)" for index in range(len(terms)))
    return _row_unit(block, rows, block.sizes["hidden"], target, code, pointers, value)


def _emit_window(block: Block, target: Target) -> Unit:
    """``output[r] = epilogue([table[ids[r + offset]] for each offset])``, zeros beyond the first and last row."""
    rows, columns = block.sizes["rows"], block.sizes["hidden"]
    offsets = block.window_offsets
    part, (entries,) = columns // len(offsets), block.table_entries
    width = round_up(part, target.lanes)
    code = epilogue_code(block, columns, target, entries * width)
    pieces = "".join(
        f"    pb_copy_neighbour(o->weights, o->inputs[0], r + {offset}, {rows}, {width}, "
        f"out + {index * part}, {part});\n"
        for index, offset in enumerate(offsets)
    )
    return _row_unit(block, rows, columns, target, code, pieces, "pb_load(out + n)")


def emit_position_ids(block: Block, target: Target) -> Unit:
    """``output[r]`` = how many of ``ids[0..r]`` are not padding, plus padding; padding where ``ids[r]`` is."""
    padding = int(dict(block.attributes)["padding"])
    body = (
        f"  const int *ids = o->inputs[0];\n"
        f"  int *positions = (int *)o->output, seen = 0;\n"
        f"  for (int r = 0; r < {block.sizes['rows']}; r++)\n"
        f"    positions[r] = ids[r] == {padding} ? {padding} : {padding} + ++seen;\n"
    )
    return Unit(block, wrap(block, target, "", "  (void)tile;\n" + body), tiles=1)


def emit_rowwise(block: Block, target: Target) -> Unit:
    """``output[r] = epilogue(input[r])``."""
    columns = block.sizes["columns"]
    code = epilogue_code(block, columns, target, 0)
    pointers = f"    const float *x0 = (const float *)o->inputs[0] + (long)r * {operand_stride(block, 0, columns)};\n"
    return _row_unit(block, block.sizes["rows"], columns, target, code, pointers, "pb_load(x0 + n)")


def _row_unit(
    block: Block, rows: int, columns: int, target: Target, code: EpilogueCode, pointers: str, value: str
) -> Unit:
    """A unit whose tiles are a few rows each: load, element-wise steps, store, normalise."""
    tiles = -(-rows // _ROWS_A_TILE)
    statements = "".join(f"      {statement}\n" for statement in code.statements)
    ends = (norm_call(code, columns, "out") if code.norm else "", narrow_result(block, "out"))
    end = "".join(f"    {statement}\n" for statement in ends if statement)
    body = (
        f"  const int first = tile * {_ROWS_A_TILE};\n"
        f"  const int last = first + {_ROWS_A_TILE} < {rows} ? first + {_ROWS_A_TILE} : {rows};\n"
        f"  for (int r = first; r < last; r++) {{\n"
        f"    float *out = o->output + (long)r * {row_stride(columns)};\n"
        f"{pointers}"
        f"    for (int n = 0; n < {round_up(columns, target.lanes)}; n += {target.lanes}) {{\n"
        f"      pb_vec x = {value};\n"
        f"{statements}"
        f"      pb_store(out + n, x);\n"
        f"    }}\n"
        f"{end}"
        f"  }}\n"
    )
    return Unit(block, wrap(block, target, "", body), tiles=tiles)
