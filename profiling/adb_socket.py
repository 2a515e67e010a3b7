"""Where adb's server listens, from the variables that adb itself reads, and how it is started there."""

from __future__ import annotations

import os
import re
import socket
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import ip_address

from data.errors import DeviceError

_HOST, _PORT = "127.0.0.1", 5037
_MOST_PORT = 65535
# Seconds: reaching the server; starting it.
_REACH_S, _START_S = 3.0, 20.0
# adb's names for local sockets; what stands before their names in the kernel's.
_LOCAL = {"localabstract": "\0", "localfilesystem": "", "local": "", "localreserved": "/dev/socket/"}
_TCP = re.compile(r"(?:(?P<host>\[[^\]]+\]|[^:\[\]]+):)?(?P<port>\d+)|(?P<alone>[^:\d][^:]*)")


@dataclass(frozen=True)
class ServerAddress:
    """A TCP host and port, or the ``path`` of a local socket; ``words`` are as adb writes it, ``origin`` the variable
    that said so (empty: adb's own address)."""

    words: str
    host: str = ""
    port: int = 0
    path: str = ""
    origin: str = ""

    @property
    def is_here(self) -> bool:
        """Whether it is on this machine, so that the server can be started."""
        return bool(self.path) or self.host == "localhost" or _is_loopback(self.host)

    def connect(self) -> socket.socket:
        """An open socket, or OSError."""
        if not self.path:
            return socket.create_connection((self.host, self.port), timeout=_REACH_S)
        opened = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            opened.settimeout(_REACH_S)
            opened.connect(self.path)
        except OSError:
            opened.close()
            raise
        return opened

    def start_options(self) -> list[str]:
        """What adb is told to have its server listen here."""
        return ["-L", self.words] if self.path or ":" in self.host else ["-P", str(self.port)]


def server_address(environment: Mapping[str, str] = os.environ) -> ServerAddress:
    """adb's own order: ``ADB_SERVER_SOCKET``, else ``ANDROID_ADB_SERVER_ADDRESS`` (adbutils says ``_HOST``) and
    ``ANDROID_ADB_SERVER_PORT``.

    Raises:
        DeviceError: what a variable holds is no address, or of a kind that cannot be reached from here.
    """
    names = ("ANDROID_ADB_SERVER_ADDRESS", "ANDROID_ADB_SERVER_HOST", "ANDROID_ADB_SERVER_PORT")
    host = environment.get(names[0]) or environment.get(names[1]) or _HOST
    port = environment.get(names[2]) or str(_PORT)
    if not port.isdecimal() or not 0 < int(port) <= _MOST_PORT:  # the library reads it even where it does not count
        raise DeviceError(f"{names[2]}={port!r} is not a port: unset it, or set a number")
    if words := environment.get("ADB_SERVER_SOCKET"):
        return _socket_address(words)
    origin = " and ".join(f"{name}={environment[name]}" for name in names if environment.get(name))
    return ServerAddress(f"tcp:{host}:{port}", host.strip("[]"), int(port), origin=origin)


def start_server() -> None:
    """Start adb's server quietly where none listens: the library would let adb write to standard output.

    Raises:
        DeviceError: adb is not installed, its server does not start, or it would have to start on another machine.
    """
    address = server_address()
    try:
        address.connect().close()
        return
    except OSError as error:
        if not address.is_here:
            reason = f"no adb server answers at {address.words} ({address.origin}): {error}"
            raise DeviceError(f"{reason}; start it there, or unset the variable") from error
    _start(address)


def _start(address: ServerAddress) -> None:
    import adbutils

    try:
        command = [adbutils.adb_path(), *address.start_options(), "start-server"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=_START_S, check=False)
    except (adbutils.AdbError, OSError, subprocess.TimeoutExpired) as error:
        raise DeviceError(f"adb cannot be started ({error}): install Android's platform tools") from error
    if done.returncode:
        said = done.stderr.strip().splitlines()
        raise DeviceError(f"adb's server cannot be started: {said[-1] if said else 'no message'}")


def _socket_address(words: str) -> ServerAddress:
    origin = f"ADB_SERVER_SOCKET={words}"
    kind, _, rest = words.partition(":")
    found = _TCP.fullmatch(rest) if kind == "tcp" else None
    port = int((found and found["port"]) or _PORT)
    if found is not None and 0 < port <= _MOST_PORT:
        host = (found["host"] or found["alone"] or _HOST).strip("[]")
        return ServerAddress(words, host, port, origin=origin)
    if kind in _LOCAL and rest:
        return ServerAddress(words, path=_LOCAL[kind] + rest, origin=origin)
    raise DeviceError(
        f"{origin} is no address of an adb server: unset it, or set tcp:HOST:PORT, localabstract:NAME or "
        "localfilesystem:PATH"
    )


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
