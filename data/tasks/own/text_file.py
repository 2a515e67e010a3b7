"""Files of text as they come: what is no UTF-8 text is refused, with the reason and what to do."""

from __future__ import annotations

from pathlib import Path

from data.errors import DataFileError, InputError

# A text of this length is a book; a longer cell is a quotation mark left open, or another file's content.
MOST_CHARACTERS = 1_000_000
_PARQUET = b"PAR1"
_PACKED = {b"\x1f\x8b": "gzip", b"PK\x03\x04": "zip", b"BZh": "bzip2", b"\xfd7zXZ": "xz", b"\x28\xb5\x2f\xfd": "zstd"}
_UTF16 = (b"\xff\xfe", b"\xfe\xff")
_WORKBOOKS = {".xlsx", ".xls", ".ods"}


def read_bytes(path: Path) -> bytes:
    """The content of a file.

    Raises:
        InputError: it is a folder, is not there, or cannot be read.
        DataFileError: it is empty, packed, or a workbook.
    """
    try:
        content = path.read_bytes()
    except IsADirectoryError as error:
        raise InputError(f"{path} is a folder: name a file in it") from error
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}") from error
    if not content:
        raise DataFileError(path, "the file is empty")
    if path.suffix.lower() in _WORKBOOKS:
        raise DataFileError(path, "a workbook: save its sheet as CSV (UTF-8)")
    for mark, name in _PACKED.items():
        if content.startswith(mark):
            raise DataFileError(path, f"packed with {name}: unpack it first")
    return content


def is_parquet(content: bytes) -> bool:
    """Whether this is a Parquet file, whatever it is called."""
    return content.startswith(_PARQUET)


def decode(path: Path, content: bytes) -> str:
    """UTF-8 text, without a byte order mark.

    Raises:
        DataFileError: UTF-16, another encoding, or bytes that no text has; with the line.
    """
    if content.startswith(_UTF16):
        raise DataFileError(path, "UTF-16 text: save it as UTF-8 (iconv -f UTF-16 -t UTF-8)")
    if b"\0" in content:
        line = content[: content.index(b"\0")].count(b"\n") + 1
        raise DataFileError(path, "a NUL byte: no text in UTF-8 has any (UTF-16, or a binary file?)", line)
    try:
        return content.removeprefix(b"\xef\xbb\xbf").decode("utf-8")
    except UnicodeDecodeError as error:
        where = error.start + len(content) - len(error.object)
        problem = (
            f"not UTF-8 text (byte 0x{content[where]:02x}): save it as UTF-8 (from Latin-1: iconv -f LATIN1 -t UTF-8)"
        )
        raise DataFileError(path, problem, content[:where].count(b"\n") + 1) from error


def lines_of(text: str) -> list[tuple[int, str]]:
    """Numbered lines; ended by line feeds only (and a carriage return before), for texts hold Unicode's separators."""
    return [(number, line.removesuffix("\r")) for number, line in enumerate(text.split("\n"), start=1)]


def text_problem(text: str) -> str:
    """Why this cannot be a text to learn from, or ""."""
    if not text:
        return "empty text"
    if len(text) > MOST_CHARACTERS:
        return f"a text of {len(text)} characters, {MOST_CHARACTERS} at most"
    if "\0" in text:
        return "a NUL character in the text"
    try:
        text.encode()
    except UnicodeEncodeError:
        return "half of a surrogate pair in the text"
    return ""
