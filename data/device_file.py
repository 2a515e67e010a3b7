"""Writing a device specification as a TOML file that :func:`data.device_spec.load_device` reads."""

from __future__ import annotations

import json
import os
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

from data.device_spec import DeviceSpec
from data.errors import StoreError


def device_toml(spec: DeviceSpec) -> str:
    """The specification as TOML, without what is not known of it."""
    lines = [f"{name} = {_value(value)}" for name, value in _known(spec).items() if not _is_table(value)]
    for name, value in _known(spec).items():
        if not _is_table(value):
            continue
        for table in value if isinstance(value, tuple) else (value,):
            header = f"[[{name}]]" if isinstance(value, tuple) else f"[{name}]"
            lines += ["", header, *(f"{key} = {_value(content)}" for key, content in _known(table).items())]
    return "\n".join(lines) + "\n"


def write_device(spec: DeviceSpec, path: Path, *comments: str) -> None:
    """Write a device file with comments above; the file is whole or not there.

    Raises:
        StoreError: it cannot be written.
    """
    above = "".join(f"# {_value(comment)[1:-1]}\n" for comment in comments)
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial.write_text(above + device_toml(spec), encoding="utf-8")
        partial.replace(path)
    except OSError as error:
        raise StoreError(f"the device file {path} cannot be written: {error.strerror}") from error


def _known(table: Any) -> dict[str, Any]:
    """Fields of a table that say something; ``source`` is where it came from, not a part of it."""
    values = {field.name: getattr(table, field.name) for field in fields(table) if field.name != "source"}
    return {name: value for name, value in values.items() if value is not None and value != ()}


def _is_table(value: Any) -> bool:
    return is_dataclass(value) or (isinstance(value, tuple) and is_dataclass(value[0]))


def _value(value: Any) -> str:
    """A string, a number, a list of strings or a table within one; JSON spells all but the last as TOML does."""
    if is_dataclass(value):
        return f"{{ {', '.join(f'{key} = {_value(content)}' for key, content in _known(value).items())} }}"
    return json.dumps(list(value) if isinstance(value, tuple) else value)
