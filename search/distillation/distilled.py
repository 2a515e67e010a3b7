"""A distilled student as it is kept: a checkpoint, a record of what became of it, and what goes on from it needs."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from data.errors import StoreError
from search.records import Divergence

RECORD = "distilled.json"
# The teacher's hidden states in the student's coordinates; what goes on from the student needs it.
PROJECTION = "projection.safetensors"


@dataclass(frozen=True)
class DistilledModel:
    """A distilled student: a Hugging Face directory (checkpoint and tokenizer), its scores on the task's dev examples
    with the standard error of the main one, how far its answers there are from the teacher's, both also of the student
    as it was cut (or begun), and training seconds. All are of the student computed in its
    architecture's precision; the checkpoint's weights are fp32 always."""

    directory: Path
    score: float
    scores: dict[str, float]
    standard_error: float
    divergence: Divergence
    scores_before: dict[str, float]
    divergence_before: Divergence
    seconds: float


def read_projection(begin: Path) -> np.ndarray:
    """The teacher's hidden states in the coordinates of a student distilled before [teacher's width, student's].

    Raises:
        StoreError: they are not there, or damaged.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        return np.asarray(load_file(begin / PROJECTION)["projection"])
    except (OSError, KeyError, SafetensorError) as error:
        raise StoreError(f"{begin}: {PROJECTION} is missing or damaged; distil that student anew") from error


def read_record(out_dir: Path, key: str) -> DistilledModel | None:
    """The distilled student in a folder; None where there is none yet.

    Raises:
        StoreError: it is another than that of the key, or its record is damaged.
    """
    if not (out_dir / RECORD).exists():
        return None
    record = _record_of(out_dir)
    if record.pop("key") != key:
        raise StoreError(f"{out_dir} holds another model; give another folder")
    return _validated(record, out_dir)


def _validated(record: dict[str, Any], folder: Path) -> DistilledModel:
    from pydantic import TypeAdapter, ValidationError

    try:
        return TypeAdapter(DistilledModel).validate_python(record | {"directory": folder})
    except ValidationError as error:
        raise StoreError(f"{folder}: {RECORD} is damaged; remove the folder to distil anew") from error


def _record_of(folder: Path) -> dict[str, Any]:
    """The record of a distilled student, with its key."""
    try:
        record = json.loads((folder / RECORD).read_text(encoding="utf-8"))
        return {"key": str(record["key"])} | record
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise StoreError(f"{folder}: {RECORD} is damaged; remove the folder to distil anew") from error


def read_key(begin: Path) -> str:
    """The key of a student distilled before.

    Raises:
        StoreError: there is none, or its record is damaged.
    """
    if not (begin / RECORD).exists():
        raise StoreError(f"{begin} holds no distilled student to go on from")
    return str(_record_of(begin)["key"])
