"""space.toml: the candidate values of a search in a file, each as a list, sizes as a range in steps as well."""

from __future__ import annotations

import tomllib
from collections.abc import Collection, Iterable
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from data.errors import DataFileError, InputError
from search.options import SEARCHED_PRECISIONS, SearchedPrecision, SpaceFile

# Each key of sizes with a range of it, for messages.
_SIZES = {
    "layers": "{ from = 2, to = 12, step = 2 }",
    "hidden": "{ from = 64, to = 384, step = 32 }",
    "heads": "{ from = 2, to = 12, step = 2 }",
    "head_size": "{ from = 16, to = 64, step = 16 }",
    "intermediate": "{ from = 256, to = 1536, step = 256 }",
}
_PRECISION = "precision"
_KEYS = (*_SIZES, _PRECISION)
_RANGE = ("from", "to", "step")
# Deeper than any encoder that is known; more values of one size than a search could tell apart.
_MOST_LAYERS, _MOST_VALUES = 128, 1000


def read_space(path: Path) -> SpaceFile:
    """The values that the file names; nothing of a teacher is known here.

    Raises:
        InputError: it cannot be read.
        DataFileError: no TOML, a key that is not known, or values that are no list or range of different positive whole
            numbers; precisions that no search has; both heads and head_size, or neither of any key.
    """
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"cannot read --space {path}: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise DataFileError(path, "not UTF-8 text") from error
    except (ValueError, RecursionError) as error:  # also of numbers with thousands of digits
        raise DataFileError(path, f"not TOML ({error})") from error
    _check_keys(path, content, _KEYS)
    if not content:
        raise DataFileError(path, f"names no values: name some of {', '.join(_KEYS)}, such as layers = [4, 6, 12]")
    if "heads" in content and "head_size" in content:
        raise DataFileError(path, "heads and head_size say the same in two ways: leave out one of them")
    precisions = _precisions(path, content[_PRECISION]) if _PRECISION in content else None
    values = {key: _values(path, key, given) for key, given in content.items() if key in _SIZES}
    if max(values.get("layers", (1,))) > _MOST_LAYERS:
        raise DataFileError(path, f"layers: {max(values['layers'])} are too many, name {_MOST_LAYERS} at most")
    return SpaceFile(str(path), **values, precision=precisions)


def _check_keys(path: Path, content: Iterable[str], known: Collection[str], of: str = "") -> None:
    for key in content:
        if key not in known:
            near = get_close_matches(key, known, n=1)
            hint = f", did you mean {near[0]!r}?" if near else ""
            raise DataFileError(path, f"{of}unknown key {key!r}{hint} (known: {', '.join(known)})")


def _precisions(path: Path, given: Any) -> tuple[SearchedPrecision, ...]:
    """Precisions in the order of ``SEARCHED_PRECISIONS``."""
    if not isinstance(given, list):
        raise DataFileError(path, f'{_PRECISION}: {_shown(given)} is no list: write {_PRECISION} = ["fp32", "int8"]')
    _check_filled(path, _PRECISION, given)
    for value in given:
        if value not in SEARCHED_PRECISIONS:
            known = ", ".join(SEARCHED_PRECISIONS)
            raise DataFileError(path, f"{_PRECISION}: {_shown(value)} is not searched: name some of {known}")
    _check_twice(path, _PRECISION, given)
    return tuple(precision for precision in SEARCHED_PRECISIONS if precision in given)


def _values(path: Path, key: str, given: Any) -> tuple[int, ...]:
    """Ascending values of a key."""
    if isinstance(given, dict):
        return _range(path, key, given)
    if not isinstance(given, list):
        shape = f"write {key} = [{given}]" if _is_size(given) else f"write it like {key} = [2, 4, 6]"
        raise DataFileError(path, f"{key}: {_shown(given)} is neither a list nor a range: {shape}, or {_like(key)}")
    _check_filled(path, key, given)
    _check_count(path, key, len(given))
    for value in given:
        _check_size(path, key, value)
    _check_twice(path, key, given)
    return tuple(sorted(given))


def _range(path: Path, key: str, given: dict[str, Any]) -> tuple[int, ...]:
    _check_keys(path, given, _RANGE, f"{key}: ")
    missing = [name for name in _RANGE[:2] if name not in given]
    if missing:
        raise DataFileError(path, f"{key}: a range needs {missing[0]!r}: write it like {_like(key)}")
    for name, value in given.items():
        _check_size(path, f"{key}.{name}", value)
    first, last, step = given["from"], given["to"], given.get("step", 1)
    if first > last:
        raise DataFileError(path, f"{key}: from {first} to {last} is empty: let from be the smaller one")
    if (last - first) % step:
        nearest = last - (last - first) % step
        raise DataFileError(
            path, f"{key}: steps of {step} from {first} miss {last}: let to be {nearest} or {nearest + step}"
        )
    _check_count(path, key, (last - first) // step + 1)
    return tuple(range(first, last + 1, step))


def _check_filled(path: Path, key: str, given: list[Any]) -> None:
    if not given:
        raise DataFileError(path, f"{key}: an empty list leaves nothing to choose: name values, or leave out the key")


def _check_twice(path: Path, key: str, given: list[Any]) -> None:
    twice = [value for value in given if given.count(value) > 1]
    if twice:
        raise DataFileError(path, f"{key}: {_shown(twice[0])} is named twice: name it once")


def _check_size(path: Path, key: str, value: Any) -> None:
    if not _is_size(value):
        raise DataFileError(path, f"{key}: {_shown(value)} is no positive whole number: write one, such as 4")


def _check_count(path: Path, key: str, count: int) -> None:
    if count > _MOST_VALUES:
        raise DataFileError(path, f"{key}: {count:,} values are too many, name {_MOST_VALUES:,} at most")


def _is_size(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def _like(key: str) -> str:
    return f"{key} = {_SIZES[key]}"


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:40]}..."
