"""Labelled texts, pairs of texts and plain sentences out of tables."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple, cast

from data.errors import DataFileError
from data.tasks.examples import Example, Kind
from data.tasks.own.checks import Located
from data.tasks.own.columns import Columns, Wanted, find_columns, same_columns
from data.tasks.own.files import Tagged, read_file
from data.tasks.own.labels import Label, Scale, read_label, scale_of
from data.tasks.own.parts import OwnFiles, Part, Understood
from data.tasks.own.table import Table
from data.tasks.own.text_file import text_problem


class _Row(NamedTuple):
    row: int
    first: str
    second: str | None
    label: Label | None


def read_texts(files: OwnFiles, table: Table) -> Understood:
    """The task of tables that hold texts.

    Raises:
        DataFileError: what cannot be learnt from, with file and row.
    """
    numbered = table.header is not None
    table, columns, said = find_columns(table, files.columns, files.kind)
    numbered = numbered and table.header is None
    said = (*table.remarks, *said)
    if columns.label is None or (files.kind == "similarity" and columns.second is None):
        return _sentences(files, table, columns, said)
    rows, told = _rows(table, columns)
    labels = [row.label for row in rows if row.label is not None]
    wanted = "regression" if files.kind == "similarity" else files.kind
    order = files.labels or table.class_names.get(table.columns[columns.label], ())
    scale, how = scale_of(table, labels, wanted, order)
    kind = files.kind or cast(Kind, scale.kind)
    train = Part(table.path, [(row.row, _example(table, row, scale, None)) for row in rows])
    dev, more = _dev(files, table, columns, scale, numbered)
    return Understood(kind, scale.names, train, dev, (*said, *told, *how, *more))


def _dev(
    files: OwnFiles, train: Table, columns: Columns, scale: Scale, numbered: bool
) -> tuple[Part | None, tuple[str, ...]]:
    if files.dev is None:
        return None, ()
    table = _table_of(files.dev, files.kind)
    table, columns = same_columns(table, columns.names(train), numbered)
    rows, told = _rows(table, columns)
    examples = [(row.row, _example(table, row, scale, train.path)) for row in rows]
    return Part(table.path, cast(list[Located], examples)), (*table.remarks, *told)


def _table_of(path: Path, kind: Kind | None) -> Table:
    table = read_file(path, kind, Wanted())
    if isinstance(table, Tagged):
        raise DataFileError(path, "tagged words, where the training file has texts")
    return table


def _rows(table: Table, columns: Columns) -> tuple[list[_Row], tuple[str, ...]]:
    """The rows that have texts and a label (where a column of it is given), and what to say of others."""
    names = () if columns.label is None else table.class_names.get(table.columns[columns.label], ())
    undecided = 0
    rows: list[_Row] = []
    for number, cells in table.rows:
        texts = [cells[position] for position in (columns.text, columns.second) if position is not None]
        problem = next((problem for text in texts if (problem := _text_problem(text))), "")
        label = None if columns.label is None else read_label(number, cells[columns.label], names)
        if isinstance(label, Label) and label.text == "-" and "gold" in table.columns[columns.label or 0].lower():
            undecided += 1
        elif problem or isinstance(label, str):
            table.bad.add(number, problem or str(label))
        else:
            first, second = [*(text.strip() for text in texts), None][:2]
            rows.append(_Row(number, str(first), second, label))
    said = (f"{table.path.name}: {undecided} rows without an agreed label (-) are left out",) if undecided else ()
    return rows, said + table.bad.settle(len(rows))


def _text_problem(cell: object) -> str:
    if cell is None:
        return "empty text"
    return text_problem(cell.strip()) if isinstance(cell, str) else f"{cell!r:.40} where a text is expected"


def _example(table: Table, row: _Row, scale: Scale, train: Path | None) -> Example:
    assert row.label is not None
    value = scale.value(row.label)
    if value is None:
        known = f"does not occur in {train.name}" if train and scale.names else "is no number"
        raise DataFileError(table.path, f"label {row.label.text!r} {known}", row.row)
    return Example(row.first, row.second, value)


def _sentences(files: OwnFiles, table: Table, columns: Columns, said: tuple[str, ...]) -> Understood:
    """Texts without scores, for sentence embeddings."""
    if columns.second is not None and files.kind != "similarity":
        raise DataFileError(
            table.path,
            "pairs of texts without a column of labels: name it with --label, or learn sentence embeddings from "
            "their texts with --kind similarity",
            table.header,
        )
    if files.kind not in (None, "similarity"):
        raise DataFileError(
            table.path, f"no column of labels was found for {files.kind}: name it with --label", table.header
        )
    rows, told = _rows(table, replace(columns, label=None))
    if files.kind is None:
        told = (f"{table.path.name}: no labels, so sentence embeddings are learnt (kind similarity)", *told)
    if columns.label is not None:
        told = (f"{table.path.name}: the label of single texts is not used for similarity", *told)
    located: list[Located] = [
        (row.row, Example(text, None, math.nan)) for row in rows for text in (row.first, row.second) if text is not None
    ]
    dev, more = _dev_of_sentences(files)
    return Understood("similarity", (), Part(table.path, located), dev, (*said, *told, *more))


def _dev_of_sentences(files: OwnFiles) -> tuple[Part | None, tuple[str, ...]]:
    """Pairs with scores, or plain sentences as well."""
    if files.dev is None:
        return None, ()
    table, columns, said = find_columns(_table_of(files.dev, "similarity"), Wanted(), "similarity")
    if columns.second is None:
        rows, told = _rows(table, replace(columns, label=None))
        plain: list[Located] = [(row.row, Example(row.first, None, math.nan)) for row in rows]
        return Part(table.path, plain), (*table.remarks, *said, *told)
    if columns.label is None:
        raise DataFileError(table.path, "pairs of texts without a column of scores", table.header)
    rows, told = _rows(table, columns)
    scale, how = scale_of(table, [row.label for row in rows if row.label is not None], "regression", ())
    scored: list[Located] = [(row.row, _example(table, row, scale, None)) for row in rows]
    return Part(table.path, scored), (*table.remarks, *said, *told, *how)
