"""The parts of a tokenizer's JSON, read strictly: what is not understood is refused by name, never passed over."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from fusion.tokenizer.source import TokenizerSource

# A type of part, with the settings it may have; "" stands for no such part at all.
Forms = Mapping[str, frozenset[str]]


def flattened(source: TokenizerSource, name: str, forms: Forms) -> list[Mapping[str, Any]]:
    """A part as the list of its steps: sequences are unrolled, no part is an empty list.

    Raises:
        UnsupportedTokenizerError: a step is of another type, or has settings that are not listed.
    """
    return _steps(source, name, source.parts.get(name), forms)


def _steps(source: TokenizerSource, name: str, part: Any, forms: Forms) -> list[Mapping[str, Any]]:
    if part is None:
        return []
    kind = part.get("type")
    if kind == "Sequence":
        inner: Sequence[Any] = next((value for key, value in part.items() if key != "type"), [])
        return [step for each in inner for step in _steps(source, name, each, forms)]
    check_settings(source, name, part, forms)
    return [part]


def check_settings(source: TokenizerSource, name: str, part: Mapping[str, Any], forms: Forms) -> None:
    """``UnsupportedTokenizerError`` when the part is of another type than these, or has a setting not listed."""
    kind = str(part.get("type"))
    if kind not in forms:
        source.refuse(f"{name} {kind}")
    unknown = sorted(part.keys() - forms[kind] - {"type"})
    if unknown:
        source.refuse(f"{name} {kind} with the setting {unknown[0]}")


def expect(source: TokenizerSource, name: str, part: Mapping[str, Any], **values: Sequence[Any]) -> None:
    """``UnsupportedTokenizerError`` when a setting has none of the values that are known."""
    for key, known in values.items():
        if part.get(key) not in known:
            source.refuse(f"{name} {part.get('type')} with {key} {json.dumps(part.get(key))}")
