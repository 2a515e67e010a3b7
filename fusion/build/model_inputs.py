"""What a caller gives to a compiled model, checked: nothing is cut, rounded, reshaped or left out in silence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from types import MappingProxyType
from typing import Any

import numpy as np

from data.errors import InputError, first_line
from fusion.emit.program import Port

# What a tokenizer gives for text that fills the sequence, and what an input is that the caller leaves out.
DEFAULTS: Mapping[str, int] = MappingProxyType({"attention_mask": 1, "token_type_ids": 0})


def under_our_names(inputs: Mapping[str, Any], ours: Mapping[str, str], known: Sequence[str]) -> dict[str, Any]:
    """The inputs under our names: ``ours`` maps those of the source, ``known`` are the model's own.

    Raises:
        InputError: they are no mapping, or one is given twice, under our name and the source's.
    """
    if not isinstance(inputs, Mapping):
        raise InputError(f"inputs must map names to arrays, like {{'input_ids': ids}}, not be a {_kind(inputs)}")
    named: dict[str, Any] = {}
    for name, value in inputs.items():
        target = name if name in known else ours.get(name, name)
        if target in named:
            raise InputError(f"input {target!r} is given twice, under its name in the file and ours")
        named[target] = value
    return named


def complete_inputs(
    inputs: Mapping[str, Any], ports: Sequence[Port], seq_len: int, unread: Sequence[str] = ()
) -> dict[str, np.ndarray]:
    """int64 [1, seq_len] for each of a model's inputs, from arrays, tensors on the CPU or lists of whole numbers.

    Shapes [1, seq_len] and [seq_len] are taken. A mask is all ones and token types are all zeros where they are left
    out; where the model has no such input, they may be given as just that. ``unread`` are inputs of the source, such as
    labels, that it does nothing with: they may hold anything.

    Raises:
        InputError: an input is missing, unknown, of another shape, or holds something else than whole numbers.
    """
    names = [port.name for port in ports]
    for name in inputs:
        if name not in names and name not in unread:
            _check_default(name, inputs, names, seq_len)
    return {name: _given(name, inputs, seq_len) for name in names}


def whole_number(name: str, value: object, least: int, most: int) -> int:
    """An option that is a whole number within bounds.

    Raises:
        InputError: it is none; the message names the option.
    """
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or not least <= value <= most:
        raise InputError(f"{name} must be a whole number from {least} to {most}, not {_short(value)}")
    return int(value)


def _given(name: str, inputs: Mapping[str, Any], seq_len: int) -> np.ndarray:
    if name in inputs:
        return _whole_numbers(name, inputs[name], seq_len)
    if name not in DEFAULTS:
        raise InputError(f"input {name!r} is missing: int64 [1, {seq_len}]")
    return np.full((1, seq_len), DEFAULTS[name], np.int64)


def _check_default(name: Any, inputs: Mapping[str, Any], names: Sequence[str], seq_len: int) -> None:
    """Refuses an input that the model does not have, unless it would change nothing."""
    if name not in DEFAULTS:
        near = get_close_matches(str(name), names, n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise InputError(f"the model has no input {name!r}; it takes {', '.join(names)}.{hint}")
    if (_whole_numbers(name, inputs[name], seq_len) != DEFAULTS[name]).any():
        raise InputError(
            f"the model has no input {name!r}: give it as all {DEFAULTS[name]}, which changes nothing, or leave it out"
        )


def _whole_numbers(name: str, value: Any, seq_len: int) -> np.ndarray:
    """A caller's value as int64 [1, seq_len]."""
    wanted = f"whole numbers [1, {seq_len}]"
    if value is None:
        raise InputError(f"input {name!r} is None: give {wanted}, or leave the input out where it has a default")
    if isinstance(value, np.ma.MaskedArray):
        raise InputError(f"input {name!r} is a masked array, whose mask would be lost: give {wanted}")
    try:
        array = np.asarray(value)
    except (ValueError, TypeError, RuntimeError) as error:  # ragged lists, tensors on other devices or with gradients
        raise InputError(f"input {name!r} cannot be read as {wanted} ({first_line(error)})") from error
    if array.size and array.dtype.kind not in "biu":
        raise InputError(f"input {name!r} holds {array.dtype.name}, not {wanted}: convert it where that loses nothing")
    if array.shape not in ((1, seq_len), (seq_len,)):
        raise InputError(
            f"input {name!r} is of shape {list(array.shape)}, the model takes [1, {seq_len}]: pad to that with "
            "attention_mask 0, or compile the model for another seq_len"
        )
    return array.astype(np.int64).reshape(1, seq_len)


def _kind(value: object) -> str:
    return type(value).__name__


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 40 else _kind(value)
