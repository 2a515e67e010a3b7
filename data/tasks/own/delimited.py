"""CSV and TSV: the delimiter is found out, and whether a TSV file's quotation marks are quoting or text."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from data.errors import DataFileError
from data.tasks.bad_rows import BadRows
from data.tasks.own.table import Row, Table
from data.tasks.own.text_file import MOST_CHARACTERS, lines_of

_DELIMITERS = (",", ";", "\t", "|")
_SPOKEN = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "vertical bars"}
_SAMPLE = 50  # lines, to find the delimiter


def read_delimited(path: Path, text: str) -> Table:
    """Reads a file whose first row names the columns.

    Raises:
        DataFileError: quotation marks that do not match, a cell that is too long, or nothing.
    """
    own = "," if path.suffix.lower() == ".csv" else "\t"
    delimiter = _delimiter(text, own)
    remarks = [] if delimiter == own else [f"{path.name}: its columns are separated by {_SPOKEN[delimiter]}"]
    if delimiter == "\t":
        rows, remark = _tabbed(path, text)
        remarks += [remark] * bool(remark)
    else:
        rows = _quoted(path, text, delimiter)
    remarks += _mixed_ends(path, text)
    return _table(path, rows, tuple(remarks))


def _table(path: Path, rows: list[Row], remarks: tuple[str, ...]) -> Table:
    if not rows:
        raise DataFileError(path, "no rows")
    (line, header), *others = rows
    names = tuple(str(name).strip() for name in header)
    bad = BadRows(path)
    for number, cells in others:
        if len(cells) != len(names):
            bad.add(number, f"{len(cells)} columns, expected {len(names)}{_advice(len(names))}")
    return Table(path, names, [row for row in others if len(row[1]) == len(names)], bad, remarks, header=line)


def _advice(columns: int) -> str:
    return " (a text that holds the delimiter has to stand in quotation marks)" if columns == 1 else ""


def _delimiter(text: str, own: str) -> str:
    """The one that gives the first rows as many columns as the header, two at least; of several the file's own."""
    sample = "\n".join(text.split("\n", _SAMPLE)[:_SAMPLE])
    fitting = {each: _fits(sample, each) for each in sorted(_DELIMITERS, key=lambda each: each != own)}
    best = max(fitting, key=lambda each: fitting[each])
    return best if fitting[best] > fitting[own] else own


def _fits(sample: str, delimiter: str) -> float:
    """Share of the first rows that have the header's number of columns; 0 where that is one."""
    with _long_cells():
        try:
            widths = [len(row) for row in csv.reader(io.StringIO(sample, newline=""), delimiter=delimiter) if row]
        except csv.Error:
            return 0.0
    if not widths or widths[0] < 2:
        return 0.0
    return sum(width == widths[0] for width in widths) / len(widths)


@contextmanager
def _long_cells() -> Iterator[None]:
    before = csv.field_size_limit(MOST_CHARACTERS)
    try:
        yield
    finally:
        csv.field_size_limit(before)


def _quoted(path: Path, text: str, delimiter: str) -> list[Row]:
    """Rows of cells that may be quoted (RFC 4180): a quotation mark within is doubled."""
    # A carriage return alone is text; for csv it would end the row. NUL stands for it, which decoded text never holds.
    lone = re.compile(r"\r(?!\n)")
    file = io.StringIO(lone.sub("\0", text) if "\n" in text else text, newline="")
    reader = csv.reader(file, delimiter=delimiter, strict=True, skipinitialspace=True)
    rows: list[Row] = []
    line = 1
    with _long_cells():
        try:
            for cells in reader:
                if cells:
                    rows.append((line, tuple(cell.replace("\0", "\r") for cell in cells)))
                line = reader.line_num + 1
        except csv.Error as error:
            raise DataFileError(path, _explain(error), line) from error
    return rows


def _explain(error: csv.Error) -> str:
    if "field limit" in str(error):
        return f"a cell of more than {MOST_CHARACTERS} characters: is a quotation mark left open?"
    if "unexpected end" in str(error):
        return "a quotation mark that opens here is never closed"
    return f"quotation marks do not match ({error}): one within a quoted cell has to be doubled"


@dataclass(frozen=True)
class _Reading:
    """A TSV file read in one of two ways; ``even`` where every row has as many columns as the header."""

    rows: list[Row]
    problem: DataFileError | None = None

    @property
    def even(self) -> bool:
        return self.problem is None and len({len(cells) for _, cells in self.rows}) == 1


def _tabbed(path: Path, text: str) -> tuple[list[Row], str]:
    """Rows of a TSV file, and what to say of its quotation marks.

    GLUE's own files hold them as text, spreadsheets quote with them. They are quoting where only so every row has the
    header's number of columns; or where both ways are even, and all cells of a column are quoted or some quoted cell
    holds a doubled mark.
    """
    plain = _Reading([(number, tuple(line.split("\t"))) for number, line in lines_of(text) if line.strip()])
    if not any(cell.startswith('"') for _, cells in plain.rows for cell in cells):
        return plain.rows, ""
    try:
        quoted = _Reading(_quoted(path, text, "\t"))
    except DataFileError as error:
        quoted = _Reading([], error)
    as_text = (plain.rows, f"{path.name}: quotation marks are read as part of the texts, as in GLUE's files")
    if quoted.problem is not None:
        return as_text
    if quoted.even and (not plain.even or _meant_as_quoting(plain.rows[1:])):
        return quoted.rows, f"{path.name}: quotation marks are read as quoting, as spreadsheets write them"
    return as_text


def _meant_as_quoting(rows: list[Row]) -> bool:
    """Whether all cells of a column are quoted, or a quoted one has a doubled mark inside."""
    columns = zip(*(cells for _, cells in rows), strict=True)
    quoted = [[len(cell) > 1 and cell[0] == cell[-1] == '"' for cell in column] for column in columns]
    doubled = any('""' in cell[1:-1] and cell[:1] == cell[-1:] == '"' for _, cells in rows for cell in cells)
    return doubled or any(column and all(column) for column in quoted)


def _mixed_ends(path: Path, text: str) -> list[str]:
    windows = text.count("\r\n")
    plain = text.count("\n") - windows
    if windows and plain:
        return [
            f"{path.name}: {windows} lines end in CR LF, {plain} in LF alone; outside quotation marks both end a row"
        ]
    return []
