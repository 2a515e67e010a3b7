"""General text to learn from beside the task's own: a file with one text a line."""

from __future__ import annotations

import re
from pathlib import Path

from data.errors import DataFileError, InputError
from data.tasks.own.text_file import text_problem

_MOST_LINES = 20_000  # more than any student sees
_HEADING = re.compile(r"\s*=.*=\s*")  # as WikiText has them: " = Title = "


def read_corpus(path: Path) -> tuple[str, ...]:
    """The texts of a UTF-8 file, one a line, without empty lines and WikiText's headings.

    Of a file with more than 20,000, so many are taken, evenly over the file.

    Raises:
        InputError: the file cannot be read, or holds no text.
        DataFileError: a line is not UTF-8, or no text that could be learnt from (too long, NUL characters).
    """
    lines = []
    try:
        with path.open("rb") as file:
            for row, raw in enumerate(file, 1):
                line = _decoded(path, row, raw)
                if line and not _HEADING.fullmatch(line):
                    lines.append(line)
    except OSError as error:
        raise InputError(f"cannot read --corpus {path}: {error.strerror or error}") from error
    if len(lines) < 2:
        raise InputError(f"--corpus {path} holds {len(lines)} texts: two at least are needed, one a line")
    step = max(1.0, len(lines) / _MOST_LINES)
    return tuple(lines[int(number * step)] for number in range(min(len(lines), _MOST_LINES)))


def _decoded(path: Path, row: int, raw: bytes) -> str:
    try:
        line = raw.decode("utf-8-sig" if row == 1 else "utf-8").strip()
    except UnicodeDecodeError as error:
        raise DataFileError(path, f"not UTF-8 ({error.reason}): save the text as UTF-8", row) from error
    problem = text_problem(line) if line else ""
    if problem:
        raise DataFileError(path, problem, row)
    return line
