"""Reads a file in whatever format it is: a table, or sentences of tagged words."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from data.errors import DataFileError, InputError
from data.tasks.bad_rows import BadRows
from data.tasks.examples import Kind
from data.tasks.own.columns import Wanted
from data.tasks.own.conll import looks_tagged, places_of, read_conll
from data.tasks.own.delimited import read_delimited
from data.tasks.own.records import looks_json, read_json, read_parquet
from data.tasks.own.table import Table
from data.tasks.own.tags import Sentence
from data.tasks.own.text_file import decode, is_parquet, lines_of, read_bytes
from data.tasks.own.word_rows import has_word_rows

_JSON = {".jsonl", ".ndjson", ".json"}
_TABLES = {".csv", ".tsv", ".tab"}


@dataclass(frozen=True)
class Tagged:
    """Sentences of a CoNLL file, with the tags as they stand there."""

    path: Path
    sentences: list[Sentence]
    remarks: tuple[str, ...]


def read_file(path: Path, kind: Kind | None, wanted: Wanted) -> Table | Tagged:
    """What a file holds, by its name's ending and its content; ``kind`` decides where both leave it open.

    Of ``wanted`` a CoNLL file needs the numbers of its columns; those of tables are looked for later.

    Raises:
        InputError: it cannot be read, or nothing tells how.
        DataFileError: its content is not what it should be, with the line where there is one.
    """
    content = read_bytes(path)
    suffix = path.suffix.lower()
    if is_parquet(content):
        return read_parquet(path, content)
    if suffix == ".parquet":
        raise DataFileError(path, "not a Parquet file")
    text = decode(path, content)
    if not text.strip():
        raise DataFileError(path, "the file is empty")
    if suffix in _JSON or looks_json(text):
        return read_json(path, text)
    if not has_word_rows(text) and (kind == "tokens" or (kind is None and looks_tagged(text))):
        return Tagged(path, *read_conll(path, text, places_of(path, wanted.text, wanted.label)))
    if suffix in _TABLES or "\t" in text.lstrip().partition("\n")[0]:
        return read_delimited(path, text)
    return _plain_lines(path, text, kind)


def _plain_lines(path: Path, text: str, kind: Kind | None) -> Table:
    if kind != "similarity":
        raise InputError(
            f"{path}: how to read it is not known: call it .csv, .tsv, .jsonl or .parquet, or say --kind tokens "
            "(a word and its tag a line), or --kind similarity (a sentence a line)"
        )
    rows = [(number, (line,)) for number, line in lines_of(text) if line.strip()]
    return Table(path, ("text",), rows, BadRows(path))
