"""Names of labels: from a checkpoint's ``id2label`` through an ONNX file's metadata to C."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from data.errors import DataFileError

if TYPE_CHECKING:
    import onnx

LABELS_KEY = "pocketbert.labels"
"""What the metadata of an ONNX file calls a JSON list of names, one a logit."""

LOGITS = "logits"
"""The output that the names belong to, in files of ours; others may have made something else of it."""

# C compilers need not take longer literals (C11, 5.2.4.1), and NUL ends one.
_MOST_BYTES = 4095


def checked_labels(names: Sequence[object], place: Path, kind: str) -> tuple[str, ...]:
    """The names, which C can hold as UTF-8; ``kind`` says what of ``place`` they are.

    Raises:
        DataFileError: one is no text, is too long, or holds NUL or half of a surrogate pair.
    """
    return tuple(_checked(name, f"{kind} {number}", place) for number, name in enumerate(names))


def _checked(name: object, kind: str, place: Path) -> str:
    if not isinstance(name, str):
        raise DataFileError(place, f"{kind} is {_short(name)}, not a name")
    try:
        count = len(name.encode())
    except UnicodeEncodeError as error:
        raise DataFileError(place, f"{kind} is {_short(name)}, which is no valid Unicode") from error
    if count > _MOST_BYTES:
        raise DataFileError(place, f"{kind} is of {count} bytes; names of labels have at most {_MOST_BYTES}")
    if "\0" in name:
        raise DataFileError(place, f"{kind} is {_short(name)}; NUL would end the name in C")
    return name


def add_labels(path: Path, labels: Sequence[str]) -> None:
    """Adds names of labels to the metadata of an ONNX file that has none, without reading its weights."""
    import onnx

    entry = onnx.StringStringEntryProto(key=LABELS_KEY, value=json.dumps(list(labels)))
    # Serialised messages that follow one another are one: lists within them are joined.
    with path.open("ab") as file:
        file.write(onnx.ModelProto(metadata_props=[entry]).SerializeToString())


def labels_of(model: onnx.ModelProto, path: Path, logits: int | None) -> tuple[str, ...]:
    """The names of labels that an ONNX file's metadata holds; none is an empty tuple. ``logits`` is how many numbers
    the output of that name has in a row, None where there is no such output.

    Raises:
        DataFileError: they are no list of names, or there are other than ``logits``.
    """
    found = [entry.value for entry in model.metadata_props if entry.key == LABELS_KEY]
    if not found:
        return ()
    if len(found) > 1:
        raise DataFileError(path, f"metadata {LABELS_KEY} is there {len(found)} times")
    try:
        names = json.loads(found[0])
    except (ValueError, RecursionError) as error:
        raise DataFileError(path, f"metadata {LABELS_KEY} is no JSON list of names") from error
    if not isinstance(names, list) or not names:
        raise DataFileError(path, f"metadata {LABELS_KEY} is no JSON list of names")
    if logits not in (None, len(names)):
        raise DataFileError(path, f"metadata {LABELS_KEY} names {len(names)} labels, but the file has {logits} logits")
    return checked_labels(names, path, f"metadata {LABELS_KEY}: label")


def _short(value: object) -> str:
    text = ascii(value)
    return text if len(text) <= 40 else f"{text[:37]}..."
