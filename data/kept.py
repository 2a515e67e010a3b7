"""Files of the cache: each appears whole or not at all, and tells by a checksum behind it whether it still is."""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from data.errors import StoreError

_SEAL_BYTES = 64


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A file to write, which takes the place of ``path`` at the end, or is gone when writing failed.

    Raises:
        StoreError: it cannot be written.
    """
    partial = path.with_name(f"{path.name}.{os.getpid()}.{threading.get_ident()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield partial
        partial.replace(path)
    except OSError as error:
        raise StoreError(f"cannot write {path}: {error.strerror or error}") from error
    finally:
        if partial.exists():
            partial.unlink()


def seal(path: Path) -> None:
    """Puts a checksum behind a file's content: 64 hexadecimal digits, which programs and libraries may carry."""
    with path.open("r+b") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        file.seek(0, os.SEEK_END)
        file.write(digest.encode())


def read_sealed(path: Path) -> bytes | None:
    """The content of a sealed file; None when there is none, or it is not as it was written."""
    try:
        content = path.read_bytes()
    except OSError:
        return None
    content, digest = content[:-_SEAL_BYTES], content[-_SEAL_BYTES:]
    return content if hashlib.sha256(content).hexdigest().encode() == digest else None
