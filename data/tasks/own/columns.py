"""Which columns of a table hold the texts and the label: as named, or guessed from the header and said."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches

from data.errors import DataFileError
from data.tasks.examples import Kind
from data.tasks.own.table import Table

# All in the spelling of plain_name; the first that is there is taken.
_PAIRS = (
    ("sentence1", "sentence2"),
    ("premise", "hypothesis"),
    ("question1", "question2"),
    ("question", "sentence"),
    ("question", "answer"),
    ("text1", "text2"),
    ("texta", "textb"),
    ("sentencea", "sentenceb"),
    ("string1", "string2"),
    ("1string", "2string"),
    ("s1", "s2"),
    ("query", "passage"),
    ("query", "document"),
    ("text", "textpair"),
    ("anchor", "positive"),
)
_TEXTS = (
    *("text", "sentence", "review", "content", "body", "comment", "tweet", "message", "question", "utterance", "query"),
    *("document", "reviewtext", "reviewbody", "description", "abstract", "headline", "title", "phrase", "sms", "post"),
    *("premise", "input", "tokens", "words"),
)
_LABELS = (
    *(
        "labeltext",
        "labelname",
        "goldlabel",
        "label",
        "labels",
        "class",
        "category",
        "target",
        "score",
        "sentiment",
        "classindex",
    ),
    *("similarity", "similarityscore", "relatednessscore", "quality", "isduplicate", "rating", "ratings", "stars"),
    *("intent", "topic", "emotion", "polarity", "toxic", "spam", "y", "tag", "tags", "nertags", "ner"),
)
_KNOWN = {*_TEXTS, *_LABELS, *(name for pair in _PAIRS for name in pair)}
_WORDS_OF_A_NAME = 3
_NUMBERS = ("id", "idx", "index", "unnamed0", "guid", "uid", "rowid", "no", "nr")


@dataclass(frozen=True)
class Wanted:
    """Columns as the user named them, or numbered them from 1; None is guessed."""

    text: str | None = None
    text_pair: str | None = None
    label: str | None = None


@dataclass(frozen=True)
class Columns:
    """Positions in a table's rows; ``second`` and ``label`` are None where there are none."""

    text: int
    second: int | None
    label: int | None

    def names(self, table: Table) -> Wanted:
        """What to look for in another file of the same task."""
        second, label = (None if each is None else table.columns[each] for each in (self.second, self.label))
        return Wanted(table.columns[self.text], second, label)


def find_columns(table: Table, wanted: Wanted, kind: Kind | None) -> tuple[Table, Columns, tuple[str, ...]]:
    """The table (without a header where it has none), its columns, and what to say of them.

    Raises:
        DataFileError: a column is not there, or the header tells nothing.
    """
    said: tuple[str, ...] = ()
    if table.header is not None and _by_number(table, wanted):
        table = table.without_header()
        said = (f"{table.path.name}: no header is expected, since columns are numbered: the first line is an example",)
    elif table.header is not None:
        _check_header(table)
    text, second = _texts(table, wanted)
    label = _label(table, wanted, {text, second}, kind)
    columns = Columns(text, second, label)
    _check_different(table, columns)
    return table, columns, said + _told(table, columns, wanted)


def same_columns(table: Table, wanted: Wanted, numbered: bool) -> tuple[Table, Columns]:
    """The columns that train has, found in dev's table by their names (or numbers, where ``numbered``).

    Raises:
        DataFileError: one is not there.
    """
    table = table.without_header() if numbered else table
    second, label = (None if name is None else _position(table, name) for name in (wanted.text_pair, wanted.label))
    return table, Columns(_position(table, wanted.text or ""), second, label)


def _by_number(table: Table, wanted: Wanted) -> bool:
    """Whether columns are numbered, and the first line names none: neither the texts', nor all by numbers."""
    named = [name for name in (wanted.text, wanted.text_pair, wanted.label) if name is not None]
    if not named or not all(name.isdecimal() for name in named) or all(name.isdecimal() for name in table.columns):
        return False
    text = int(wanted.text or wanted.text_pair or 0)
    return not (0 < text <= len(table.columns) and plain_name(table.columns[text - 1]) in _KNOWN)


def _check_header(table: Table) -> None:
    twice = [name for name, count in Counter(table.columns).items() if name and count > 1]
    if twice:
        raise DataFileError(table.path, f"two columns are called {twice[0]!r}: rename one", table.header)


def _check_different(table: Table, columns: Columns) -> None:
    used = [index for index in (columns.text, columns.second, columns.label) if index is not None]
    twice = [table.columns[index] for index, count in Counter(used).items() if count > 1]
    if twice:
        raise DataFileError(
            table.path, f"column {twice[0]!r} cannot be two of text, second text and label", table.header
        )


