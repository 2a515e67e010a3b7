"""A portability study's rows from a CSV file: one table for each device, with where its figures come from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, get_args

from data.errors import DataFileError, InputError
from data.measurement import Provenance

if TYPE_CHECKING:
    import pandas as pd


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

    table = _read(path)
    if "device" not in table.columns:
        raise DataFileError(path, "the table has no column 'device'", 1)
    try:
        check_rows(table, names)
        return {
            str(device): DeviceRows(rows.reset_index(drop=True), _provenance(str(device), rows))
            for device, rows in table.groupby("device", sort=True)
        }
    except InputError as error:
        raise DataFileError(path, str(error)) from error


def _read(path: Path) -> pd.DataFrame:
    import pandas as pd

    try:
        return pd.read_csv(path)
    except OSError as error:
        raise DataFileError(path, f"the table cannot be read: {error.strerror}") from error
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
        raise DataFileError(path, f"not a CSV table: {error}") from error


def _provenance(device: str, rows: pd.DataFrame) -> str:
    """What all rows of a device say about where they come from.

    Raises:
        InputError: they disagree, or it is not one of the known words.
    """
    if "provenance" not in rows.columns:
        return "measured"
    words = sorted(set(map(str, rows["provenance"])))
    if len(words) > 1:
        raise InputError(f"device {device}: its rows are {' and '.join(words)}: give each a device name of its own")
    if words[0] not in get_args(Provenance):
        raise InputError(f"device {device}: provenance is {words[0]!r}, not {', '.join(get_args(Provenance))}")
    return words[0]
