"""A portability study's rows from a CSV file: one table for each device, with where its figures come from."""

from __future__ import annotations

import codecs
import csv
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, get_args

from data.errors import DataFileError, InputError
from data.measurement import Provenance

if TYPE_CHECKING:
    import pandas as pd


_OTHER_SEPARATORS = MappingProxyType({";": "semicolons", "\t": "tabs", "|": "bars"})


@dataclass(frozen=True)
class DeviceRows:
    """The rows of one device, and their provenance."""

    rows: pd.DataFrame
    provenance: str


def read_table(path: Path, names: Sequence[str]) -> dict[str, DeviceRows]:
    """A CSV table with columns ``device`` and ``latency_ms``, by device.

    Columns ``accuracy``, ``session`` and ``provenance`` are used where the table has them; without the last one the
    rows are taken for measured.

    Args:
        path: the file.
        names: feature columns.

    Raises:
        DataFileError: the file cannot be read, lacks a column, or holds an impossible row, which is named.
    """
    from surrogate.tables.shared_models import check_rows
    from surrogate.tables.table import one_column

    table = _read(path)
    try:
        one_column(table, "device")
        check_rows(table, names)
        return {
            str(device): DeviceRows(rows.reset_index(drop=True), _provenance(str(device), rows))
            for device, rows in table.groupby("device", sort=True)
        }
    except InputError as error:
        raise DataFileError(path, str(error)) from error


def _read(path: Path) -> pd.DataFrame:
    """The table as texts: what looks like a missing value elsewhere, such as ``NA``, may be a device's name here."""
    import pandas as pd

    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            header, *rows = _lines(path, csv.reader(stream, strict=True))
    except OSError as error:
        raise DataFileError(path, f"the table cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        if error.object[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
            raise DataFileError(path, "not a CSV table in UTF-8 but in UTF-16: save it as UTF-8") from error
        raise DataFileError(path, f"not a CSV table in UTF-8: {error}") from error
    except csv.Error as error:
        raise DataFileError(path, f"not a CSV table: {error}") from error
    return pd.DataFrame(rows, columns=header, dtype=object)


def _lines(path: Path, reader: Iterable[Sequence[str]]) -> list[list[str]]:
    """The header and the rows, blank lines left out, spaces around cells too; each row as long as the header."""
    lines: list[list[str]] = []
    for number, cells in enumerate(reader, start=1):
        if any("\0" in cell for cell in cells):
            raise DataFileError(path, "it holds NUL characters: no CSV table in UTF-8, or a damaged one", number)
        if any(cell.strip() for cell in cells):
            lines.append([cell.strip() for cell in cells])
            _check_line(path, lines, number)
    if len(lines) < 2:
        raise DataFileError(path, "the table is empty: it needs a header and a row a model")
    return lines


def _check_line(path: Path, lines: Sequence[Sequence[str]], number: int) -> None:
    header, last = lines[0], lines[-1]
    if len(lines) == 1:
        for separator, name in _OTHER_SEPARATORS.items():
            if len(header) < header[0].count(separator) + 1:
                raise DataFileError(path, f"its columns are separated by {name}: write commas", number)
        if len(header) > 1 and all(_is_number(name) for name in header[:-1]):
            raise DataFileError(path, "its first line holds numbers: it needs a header of columns' names", number)
        twice = next((name for name in header if header.count(name) > 1), None)
        if twice is not None:
            raise DataFileError(path, f"the column {twice!r} stands {header.count(twice)} times: keep one", number)
    elif len(last) != len(header):
        raise DataFileError(path, f"{len(last)} cells, where the header has {len(header)}", number)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _provenance(device: str, rows: pd.DataFrame) -> str:
    """What all rows of a device say about where they come from.

    Raises:
        InputError: they disagree, or it is not one of the known words.
    """
    from surrogate.tables.table import has_column

    if not has_column(rows, "provenance"):
        return "measured"
    words = sorted(set(map(str, rows["provenance"])))
    if len(words) > 1:
        raise InputError(f"device {device}: its rows are {' and '.join(words)}: give each a device name of its own")
    if words[0] not in get_args(Provenance):
        raise InputError(f"device {device}: provenance is {words[0]!r}, not {', '.join(get_args(Provenance))}")
    return words[0]
