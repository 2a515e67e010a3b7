"""The real adb server on a port of its own, so that tests run side by side and a developer's phones stay out."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from pathlib import Path
from time import monotonic, sleep

from tests.profiling.adb_double.phone import PhoneDouble

ADB = shutil.which("adb")
QEMU = shutil.which("qemu-aarch64-static")


class AdbServer:
    """adb's server; ``environment`` is what leads its clients to it. Its keys lie in ``home``."""

    def __init__(self, home: Path) -> None:
        self.port = free_port()
        self.environment = {
            "ANDROID_ADB_SERVER_PORT": str(self.port),
            "ADBUTILS_ADB_PATH": str(ADB),
        }
        # The range of emulators' ports that adb looks for phones in by itself is made empty.
        self._all = {
            **os.environ,
            **self.environment,
            "HOME": str(home),
            "ADB_LOCAL_TRANSPORT_MAX_PORT": "5550",
            "ADB_MDNS": "0",
        }
        self.adb("start-server")

    def adb(self, *words: str, timeout: float = 30) -> str:
        """What an adb command prints."""
        assert ADB is not None
        done = subprocess.run(
            [ADB, "-P", str(self.port), *words], env=self._all, capture_output=True, text=True, timeout=timeout
        )
        return done.stdout + done.stderr

    def attach(self, phone: PhoneDouble, state: str = "device") -> None:
        """Connect to a double and wait until adb gives its state."""
        assert ADB is not None
        connecting = subprocess.Popen(
            [ADB, "-P", str(self.port), "connect", phone.serial], env=self._all, stdout=subprocess.DEVNULL
        )
        deadline = monotonic() + 60
        while f"{phone.serial}\t{state}" not in self.adb("devices"):
            assert monotonic() < deadline, self.adb("devices")
            sleep(0.05)
        connecting.kill()
        connecting.wait()

    def forget_all(self) -> None:
        """No phone is attached."""
        self.adb("disconnect")

    def stop(self) -> None:
        """End the server."""
        self.adb("kill-server")


def free_port() -> int:
    """A TCP port that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
