"""GLUE tasks from GLUE's own TSV layouts (tabs only, no quoting), or from the hub through `datasets`."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from data.errors import DataFileError, InputError, first_line
from data.tasks.bad_rows import BadRows
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
    dev: str = "dev.tsv"
    hub: tuple[str, str] = ("", "validation")  # the task's name there, where it is another, and dev's split
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
_NLI = ("entailment", "neutral", "contradiction")
_MNLI = Layout(
    "MNLI",
    ("sentence1", "sentence2", "gold_label"),
    "accuracy",
    _NLI,
    _NLI,
    ("premise", "hypothesis"),
    dev="dev_matched.tsv",
    hub=("mnli", "validation_matched"),
)
_UNDECIDED = "-"  # in place of a label on which the annotators did not agree
LAYOUTS: Mapping[str, Layout] = {
    "mrpc": Layout(
        "MRPC", ("#1 String", "#2 String", "Quality"), "f1", _BINARY, ("not_equivalent", "equivalent"), _PAIR
    ),
    "stsb": Layout("STS-B", ("sentence1", "sentence2", "score"), "pearson_spearman", (), (), _PAIR),
    "rte": Layout("RTE", ("sentence1", "sentence2", "label"), "accuracy", _ENTAILED, _ENTAILED, _PAIR),
    "cola": Layout("CoLA", (3, None, 1), "matthews", _BINARY, ("unacceptable", "acceptable"), _SINGLE, width=4),
    "sst2": Layout("SST-2", ("sentence", None, "label"), "accuracy", _BINARY, ("negative", "positive"), _SINGLE),
    "qqp": Layout(
        "QQP",
        ("question1", "question2", "is_duplicate"),
        "f1",
        _BINARY,
        ("not_duplicate", "duplicate"),
        ("question1", "question2"),
    ),
    "qnli": Layout(
        "QNLI", ("question", "sentence", "label"), "accuracy", _ENTAILED, _ENTAILED, ("question", "sentence")
    ),
    "mnli": _MNLI,
    # The same training texts, judged on genres that they do not have.
    "mnli-mm": replace(_MNLI, dev="dev_mismatched.tsv", hub=("mnli", "validation_mismatched")),
}


def load_glue(name: str, data_dir: Path | None) -> Task:
    """Read one of ``LAYOUTS``.

    Raises:
        InputError: no such folder or file, or no ``data_dir`` and no hub.
        DataFileError: a malformed row, with file and line.
    """
    layout = LAYOUTS[name]
    if data_dir is None:
        train, dev = _from_hub(name, layout, "train"), _from_hub(name, layout, layout.hub[1])
    else:
        train, dev = (read_tsv(data_dir / layout.folder / file, layout) for file in ("train.tsv", layout.dev))
    return Task(name, layout.kind, layout.label_names, layout.metric, train[0], dev[0], (*train[1], *dev[1]))


def read_tsv(path: Path, layout: Layout) -> tuple[tuple[Example, ...], tuple[str, ...]]:
    """Examples of one TSV file, and what to say of rows that are left out.

    Raises:
        InputError: the file cannot be opened.
        DataFileError: not UTF-8; or, in more than a hundredth of the rows, a missing or surplus column, an unknown
            label or an empty text; or no rows.
    """
    lines = _lines(path)
    columns, width = _locate(path, layout, lines)
    bad = BadRows(path)
    examples: list[Example] = []
    undecided = 0
    for number, line in lines:
        found = _parse(line.split("\t"), columns, width, layout)
        if isinstance(found, Example):
            examples.append(found)
        elif found == _UNDECIDED:
            undecided += 1
        else:
            bad.add(number, found)
    told = (f"{path.name}: {undecided} rows without an agreed label ({_UNDECIDED}) are left out",) if undecided else ()
    said = (*told, *bad.settle(len(examples)))
    if layout.classes and len({example.label for example in examples}) < 2:
        raise DataFileError(path, "all examples have the same label")
    return tuple(examples), said


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


def _parse(cells: list[str], columns: tuple[int, int | None, int], width: int, layout: Layout) -> Example | str:
    """The example of a row, or what is wrong with it."""
    if len(cells) != width:
        return f"{len(cells)} columns, expected {width}"
    first, second, label = columns
    texts = [cells[first].strip(), None if second is None else cells[second].strip()]
    if "" in texts:
        return "empty text"
    value = _label(cells[label].strip(), layout)
    return Example(str(texts[0]), texts[1], value) if isinstance(value, float) else value


def _label(text: str, layout: Layout) -> float | str:
    if layout.classes:
        if text in layout.classes:
            return float(layout.classes.index(text))
        return _UNDECIDED if text == _UNDECIDED else f"label {text!r} is none of {', '.join(layout.classes)}"
    low, high = layout.similarity_range
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    return value if low <= value <= high else f"score {text!r} is no number from {low:g} to {high:g}"


def _from_hub(name: str, layout: Layout, split: str) -> tuple[tuple[Example, ...], tuple[str, ...]]:
    files = f"a folder with {layout.folder}/train.tsv and {layout.dev}"
    try:
        from datasets import load_dataset
    except ImportError as error:
        raise InputError(
            f"task {name} needs --data-dir ({files}), or the extra pocketbert[hub] and a connection"
        ) from error
    try:
        rows = load_dataset("nyu-mll/glue", layout.hub[0] or name, split=split)
    except (OSError, ValueError, RuntimeError) as error:
        reason = first_line(error)
        raise InputError(f"task {name}: the hub cannot be reached ({reason}); give --data-dir, {files}") from error
    first, second = layout.hub_columns
    examples = tuple(Example(row[first], None if second is None else row[second], float(row["label"])) for row in rows)
    labelled = tuple(example for example in examples if example.label >= 0 or not layout.classes)
    left = len(examples) - len(labelled)
    return labelled, (f"{name}: {left} rows of {split} without a label are left out",) if left else ()
