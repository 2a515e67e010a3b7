"""Measurements as a table for other programs: Parquet or CSV, one row a visit, every column documented."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from data.errors import InputError, StoreError
from data.measurement import Measurement

if TYPE_CHECKING:
    import pandas as pd

# Column -> what it holds, in the order of the table. Times are milliseconds of wall clock.
COLUMNS = MappingProxyType(
    {
        "subject": "block or model",
        "subject_hash": "content hash of what was timed",
        "signature": "canonical JSON of the block or of the architecture",
        "device": "name of the device's specification",
        "fingerprint": "equal only where timings may be merged, those of one compiler",
        "serial": "serial number of the phone, empty elsewhere",
        "unit": "cpu or gpu",
        "threads": "number of CPU threads",
        "affinity": "hexadecimal mask that the program was held to, empty where it was free",
        "cpus": "processors that the program could use, as it says itself (list)",
        "provenance": "measured, simulated or published",
        "session": "one unbroken series of measurements; it begins with its UTC time",
        "round": "number of the round in its session: its visits share what the machine did meanwhile",
        "position": "place of the row in its session, from 0",
        "created_at": "UTC time at which the row was committed (ISO 8601)",
        "median_ms": "median of samples_ms",
        "interval_low_ms": "lower end of the median's 95% confidence interval (order statistics)",
        "interval_high_ms": "upper end of that interval",
        "reference_ms": "time of a reference block beside rows of before rounds, empty since",
        "warmups_ms": "times of the visit's first runs (list)",
        "samples_ms": "times of all other runs, outliers included (list)",
        "steps_ms": "median over the runs of each block's times, in order (list)",
        "outliers": "indices of samples far from the median (list)",
        "marks": "what speaks against the row, such as clock dropped or hot (list; see data.measurement.Mark)",
        "state_before": "clock, temperature, battery and load before, where readable (JSON object)",
        "state_after": "the same after, and preemptions_per_s while it ran (JSON object)",
        "binary_hash": "hash of the executable that ran, empty for an analytic model",
        "compiler": "compiler and version, hash of what it makes of the reference blocks, and whether it does not fuse",
    }
)
_LISTS = ("cpus", "warmups_ms", "samples_ms", "steps_ms", "outliers", "marks")
_MAPS = ("state_before", "state_after")
FORMATS = (".parquet", ".csv")


def check_export_path(path: Path) -> None:
    """Refuse a name that says no known format, before anything is measured.

    Raises:
        InputError: the name ends neither in ``.parquet`` nor in ``.csv``, or Parquet's library is missing.
    """
    if path.suffix not in FORMATS:
        raise InputError(f"{path}: measurements are exported as {' or '.join(FORMATS)}, by the end of the name")
    if path.suffix == ".parquet":
        _require_pyarrow()


def export_measurements(rows: Sequence[Measurement], path: Path) -> None:
    """Write measurements as the columns of :data:`COLUMNS`; lists stay lists in Parquet and become JSON in CSV.

    Parquet's schema carries each column's documentation as its metadata.

    Raises:
        InputError: the format is unknown or its library missing.
        StoreError: the file cannot be written.
    """
    check_export_path(path)
    table = to_table(rows)
    partial = path.with_name(f"{path.name}.partial")
    try:
        if path.suffix == ".csv":
            for name in _LISTS:
                table[name] = table[name].map(json.dumps)
            table.to_csv(partial, index=False)
        else:
            _write_parquet(table, partial)
        partial.replace(path)
    except OSError as error:
        raise StoreError(f"the measurements cannot be exported to {path}: {error.strerror or error}") from error


def to_table(rows: Sequence[Measurement]) -> pd.DataFrame:
    """Measurements as a frame with the columns of :data:`COLUMNS`, in their order."""
    import pandas as pd

    return pd.DataFrame([_values(row) for row in rows], columns=list(COLUMNS))


def _values(row: Measurement) -> dict[str, Any]:
    low, high = row.interval_ms
    derived = {
        "interval_low_ms": low,
        "interval_high_ms": high,
        **{name: list(getattr(row, name)) for name in _LISTS},
        **{name: json.dumps(dict(getattr(row, name)), sort_keys=True) for name in _MAPS},
    }
    return {name: derived[name] if name in derived else getattr(row, name) for name in COLUMNS}


def _write_parquet(table: pd.DataFrame, path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    kinds = dict.fromkeys(("warmups_ms", "samples_ms", "steps_ms"), pa.float64()) | dict.fromkeys(
        ("cpus", "outliers"), pa.int64()
    )
    arrays, columns = [], []
    for name, text in COLUMNS.items():
        kind = pa.list_(kinds.get(name, pa.string())) if name in _LISTS else None
        array = pa.array(table[name].tolist(), type=kind)
        arrays.append(array)
        columns.append(pa.field(name, array.type, metadata={"description": text}))
    pq.write_table(pa.Table.from_arrays(arrays, schema=pa.schema(columns)), path)


def _require_pyarrow() -> None:
    try:
        import pyarrow.parquet  # noqa: F401  # only whether it is there
    except ImportError as error:
        raise InputError("Parquet needs pyarrow: pip install 'pocketbert[parquet]', or export as .csv") from error
