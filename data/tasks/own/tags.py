"""Tags of named entities: every scheme of them becomes IOB2."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from data.errors import DataFileError
from data.tasks.own.table import Cell
from data.tasks.own.text_file import text_problem

OUTSIDE = "O"
_TAG = re.compile(r"O|[BIESLUM]-\S+")
_STARTS, _ENDS, _WHOLE = set("BSU"), set("ESLU"), set("SU")


@dataclass(frozen=True)
class Sentence:
    """Words with their tags as the file has them; ``row`` is the number of its first line."""

    row: int
    words: tuple[str, ...]
    tags: tuple[str, ...]


def is_tag(text: str) -> bool:
    """Whether this is O, or a type with a prefix."""
    return _TAG.fullmatch(text) is not None


def read_lists(row: int, words: Cell, tags: Cell, names: Sequence[str]) -> Sentence | str:
    """The sentence of a row that holds two lists, or what is wrong with it."""
    if not (isinstance(words, list) and isinstance(tags, list)):
        return "a list of words and a list of tags are expected"
    if len(words) != len(tags) or not words:
        return f"{len(words)} words and {len(tags)} tags"
    for word in words:
        problem = text_problem(word.strip()) if isinstance(word, str) else "a word that is no text"
        if problem:
            return problem
    spelled = [_spelled(tag, names) for tag in tags]
    if names and not set(spelled) <= {*names, None}:
        return f"tags {', '.join(str(tag) for tag in tags)} are not all among the names given, {', '.join(names)}"
    if None in spelled:
        return 'a tag that is no text; where tags are numbers, task.toml names them: labels = ["O", "B-PER", ...]'
    return Sentence(row, tuple(words), tuple(str(tag) for tag in spelled))


def _spelled(tag: Cell, names: Sequence[str]) -> str | None:
    if isinstance(tag, int) and not isinstance(tag, bool):
        return names[tag] if 0 <= tag < len(names) else None
    return tag.strip() if isinstance(tag, str) and tag.strip() else None


def to_iob2(path: Path, sentences: Sequence[Sentence]) -> tuple[list[Sentence], tuple[str, ...]]:
    """The sentences with every entity's first word tagged B- and the others I-, and what to say of it.

    Raises:
        DataFileError: tags that name no entities, with the line of their sentence.
    """
    prefixes = {tag[0] for sentence in sentences for tag in sentence.tags if is_tag(tag) and tag != OUTSIDE}
    if not prefixes:
        return _without_prefixes(path, sentences)
    for sentence in sentences:
        for tag in sentence.tags:
            if not is_tag(tag):
                raise DataFileError(path, f"tag {tag!r} is neither O nor B-..., I-... and the like", sentence.row)
    converted, loose, needless = [], 0, 0
    for sentence in sentences:
        tags, begun, separating = _converted(sentence.tags)
        converted.append(Sentence(sentence.row, sentence.words, tags))
        loose, needless = loose + begun, needless + separating
    return converted, _scheme(path, prefixes, loose, needless)


def _converted(tags: Sequence[str]) -> tuple[tuple[str, ...], int, int]:
    """Tags in IOB2; how many entities begin with I- or E-, and how many with B- where nothing of their type ended."""
    result: list[str] = []
    loose = needless = 0
    before, kind_before = OUTSIDE, ""
    for tag in tags:
        prefix, _, kind = tag.partition("-")
        if prefix == OUTSIDE:
            result.append(OUTSIDE)
        else:
            apart = kind != kind_before or before in _ENDS
            starts = prefix in _STARTS or apart
            loose += starts and prefix not in _STARTS
            needless += prefix == "B" and kind != kind_before
            result.append(f"{'B' if starts else 'I'}-{kind}")
        before, kind_before = prefix, kind
    return tuple(result), loose, needless


def _scheme(path: Path, prefixes: set[str], loose: int, needless: int) -> tuple[str, ...]:
    if prefixes & {"E", "S", "L", "U", "M"}:
        name = "BILOU" if prefixes & {"L", "U"} else "BIOES"
        said: tuple[str, ...] = (f"{path.name}: tags are {name}, converted to IOB2",)
    elif loose and not needless:
        return (f"{path.name}: tags are IOB1, converted to IOB2",)
    else:
        said = ()
    if loose:
        said += (f"{path.name}: {loose} entities begin with I- (or an ending) instead of B-: read as beginnings",)
    return said


def _without_prefixes(path: Path, sentences: Sequence[Sentence]) -> tuple[list[Sentence], tuple[str, ...]]:
    """Tags such as PER and O: neighbours of one type are one entity."""
    if not any(OUTSIDE in sentence.tags for sentence in sentences):
        raise DataFileError(path, "tags without O name no entities (O, B-PER, I-PER, ...)", sentences[0].row)
    if all(tag == OUTSIDE for sentence in sentences for tag in sentence.tags):
        raise DataFileError(path, "every tag is O: there is no entity to learn")
    result = []
    for sentence in sentences:
        prefixed = [tag if tag == OUTSIDE else f"I-{tag}" for tag in sentence.tags]
        result.append(Sentence(sentence.row, sentence.words, _converted(prefixed)[0]))
    return result, (f"{path.name}: tags have no prefixes: neighbours of one type are taken as one entity (IOB2)",)


def tag_names(sentences: Sequence[Sentence]) -> tuple[str, ...]:
    """O, then B- and I- of each type in order."""
    kinds = sorted({tag[2:] for sentence in sentences for tag in sentence.tags if tag != OUTSIDE})
    return (OUTSIDE, *(f"{prefix}-{kind}" for kind in kinds for prefix in "BI"))
