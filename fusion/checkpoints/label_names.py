"""How a checkpoint names its labels: the ``id2label`` of ``config.json``, where its head gives a logit for each."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from data.errors import DataFileError
from fusion.checkpoints.files import CONFIG
from fusion.labels import checked_labels

_CLASSIFIERS = ("ForSequenceClassification", "ForTokenClassification")
# What transformers names labels itself.
_UNNAMED = "LABEL_{}"


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
    if ordered == list(default_names(len(ordered))):
        return ()
    return checked_labels(ordered, directory / CONFIG, "id2label: label")


def is_classifier(config: Mapping[str, Any]) -> bool:
    """Whether a ``config.json`` is of a model that gives a logit for each label."""
    return any(str(name).endswith(_CLASSIFIERS) for name in config.get("architectures") or ())


def default_names(count: int) -> tuple[str, ...]:
    """What transformers calls labels without names."""
    return tuple(_UNNAMED.format(number) for number in range(count))


def _text(name: object) -> object:
    return str(name) if type(name) in (int, float) else name
