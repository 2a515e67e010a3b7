"""C of narrow copies of rows: left by whoever completes a row, and read by products in int8 or half precision."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from fusion.block import FLOAT_BYTES, NARROW_RESULT, PRECISION_BYTES, Block, narrow_rows
from fusion.emit.arena import result_type, tensor_bytes
from fusion.emit.c.packed_matrix import PackedMatrix
from fusion.emit.layout import ALIGNMENT, narrow_stride, round_up, row_stride
from fusion.graph import TensorType

# Rows that are gone through together, for each step again: with all else that is touched they stay in the L1 cache.
_ROWS_BYTES = 4 << 10


@dataclass(frozen=True)
class NarrowCopy:
    """Where a tensor's narrow rows lie: bytes from its first fp32 number to the first of them, from row to row, and
    to the first row's scale."""

    rows: int
    columns: int
    precision: str

    @property
    def offset(self) -> int:
        return tensor_bytes(TensorType((1, self.rows, self.columns)))

    @property
    def stride(self) -> int:
        return narrow_stride(self.columns, PRECISION_BYTES[self.precision])

    @property
    def scales(self) -> int:
        return self.offset + self.rows * self.stride

    def row(self, index: str) -> str:
        """C of where a row of the copy of ``o->output`` begins."""
        return f"(char *)o->output + {self.offset} + (long){index} * {self.stride}"

    def scale(self, index: str) -> str:
        """C of where a row's scale is."""
        return f"(float *)((char *)o->output + {self.scales}) + {index}"


def narrow_operand(block: Block) -> NarrowCopy:
    """The copy that a narrow product reads."""
    return NarrowCopy(narrow_rows(block)[1], block.sizes["inner"], block.precision)


def leaves_narrow_copy(block: Block) -> bool:
    """Whether a product in int8 or half reads the block's result."""
    return NARROW_RESULT in dict(block.attributes)


def narrow_result(block: Block, row: str) -> str:
    """A C statement that leaves the narrow copy of row ``r`` of ``o->output``, which lies complete at ``row``; empty
    where nobody reads one."""
    if not leaves_narrow_copy(block):
        return ""
    copy = _left_copy(block)
    if copy.precision == "fp16":
        return f"pb_halve_row({row}, {copy.columns}, {copy.row('r')});"
    padded = round_up(copy.columns, ALIGNMENT)
    return f"pb_quantise_row({row}, {copy.columns}, {padded}, {copy.row('r')}, {copy.scale('r')});"


def rounded_rows(block: Block, most_rows: int) -> str:
    """A C statement that leaves the int8 copy of rows ``first`` .. ``last - 1``, ``most_rows`` at most, whose largest
    magnitudes, lane by lane, are ``most``'s."""
    copy = _left_copy(block)
    count = str(most_rows) if copy.rows % most_rows == 0 else "last - first"
    stride, padded = row_stride(copy.columns), round_up(copy.columns, ALIGNMENT)
    return (
        f"pb_round_rows({most_rows}, {count}, most, o->output + (long)first * {stride}, {stride}, {copy.columns}, "
        f"{padded}, {copy.row('first')}, {copy.stride}, {copy.scale('first')});"
    )


def _left_copy(block: Block) -> NarrowCopy:
    type_ = result_type(block)
    return NarrowCopy(type_.rows, type_.columns, str(dict(block.attributes)[NARROW_RESULT]))


def in_turn(statements: Sequence[str], columns: int) -> str:
    """C of a loop over rows ``first`` .. ``last - 1``: each statement for a few rows before the next one.

    A row's normalisation waits for its sums and its rounding for its maximum; those of different rows do not wait for
    each other.
    """
    if len(statements) == 1:
        return _loop("  ", "first", "last", statements[0])
    some = max(1, _ROWS_BYTES // (row_stride(columns) * FLOAT_BYTES))
    if some == 1:
        return _loop("  ", "first", "last", "{\n    " + "\n    ".join(statements) + "\n  }")
    loops = "".join(_loop("    ", "some", "end", statement) for statement in statements)
    return (
        f"  for (int some = first; some < last; some += {some}) {{\n"
        f"    const int end = some + {some} < last ? some + {some} : last;\n{loops}  }}\n"
    )


def _loop(indent: str, first: str, end: str, statement: str) -> str:
    between = " " if statement.startswith("{") else f"\n{indent}  "
    return f"{indent}for (int r = {first}; r < {end}; r++){between}{statement}\n"


def narrow_pointers(block: Block, matrix: PackedMatrix) -> str:
    """C that finds an operand's narrow rows, and the scales of rows and of the matrix's columns."""
    copy, first = narrow_operand(block), narrow_rows(block)[0]
    # o->inputs[0] is the first fp32 row that is read.
    start = f"(const char *)o->inputs[0] - {first * row_stride(copy.columns) * FLOAT_BYTES}"
    text = f"  const char *narrow = {start};\n  const char *a = narrow + {copy.offset + first * copy.stride};\n"
    scales = f"  const float *column_scales = o->weights + {matrix.matrix_elements} + column;\n"
    if block.precision == "fp16":
        return text + scales
    row_scales = f"  const float *row_scales = (const float *)(narrow + {copy.scales}) + {first};\n"
    corrections = f"(const int *)(column_scales + {matrix.scales})" if matrix.corrections else "0"
    return text + row_scales + scales + f"  const int *corrections = {corrections};\n"


def narrow_tile(block: Block, matrix: PackedMatrix, height: int, width: int) -> str:
    """The start of the C call of a register tile at row ``r``."""
    a, c = narrow_operand(block).stride, row_stride(block.sizes["columns"])
    to = f"c + (long)r * {c}, {c}, {matrix.groups}, "
    if block.precision == "fp16":
        return f"pb_half_tile({height}, {width}, a + (long)r * {a}, {a}, b, column_scales, {to}"
    return (
        f"pb_int8_tile({height}, {width}, a + (long)r * {a}, {a}, row_scales + r, (const signed char *)b, "
        f"column_scales, corrections, {to}"
    )
