"""CoNLL files: a word a line with its tag, sentences between blank lines."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from data.errors import DataFileError
from data.tasks.bad_rows import BadRows
from data.tasks.own.tags import OUTSIDE, Sentence, is_tag
from data.tasks.own.text_file import lines_of, text_problem

_DOCUMENT = "-DOCSTART-"
_LOOK = 2000  # lines, to recognise a file
_MOSTLY = 0.95
Line = tuple[int, list[str]]


@dataclass(frozen=True)
class Places:
    """Columns of the word and the tag, from 0, or from the end below 0; None where nobody named them."""

    word: int | None = None
    tag: int | None = None


def looks_tagged(text: str) -> bool:
    """Whether nearly all lines end in a tag of an entity, or in O, after a word."""
    lines = [line for _, line in lines_of(text)[:_LOOK] if line.strip() and not line.startswith((_DOCUMENT, "#"))]
    tags = [cells[-1] for line in lines if len(cells := _cells(line)) > 1]
    tagged = [tag for tag in tags if is_tag(tag)]
    return len(tagged) >= _MOSTLY * len(lines) and any(tag != OUTSIDE for tag in tagged)


def _cells(line: str) -> list[str]:
    """Columns of a line: by tabs where there are any, else by blanks; other separators of Unicode belong to words."""
    cells = line.split("\t") if "\t" in line else re.split(r" +", line.strip(" "))
    return [cell.strip() for cell in cells]


def read_conll(path: Path, text: str, places: Places) -> tuple[list[Sentence], tuple[str, ...]]:
    """All sentences, and what to say of them.

    Words are in the first column, or the second where the first one numbers them; tags in the last. Document marks,
    comments and a header are passed over.

    Raises:
        DataFileError: lines without a tag, or a word that is none; with the line.
    """
    tag = -1 if places.tag is None else places.tag
    blocks, comments = _blocks(text, tag)
    said = (f"{path.name}: {comments} lines of comments are passed over",) if comments else ()
    if blocks and _is_header(blocks, tag):
        said = (*said, f"{path.name}: line {blocks[0][0][0]} is taken as a header")
        blocks[0] = blocks[0][1:]
    word = places.word
    if word is None:
        word = 1 if _numbered(blocks) else 0
        said = (*said, f"{path.name}: the first column numbers the words, which are in the second") if word else said
    said = (*said, *(() if places.tag is not None else _other_tags(path, blocks, word)))
    bad = BadRows(path)
    sentences = [found for block in blocks if block and (found := _sentence(block, word, tag, bad))]
    return sentences, (*said, *bad.settle(len(sentences)))


def _blocks(text: str, tag: int) -> tuple[list[list[Line]], int]:
    """Lines between blank ones, and the number of comments."""
    blocks: list[list[Line]] = [[]]
    comments = 0
    for number, line in lines_of(text):
        cells = _cells(line)
        if not line.strip() or cells[0] == _DOCUMENT:
            blocks.append([])
        elif line.startswith("#") and not is_tag(_at(cells, tag)):
            comments += 1
        else:
            blocks[-1].append((number, cells))
    return [block for block in blocks if block], comments


def _at(cells: Sequence[str], place: int) -> str:
    """The cell there, "" where the line has fewer columns."""
    return cells[place] if -len(cells) <= place < len(cells) else ""


def _is_header(blocks: list[list[Line]], tag: int) -> bool:
    """Whether the very first line alone has no tag."""
    tags = [_at(cells, tag) for block in blocks for _, cells in block]
    return len(tags) > 1 and len(blocks[0][0][1]) > 1 and not is_tag(tags[0]) and all(map(is_tag, tags[1:]))


def _numbered(blocks: list[list[Line]]) -> bool:
    """Whether each sentence counts its words from 1 (or from 0) in the first of three columns at least."""
    rows = [[cells for _, cells in block] for block in blocks]
    if not rows or any(len(cells) < 3 for block in rows for cells in block):
        return False
    counted = [[cells[0] for cells in block] for block in rows]
    return any(
        all(column == [str(number) for number in range(first, first + len(column))] for column in counted)
        for first in (0, 1)
    )


def _other_tags(path: Path, blocks: list[list[Line]], word: int) -> tuple[str, ...]:
    """What to say where more columns than the last hold tags."""
    rows = [cells for block in blocks for _, cells in block]
    width = min((len(cells) for cells in rows), default=0)
    tagged = [
        place
        for place in range(word + 1, width - 1)
        if all(is_tag(cells[place]) for cells in rows) and any(cells[place] != OUTSIDE for cells in rows)
    ]
    if not tagged:
        return ()
    others = " and ".join(str(place + 1) for place in tagged)
    return (f"{path.name}: tags from the last column; there are others in column {others} (--label {tagged[0] + 1})",)


def _sentence(block: Sequence[Line], word: int, tag: int, bad: BadRows) -> Sentence | None:
    """The lines of one sentence, all good, as one."""
    words, tags = [], []
    for number, cells in block:
        short = len(cells) < 2 or not _at(cells, word) or not _at(cells, tag)
        problem = "a word without a tag" if short else text_problem(_at(cells, word))
        if problem:
            bad.add(number, problem)
            return None
        words.append(_at(cells, word))
        tags.append(_at(cells, tag))
    return Sentence(block[0][0], tuple(words), tuple(tags))


def places_of(path: Path, word: str | None, tag: str | None) -> Places:
    """Columns by the numbers that the user gives, from 1.

    Raises:
        DataFileError: they are no numbers.
    """
    for name in (word, tag):
        if name is not None and not (name.isdecimal() and int(name) > 0):
            raise DataFileError(path, f"no column {name!r}: those of a CoNLL file are numbered, --text 1 --label 4")
    return Places(*(None if name is None else int(name) - 1 for name in (word, tag)))
