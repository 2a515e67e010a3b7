"""C of row-wise blocks: summed embeddings, and element-wise or normalising steps on their own."""

from __future__ import annotations

from dataclasses import dataclass, replace

from fusion.block import FLOAT_BYTES, Block
from fusion.emit.c.narrow import in_turn, narrow_result
from fusion.emit.c.unit import EpilogueCode, Unit, epilogue_code, norm_call, operand_stride, wrap
from fusion.emit.layout import round_up, row_stride
from fusion.target import Target

_ROWS_A_TILE = 8


def emit_embeddings(block: Block, target: Target) -> Unit:
    """``output[r] = epilogue(sum of table_i[ids_i[r]])``.

    The weights hold the tables one after the other, int8 ones (constant rows among them) with their rows' scales
    behind, then the epilogue's constants; rows are padded to whole vectors with zeros.
    """
    if block.window_offsets:
        return _emit_window(block, target)
    rows, hidden = block.sizes["rows"], block.sizes["hidden"]
    tables, end = lookup_tables(block, target)
    code = epilogue_code(beside_tables(block), hidden, target, end, first_operand=len(block.table_entries))
    pointers = "".join(table.pointer(index) for index, table in enumerate(tables))
    value = " + ".join(table.value(index) for index, table in enumerate(tables))
    return _row_unit(block, rows, hidden, target, code, pointers, value)


@dataclass(frozen=True)
class LookupTable:
    """A table among a block's weights: where it begins, and where the scales of int8 rows do (fp32 numbers); how wide
    its rows are; whether ids say which of them is taken, or a position takes its own."""

    entries: int
    width: int
    first: int
    scales: int | None = None
    by_ids: bool = True

    def pointer(self, index: int) -> str:
        """C that finds the row that position ``r`` takes of table ``index``."""
        entry = f"(long)((const int *)o->inputs[{index}])[r]" if self.by_ids else "(long)r"
        if self.scales is None:
            return f"    const float *t{index} = o->weights + {self.first}L + {entry} * {self.width};\n"
        return (
            f"    const signed char *t{index} = (const signed char *)(o->weights + {self.first}L) + "
            f"{entry} * {self.width};\n"
            f"    const float s{index} = o->weights[{self.scales}L + {entry}];\n"
        )

    def value(self, index: int) -> str:
        """C of a vector of its numbers from ``n`` on."""
        return f"pb_load(t{index} + n)" if self.scales is None else f"pb_load_table(t{index} + n) * s{index}"


def lookup_tables(block: Block, target: Target) -> tuple[tuple[LookupTable, ...], int]:
    """The tables of an embeddings block, constant rows in int8 after those that ids look up, and where they end among
    its weights, in fp32 numbers."""
    width = round_up(block.sizes["hidden"] // max(1, len(block.window_offsets)), target.lanes)
    tables, end = [], 0
    constants = [block.sizes["rows"]] * block.constant_tables
    for index, entries in enumerate([*block.table_entries, *constants]):
        if block.precision == "int8":
            scales = end + entries * width // FLOAT_BYTES
            tables.append(LookupTable(entries, width, end, scales, by_ids=index < len(block.table_entries)))
            end = scales + round_up(entries, target.lanes)
        else:
            tables.append(LookupTable(entries, width, end))
            end += entries * width
    return tuple(tables), end


def beside_tables(block: Block) -> Block:
    """An embeddings block with the steps of its epilogue that its tables do not do."""
    return replace(block, epilogue=block.epilogue[block.constant_tables :])


def _emit_window(block: Block, target: Target) -> Unit:
    """``output[r] = epilogue([table[ids[r + offset]] for each offset])``, zeros beyond the first and last row."""
    rows, columns = block.sizes["rows"], block.sizes["hidden"]
    offsets = block.window_offsets
    part = columns // len(offsets)
    (table,), end = lookup_tables(block, target)
    code = epilogue_code(block, columns, target, end)
    copy = "pb_copy_neighbour(o->weights"
    if table.scales is not None:
        copy = f"pb_copy_table_neighbour((const signed char *)o->weights, o->weights + {table.scales}L"
    pieces = "".join(
        f"    {copy}, o->inputs[0], r + {offset}, {rows}, {table.width}, out + {index * part}, {part});\n"
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
    steps = "".join(f"      {statement}\n" for statement in code.statements)
    norm = f"    {norm_call(code, columns, 'out')}\n" if code.norm else ""
    out = f"o->output + (long)r * {row_stride(columns)}"
    made = (
        f"{{\n"
        f"    float *out = {out};\n"
        f"{pointers}"
        f"    for (int n = 0; n < {round_up(columns, target.lanes)}; n += {target.lanes}) {{\n"
        f"      pb_vec x = {value};\n"
        f"{steps}"
        f"      pb_store(out + n, x);\n"
        f"    }}\n"
        f"{norm}"
        f"  }}"
    )
    statements = [statement for statement in (made, narrow_result(block, out)) if statement]
    body = (
        f"  const int first = tile * {_ROWS_A_TILE};\n"
        f"  const int last = first + {_ROWS_A_TILE} < {rows} ? first + {_ROWS_A_TILE} : {rows};\n"
        f"{in_turn(statements, columns)}"
    )
    return Unit(block, wrap(block, target, "", body), tiles=tiles)
