"""The measurement store: SQLite in WAL mode, one row for each visit; the rows of a round are committed together.

Rows are only ever added. Several processes may read and write at once: each write is one short transaction, and
SQLite makes the others wait.
"""

from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from data.errors import StoreError
from data.home import home
from data.measurement import Measurement

if TYPE_CHECKING:
    import pandas as pd

SCHEMA_VERSION = 5
LOCK_WAIT_S = 30.0

_SCHEMA = """
CREATE TABLE IF NOT EXISTS measurements (
    id INTEGER PRIMARY KEY,
    subject TEXT NOT NULL CHECK (subject IN ('block', 'model')),
    subject_hash TEXT NOT NULL,
    signature TEXT NOT NULL,
    device TEXT NOT NULL,
    fingerprint TEXT NOT NULL,
    unit TEXT NOT NULL,
    threads INTEGER NOT NULL,
    affinity TEXT NOT NULL,
    session TEXT NOT NULL,
    position INTEGER NOT NULL,
    warmups_ms TEXT NOT NULL,
    samples_ms TEXT NOT NULL,
    reference_ms REAL,
    binary_hash TEXT NOT NULL,
    compiler TEXT NOT NULL,
    provenance TEXT NOT NULL CHECK (provenance IN ('measured', 'simulated', 'published')),
    created_at TEXT NOT NULL,
    state_before TEXT NOT NULL,
    state_after TEXT NOT NULL,
    serial TEXT NOT NULL DEFAULT '',
    cpus TEXT NOT NULL DEFAULT '[]',
    outliers TEXT NOT NULL DEFAULT '[]',
    marks TEXT NOT NULL DEFAULT '[]',
    steps_ms TEXT NOT NULL DEFAULT '[]',
    round INTEGER NOT NULL DEFAULT 0,
    UNIQUE (session, position)
);
CREATE INDEX IF NOT EXISTS by_subject ON measurements (fingerprint, unit, threads, subject, subject_hash);
"""
# What an older file lacks, by the version that it has.
_UPGRADES = {
    1: (
        "ALTER TABLE measurements ADD COLUMN serial TEXT NOT NULL DEFAULT ''",
        "ALTER TABLE measurements ADD COLUMN cpus TEXT NOT NULL DEFAULT '[]'",
    ),
    2: (
        "ALTER TABLE measurements ADD COLUMN outliers TEXT NOT NULL DEFAULT '[]'",
        "ALTER TABLE measurements ADD COLUMN marks TEXT NOT NULL DEFAULT '[]'",
    ),
    3: ("ALTER TABLE measurements ADD COLUMN steps_ms TEXT NOT NULL DEFAULT '[]'",),
    # A row was a process of its own until then.
    4: (
        "ALTER TABLE measurements ADD COLUMN round INTEGER NOT NULL DEFAULT 0",
        "UPDATE measurements SET round = position",
    ),
}
_COLUMNS = tuple(field.name for field in fields(Measurement))
_LISTS = ("warmups_ms", "samples_ms", "cpus", "outliers", "marks", "steps_ms")
_MAPS = ("state_before", "state_after")
_FILTERS = ("device", "unit", "threads", "subject", "provenance", "fingerprint", "compiler", "session", "subject_hash")
_INSERT = f"INSERT INTO measurements ({', '.join(_COLUMNS)}) VALUES ({', '.join(':' + name for name in _COLUMNS)})"

# What to do about each kind of trouble, by the name that SQLite gives the error.
_ADVICE = {
    "SQLITE_FULL": "the disk is full: free some space and call again, finished measurements are kept",
    "SQLITE_IOERR": "the disk cannot be written: check its space and health, finished measurements are kept",
    "SQLITE_BUSY": "another process keeps it locked: wait for that process to end and call again",
    "SQLITE_LOCKED": "another process keeps it locked: wait for that process to end and call again",
    "SQLITE_CORRUPT": "the file is damaged: move it aside to start afresh ('sqlite3 FILE .recover' may save its rows)",
    "SQLITE_NOTADB": "the file is not a measurement store: move it aside to start afresh",
    "SQLITE_READONLY": "it cannot be written: check the permissions of the file and its folder",
    "SQLITE_CANTOPEN": "it cannot be opened: check the permissions of the file and its folder",
}


