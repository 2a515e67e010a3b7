"""General text from a file: its lines, and what is wrong with others, by row."""

from __future__ import annotations

from pathlib import Path

import pytest

from data.errors import DataFileError, InputError
from search.distillation.corpus import read_corpus


def test_lines_are_texts_but_empty_ones_and_headings(tmp_path: Path) -> None:
    path = tmp_path / "wiki.txt"
    path.write_bytes("\ufeffÜnder a tree\r\n\n = Title = \n = = Part = = \n a = b , as said \n\n".encode())
    assert read_corpus(path) == ("Ünder a tree", "a = b , as said")


def test_of_a_long_file_lines_are_taken_evenly(tmp_path: Path) -> None:
    path = tmp_path / "long.txt"
    path.write_text("".join(f"line {number}\n" for number in range(50_000)))
    found = read_corpus(path)
    assert len(found) == len(set(found)) == 20_000
    assert found[0] == "line 0" and found[10_000] == "line 25000"


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"fine\nalso fine\n\xff\xfe broken\n", r"corpus\.txt:3: not UTF-8"),
        (b"fine\nzero \0 byte\n", r"corpus\.txt:2: a NUL character"),
        (b"fine\n" + b"x" * 10_000_000, r"corpus\.txt:2: a text of 10000000 characters"),
    ],
)
def test_a_line_that_is_no_text_is_named(content: bytes, problem: str, tmp_path: Path) -> None:
    path = tmp_path / "corpus.txt"
    path.write_bytes(content)
    with pytest.raises(DataFileError, match=problem):
        read_corpus(path)


def test_a_file_without_texts_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty.txt").write_text(" = Title = \n\n")
    with pytest.raises(InputError, match="holds 0 texts"):
        read_corpus(tmp_path / "empty.txt")
    for path in (tmp_path, tmp_path / "none.txt"):
        with pytest.raises(InputError, match="cannot read --corpus"):
            read_corpus(path)
