"""GLUE tasks from GLUE's own TSV layouts (tabs only, no quoting), or from the hub through `datasets`."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from data.errors import DataFileError, InputError
from data.tasks.examples import Example, Kind, Metric
from data.tasks.task import Task


@dataclass(frozen=True)
class Layout:
    """Where one GLUE task keeps its texts and labels.

    ``columns`` are (first, second or None, label): names found in the header, or positions where the file
    has no header. ``classes`` are the labels as they are written, in the order of ``label_names``; regression has
    neither, but a range.
    """

    folder: str
    columns: tuple[str | int, str | int | None, str | int]
    metric: Metric
    classes: tuple[str, ...]
    label_names: tuple[str, ...]
    hub_columns: tuple[str, str | None]
    width: int = 0  # number of columns of a file without a header
    similarity_range: tuple[float, float] = (0.0, 5.0)

    @property
    def kind(self) -> Kind:
        """Classification where there are classes."""
        return "classification" if self.classes else "regression"

    @property
    def has_header(self) -> bool:
        """True where columns are found by name."""
        return isinstance(self.columns[0], str)


_BINARY = ("0", "1")
_ENTAILED = ("entailment", "not_entailment")
_PAIR = ("sentence1", "sentence2")
_SINGLE = ("sentence", None)
LAYOUTS: Mapping[str, Layout] = {
    "mrpc": Layout(
        "MRPC", ("#1 String", "#2 String", "Quality"), "f1", _BINARY, ("not_equivalent", "equivalent"), _PAIR
    ),
    "stsb": Layout("STS-B", ("sentence1", "sentence2", "score"), "pearson_spearman", (), (), _PAIR),
    "rte": Layout("RTE", ("sentence1", "sentence2", "label"), "accuracy", _ENTAILED, _ENTAILED, _PAIR),
    "cola": Layout("CoLA", (3, None, 1), "matthews", _BINARY, ("unacceptable", "acceptable"), _SINGLE, width=4),
    "sst2": Layout("SST-2", ("sentence", None, "label"), "accuracy", _BINARY, ("negative", "positive"), _SINGLE),
}


def load_glue(name: str, data_dir: Path | None) -> Task:
    """Read one of ``LAYOUTS``.

    Raises:
        InputError: no such folder or file, or no ``data_dir`` and no hub.
        DataFileError: a malformed row, with file and line.
    """
    layout = LAYOUTS[name]
    if data_dir is None:
        train, dev = _from_hub(name, layout, "train"), _from_hub(name, layout, "validation")
    else:
        train, dev = (read_tsv(data_dir / layout.folder / f"{split}.tsv", layout) for split in ("train", "dev"))
    return Task(name, layout.kind, layout.label_names, layout.metric, train, dev)


def read_tsv(path: Path, layout: Layout) -> tuple[Example, ...]:
    """Read one TSV file; every row must be complete and labelled.

    Raises:
        InputError: the file cannot be opened.
        DataFileError: not UTF-8, a missing or surplus column, an unknown label, an empty text, or no rows.
    """
    lines = _lines(path)
    columns, width = _locate(path, layout, lines)
    examples = tuple(_parse(path, number, line, columns, width, layout) for number, line in lines)
    if not examples:
        raise DataFileError(path, "no examples")
    if layout.classes and len({example.label for example in examples}) < 2:
        raise DataFileError(path, "all examples have the same label")
    return examples


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    """Numbered lines; split at line feeds only, for texts may hold other separators of Unicode."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}") from error
    return _decoded(path, content.removeprefix(b"\xef\xbb\xbf"))


def _decoded(path: Path, content: bytes) -> Iterator[tuple[int, str]]:
    for number, raw in enumerate(content.split(b"\n"), start=1):
        try:
            line = raw.removesuffix(b"\r").decode("utf-8")
        except UnicodeDecodeError as error:
            raise DataFileError(path, "not UTF-8 text", number) from error
        if line.strip():
            yield number, line


def _locate(path: Path, layout: Layout, lines: Iterator[tuple[int, str]]) -> tuple[tuple[int, int | None, int], int]:
    """Positions of the (first, second, label) columns and the number of columns; consumes the header."""
    if not layout.has_header:
        first, second, label = layout.columns
        return (int(first), None if second is None else int(second), int(label)), layout.width
    number, line = next(lines, (1, ""))
    header = line.split("\t")
    missing = [name for name in layout.columns if name is not None and name not in header]
    if missing:
        raise DataFileError(path, f"header has no column {missing[0]!r}", number)
    first, second, label = layout.columns
    positions = (
        header.index(str(first)),
        None if second is None else header.index(str(second)),
        header.index(str(label)),
    )
    return positions, len(header)


def _parse(
    path: Path, number: int, line: str, columns: tuple[int, int | None, int], width: int, layout: Layout
) -> Example:
    cells = line.split("\t")
    if len(cells) != width:
        raise DataFileError(path, f"{len(cells)} columns, expected {width}", number)
    first, second, label = columns
    texts = [cells[first].strip(), None if second is None else cells[second].strip()]
    if "" in texts:
        raise DataFileError(path, "empty text", number)
    return Example(str(texts[0]), texts[1], _label(path, number, cells[label].strip(), layout))


def _label(path: Path, number: int, text: str, layout: Layout) -> float:
    if layout.classes:
        if text not in layout.classes:
            raise DataFileError(path, f"label {text!r} is none of {', '.join(layout.classes)}", number)
        return float(layout.classes.index(text))
    low, high = layout.similarity_range
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not low <= value <= high:
        raise DataFileError(path, f"score {text!r} is no number from {low:g} to {high:g}", number)
    return value


def _from_hub(name: str, layout: Layout, split: Literal["train", "validation"]) -> tuple[Example, ...]:
    try:
        from datasets import load_dataset
    except ImportError as error:
        raise InputError(
            f"task {name} needs --data-dir (a folder with {layout.folder}/train.tsv and dev.tsv), "
            "or the extra pocketbert[hub] and a connection"
        ) from error
    try:
        rows = load_dataset("nyu-mll/glue", name, split=split)
    except (OSError, ValueError, RuntimeError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(
            f"task {name}: the hub cannot be reached ({reason}); give --data-dir, a folder with "
            f"{layout.folder}/train.tsv and dev.tsv"
        ) from error
    first, second = layout.hub_columns
    return tuple(Example(row[first], None if second is None else row[second], float(row["label"])) for row in rows)
