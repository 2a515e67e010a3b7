"""The measurement store: what is written stays, and every trouble is one clear line."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from data.errors import StoreError
from data.measurement import Measurement
from data.store import SCHEMA_VERSION, MeasurementStore

ROOT = Path(__file__).parents[2]


def measurement(position: int = 0, session: str = "s1", **changes: object) -> Measurement:
    values = {
        "subject": "block",
        "subject_hash": f"hash{position}",
        "signature": "{}",
        "device": "host",
        "fingerprint": "host-1",
        "unit": "cpu",
        "threads": 2,
        "affinity": "",
        "session": session,
        "position": position,
        "warmups_ms": (3.0,),
        "samples_ms": (1.0, 1.5, 1.25),
        "reference_ms": 0.5,
        "binary_hash": "b",
        "compiler": "c",
        "provenance": "measured",
        "created_at": "2026-01-01T00:00:00+00:00",
        "state_before": {"clock_mhz": 2600.0},
        "state_after": {},
    }
    return Measurement(**{**values, **changes})  # type: ignore[arg-type]


# Writes rows for ever: what the killed and the competing processes of the tests run.
WRITER = """
import sys
from pathlib import Path
from data.store import MeasurementStore
from tests.data.test_store import measurement
store = MeasurementStore.open(Path(sys.argv[1]))
for position in range(int(sys.argv[3])):
    store.add(measurement(position, session=sys.argv[2]))
    print(position, flush=True)
