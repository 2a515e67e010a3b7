"""Sentences of tagged words out of CoNLL files, columns of lists, and tables with a word a row."""

from __future__ import annotations

from data.errors import DataFileError
from data.tasks.examples import TaggedWords
from data.tasks.own.columns import Wanted
from data.tasks.own.files import Tagged, read_file
from data.tasks.own.parts import OwnFiles, Part, Understood
from data.tasks.own.table import Table
from data.tasks.own.tags import Sentence, read_lists, tag_names, to_iob2
from data.tasks.own.word_rows import read_word_rows, tagged_rows

_WORDS, _TAGS = ("tokens", "words"), ("ner_tags", "tags", "labels", "ner", "label")


def is_tagged(files: OwnFiles, source: Table | Tagged) -> bool:
    """Whether a file holds tagged words: by the kind asked for, or else by what it looks like."""
    if isinstance(source, Tagged) or files.kind == "tokens":
        return True
    return files.kind is None and (_list_columns(source, files.columns) is not None or tagged_rows(source))


def _list_columns(table: Table, wanted: Wanted) -> Wanted | None:
    """The columns of words and tags, where those named, or called so, hold lists."""
    lists = (
        {name for name, cell in zip(table.columns, table.rows[0][1], strict=True) if isinstance(cell, list)}
        if table.rows
        else set()
    )
    words = wanted.text or next((name for name in table.columns if name.lower() in _WORDS and name in lists), None)
    tags = wanted.label or next((name for tag in _TAGS for name in lists if name.lower() == tag), None)
    return Wanted(words, None, tags) if words in lists and tags in lists else None


def read_tagged(files: OwnFiles, source: Table | Tagged) -> Understood:
    """The task of such files.

    Raises:
        DataFileError: what cannot be learnt from, with file and row.
    """
    sentences, said = _tagged(files, source)
    names = tag_names(sentences)
    numbers = {name: number for number, name in enumerate(names)}
    train = Part(files.train, [(each.row, _tagged_words(each, numbers)) for each in sentences])
    if files.dev is None:
        return Understood("tokens", names, train, None, said)
    others, more = _tagged(files, read_file(files.dev, "tokens", files.columns))
    for each in others:
        unknown = [tag for tag in each.tags if tag not in numbers]
        if unknown:
            problem = f"entities of type {unknown[0][2:]!r} do not occur in {files.train.name}"
            raise DataFileError(files.dev, problem, each.row)
    dev = Part(files.dev, [(each.row, _tagged_words(each, numbers)) for each in others])
    return Understood("tokens", names, train, dev, (*said, *more))


def _tagged_words(sentence: Sentence, numbers: dict[str, int]) -> TaggedWords:
    return TaggedWords(sentence.words, tuple(numbers[tag] for tag in sentence.tags))


def _tagged(files: OwnFiles, source: Table | Tagged) -> tuple[list[Sentence], tuple[str, ...]]:
    """Sentences in IOB2, and what to say of how they were read."""
    if files.columns.text_pair is not None:
        raise DataFileError(source.path, f"tagged words have no second text: leave out {files.columns.text_pair!r}")
    if files.labels and not (isinstance(source, Table) and _list_columns(source, files.columns)):
        raise DataFileError(source.path, "names of labels are for tags that are numbers, in columns of lists")
    sentences, said = (source.sentences, source.remarks) if isinstance(source, Tagged) else _of_table(files, source)
    converted, told = to_iob2(source.path, sentences)
    return converted, (*said, *told)


def _of_table(files: OwnFiles, source: Table) -> tuple[list[Sentence], tuple[str, ...]]:
    columns = _list_columns(source, files.columns)
    if columns is None:
        found = read_word_rows(source)
        if found is not None:
            return found
        problem = (
            "no columns of lists called tokens and tags (name them: --text, --label), nor of word, tag and sentence"
        )
        raise DataFileError(source.path, problem, source.header)
    words, tags = (source.columns.index(str(name)) for name in (columns.text, columns.label))
    names = files.labels or source.class_names.get(str(columns.label), ())
    rows: list[Sentence] = []
    for number, cells in source.rows:
        sentence = read_lists(number, cells[words], cells[tags], names)
        if isinstance(sentence, str):
            source.bad.add(number, sentence)
        else:
            rows.append(sentence)
    said = (f"{source.path.name}: words from {columns.text!r}, tags from {columns.label!r}",)
    return rows, (*said, *source.bad.settle(len(rows)))
