"""Measurements as Parquet and CSV: the documented columns, complete, and clear about what cannot be written."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pandas as pd
import pytest

from data.errors import InputError, StoreError
from data.export import COLUMNS, check_export_path, export_measurements
from data.measurement import Measurement

ROW = Measurement(
    subject="block",
    subject_hash="h",
    signature='{"a":"b, c"}',
    device="s20",
    fingerprint="s20-simulated-1",
    unit="cpu",
    threads=8,
    affinity="",
    session="s",
    position=0,
    warmups_ms=(2.0,),
    samples_ms=(1.0, 1.1, 1.2, 9.0),
    reference_ms=None,
    binary_hash="",
    compiler="analytic model",
    provenance="simulated",
    created_at="2026-01-01T00:00:00+00:00",
    state_before={"battery_percent": 80.0},
    outliers=(3,),
    marks=("hot",),
    steps_ms=(0.4, 0.6),
    round=7,
)


def test_csv_has_every_documented_column(tmp_path: Path) -> None:
    export_measurements([ROW, ROW], tmp_path / "m.csv")
    table = pd.read_csv(tmp_path / "m.csv")
    assert list(table.columns) == list(COLUMNS) and len(table) == 2 and all(COLUMNS.values())
    first = table.iloc[0]
    assert json.loads(first.samples_ms) == [1.0, 1.1, 1.2, 9.0] and json.loads(first.marks) == ["hot"]
    assert (first.provenance, first.median_ms, first.signature) == ("simulated", 1.15, ROW.signature)
    assert (first.interval_low_ms, first.interval_high_ms, first["round"]) == (1.0, 9.0, 7)
    assert json.loads(first.state_before) == {"battery_percent": 80.0}


@pytest.mark.parametrize("rows", [[ROW, ROW], []])
def test_parquet_keeps_types_and_documents_columns(tmp_path: Path, rows: list[Measurement]) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    export_measurements(rows, tmp_path / "m.parquet")
    table = parquet.read_table(tmp_path / "m.parquet")
    assert table.column_names == list(COLUMNS) and table.num_rows == len(rows)
    assert {field.name: field.metadata[b"description"].decode() for field in table.schema} == dict(COLUMNS)
    if rows:
        assert table.to_pylist()[0]["samples_ms"] == list(ROW.samples_ms)
    assert [path.name for path in tmp_path.iterdir()] == ["m.parquet"]


def test_what_cannot_be_written_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match=r"\.parquet or \.csv"):
        check_export_path(Path("m.xlsx"))
    with pytest.raises(StoreError, match="cannot be exported"):
        export_measurements([ROW], tmp_path / "missing" / "m.csv")
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    with pytest.raises(InputError, match=r"pocketbert\[parquet\]"):
        check_export_path(Path("m.parquet"))
