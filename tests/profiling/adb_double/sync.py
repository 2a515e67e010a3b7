"""The sync service: SEND, RECV, STAT (and STA2, LST2 as `adb push` asks) and LIST on the files under a phone's root."""

from __future__ import annotations

import os
import struct
from collections.abc import Callable
from pathlib import Path

from tests.profiling.adb_double.stream import Stream

_CHUNK = 64 << 10


class SyncService:
    """Serves one stream. ``refuse`` gives the reason for which a write to a path fails; ``cut`` is told how many bytes
    of a file have arrived, and may end the service; ``lose_bytes`` at the end of each file are dropped."""

    def __init__(
        self,
        stream: Stream,
        place: Callable[[str], Path],
        refuse: Callable[[str], str],
        cut: Callable[[int], None],
        lose_bytes: int = 0,
    ) -> None:
        self._stream, self._place, self._refuse, self._cut = stream, place, refuse, cut
        self._lose_bytes = lose_bytes

    def serve(self) -> None:
        """Answer requests until QUIT or the end."""
        answers = {b"SEND": self._send, b"RECV": self._recv, b"STAT": self._stat, b"LIST": self._list}
        answers |= {b"STA2": self._stat2, b"LST2": self._stat2}
        while True:
            kind, length = struct.unpack("<4sI", self._stream.read(8))
            if kind == b"QUIT":
                return
            argument = self._stream.read(length).decode()
            if kind == b"SEND":
                self._send(kind, argument)
            elif kind in answers:
                answers[kind](kind, argument)
            else:
                self._fail(f"unknown command {kind!r}")

    def _fail(self, reason: str) -> None:
        text = reason.encode()
        self._stream.write(b"FAIL" + struct.pack("<I", len(text)) + text)

    def _send(self, _: bytes, argument: str) -> None:
        path, _, mode = argument.rpartition(",")
        reason, target = self._refuse(path), self._place(path)
        content = bytearray()
        while True:
            kind, length = struct.unpack("<4sI", self._stream.read(8))
            if kind == b"DONE":
                break
            content += self._stream.read(length)
            self._cut(len(content))
        if not reason:
            try:
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(content[: len(content) - self._lose_bytes])
                target.chmod(int(mode) & 0o777)
                os.utime(target, (length, length))
            except OSError as error:
                reason = f"couldn't create file: {error.strerror}"
        if reason:
            self._fail(reason)
        else:
            self._stream.write(b"OKAY" + struct.pack("<I", 0))

    def _recv(self, _: bytes, path: str) -> None:
        try:
            content = self._place(path).read_bytes()
        except OSError as error:
            self._fail(f"open failed: {error.strerror}")
            return
        for start in range(0, len(content), _CHUNK):
            chunk = content[start : start + _CHUNK]
            self._stream.write(b"DATA" + struct.pack("<I", len(chunk)) + chunk)
        self._stream.write(b"DONE" + struct.pack("<I", 0))

    def _stat(self, _: bytes, path: str) -> None:
        self._stream.write(b"STAT" + _brief(self._place(path)))

    def _stat2(self, kind: bytes, path: str) -> None:
        try:
            found = self._place(path).stat() if kind == b"STA2" else self._place(path).lstat()
        except OSError as error:
            self._stream.write(struct.pack("<4sIQQIIIIQqqq", kind, error.errno or 2, *([0] * 10)))
            return
        times = (int(found.st_atime), int(found.st_mtime), int(found.st_ctime))
        numbers = (found.st_dev, found.st_ino, found.st_mode, found.st_nlink, 2000, 2000, found.st_size, *times)
        self._stream.write(struct.pack("<4sIQQIIIIQqqq", kind, 0, *numbers))

    def _list(self, _: bytes, path: str) -> None:
        folder = self._place(path)
        for entry in sorted(folder.iterdir()) if folder.is_dir() else ():
            name = entry.name.encode()
            self._stream.write(b"DENT" + _brief(entry) + struct.pack("<I", len(name)) + name)
        self._stream.write(b"DONE" + bytes(16))


def _brief(path: Path) -> bytes:
    """Mode, size and time of a file, zeros where there is none."""
    try:
        found = path.lstat()
    except OSError:
        return bytes(12)
    return struct.pack("<III", found.st_mode, found.st_size & 0xFFFFFFFF, int(found.st_mtime))
