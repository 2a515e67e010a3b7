"""Durable state of a search: one JSON file for each finished piece of work, so that a killed search can go on.

    OUT/study/study.json            the options it was started with
    OUT/study/NAME.json             a finished stage (outlook, teacher)
    OUT/study/batch-measured-000.json ...  what was timed together before training, by provenance
    OUT/study/trial-000.json        a trial, written when it is proposed and again when it is finished
    OUT/study/trained-000.json ...  what is known of a finalist
    OUT/study/models/               checkpoints of trials and finalists
    OUT/study/lock                  held while a search runs in OUT

Each file is written to a temporary name, flushed to the disk and renamed, so that it is there whole or not at all.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from data.errors import DataFileError, InputError, PocketBertError
from search.options import SearchOptions
from search.records import Batch, Trial

if TYPE_CHECKING:
    from pydantic import TypeAdapter

SCHEMA = 4
_HEADER, _ENDING = "study", "ended"
_FREE_TO_CHANGE = {"require_device"}
Record = TypeVar("Record")


@dataclass(frozen=True)
class Study:
    """The records of one search under ``out``. Made by :func:`open_study`, which holds the lock."""

    out: Path
    options: SearchOptions
    created_at: str

    @property
    def folder(self) -> Path:
        """Where the records are."""
        return self.out / "study"

    def load(self, name: str, kind: type[Record]) -> Record | None:
        """The record of that name, or None where that work is not finished.

        Raises:
            DataFileError: the file is damaged, or of another version.
        """
        path = self.folder / f"{name}.json"
        return _read(path, kind) if path.exists() else None

    def save(self, name: str, record: Any) -> None:
        """Writes a record; when this returns, it survives the death of the process and of the machine."""
        _write(self.folder / f"{name}.json", record)

    def trials(self) -> list[Trial]:
        """All trials so far, in order.

        Raises:
            DataFileError: a record is damaged, or one is missing between others.
        """
        paths = sorted(self.folder.glob("trial-*.json"))
        trials = [_read(path, Trial) for path in paths]
        for position, (trial, path) in enumerate(zip(trials, paths, strict=True)):
            if trial.index != position:
                raise DataFileError(path, f"trial {position} is missing; start again in another --out")
        return trials

    def batches(self, provenance: str = "*") -> list[Batch]:
        """All that was timed before training, in order; of one provenance (of several devices ``measured-simulated``),
        or of all.

        Raises:
            DataFileError: a record is damaged.
        """
        return [_read(path, Batch) for path in sorted(self.folder.glob(f"batch-{provenance}-*.json"))]

    def save_trial(self, trial: Trial) -> None:
        """Writes a trial; a finished or failed one replaces the proposed one."""
        self.save(f"trial-{trial.index:03d}", trial)

    def save_ending(self, problem: str) -> None:
        """Notes why the search ended without a winner; whoever begins another there is told."""
        self.save(_ENDING, problem)

    def models(self, name: str) -> Path:
        """Folder of the checkpoint of that name."""
        return self.folder / "models" / name

    def relative(self, path: Path) -> str:
        """A path below ``out``, as records keep it, so that ``out`` may be moved."""
        return path.relative_to(self.out).as_posix()


@dataclass(frozen=True)
class _Header:
    """The first record of a study."""

    options: SearchOptions
    created_at: str


@contextmanager
def open_study(out: Path, options: SearchOptions, *, resume: bool) -> Iterator[Study]:
    """The study in ``out``: begun there, or gone on with when ``resume``; locked until the context ends.

    A study that ended before its first trial holds nothing that is worth keeping (profiles and teachers are kept
    elsewhere): it is begun anew, with whatever options. Resuming where nothing was begun begins, since a search may be
    killed before it wrote anything.

    Raises:
        InputError: ``out`` cannot be written, or holds something else; it holds trials, and ``resume`` is not given or
            the options differ from those that it was started with; another search runs there.
        DataFileError: the study's records are damaged.
    """
    from filelock import FileLock, Timeout

    folder = out / "study"
    lock = FileLock(folder / "lock", timeout=0)
    try:
        _refuse_unsuitable(out, folder)
        folder.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except Timeout as error:
        raise InputError(f"another search is running in {out}: wait for it, or choose another --out") from error
    except OSError as error:
        raise InputError(f"--out {out} cannot be written: {error.strerror or error}") from error
    try:
        yield _begin_or_resume(out, options, resume)
    finally:
        lock.release()


def _refuse_unsuitable(out: Path, folder: Path) -> None:
    if out.exists() and not out.is_dir():
        raise InputError(f"--out {out} is a file")
    header = folder / f"{_HEADER}.json"
    if not header.exists() and out.exists() and any(path.name != folder.name for path in out.iterdir()):
        raise InputError(f"--out {out} is not empty and holds no search: choose another --out")


def holds_trials(out: Path) -> bool:
    """Whether the search in ``out`` has begun what would be lost with it."""
    # A name that the system refuses (too long) holds nothing: os.path asks without raising.
    return os.path.isdir(out) and any((out / "study").glob("trial-*.json"))


def _begin_or_resume(out: Path, options: SearchOptions, resume: bool) -> Study:
    if holds_trials(out) and not resume:
        raise InputError(f"{out} {_state(out)}")
    path = out / "study" / f"{_HEADER}.json"
    header = _read(path, _Header) if path.exists() and resume else None
    if header is not None and holds_trials(out):
        _refuse_other_options(out, header.options, options)
    elif header is None or _differing(header.options, options):
        for record in path.parent.glob("*.json"):
            record.unlink()
        header = _Header(options, datetime.now(UTC).isoformat(timespec="seconds"))
        _write(path, header)
    allowed = {name: getattr(options, name) for name in _FREE_TO_CHANGE}
    return Study(out, replace(header.options, **allowed), header.created_at)


def _state(out: Path) -> str:
    """What is in ``out``, and what to do about it."""
    ending = out / "study" / f"{_ENDING}.json"
    if (out / "result.json").exists():
        return "holds a finished search: add --resume to see it again, or choose another --out"
    if ending.exists():
        return f"holds a search that found no winner ({_read(ending, str)}): choose another --out"
    return "holds an unfinished search: add --resume to go on with it, or choose another --out"


def _differing(before: SearchOptions, now: SearchOptions) -> list[str]:
    then, given = _flat(before), _flat(now)
    return [
        f"{name} was {then.get(name)}, now {given.get(name)}"
        for name in dict.fromkeys([*then, *given])
        if name not in _FREE_TO_CHANGE and then.get(name) != given.get(name)
    ]


def _flat(options: SearchOptions) -> dict[str, Any]:
    """The options by name; those that hold several, such as the values of a space, as ``space.layers``; further devices
    as the command line has them."""
    found: dict[str, Any] = {}
    for name, value in asdict(options).items():
        found |= {f"{name}.{key}": part for key, part in value.items()} if isinstance(value, dict) else {name: value}
    return found | {"also": " ".join(map(str, options.also)) or None}


def _refuse_other_options(out: Path, before: SearchOptions, now: SearchOptions) -> None:
    differing = _differing(before, now)
    if differing:
        changes = "; ".join(differing)
        raise InputError(f"{out} was started with other options ({changes}): repeat them, or choose another --out")


def atomic_write(path: Path, text: str) -> None:
    """Writes a file so that readers, and whoever comes after a crash, see the old text or the new one, whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{path.name}.tmp")
    with temporary.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
    _flush_directory(path.parent)


def _flush_directory(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _write(path: Path, record: Any) -> None:
    document = {"schema": SCHEMA, "record": _adapter(type(record)).dump_python(record, mode="json")}
    atomic_write(path, json.dumps(document, indent=1, allow_nan=False))


def _read(path: Path, kind: type[Record]) -> Record:
    from pydantic import ValidationError

    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        schema = document["schema"]
        if schema == SCHEMA:
            return _adapter(kind).validate_python(document["record"])
    except (ValueError, KeyError, TypeError, ValidationError, PocketBertError) as error:
        problem = "damaged record of the search; remove the file to have that part done again, or choose another --out"
        raise DataFileError(path, problem) from error
    raise DataFileError(path, f"written by another version of pocketbert (schema {schema}, not {SCHEMA})")


def _adapter(kind: type[Record]) -> TypeAdapter[Record]:
    hashable: Any = kind  # as mypy does not know of classes
    return _made_adapter(hashable)


@cache
def _made_adapter(kind: Any) -> TypeAdapter[Any]:
    """Once a class: making it takes longer than writing a record."""
    from pydantic import TypeAdapter

    return TypeAdapter(kind)
