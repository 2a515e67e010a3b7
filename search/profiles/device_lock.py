"""One profiling of a device at a time: a second waits, and says for whom."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from data.errors import DeviceError, StoreError
from data.home import home
from data.progress import Progress, ProgressEvent

if TYPE_CHECKING:
    from profiling.device import Device

# Another profiling of the same device would spoil both: the second waits this long for the first, in seconds.
WAIT_S = 1800.0


@contextmanager
def alone(device: Device, report: Progress, wait_s: float | None = None) -> Iterator[None]:
    """Hold the device while the block runs. The lock is the system's, so it ends with its process, however that ends.

    Raises:
        DeviceError: another process still holds it after ``wait_s`` seconds (by default ``WAIT_S``); it is named.
        StoreError: the state directory cannot be written.
    """
    from filelock import FileLock, Timeout

    wait_s = WAIT_S if wait_s is None else wait_s
    folder = home() / "locks"
    path = folder / f"{device.describe().fingerprint}.lock"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(path)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            report(ProgressEvent("wait", 0, None, f"{_holder(path)} is profiling {device.spec.name}: waiting for it"))
            lock.acquire(timeout=wait_s)
        _name_holder(path)
    except Timeout as error:
        raise DeviceError(
            f"{_holder(path)} still profiles {device.spec.name} after {wait_s:g} s: wait for it, or end it"
        ) from error
    except OSError as error:
        raise StoreError(f"the state directory {folder} cannot be written: {error.strerror}") from error
    try:
        yield
    finally:
        lock.release()


def _name_holder(lock: Path) -> None:
    """Leave word of who holds the lock beside it."""
    document = {
        "pid": os.getpid(),
        "command": " ".join([Path(sys.argv[0]).name, *sys.argv[1:]]),
        "since": f"{datetime.now().astimezone():%Y-%m-%d %H:%M:%S}",
    }
    partial = lock.with_name(f"{lock.name}.{os.getpid()}")
    partial.write_text(json.dumps(document), encoding="utf-8")
    partial.replace(lock.with_suffix(".holder"))


def _holder(lock: Path) -> str:
    """Who holds the lock, for people."""
    try:
        document = json.loads(lock.with_suffix(".holder").read_text(encoding="utf-8"))
        return f"process {document['pid']} ({document['command']}, since {document['since']})"
    except (OSError, ValueError, KeyError, TypeError):
        return "another process"
