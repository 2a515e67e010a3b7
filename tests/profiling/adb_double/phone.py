"""A phone's end of the adb protocol over TCP: the real adb server connects to it as to a phone on the network."""

from __future__ import annotations

import re
import socket
import struct
import subprocess
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from time import monotonic

import psutil

from tests.profiling.adb_double import descriptions
from tests.profiling.adb_double.descriptions import Description
from tests.profiling.adb_double.speed import Speed
from tests.profiling.adb_double.stream import ClosedStreamError, Stream
from tests.profiling.adb_double.sync import SyncService
from tests.profiling.adb_double.wire import MAX_DATA, VERSION, Message, receive

_FEATURES = "shell_v2,cmd,stat_v2,fixed_push_mkdir"
_SHELL_V2_SINCE = 7  # Android
_MAPPED = re.compile(r"/data/local/tmp|/sys/|/proc/cpuinfo")
_AUTH_TOKEN, _AUTH_KEY = 1, 3
Answer = tuple[int, bytes, bytes]


class PhoneDouble:
    """A phone under ``root``. Faults are set as attributes:

    ``on_command`` sees each shell command and returns None to have it run, another command to run instead, or status,
    output and errors; ``refusal`` is why pushes fail; ``cut_push_at`` the bytes of a push after which it vanishes once;
    ``lose_bytes`` of each file do not arrive; ``locked`` never accepts the computer's key; ``silent`` accepts
    connections and says nothing. With a ``speed`` its runners take the time that it says, at a clock that its files and
    its thermometer tell of. ``environment`` is what its programs find in theirs.
    """

    def __init__(self, description: Description, root: Path, locked: bool = False, silent: bool = False) -> None:
        self.description, self.root, self.locked, self.silent = description, root, locked, silent
        self.on_command: Callable[[str], Answer | str | None] = lambda line: None
        self.refusal = ""
        self.cut_push_at: int | None = None
        self.lose_bytes = 0
        self.speed: Speed | None = None
        self.environment: dict[str, str] = {}
        self.commands: list[str] = []
        self.processes: list[subprocess.Popen[bytes]] = []
        self._connections: list[socket.socket] = []
        self._spent = monotonic()
        descriptions.write(description, root)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()

    @property
    def serial(self) -> str:
        """The phone's serial number, as adb gives it."""
        return f"127.0.0.1:{self.port}"

    @property
    def storage(self) -> Path:
        """What the phone calls /data/local/tmp."""
        return self.root / "data/local/tmp"

    def vanish(self) -> None:
        """The cable is pulled: nothing listens, nothing answers."""
        _shut(self._listener)  # a plain close would let the waiting accept take one more connection
        for connection in self._connections:
            _shut(connection)
        self._connections.clear()

    def come_back(self) -> None:
        """Listen again at the same address."""
        self._listener = socket.create_server(("127.0.0.1", self.port))
        threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()

    def stop(self) -> None:
        """Vanish, and end whatever its commands left running."""
        self.vanish()
        for process in self.processes:
            for running in _family(process.pid):
                with suppress(psutil.NoSuchProcess):
                    running.kill()
            process.wait()

    def running(self) -> list[str]:
        """Shell commands that have not ended."""
        return [str(process.args) for process in self.processes if process.poll() is None]

    def place(self, path: str) -> Path:
        """Where a path of the phone lies on this machine."""
        return self.root / path.lstrip("/")

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._connections.append(connection)
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        """One connection of the server: the handshake, then messages to and from streams."""
        lock, streams = threading.Lock(), dict[int, Stream]()

        def send(message: Message) -> None:
            with lock, suppress(OSError):  # the reading side ends the streams
                connection.sendall(message.pack())

        try:
            while True:
                self._handle(receive(connection), streams, send)
        except (OSError, struct.error):
            _shut(connection)
            for stream in streams.values():
                stream.end()

    def _handle(self, message: Message, streams: dict[int, Stream], send: Callable[[Message], None]) -> None:
        if message.command in (b"CNXN", b"AUTH"):
            self._greet(message, send)
        elif message.command == b"OPEN":
            stream = Stream(len(streams) + 1, message.first, send)
            streams[stream.local] = stream
            name = message.data.rstrip(b"\0").decode()
            threading.Thread(target=self._service, args=(stream, name), daemon=True).start()
        elif (found := streams.get(message.second)) is not None:
            if message.command == b"WRTE":
                found.arrive(message.data)
            elif message.command == b"OKAY":
                found.acknowledge()
            elif message.command == b"CLSE":
                found.end()

    def _greet(self, message: Message, send: Callable[[Message], None]) -> None:
        if self.silent:
            return
        if self.locked:
            # Another token for every signature; for the key itself, the phone asks its user, who does not answer.
            if message.first != _AUTH_KEY or message.command == b"CNXN":
                send(Message(b"AUTH", _AUTH_TOKEN, 0, bytes(range(20))))
            return
        banner = "device::ro.product.name=double;ro.product.model=double;ro.product.device=double;features="
        banner += _FEATURES if int(self.description.release.split(".")[0]) >= _SHELL_V2_SINCE else "cmd"
        send(Message(b"CNXN", VERSION, MAX_DATA, banner.encode()))

    def _service(self, stream: Stream, name: str) -> None:
        kind, _, line = name.partition(":")
        try:
            if kind == "sync":
                stream.acknowledge_open()
                SyncService(stream, self.place, lambda path: self.refusal, self._cut, self.lose_bytes).serve()
            elif kind.split(",")[0] in ("shell", "exec"):
                stream.acknowledge_open()
                self._shell(stream, line, "v2" in kind.split(","))
        except ClosedStreamError:
            return
        stream.close()

    def _cut(self, received: int) -> None:
        if self.cut_push_at is not None and received >= self.cut_push_at:
            self.cut_push_at = None
            self.vanish()
            raise ClosedStreamError

    def _shell(self, stream: Stream, line: str, version2: bool) -> None:
        """Run a command and send its output: packets with the status under version 2, bare bytes otherwise."""
        self.commands.append(line)
        self._spend_time()
        answer = self.on_command(line)
        status, out, error = answer if isinstance(answer, tuple) else self._execute(answer or line)
        if self.speed and status == 0 and "/runner " in line:
            out = self._at_speed(self.speed, out)
        if not version2:
            stream.write(out + error)
            return
        for kind, content in ((1, out), (2, error), (3, bytes([status & 0xFF]))):
            for start in range(0, len(content), MAX_DATA // 2):
                part = content[start : start + MAX_DATA // 2]
                stream.write(struct.pack("<BI", kind, len(part)) + part)

    def _execute(self, line: str) -> Answer:
        """What ``sh -c`` makes of the command with the phone's paths and commands."""
        mapped = _MAPPED.sub(lambda found: f"{self.root}{found[0]}", line)
        env = {"PATH": f"{self.root}/bin:/usr/bin:/bin", "LC_ALL": "C", **self.environment}
        process = subprocess.Popen(
            ["sh", "-c", mapped],
            cwd=self.root,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        self.processes.append(process)
        out, error = process.communicate()
        return (process.returncode if process.returncode >= 0 else 128 - process.returncode), out, error

    def _at_speed(self, speed: Speed, printed: bytes) -> bytes:
        """What the runner printed, with the phone's own times; its clock and temperature are then what they became."""
        printed, self.description.clock_share = speed.retimed(printed)
        self._spend_time()
        self.description.clock_share = speed.share
        self.description.temperature_tenths = speed.temperature_tenths
        return printed

    def _spend_time(self) -> None:
        now = monotonic()
        descriptions.spend(self.description, self.root, now - self._spent)
        descriptions.refresh(self.description, self.root)
        self._spent = now


def _family(pid: int) -> list[psutil.Process]:
    """A process and all that it has started; none where it has ended."""
    try:
        process = psutil.Process(pid)
        return [*process.children(recursive=True), process]
    except psutil.NoSuchProcess:
        return []


def _shut(connection: socket.socket) -> None:
    with suppress(OSError):  # closed already
        connection.shutdown(socket.SHUT_RDWR)
    connection.close()
