"""How tensors lie in memory: row strides, padding, alignment."""

from __future__ import annotations

ALIGNMENT = 64
LINE = 16  # fp32 numbers in a cache line


def round_up(value: int, multiple: int) -> int:
    """The smallest multiple that is not below value."""
    return -(-value // multiple) * multiple


def row_stride(columns: int) -> int:
    """Elements from one row to the next: whole cache lines, an odd number of them.

    An odd number keeps the rows of a register tile in different sets of the L1 cache; rows that lie a power of
    two apart evict each other.
    """
    lines = round_up(columns, LINE) // LINE
    return LINE * (lines if lines % 2 else lines + 1)


def narrow_stride(columns: int, number_bytes: int) -> int:
    """Bytes from one row to the next of a narrow copy: whole cache lines, an odd number of them."""
    lines = round_up(columns * number_bytes, ALIGNMENT) // ALIGNMENT
    return ALIGNMENT * (lines if lines % 2 else lines + 1)


def narrow_bytes(rows: int, columns: int, number_bytes: int) -> int:
    """Bytes of a narrow copy of a tensor's rows, which lies behind them: its rows, and a scale for each."""
    return rows * narrow_stride(columns, number_bytes) + round_up(4 * rows, ALIGNMENT)
