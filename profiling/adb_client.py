"""adbutils' client with its connections led to wherever adb's server listens, local sockets included."""

from __future__ import annotations

import socket

import adbutils
from adbutils.errors import AdbConnectionError

from profiling.adb_socket import server_address, start_server


class _Connection(adbutils.AdbConnection):
    """A connection to adb's server, which is started where none listens."""

    def __init__(self) -> None:
        super().__init__("", 0)

    def _safe_connect(self) -> socket.socket:
        start_server()
        return self._create_socket()

    def _create_socket(self) -> socket.socket:
        try:
            opened = server_address().connect()
        except TimeoutError as error:
            raise adbutils.AdbTimeout("connect to adb server timeout") from error
        except OSError as error:
            raise AdbConnectionError(f"connect to adb server failed: {error}") from error
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        opened.settimeout(None)
        return opened


class AdbClient(adbutils.AdbClient):
    """A client whose reads take at most ``limit_s`` seconds each."""

    def __init__(self, limit_s: float) -> None:
        super().__init__("unused", 1)
        self._limit_s = limit_s

    def make_connection(self, timeout: float | None = None) -> adbutils.AdbConnection:
        connection = _Connection()
        connection.conn.settimeout(timeout or self._limit_s)
        return connection

    def ask(self, question: str) -> str:
        """The answer of adb's server to a question such as ``host:devices``, or AdbError."""
        with self.make_connection() as connection:
            connection.send_command(question)
            connection.check_okay()
            return connection.read_string_block()
