"""Messages of the adb protocol: 24 bytes of header (command, two arguments, length, checksum, magic), then the data."""

from __future__ import annotations

import socket
import struct
from dataclasses import dataclass

VERSION, MAX_DATA = 0x01000001, 256 << 10
_HEADER = struct.Struct("<4sIIIII")


@dataclass(frozen=True)
class Message:
    """One message; ``first`` and ``second`` are its arguments."""

    command: bytes
    first: int
    second: int
    data: bytes = b""

    def pack(self) -> bytes:
        """The bytes on the wire; the checksum is needed by old servers only."""
        magic = int.from_bytes(self.command, "little") ^ 0xFFFFFFFF
        return _HEADER.pack(self.command, self.first, self.second, len(self.data), sum(self.data), magic) + self.data


def exactly(connection: socket.socket, size: int) -> bytes:
    """So many bytes, or ConnectionError."""
    received = bytearray()
    while len(received) < size:
        chunk = connection.recv(size - len(received))
        if not chunk:
            raise ConnectionError("closed")
        received += chunk
    return bytes(received)


def receive(connection: socket.socket) -> Message:
    """The next message."""
    command, first, second, length, _, _ = _HEADER.unpack(exactly(connection, _HEADER.size))
    return Message(command, first, second, exactly(connection, length))
