"""The link to one phone: shell commands and files through adb's server, each within a wall-clock limit.

adbutils limits single reads only, drops the phone's reason when a push fails, and may send a part of a chunk; so the
two services that profiling needs, ``shell,v2:`` and ``sync:``, are spoken here over its connections.
"""

from __future__ import annotations

import shlex
import stat
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from io import BytesIO
from pathlib import Path
from time import monotonic, sleep, time
from typing import TYPE_CHECKING, BinaryIO

from data.errors import DeviceError, DeviceLostError
from profiling.adb_server import READY, attached_phones, clear_errors

if TYPE_CHECKING:
    import adbutils

# Seconds: a command that only reads a few files; what this side waits longer than the phone's own `timeout`, which
# kills what ignores its first signal after _KILL_S.
SHELL_S, _GRACE_S, _KILL_S = 15.0, 6.0, 2
# Bytes: a chunk of a pushed file (the protocol allows 64 KiB), and the most that a command may print.
_CHUNK, _MOST_OUTPUT = 60 << 10, 64 << 20
_STDOUT, _STDERR, _EXIT = 1, 2, 3
_TIMED_OUT = (124, 137, 143)
_SOCKET_S = 20.0
_ADVICE = {
    "no space left": "free some space in the phone's /data",
    "read-only": "the phone does not let adb write there: restart it, or check its storage",
    "permission denied": "the phone does not let adb write there: restart it, or check its storage",
}


@dataclass(frozen=True)
class Finished:
    """What a command on the phone left: its status and what it printed."""

    status: int
    stdout: str
    stderr: str

    @property
    def reason(self) -> str:
        """How it ended, with the last line that it printed."""
        said = (self.stderr or self.stdout).strip().splitlines() or ["no message"]
        return f"ended with status {self.status}: {said[-1]}"


class PhoneLink:
    """Commands and files of the phone with this serial number; ``title`` is what errors call it."""

    def __init__(self, serial: str, title: str) -> None:
        self.serial = serial
        self.title = title

    @cached_property
    def _phone(self) -> adbutils.AdbDevice:
        from profiling.adb_client import AdbClient

        return AdbClient(_SOCKET_S).device(serial=self.serial)

    @cached_property
    def _features(self) -> frozenset[str]:
        """What of adb's protocol the phone speaks."""
        with clear_errors(self.title):
            return frozenset(self._phone.get_features().split(","))

    def shell(self, words: Sequence[str], limit_s: float = SHELL_S, check: bool = True, name: str = "") -> str:
        """Standard output of one command; every word is quoted, so that no name can become a command.

        ``name`` is what errors call it, by default its first word.

        Raises:
            DeviceLostError: the phone went away.
            DeviceError: the command failed (unless ``check`` is off), or did not end within ``limit_s`` seconds.
        """
        done = self.run(words, limit_s, name)
        if check and done.status:
            raise DeviceError(f"{self.title}: {name or words[0]} {done.reason}" + _advice(done.reason))
        return done.stdout.strip()

    def run(self, words: Sequence[str], limit_s: float = SHELL_S, name: str = "") -> Finished:
        """What one command left, whatever its status; errors as :meth:`shell` when it does not end."""
        # `timeout` ends the command on the phone, whatever becomes of this side.
        line = shlex.join(["timeout", "-k", str(_KILL_S), f"{limit_s:g}", *words])
        done = self._finished(line, limit_s + _KILL_S + _GRACE_S, name or words[0])
        if done.status in _TIMED_OUT:
            raise DeviceError(f"{self.title}: {name or words[0]} did not end within {limit_s:g} s and was stopped")
        return done

    def script(self, line: str, name: str) -> str:
        """Standard output of a line of shell made of constants alone, whatever its status."""
        return self.shell(["sh", "-c", line], check=False, name=name)

    def push(self, source: Path, destination: str, mode: int, limit_s: float) -> None:
        """Copy a file to the phone, and check that all of it arrived.

        Raises:
            DeviceLostError: the phone went away.
            DeviceError: the phone refuses the file, or it did not arrive whole within ``limit_s`` seconds.
        """
        with source.open("rb") as file:
            self._push(file, source.stat().st_size, source.name, f"{destination},{stat.S_IFREG | mode}", limit_s)

    def push_content(self, content: bytes, destination: str, mode: int, limit_s: float) -> None:
        """As :meth:`push`, of a file that is not there on this machine."""
        name = destination.rpartition("/")[2]
        self._push(BytesIO(content), len(content), name, f"{destination},{stat.S_IFREG | mode}", limit_s)

    def _push(self, file: BinaryIO, size: int, name: str, target: str, limit_s: float) -> None:
        what = f"{self.title}: pushing {name}"
        deadline = monotonic() + limit_s
        with clear_errors(what), self._phone.open_transport(timeout=_SOCKET_S) as connection:
            connection.send_command("sync:")
            connection.check_okay()
            refusal = _send_file(connection, file, target, deadline)
            arrived = _size_of(connection, target.rpartition(",")[0], deadline) if not refusal else 0
        if refusal:
            raise DeviceError(f"{what}: {refusal}{_advice(refusal)}")
        if arrived != size:
            raise DeviceLostError(f"{what}: only {arrived} of {size} bytes arrived; call again")

    def await_return(self, limit_s: float) -> bool:
        """Wait until the phone is attached and ready again; False after ``limit_s`` seconds."""
        deadline = monotonic() + limit_s
        while monotonic() < deadline:
            state = attached_phones().get(self.serial)
            if state == READY:
                return True
            if ":" in self.serial:
                self._reconnect(deadline)
            sleep(min(0.5, max(0.0, deadline - monotonic())))
        return False

    def _reconnect(self, deadline: float) -> None:
        """A phone over the network is forgotten by adb when it goes: ask for it again."""
        import adbutils

        from profiling.adb_client import AdbClient

        client = AdbClient(max(0.1, deadline - monotonic()))
        try:
            client.disconnect(self.serial)
            client.connect(self.serial)
        except (adbutils.AdbError, OSError, ValueError):
            return  # not there yet: the caller asks again

    def _finished(self, line: str, limit_s: float, name: str) -> Finished:
        deadline = monotonic() + limit_s
        if "shell_v2" not in self._features:
            raise DeviceError(
                f"{self.title} ({self.serial}) tells no exit status over adb: Android 7 or later is needed"
            )
        with clear_errors(f"{self.title}: {name}"), self._phone.open_transport(timeout=_SOCKET_S) as connection:
            connection.send_command(f"shell,v2:{line}")
            connection.check_okay()
            return _read_shell(connection, deadline)