class MeasurementStore:
    """Every measurement made so far. Use as a context manager, or call :meth:`close`."""

    def __init__(self, path: Path, connection: sqlite3.Connection) -> None:
        self.path = path
        self._connection = connection
        # A transaction belongs to the connection: phones that share the work write from threads of their own.
        self._writing = threading.Lock()

    @classmethod
    def open(cls, path: Path | None = None, lock_wait_s: float = LOCK_WAIT_S) -> Self:
        """Open the store, creating it where there is none.

        Args:
            path: the file; default ``measurements.sqlite`` in the state directory.
            lock_wait_s: seconds to wait for another process's write.

        Raises:
            StoreError: the file is damaged, is no store, is of a newer schema, is locked, or cannot be written.
        """
        path = path or home() / "measurements.sqlite"
        with _clear_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            # check_same_thread: a trial may run in a worker thread; SQLite itself serialises the calls.
            connection = sqlite3.connect(path, timeout=lock_wait_s, isolation_level=None, check_same_thread=False)
        try:
            with _clear_errors(path):
                _prepare(connection, path)
        except StoreError:
            connection.close()
            raise
        return cls(path, connection)

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def add(self, measurement: Measurement) -> None:
        """Write one measurement; on return it is on the disk.

        Raises:
            StoreError: the row cannot be written, or the session already holds a row at that position.
        """
        self.add_all((measurement,))

    def add_all(self, measurements: Sequence[Measurement]) -> None:
        """Write the measurements of a round, all of them or none; on return they are on the disk.

        Raises:
            StoreError: a row cannot be written, or the session already holds a row at its position.
        """
        with self._writing, _clear_errors(self.path):
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                self._connection.executemany(_INSERT, [_to_row(measurement) for measurement in measurements])
                self._connection.execute("COMMIT")
            finally:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")

    def measurements(
        self,
        *,
        device: str | None = None,
        unit: str | None = None,
        threads: int | None = None,
        subject: str | None = None,
        provenance: str | None = None,
        fingerprint: str | None = None,
        compiler: str | None = None,
        session: str | None = None,
        subject_hash: str | None = None,
    ) -> list[Measurement]:
        """All measurements that equal every given value, in the order in which they were made."""
        given = locals()
        wanted = {name: given[name] for name in _FILTERS if given[name] is not None}
        where = " AND ".join(f"{name} = :{name}" for name in wanted) or "1"
        query = f"SELECT {', '.join(_COLUMNS)} FROM measurements WHERE {where} ORDER BY id"
        with _clear_errors(self.path):
            return [_from_row(row) for row in self._connection.execute(query, wanted)]

    def to_frame(self, **filters: Any) -> pd.DataFrame:
        """The measurements of :meth:`measurements` as a table, one row each, with ``median_ms`` added."""
        import pandas as pd

        rows = [
            {**{name: getattr(entry, name) for name in _COLUMNS}, "median_ms": entry.median_ms}
            for entry in self.measurements(**filters)
        ]
        return pd.DataFrame(rows, columns=[*_COLUMNS, "median_ms"])


def _prepare(connection: sqlite3.Connection, path: Path) -> None:
    """Check the file and bring it to the current schema."""
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    if version > SCHEMA_VERSION:
        raise StoreError(
            f"the measurement store {path} has schema {version}, newer than this pocketbert knows ({SCHEMA_VERSION}): "
            "upgrade pocketbert, or move the file aside to start afresh"
        )
    if version:
        problem = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
        if problem != "ok":
            detail = problem.splitlines()[-1]
            raise StoreError(f"the measurement store {path} is damaged ({detail}): {_ADVICE['SQLITE_CORRUPT']}")
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    if not version:
        _create(connection, path)
    elif version < SCHEMA_VERSION:
        _upgrade(connection)


def _upgrade(connection: sqlite3.Connection) -> None:
    """Bring an older file to the current schema in one transaction, unless another process has just done so."""
    connection.execute("BEGIN IMMEDIATE")
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    for older in range(version, SCHEMA_VERSION):
        for statement in _UPGRADES[older]:
            connection.execute(statement)
    connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
    connection.execute("COMMIT")


def _create(connection: sqlite3.Connection, path: Path) -> None:
    """Write the schema in one transaction, unless another process has just done so."""
    connection.execute("BEGIN IMMEDIATE")
    if not connection.execute("PRAGMA user_version").fetchone()[0]:
        if connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
            connection.execute("ROLLBACK")
            raise StoreError(f"{path} is another program's database: move it aside or set another POCKETBERT_HOME")
        for statement in _SCHEMA.split(";"):
            connection.execute(statement)
        connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
    connection.execute("COMMIT")


@contextmanager
def _clear_errors(path: Path) -> Iterator[None]:
    """Turn SQLite's and the system's errors into one line that says what to do."""
    try:
        yield
    except sqlite3.IntegrityError as error:
        raise StoreError(f"the measurement store {path} refuses a row: {error}") from error
    except sqlite3.Error as error:
        name = getattr(error, "sqlite_errorname", "")
        kind = next((known for known in _ADVICE if name.startswith(known)), None)
        advice = _ADVICE[kind] if kind else "look at the file and its folder, or move it aside to start afresh"
        raise StoreError(f"the measurement store {path} failed ({error}): {advice}") from error
    except OSError as error:
        advice = _ADVICE["SQLITE_CANTOPEN"]
        raise StoreError(f"the measurement store {path} failed ({error.strerror}): {advice}") from error


def _to_row(measurement: Measurement) -> dict[str, Any]:
    row = {name: getattr(measurement, name) for name in _COLUMNS}
    row.update({name: json.dumps(row[name]) for name in _LISTS})
    row.update({name: json.dumps(dict(row[name]), sort_keys=True) for name in _MAPS})
    return row


def _from_row(row: tuple[Any, ...]) -> Measurement:
    values = dict(zip(_COLUMNS, row, strict=True))
    values.update({name: tuple(json.loads(values[name])) for name in _LISTS})
    values.update({name: json.loads(values[name]) for name in _MAPS})
    return Measurement(**values)
