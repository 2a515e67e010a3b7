"""A file as a table: named columns, and rows that know where they stand in the file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from data.tasks.bad_rows import BadRows

# What a cell may hold: text from CSV; numbers, truth values, None and lists as well from JSON and Parquet.
Cell = Any
Row = tuple[int, tuple[Cell, ...]]


@dataclass(frozen=True)
class Table:
    """The rows of one file, each with its number: the line on which it begins, or its place in Parquet and JSON arrays.

    ``class_names`` are the names of numbered classes, by column, where the file itself holds them. ``header`` is the
    line of the header where there is one that might be a row instead.
    """

    path: Path
    columns: tuple[str, ...]
    rows: list[Row]
    bad: BadRows
    remarks: tuple[str, ...] = ()
    class_names: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    header: int | None = None

    def without_header(self) -> Table:
        """The same file read as one whose first row is an example; its columns are called 1, 2, and so on."""
        if self.header is None:
            return self
        numbers = tuple(str(number) for number in range(1, len(self.columns) + 1))
        return replace(self, columns=numbers, rows=[(self.header, self.columns), *self.rows], header=None)
