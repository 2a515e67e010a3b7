"""How a checkpoint names its labels: the ``id2label`` of ``config.json``, where its head gives a logit for each."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from data.errors import DataFileError
from fusion.checkpoints.files import CONFIG
from fusion.labels import checked_labels

_CLASSIFIERS = ("ForSequenceClassification", "ForTokenClassification")


def label_names(model: Any, directory: Path) -> tuple[str, ...]:
    """The names of a classifier's logits, in order; numbers are taken as names.

    Empty for other heads, and where there are only the names that transformers gives itself (LABEL_0 and so on), which
    say nothing.

    Raises:
        DataFileError: the names are not numbered from 0 on, or C cannot hold one.
    """
    if not type(model).__name__.endswith(_CLASSIFIERS):
        return ()
    names = model.config.id2label
    if sorted(names) != list(range(len(names))):
        given = ", ".join(str(number) for number in sorted(names)[:3])
        raise DataFileError(directory / CONFIG, f"id2label numbers its labels {given} ...; they count from 0 on")
    ordered = [_text(names[number]) for number in range(len(names))]
    if ordered == [f"LABEL_{number}" for number in range(len(ordered))]:
        return ()
    return checked_labels(ordered, directory / CONFIG, "id2label: label")


def _text(name: object) -> object:
    return str(name) if type(name) in (int, float) else name