"""


def writer(path: Path, session: str, rows: int, prefix: str = "") -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", prefix + WRITER, str(path), session, str(rows)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_rows_come_back_as_they_were(tmp_path: Path) -> None:
    path = tmp_path / "new" / "m.sqlite"
    rows = [measurement(0), measurement(1, threads=1, provenance="simulated", reference_ms=None)]
    with MeasurementStore.open(path) as store:
        for row in rows:
            store.add(row)
    with MeasurementStore.open(path) as store:
        assert store.measurements() == rows
        assert store.measurements(threads=1, provenance="simulated") == rows[1:]
        assert store.measurements(device="other") == []
        frame = store.to_frame(subject="block")
    assert frame["median_ms"].tolist() == [1.25, 1.25]


def test_default_place_is_the_state_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POCKETBERT_HOME", str(tmp_path / "state"))
    with MeasurementStore.open() as store:
        assert store.path == tmp_path / "state" / "measurements.sqlite"


def test_a_row_is_never_stored_twice(tmp_path: Path) -> None:
    with MeasurementStore.open(tmp_path / "m.sqlite") as store:
        store.add(measurement())
        with pytest.raises(StoreError, match="refuses a row"):
            store.add(measurement())
        assert len(store.measurements()) == 1


def test_two_processes_write_at_once(tmp_path: Path) -> None:
    path = tmp_path / "m.sqlite"
    writers = [writer(path, session, 40) for session in ("a", "b")]
    for process in writers:
        _, errors = process.communicate(timeout=60)
        assert process.returncode == 0, errors
    with MeasurementStore.open(path) as store:
        assert len(store.measurements(session="a")) == len(store.measurements(session="b")) == 40


def test_threads_write_rounds_at_once(tmp_path: Path) -> None:
    rounds, rows = 20, 8
    with MeasurementStore.open(tmp_path / "store.sqlite") as store, ThreadPoolExecutor(4) as pool:

        def write(session: str) -> None:
            for number in range(rounds):
                store.add_all([measurement(number * rows + row, session) for row in range(rows)])

        for done in [pool.submit(write, f"phone {number}") for number in range(4)]:
            done.result()
        assert len(store.measurements()) == 4 * rounds * rows


def test_killed_writer_loses_no_committed_row(tmp_path: Path) -> None:
    path = tmp_path / "m.sqlite"
    process = writer(path, "a", 100_000)
    assert process.stdout is not None
    seen = [process.stdout.readline() for _ in range(25)]
    os.kill(process.pid, signal.SIGKILL)
    seen += process.stdout.readlines()
    process.wait(timeout=30)
    with MeasurementStore.open(path) as store:
        positions = [row.position for row in store.measurements()]
    acknowledged = int([line for line in seen if line.endswith("\n")][-1])
    assert positions == list(range(len(positions)))
    assert len(positions) >= acknowledged + 1


@pytest.mark.parametrize("content", [b"this is no database, but long enough to be read as one" * 40, None])
def test_damaged_file_is_named(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "m.sqlite"
    with MeasurementStore.open(path) as store:
        for position in range(200):
            store.add(measurement(position))
    if content is None:  # the head is sound, the rows are not
        whole = path.read_bytes()
        content = whole[:4096] + b"\xff" * (len(whole) - 4096)
    path.write_bytes(content)
    with pytest.raises(StoreError, match=r"m\.sqlite.*move it aside"):
        MeasurementStore.open(path)
    assert path.read_bytes() == content


def test_newer_schema_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "m.sqlite"
    MeasurementStore.open(path).close()
    with sqlite3.connect(path) as connection:
        connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION + 1}")
    connection.close()
    with pytest.raises(StoreError, match="newer than this pocketbert"):
        MeasurementStore.open(path)


def test_the_rows_of_a_round_are_written_together_or_not_at_all(tmp_path: Path) -> None:
    with MeasurementStore.open(tmp_path / "m.sqlite") as store:
        store.add_all([measurement(0, round=3), measurement(1, round=3)])
        with pytest.raises(StoreError, match="refuses a row"):
            store.add_all([measurement(2), measurement(1)])
        store.add_all([measurement(2)])
        assert [(row.position, row.round) for row in store.measurements()] == [(0, 3), (1, 3), (2, 0)]


def test_file_of_the_first_schema_is_brought_up_to_date(tmp_path: Path) -> None:
    path = tmp_path / "m.sqlite"
    with MeasurementStore.open(path) as store:
        store.add(measurement(7))
    with sqlite3.connect(path) as connection:
        for column in ("serial", "cpus", "outliers", "marks", "steps_ms", "round"):
            connection.execute(f"ALTER TABLE measurements DROP COLUMN {column}")
        connection.execute("PRAGMA user_version = 1")
    connection.close()
    with MeasurementStore.open(path) as store:
        store.add(measurement(1, serial="R5", cpus=(4, 5)))
        assert [(row.serial, row.cpus, row.round) for row in store.measurements()] == [("", (), 7), ("R5", (4, 5), 0)]


def test_database_of_another_program_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "m.sqlite"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE mine (x)")
    connection.close()
    with pytest.raises(StoreError, match="another program"):
        MeasurementStore.open(path)


def test_locked_store_says_so(tmp_path: Path) -> None:
    path = tmp_path / "m.sqlite"
    with MeasurementStore.open(path, lock_wait_s=0.1) as store:
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreError, match="another process"):
            store.add(measurement())
        other.execute("ROLLBACK")
        other.close()
        store.add(measurement())
        assert len(store.measurements()) == 1


def test_full_disk_keeps_what_was_written(tmp_path: Path) -> None:
    path = tmp_path / "m.sqlite"
    limit = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (120_000, 120_000))\n"
    process = writer(path, "a", 10_000, prefix=limit)
    output, errors = process.communicate(timeout=120)
    assert process.returncode == 1
    assert "StoreError" in errors and "finished measurements are kept" in errors
    with MeasurementStore.open(path) as store:
        assert len(store.measurements()) == len(output.split())


def test_unwritable_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StoreError, match="check the permissions"):
        MeasurementStore.open(tmp_path / "file" / "m.sqlite")


def test_measurements_keep_their_own_fields(tmp_path: Path) -> None:
    row = replace(measurement(), signature='{"text":"ünïcode"}', state_after={"temperature_c": 36.5})
    with MeasurementStore.open(tmp_path / "m.sqlite") as store:
        store.add(row)
        assert store.measurements() == [row]
