"""A recipe: the losses by name and weight, the changes of texts, and the schedule, read from ``recipe.toml``."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from data.errors import DataFileError, InputError


@dataclass(frozen=True)
class Losses:
    """Weights of the parts of the loss; a part of weight 0 is not computed.

    ``labels``: the true labels, where the text was not changed. ``logits``: the teacher's. ``hidden``: the hidden
    states of the mapped layers (TinyBERT, Jiao et al. 2020), in the teacher's principal components. ``queries``,
    ``keys``, ``values``: the relations Q-Q, K-K and V-V of the last layer (MiniLMv2, Wang et al. 2021).
    """

    labels: float
    logits: float
    hidden: float
    queries: float
    keys: float
    values: float


@dataclass(frozen=True)
class Changes:
    """Shares of texts that are changed in each way: a pair's texts ``swapped``, its second text ``repaired`` with that
    of another example, ``replaced_tokens`` of the tokens ``replaced`` by neighbours, or a text of the ``corpus`` put in
    its place."""

    swapped: float
    repaired: float
    replaced: float
    replaced_tokens: float
    corpus: float


@dataclass(frozen=True)
class Recipe:
    """How a student learns; see ``recipe.toml``."""

    batch_size: int
    learning_rate: float
    warmup: float
    weight_decay: float
    rate_decay: float
    averaged: float
    layers_first: float
    quantised: float
    losses: Losses
    changes: Changes


@cache
def default_recipe() -> Recipe:
    """The recipe that comes with pocketbert."""
    return read_recipe(Path(__file__).with_name("recipe.toml"))


def read_recipe(path: Path) -> Recipe:
    """A recipe from a TOML file.

    Raises:
        InputError: the file cannot be read.
        DataFileError: it is not TOML, or a key is missing, unknown or of another type.
    """
    from pydantic import TypeAdapter, ValidationError

    try:
        values: dict[str, Any] = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise DataFileError(path, f"not TOML: {error}") from error
    try:
        return TypeAdapter(Recipe).validate_python(values, extra="forbid")
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise DataFileError(path, f"{place}: {first['msg'].lower()}") from error