def plain_name(name: str) -> str:
    """How names are compared: letters and digits, without regard to capitals."""
    return "".join(character for character in name.casefold() if character.isalnum())


def _position(table: Table, name: str) -> int:
    plain = [plain_name(each) for each in table.columns]
    if name in table.columns:
        return table.columns.index(name)
    if plain.count(plain_name(name)) == 1 and plain_name(name):
        return plain.index(plain_name(name))
    if name.isdecimal() and 1 <= int(name) <= len(table.columns):
        return int(name) - 1
    near = get_close_matches(name, table.columns, n=1)
    hint = f", did you mean {near[0]!r}?" if near else ""
    raise DataFileError(table.path, f"no column {name!r}{hint} (columns: {_listed(table.columns)})", table.header)


def _listed(names: Sequence[str]) -> str:
    shown = [repr(name if len(name) <= 30 else f"{name[:30]}...") for name in names[:12]]
    return ", ".join([*shown, *(["..."] if len(names) > len(shown) else [])])


def _texts(table: Table, wanted: Wanted) -> tuple[int, int | None]:
    if wanted.text is not None:
        second = None if wanted.text_pair is None else _position(table, wanted.text_pair)
        return _position(table, wanted.text), second
    plain = [plain_name(name) for name in table.columns]
    taken = {_position(table, name) for name in (wanted.text_pair, wanted.label) if name is not None}
    if wanted.text_pair is not None:
        second = _position(table, wanted.text_pair)
        partners = [first for first, other in _PAIRS if other == plain[second] and first in plain]
        first = plain.index(partners[0]) if partners else _single(table, plain, taken)
        return first, second
    for first_name, second_name in _PAIRS:
        if first_name in plain and second_name in plain:
            return plain.index(first_name), plain.index(second_name)
    return _single(table, plain, taken), None


def _single(table: Table, plain: list[str], taken: set[int]) -> int:
    known = _called(table, _TEXTS, taken)
    if known is not None:
        return known
    left = [
        index
        for index in _left_over(plain, taken)
        if plain[index] not in _LABELS and len(table.columns[index].split()) <= _WORDS_OF_A_NAME
    ]
    # A header names its columns; a single column that is left is the text only where another was recognised.
    if len(left) == 1 and len(plain) > 1 and (taken or any(name in _KNOWN for name in plain)):
        return left[0]
    raise DataFileError(
        table.path,
        f"no column is called text, sentence, review or the like (columns: {_listed(table.columns)}): "
        "name them with --text and --label; in a file without a header number them, --text 1 --label 2",
        table.header,
    )


def _called(table: Table, names: Sequence[str], taken: set[int]) -> int | None:
    """The column with the first of these names, or else the only one whose last word is one of them."""
    plain = [plain_name(name) for name in table.columns]
    for name in names:
        if name in plain and plain.index(name) not in taken:
            return plain.index(name)
    last = [re.split(r"[\W_]+|(?<=[a-z])(?=[A-Z])", name.strip())[-1].lower() for name in table.columns]
    ending = [index for index, word in enumerate(last) if word in names and index not in taken]
    short = [index for index in ending if len(table.columns[index].split()) <= _WORDS_OF_A_NAME]
    return short[0] if len(short) == 1 else None


def _left_over(plain: list[str], taken: set[int]) -> list[int]:
    return [index for index, name in enumerate(plain) if name and index not in taken and name not in _NUMBERS]


def _label(table: Table, wanted: Wanted, texts: set[int | None], kind: Kind | None) -> int | None:
    if wanted.label is not None:
        return _position(table, wanted.label)
    plain = [plain_name(name) for name in table.columns]
    known = _called(table, _LABELS, {index for index in texts if index is not None})
    if known is not None:
        return known
    left = _left_over(plain, {index for index in texts if index is not None})
    if len(left) > 1 and not (kind == "similarity" and None in texts):
        raise DataFileError(
            table.path,
            f"which column is the label? name it with --label (columns: {_listed(table.columns)}); sentence embeddings "
            "need none: --kind similarity",
            table.header,
        )
    return left[0] if len(left) == 1 else None


def _told(table: Table, columns: Columns, wanted: Wanted) -> tuple[str, ...]:
    """What was guessed, and which columns are not read."""
    names = table.columns
    used = {columns.text, columns.second, columns.label}
    unused = [name for index, name in enumerate(names) if index not in used and name]
    if wanted.text is not None and (wanted.label is not None or columns.label is None):
        return ()
    texts = [repr(names[index]) for index in (columns.text, columns.second) if index is not None]
    label = "no label" if columns.label is None else f"label from {names[columns.label]!r}"
    left = f"; not read: {_listed(unused)}" if unused else ""
    return (f"{table.path.name}: text from {' and '.join(texts)}, {label}{left}",)
