"""One open service: bytes both ways, a write at a time, as OKAY allows."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable

from tests.profiling.adb_double.wire import MAX_DATA, Message


class ClosedStreamError(Exception):
    """The other side has closed the stream, or the phone is gone."""


class Stream:
    """The phone's end of a stream; services read and write it in a thread of their own."""

    def __init__(self, local: int, remote: int, send: Callable[[Message], None]) -> None:
        self.local, self.remote = local, remote
        self._send = send
        self._incoming: queue.Queue[bytes | None] = queue.Queue()
        self._buffer = bytearray()
        self._may_write = threading.Semaphore(0)
        self.closed = threading.Event()

    def acknowledge_open(self) -> None:
        """The service exists."""
        self._send(Message(b"OKAY", self.local, self.remote))

    def arrive(self, data: bytes) -> None:
        """Data from the other side, acknowledged at once."""
        self._incoming.put(data)
        self._send(Message(b"OKAY", self.local, self.remote))

    def acknowledge(self) -> None:
        """The other side has taken what was written last."""
        self._may_write.release()

    def end(self) -> None:
        """The other side has closed."""
        self.closed.set()
        self._incoming.put(None)
        self._may_write.release()

    def read(self, size: int) -> bytes:
        """So many bytes, or ClosedStreamError."""
        while len(self._buffer) < size:
            data = self._incoming.get()
            if data is None:
                raise ClosedStreamError
            self._buffer += data
        taken = bytes(self._buffer[:size])
        del self._buffer[:size]
        return taken

    def write(self, data: bytes) -> None:
        """Write and wait for the acknowledgement, or ClosedStreamError."""
        for start in range(0, len(data), MAX_DATA):
            if self.closed.is_set():
                raise ClosedStreamError
            self._send(Message(b"WRTE", self.local, self.remote, data[start : start + MAX_DATA]))
            self._may_write.acquire()
        if self.closed.is_set():
            raise ClosedStreamError

    def close(self) -> None:
        """Close this end."""
        self._send(Message(b"CLSE", self.local, self.remote))
