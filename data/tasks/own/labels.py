"""Labels as they are written, and what they are: classes with names, or numbers."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from data.errors import DataFileError, InputError
from data.tasks.own.table import Cell, Table

# More different whole numbers than these are quantities.
_MOST_NUMBERED_CLASSES = 20
# Labels of which more than half are different are no classes, once there are this many.
_MANY = 40
_MOSTLY = 0.9
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
_DECIMAL_COMMA = re.compile(r"[+-]?\d+,\d+")
_THOUSANDS = re.compile(r"[+-]?\d{1,3},\d{3}")
_NOT_FINITE = {"nan", "inf", "infinity"}


@dataclass(frozen=True)
class Label:
    """One label: where it stands, as text, and as a number (None where it is none, NaN where it is not finite)."""

    row: int
    text: str
    number: float | None


@dataclass(frozen=True)
class Scale:
    """How labels become numbers: the place among ``names``, or the number itself where there are none.

    ``numbered`` is whether the names are whole numbers, which may be written as 1 or 1.0; ``places`` whether labels are
    the places themselves, from 0; ``comma`` whether 3,5 is a number.
    """

    kind: Literal["classification", "regression"]
    names: tuple[str, ...] = ()
    numbered: bool = False
    places: bool = False
    comma: bool = False

    def value(self, label: Label) -> float | None:
        """The class number or value, None where there is none such."""
        if self.kind == "regression":
            number = _number(label.text.replace(",", ".")) if self.comma else label.number
            return number if number is not None and math.isfinite(number) else None
        if self.places:
            number = label.number
            return number if number is not None and number in range(len(self.names)) else None
        name = _whole(label) if self.numbered else label.text
        return float(self.names.index(name)) if name in self.names else None


def read_label(row: int, cell: Cell, class_names: Sequence[str] = ()) -> Label | str:
    """The label in a cell, or why there is none."""
    if isinstance(cell, bool):
        return Label(row, str(cell).lower(), None)
    if isinstance(cell, int) and class_names:
        known = 0 <= cell < len(class_names)
        return Label(row, class_names[cell], None) if known else f"label {cell} has no name among {len(class_names)}"
    if isinstance(cell, int | float):
        return _finite(Label(row, repr(cell), float(cell)))
    if cell is None or (isinstance(cell, str) and not cell.strip()):
        return "no label"
    if not isinstance(cell, str):
        return f"the label is a {type(cell).__name__}, not one text or number"
    return _finite(Label(row, cell.strip(), _number(cell.strip())))


def _finite(label: Label) -> Label | str:
    if label.number is not None and not math.isfinite(label.number):
        return f"label {label.text!r} is not a finite number"
    return label


def _number(text: str) -> float | None:
    if text.lower().lstrip("+-") in _NOT_FINITE:
        return math.nan
    return float(text) if _NUMBER.fullmatch(text) else None


def _whole(label: Label) -> str:
    """A whole number as it is named: 1 for 1, 1.0 and +1."""
    return label.text if label.number is None or label.number % 1 else str(int(label.number))


def scale_of(
    table: Table, labels: Sequence[Label], wanted: str | None, order: Sequence[str]
) -> tuple[Scale, tuple[str, ...]]:
    """What the training labels are, and what to say of it.

    Args:
        table: Where they are from.
        labels: All of them.
        wanted: "classification" or "regression", or None to find out.
        order: Names of the classes in the order of their numbers, where the user or the file gives it.

    Raises:
        DataFileError: a label that is no number among numbers, or none of ``order``; one label only, or too many.
        InputError: ``order`` names fewer than two classes, or one twice.
    """
    if order and wanted != "regression":
        return _given(table, labels, tuple(order)), ()
    _differ(table, labels)
    numbers = [label for label in labels if label.number is not None]
    commas = [label for label in labels if label.number is None and _DECIMAL_COMMA.fullmatch(label.text)]
    if wanted != "classification" and commas and len(commas) + len(numbers) == len(labels):
        if all(_THOUSANDS.fullmatch(label.text) for label in commas):
            problem = f"is label {commas[0].text!r} a thousand times as much? write numbers without separators"
            raise DataFileError(table.path, problem, commas[0].row)
        return Scale("regression", comma=True), (f"{table.path.name}: labels have decimal commas (3,5 is 3.5)",)
    if wanted == "regression" or (wanted is None and _MOSTLY * len(labels) <= len(numbers) < len(labels)):
        _all_numbers(table, labels)
    if wanted == "regression":
        return Scale("regression"), ()
    if wanted is None and len(numbers) == len(labels):
        return _numbered(table, labels)
    return _classes(table, labels), ()


def _differ(table: Table, labels: Sequence[Label]) -> None:
    if len({_whole(label) for label in labels}) < 2:
        raise DataFileError(table.path, f"all examples have the same label, {labels[0].text!r}: nothing can be learnt")


def _all_numbers(table: Table, labels: Sequence[Label]) -> None:
    for label in labels:
        if label.number is None:
            raise DataFileError(
                table.path,
                f"label {label.text!r} is no number, as others are: correct it, or say --kind classification",
                label.row,
            )


def _numbered(table: Table, labels: Sequence[Label]) -> tuple[Scale, tuple[str, ...]]:
    different = {label.number for label in labels}
    name = table.path.name
    if any(number is not None and number % 1 for number in different):
        return Scale("regression"), (f"{name}: labels are numbers with fractions: regression",)
    if len(different) > _MOST_NUMBERED_CLASSES:
        text = (
            f"{name}: labels are {len(different)} different whole numbers: regression (classes: --kind classification)"
        )
        return Scale("regression"), (text,)
    scale = _classes(table, labels)
    return scale, (f"{name}: labels are {len(different)} whole numbers: classes (as numbers: --kind regression)",)


def _classes(table: Table, labels: Sequence[Label]) -> Scale:
    numbered = all(label.number is not None and not label.number % 1 for label in labels)
    different = {_whole(label) if numbered else label.text for label in labels}
    if len(different) > max(_MANY, len(labels) / 2):
        raise DataFileError(
            table.path, f"{len(different)} different labels in {len(labels)} rows are no classes: name another --label"
        )
    names = sorted(different, key=int) if numbered else sorted(different)
    return Scale("classification", tuple(names), numbered)


def _given(table: Table, labels: Sequence[Label], order: tuple[str, ...]) -> Scale:
    if len(set(order)) < len(order) or len(order) < 2:
        raise InputError(f"the names of classes ({', '.join(order)}) have to be two at least, all different")
    numbered = all(name.lstrip("-").isdecimal() for name in order)
    scale = Scale("classification", order, numbered)
    if not any(label.text in order for label in labels):
        scale = Scale("classification", order, places=True)
    for label in labels:
        if scale.value(label) is None:
            raise DataFileError(table.path, f"label {label.text!r} is none of {', '.join(order)}", label.row)
    _differ(table, labels)
    return scale
