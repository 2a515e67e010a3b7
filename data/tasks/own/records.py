"""JSON Lines, JSON arrays and Parquet as tables."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from data.errors import DataFileError, InputError, first_line
from data.tasks.bad_rows import BadRows
from data.tasks.own.table import Row, Table
from data.tasks.own.text_file import lines_of


def looks_json(text: str) -> bool:
    """Whether the first line is an object."""
    try:
        return isinstance(json.loads(text.lstrip().partition("\n")[0]), dict)
    except (ValueError, RecursionError):
        return False


def read_json(path: Path, text: str) -> Table:
    """One object a line, or one array of objects. A key that a row lacks is an empty cell.

    Raises:
        DataFileError: no JSON, no object, or a key twice in one; with the line (in an array: the number of the row).
    """
    if text.lstrip().startswith("["):
        objects = _array(path, text)
    else:
        objects = [(number, _parse(path, number, line)) for number, line in lines_of(text) if line.strip()]
    for number, record in objects:
        if not isinstance(record, dict):
            raise DataFileError(path, 'not an object: a row looks like {"text": ..., "label": ...}', number)
    columns = tuple(dict.fromkeys(key for _, record in objects for key in record))
    rows: list[Row] = [(number, tuple(record.get(name) for name in columns)) for number, record in objects]
    return Table(path, columns, rows, BadRows(path))


def _parse(path: Path, number: int, line: str) -> Any:
    try:
        return json.loads(line, object_pairs_hook=_object)
    except (ValueError, RecursionError) as error:
        raise DataFileError(path, f"not JSON ({first_line(error)}): one object a line is expected", number) from error


def _array(path: Path, text: str) -> list[tuple[int, Any]]:
    try:
        return list(enumerate(json.loads(text, object_pairs_hook=_object), start=1))
    except json.JSONDecodeError as error:
        raise DataFileError(path, f"not JSON ({error.msg})", error.lineno) from error
    except (ValueError, RecursionError) as error:
        raise DataFileError(path, f"not JSON ({first_line(error)})") from error


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    record = dict(pairs)
    if len(record) < len(pairs):
        raise ValueError("a key occurs twice in one object")
    return record


def read_parquet(path: Path, content: bytes) -> Table:
    """All columns of a Parquet file; names of classes come with it where `datasets` wrote it.

    Raises:
        InputError: pyarrow is not installed.
        DataFileError: no Parquet, or damaged.
    """
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise InputError(f"{path}: reading Parquet needs pyarrow: pip install 'pocketbert[parquet]'") from error
    try:
        table = pyarrow.parquet.read_table(io.BytesIO(content))
        columns = [column.to_pylist() for column in table.columns]
    except (pyarrow.ArrowException, OSError, ValueError) as error:
        raise DataFileError(path, f"not a Parquet file that can be read ({first_line(error)})") from error
    rows: list[Row] = list(enumerate(zip(*columns, strict=True), start=1))
    names = tuple(table.column_names)
    return Table(path, names, rows, BadRows(path), class_names=dict(_class_names(table.schema.metadata or {})))


def _class_names(metadata: Mapping[bytes, bytes]) -> Iterator[tuple[str, tuple[str, ...]]]:
    """(column, names) of each ClassLabel, or list of them, that `datasets` noted in the file."""
    try:
        features = json.loads(metadata.get(b"huggingface", b"{}"))["info"]["features"]
    except (ValueError, KeyError, TypeError):
        return  # written by something else
    for column, feature in features.items():
        listed = feature[0] if isinstance(feature, list) and feature else feature
        inner = listed.get("feature", listed) if isinstance(listed, dict) else {}
        if isinstance(inner, dict) and isinstance(inner.get("names"), list):
            yield column, tuple(str(name) for name in inner["names"])
