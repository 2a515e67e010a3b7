"""Whole-model tables: checked columns, and cost features of hyperparameters."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from data.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

HYPERPARAMETERS = ("layers", "hidden", "heads", "intermediate", "seq_len", "batch")
TARGET, SESSION = "latency_ms", "session"
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
    import pandas as pd

    if name not in frame.columns:
        raise InputError(f"the table has no column {name!r}; it has {', '.join(map(str, frame.columns))}")
    values = pd.to_numeric(frame[name], errors="coerce").to_numpy(dtype=np.float64)
    bad = ~np.isfinite(values) | ((values <= 0) if positive else False)
    if bad.any():
        row = int(np.argmax(bad))
        more = f" (and {int(bad.sum()) - 1} more rows)" if bad.sum() > 1 else ""
        wanted = "a positive number" if positive else "a number"
        found = frame[name].iloc[row]
        shown = found.item() if isinstance(found, np.generic) else found
        raise InputError(f"row {row + 1}: {name} is {shown!r}, not {wanted}{more}")
    return values


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
    if features is not None:
        return _plain_features(frame, tuple(features))
    return _cost_features(frame)


def _plain_features(frame: pd.DataFrame, names: tuple[str, ...]) -> tuple[np.ndarray, tuple[str, ...]]:
    return np.column_stack([column_values(frame, name, positive=False) for name in names]), names


def _cost_features(frame: pd.DataFrame) -> tuple[np.ndarray, tuple[str, ...]]:
    """What an encoder must do, from its hyperparameters: Gflop by part, weights in MB, passes over activations."""
    layers, hidden, heads, intermediate, seq_len, batch = (
        column_values(frame, name, positive=True) for name in HYPERPARAMETERS
    )
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
    if "threads" in frame.columns:
        terms["threads"] = column_values(frame, "threads", positive=True)
        terms["gflops_per_thread"] = total / terms["threads"]
    return np.column_stack(list(terms.values())), tuple(terms)
