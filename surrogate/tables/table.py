"""Whole-model tables: checked columns, and cost features of hyperparameters."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from decimal import Decimal
from difflib import get_close_matches
from numbers import Real
from typing import TYPE_CHECKING

import numpy as np

from data.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

HYPERPARAMETERS = ("layers", "hidden", "heads", "intermediate", "seq_len", "batch")
TARGET, SESSION = "latency_ms", "session"
# Beyond these products of features are no numbers.
_LARGEST_HYPERPARAMETER, _LARGEST_FEATURE = 1e9, 1e100
# Characters of a bad cell in a message.
_LONGEST_SHOWN = 60
COST_FEATURES = (
    "projection_gflops",
    "feed_forward_gflops",
    "attention_gflops",
    "softmax_melements",
    "activation_melements",
    "weight_mb",
    "gflops",
    "head_size",
    "threads",
    "gflops_per_thread",
)
# Features that are work to be done, so that a law of cost may price them.
PRICED = (
    "layers",
    "projection_gflops",
    "feed_forward_gflops",
    "attention_gflops",
    "softmax_melements",
    "activation_melements",
    "weight_mb",
    "gflops_per_thread",
)


def column_values(frame: pd.DataFrame, name: str, positive: bool) -> np.ndarray:
    """(n,) numbers of a column.

    Raises:
        InputError: the column is missing, or a row holds text, NaN, infinity, or (``positive``) zero or less; the
            message names the row, counted from 1 after the header.
    """
    column = one_column(frame, name)
    values = _numbers(column)
    bad = ~np.isfinite(values) | ((values <= 0) if positive else False)
    if bad.any():
        row = int(np.argmax(bad))
        more = f" (and {int(bad.sum()) - 1} more rows)" if bad.sum() > 1 else ""
        wanted = "a positive number" if positive else "a number"
        raise InputError(f"row {row + 1}: {name} is {_shown(column.iloc[row], values[row])}, not {wanted}{more}")
    return values


def _shown(cell: object, value: float) -> str:
    """A bad cell on one line: the number that a text is, else what it is, cut where it is long."""
    found = cell.item() if isinstance(cell, np.generic) else cell
    text = " ".join(repr(float(value) if isinstance(found, str) and not np.isnan(value) else found).split())
    return text if len(text) <= _LONGEST_SHOWN else f"{text[:_LONGEST_SHOWN]}..."


def one_column(frame: pd.DataFrame, name: str) -> pd.Series:
    """The column of that name.

    Raises:
        InputError: there is none, or more than one.
    """
    check_frame(frame)
    count = list(frame.columns).count(name)
    if count > 1:
        raise InputError(f"the column {name!r} stands {count} times in the table: keep one")
    twin = next((other for other in frame.columns if other != name and _folded(other) == _folded(name)), None)
    if count and twin is not None:
        raise InputError(f"the columns {name!r} and {twin!r} differ by case or spaces only: keep one")
    if count:
        return frame[name]
    near = get_close_matches(_folded(name), [_folded(other) for other in frame.columns], n=1)
    hint = next((f"; is it {other!r}?" for other in frame.columns if _folded(other) in near), "")
    raise InputError(f"the table has no column {name!r}; it has {', '.join(map(str, frame.columns))}{hint}")


def has_column(frame: pd.DataFrame, name: str) -> bool:
    """Whether a table has a column that it need not have.

    Raises:
        InputError: it has one whose name differs by case or spaces, so that it would be overlooked.
    """
    check_frame(frame)
    if name in frame.columns:
        return True
    near = next((other for other in frame.columns if _folded(other) == name), None)
    if near is not None:
        raise InputError(f"the column {near!r} would be overlooked: call it {name!r}, or remove it")
    return False


def _folded(name: object) -> str:
    return str(name).strip().casefold()


def check_frame(frame: object) -> None:
    """Refuses what is no pandas table, ``InputError``."""
    import pandas as pd

    if not isinstance(frame, pd.DataFrame):
        raise InputError(f"a table is a pandas DataFrame with a row a model, not {type(frame).__name__}")


def _numbers(column: pd.Series) -> np.ndarray:
    """(n,) the column's numbers, NaN where a row holds none: text, truth values, times and dates are no numbers."""
    import pandas as pd

    if column.dtype.kind not in "iufOTU" and not pd.api.types.is_string_dtype(column):
        return np.full(len(column), np.nan)
    if column.dtype == object:
        column = pd.Series([_plain(cell) for cell in column], dtype=object)
    return pd.to_numeric(column, errors="coerce").to_numpy(dtype=np.float64, na_value=np.nan)


