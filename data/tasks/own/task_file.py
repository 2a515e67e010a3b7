"""task.toml: a task of one's own in a file, with the names of its files and columns."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, fields
from pathlib import Path
from typing import ClassVar

from pydantic import TypeAdapter, ValidationError

from data.errors import DataFileError, InputError
from data.tasks.examples import Kind
from data.tasks.own.columns import Wanted
from data.tasks.own.parts import OwnFiles, name_of_files


@dataclass(frozen=True)
class _Keys:
    """All keys that a task file may hold; paths are relative to it, columns may be numbers."""

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    train: str
    dev: str | None = None
    name: str | None = None
    kind: Kind | None = None
    metric: str | None = None
    text: str | int | None = None
    text_pair: str | int | None = None
    label: str | int | None = None
    labels: tuple[str, ...] = ()


def read_task_file(path: Path) -> OwnFiles:
    """What the file says of a task.

    Raises:
        InputError: it cannot be read.
        DataFileError: no TOML, no ``train``, a key that is not known, or a value of another kind.
    """
    try:
        keys = TypeAdapter(_Keys).validate_python(tomllib.loads(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise DataFileError(path, "not UTF-8 text") from error
    except tomllib.TOMLDecodeError as error:
        raise DataFileError(path, f"not TOML ({error})") from error
    except ValidationError as error:
        raise DataFileError(path, _explain(error)) from error
    text, text_pair, label = (None if each is None else str(each) for each in (keys.text, keys.text_pair, keys.label))
    return OwnFiles(
        train=path.parent / keys.train,
        dev=None if keys.dev is None else path.parent / keys.dev,
        columns=Wanted(text, text_pair, label),
        kind=keys.kind,
        metric=keys.metric,
        name=keys.name or name_of_files(path),
        labels=keys.labels,
    )


def _explain(error: ValidationError) -> str:
    first = error.errors()[0]
    key = ".".join(str(part) for part in first["loc"])
    if first["type"] in ("unexpected_keyword_argument", "extra_forbidden"):
        return f"unknown key {key!r} (known: {', '.join(field.name for field in fields(_Keys))})"
    if first["type"] in ("missing", "missing_argument"):
        return f"no key {key!r}"
    return f"{key}: {first['msg']}"
