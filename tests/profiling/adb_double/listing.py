"""A server of adb's that lists phones of any serial number and state, which no double can make adb give; no more."""

from __future__ import annotations

import socket
import threading


class ListingServer:
    """Answers ``host:devices`` with ``lines`` at a TCP port of its own, or at a local socket, and refuses the rest."""

    def __init__(self, *lines: str, path: str = "") -> None:
        self._lines = lines
        if path:
            self._listener = socket.socket(socket.AF_UNIX)
            self._listener.bind(path)
            self._listener.listen()
        else:
            self._listener = socket.create_server(("127.0.0.1", 0))
        threading.Thread(target=self._serve, daemon=True).start()

    @property
    def port(self) -> int:
        """The TCP port."""
        return int(self._listener.getsockname()[1])

    def stop(self) -> None:
        """Listen no more."""
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            with connection:
                length = connection.recv(4)
                question = connection.recv(int(length, 16)) if length else b""
                if question == b"host:devices":
                    text = "".join(f"{line}\n" for line in self._lines).encode()
                    connection.sendall(b"OKAY%04x%s" % (len(text), text))
                elif question:
                    connection.sendall(b"FAIL%04x%s" % (17, b"unknown or absent"))