def _plain(cell: object) -> object:
    """A cell that is a real number or a text as such, NaN for any other."""
    if isinstance(cell, str):
        return cell
    if isinstance(cell, (bool, np.bool_)) or not isinstance(cell, (Real, Decimal)):
        return np.nan
    try:
        return float(cell)
    except OverflowError:
        return np.inf
    except ValueError:  # a signalling NaN
        return np.nan


def label_values(frame: pd.DataFrame, name: str) -> np.ndarray:
    """(n,) texts of a column that names things, such as devices or sessions.

    Raises:
        InputError: the column stands twice, or a row is empty; the row is named.
    """
    column = one_column(frame, name)
    empty = (column.isna() | (column.astype(str).str.strip() == "")).to_numpy()
    if empty.any():
        raise InputError(f"row {int(np.argmax(empty)) + 1}: {name} is empty")
    return np.asarray(column.astype(str).to_numpy(dtype=object))


def refuse_duplicates(inputs: np.ndarray, latencies_ms: np.ndarray) -> None:
    """Rows with equal features (n, f) and an equal latency (n,) are one measurement entered twice; a model measured
    again has another latency and is welcome.

    Raises:
        InputError: naming the first such row, counted from 1 after the header, and the one that it repeats.
    """
    first: dict[bytes, int] = {}
    rows = np.ascontiguousarray(np.column_stack([inputs, latencies_ms]))
    for index, row in enumerate(rows):
        earlier = first.setdefault(row.tobytes(), index)
        if earlier != index:
            raise InputError(f"row {index + 1} repeats row {earlier + 1}, latency included: remove it")


def table_features(frame: pd.DataFrame, features: Sequence[str] | None) -> tuple[np.ndarray, tuple[str, ...]]:
    """(n, f) features of a table and their names: of the named columns, or of the hyperparameters' cost."""
    names = named_features(features)
    if names is None:
        return _cost_features(frame)
    return np.column_stack([_moderate(frame, name) for name in names]), names


def named_features(features: Sequence[str] | None) -> tuple[str, ...] | None:
    """Names of feature columns, None where the hyperparameters are meant.

    Raises:
        InputError: it is no list of names, or names a column twice, or none.
    """
    if features is None:
        return None
    if isinstance(features, (str, bytes)) or not isinstance(features, Iterable):
        raise InputError(f"features are a list of columns' names, not {features!r}")
    names = tuple(features)
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None or not names:
        raise InputError("no feature is named" if twice is None else f"the feature {twice!r} is named twice")
    return names


def _moderate(frame: pd.DataFrame, name: str) -> np.ndarray:
    values = column_values(frame, name, positive=False)
    if np.abs(values).max(initial=0) > _LARGEST_FEATURE:
        row = int(np.argmax(np.abs(values)))
        raise InputError(f"row {row + 1}: {name} is {values[row]:g}, beyond {_LARGEST_FEATURE:g}")
    return values


def _whole_numbers(frame: pd.DataFrame, name: str) -> np.ndarray:
    values = column_values(frame, name, positive=True)
    broken = values != np.round(values)
    if broken.any():
        row = int(np.argmax(broken))
        raise InputError(f"row {row + 1}: {name} is {values[row]:g}, not a whole number")
    if values.max(initial=0) > _LARGEST_HYPERPARAMETER:
        row = int(np.argmax(values))
        raise InputError(f"row {row + 1}: {name} is {values[row]:g}, more than any model has")
    return values


def _cost_features(frame: pd.DataFrame) -> tuple[np.ndarray, tuple[str, ...]]:
    """What an encoder must do, from its hyperparameters: Gflop by part, weights in MB, passes over activations."""
    layers, hidden, heads, intermediate, seq_len, batch = (_whole_numbers(frame, name) for name in HYPERPARAMETERS)
    tokens = seq_len * batch
    terms = {
        **dict(zip(HYPERPARAMETERS, (layers, hidden, heads, intermediate, seq_len, batch), strict=True)),
        "projection_gflops": layers * tokens * 8 * hidden**2 / 1e9,
        "feed_forward_gflops": layers * tokens * 4 * hidden * intermediate / 1e9,
        "attention_gflops": layers * tokens * 4 * seq_len * hidden / 1e9,
        "softmax_melements": layers * heads * tokens * seq_len / 1e6,
        "activation_melements": layers * tokens * (hidden + intermediate) / 1e6,
        "weight_mb": layers * (4 * hidden**2 + 2 * hidden * intermediate) * 4 / 1e6,
    }
    total = terms["projection_gflops"] + terms["feed_forward_gflops"] + terms["attention_gflops"]
    terms["gflops"] = total
    terms["head_size"] = hidden / heads
    if has_column(frame, "threads"):
        terms["threads"] = column_values(frame, "threads", positive=True)
        terms["gflops_per_thread"] = total / terms["threads"]
    return np.column_stack(list(terms.values())), tuple(terms)