def _read_shell(connection: adbutils.AdbConnection, deadline: float) -> Finished:
    """Packets of shell v2 until the command's status: a byte of kind, four of length, the content."""
    printed = {_STDOUT: bytearray(), _STDERR: bytearray()}
    while True:
        kind, length = struct.unpack("<BI", _exactly(connection, 5, deadline))
        content = _exactly(connection, length, deadline)
        if kind == _EXIT:
            break
        if kind in printed:
            printed[kind] += content
        if sum(map(len, printed.values())) > _MOST_OUTPUT:
            raise ValueError(f"more than {_MOST_OUTPUT >> 20} MiB of output")
    texts = [printed[kind].decode("utf-8", errors="replace") for kind in (_STDOUT, _STDERR)]
    return Finished(content[0] if content else 255, *texts)


def _send_file(connection: adbutils.AdbConnection, file: BinaryIO, target: str, deadline: float) -> str:
    """Send a file through an open ``sync:`` service; returns the phone's reason where it refuses."""
    path = target.encode()
    try:
        connection.conn.sendall(b"SEND" + struct.pack("<I", len(path)) + path)
        while chunk := file.read(_CHUNK):
            connection.conn.settimeout(_left(deadline))
            connection.conn.sendall(b"DATA" + struct.pack("<I", len(chunk)) + chunk)
        connection.conn.sendall(b"DONE" + struct.pack("<I", int(time())))
    except (BrokenPipeError, ConnectionResetError):
        pass  # the phone may have said why before it closed
    answer, length = struct.unpack("<4sI", _exactly(connection, 8, deadline))
    if answer == b"OKAY":
        return ""
    return _exactly(connection, length, deadline).decode("utf-8", errors="replace") if answer == b"FAIL" else "refused"


def _size_of(connection: adbutils.AdbConnection, path: str, deadline: float) -> int:
    """Size in bytes of a file on the phone, modulo 4 GiB; 0 where there is none."""
    connection.conn.sendall(b"STAT" + struct.pack("<I", len(path.encode())) + path.encode())
    _, _, size, _ = struct.unpack("<4sIII", _exactly(connection, 16, deadline))
    return int(size)


def _exactly(connection: adbutils.AdbConnection, size: int, deadline: float) -> bytes:
    """So many bytes, or EOFError where the connection ends, TimeoutError at the deadline."""
    received = bytearray()
    while len(received) < size:
        connection.conn.settimeout(_left(deadline))
        chunk = connection.conn.recv(size - len(received))
        if not chunk:
            raise EOFError("the phone closed the connection")
        received += chunk
    return bytes(received)


def _left(deadline: float) -> float:
    left = deadline - monotonic()
    if left <= 0:
        raise TimeoutError
    return left


def _advice(reason: str) -> str:
    found = next((advice for sign, advice in _ADVICE.items() if sign in reason.lower()), None)
    return f"; {found} and call again" if found else ""
