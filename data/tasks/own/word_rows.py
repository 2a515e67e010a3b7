"""Tables with a word a row: its tag, and the number of its sentence."""

from __future__ import annotations

import re
from itertools import groupby

from data.tasks.own.columns import plain_name
from data.tasks.own.table import Row, Table
from data.tasks.own.tags import OUTSIDE, Sentence, is_tag
from data.tasks.own.text_file import text_problem

_WORD = {"word", "words", "token", "tokens"}
_TAG = {"tag", "tags", "nertag", "nertags", "ner", "label", "labels"}
_SENTENCE = {"sentence", "sentenceid", "sentenceno", "sentencenumber", "sentenceidx", "sentid", "sentidx", "sent"}


def has_word_rows(text: str) -> bool:
    """Whether the first line names columns of words, of tags, and of sentences."""
    return _places(re.split(r"[,;\t|]", text.partition("\n")[0])) is not None


def _places(columns: list[str]) -> tuple[int, int, int] | None:
    """(word, tag, sentence), where each is there once."""
    names = [plain_name(name) for name in columns]
    found = [[index for index, name in enumerate(names) if name in known] for known in (_WORD, _TAG, _SENTENCE)]
    return (found[0][0], found[1][0], found[2][0]) if all(len(each) == 1 for each in found) else None


def tagged_rows(table: Table) -> bool:
    """Whether it is such a table, and its tags are those of entities."""
    places = _places(list(table.columns))
    tags = {str(cells[places[1]]).strip() for _, cells in table.rows} if places else set()
    return all(map(is_tag, tags)) and bool(tags - {OUTSIDE})


def read_word_rows(table: Table) -> tuple[list[Sentence], tuple[str, ...]] | None:
    """The sentences of such a table and what to say of it, or None where it is no such table.

    Rows follow one another in a sentence as long as its number is the same, or left empty.

    Raises:
        DataFileError: too many rows without a word or tag.
    """
    places = _places(list(table.columns))
    if places is None:
        return None
    word, tag, sentence = places
    numbered: list[tuple[str, Row]] = []
    current = ""
    for row in table.rows:
        current = str(row[1][sentence] or "").strip() or current
        numbered.append((current, row))
    sentences = []
    for _, group in groupby(numbered, key=lambda each: each[0]):
        rows = [(number, str(cells[word]).strip(), str(cells[tag]).strip()) for _, (number, cells) in group]
        problems = [(number, text_problem(text) or ("" if mark else "no tag")) for number, text, mark in rows]
        wrong = next((each for each in problems if each[1]), None)
        if wrong is not None:
            table.bad.add(*wrong)
        else:
            sentences.append(Sentence(rows[0][0], *zip(*((text, mark) for _, text, mark in rows), strict=True)))
    names = [repr(table.columns[place]) for place in places]
    told = f"{table.path.name}: a word a row: words from {names[0]}, tags from {names[1]}, sentences by {names[2]}"
    return sentences, (*table.remarks, told, *table.bad.settle(len(sentences)))
