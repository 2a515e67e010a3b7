"""Headless Chromium, driven through the pipe of its DevTools protocol: nothing but the browser itself is needed.

Messages are JSON objects that end with a NUL byte; Chromium reads them at its descriptor 3 and answers at 4.
"""

from __future__ import annotations

import fcntl
import json
import os
import select
import shutil
import signal
import subprocess
import time
from base64 import b64decode
from collections import deque
from pathlib import Path
from typing import Any

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-headless-shell")
_PATIENCE_S = 60.0
_ARGUMENTS = (
    "--headless",
    "--no-sandbox",  # containers lack what it needs, and the pages are our own
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--no-first-run",
    "--remote-debugging-pipe",
)


class Browser:
    """One tab of one browser; ``requests`` are the addresses it has asked for since the last :meth:`open`."""

    def __init__(self, profile: Path) -> None:
        assert CHROMIUM is not None
        to_browser, self._write = os.pipe()
        self._read, from_browser = os.pipe()
        # Away from 3 and 4, which bash is to make of them.
        far = [fcntl.fcntl(each, fcntl.F_DUPFD, 20) for each in (to_browser, from_browser)]
        command = [CHROMIUM, *_ARGUMENTS, f"--user-data-dir={profile}", "about:blank"]
        self._said = profile / "stderr.txt"
        with self._said.open("w") as said:
            self._process = subprocess.Popen(
                ["bash", "-c", f'exec "$@" 3<&{far[0]} 4>&{far[1]}', "bash", *command],
                pass_fds=far,
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=said,
                start_new_session=True,
            )
        for each in (to_browser, from_browser, *far):
            os.close(each)
        self._number, self._rest = 0, b""
        self._messages: deque[dict[str, Any]] = deque()
        self._session: str | None = None
        self.requests: list[str] = []
        tab = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=tab, flatten=True)["sessionId"]
        for domain in ("Page", "Network", "Runtime"):
            self.call(f"{domain}.enable")

    def close(self) -> None:
        """End the browser with all its processes."""
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        os.close(self._write)
        os.close(self._read)

    def open(self, page: Path) -> None:
        """Load a file and wait until it is there."""
        self.requests = []
        answer = self.call("Page.navigate", url=page.as_uri())
        assert "errorText" not in answer, answer
        while self._message().get("method") != "Page.loadEventFired":
            pass

    def look(self, width: int, scheme: str) -> None:
        """A window of this width, for a reader who prefers the scheme ``light`` or ``dark``."""
        size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500}
        self.call("Emulation.setDeviceMetricsOverride", **size)
        self.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])

    def evaluate(self, script: str) -> Any:
        """The value of an expression in the page, as JSON has it."""
        answer = self.call("Runtime.evaluate", expression=script, returnByValue=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def screenshot(self, path: Path) -> None:
        """The whole page as a PNG file, for people who look at what a test complains of."""
        found = self.call("Page.captureScreenshot", captureBeyondViewport=True)
        path.write_bytes(b64decode(found["data"]))

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Give a command and wait for its answer."""
        self._number += 1
        message: dict[str, Any] = {"id": self._number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._write, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._receive()
            if answer.get("id") == self._number:
                assert "error" not in answer, (method, answer["error"])
                return answer["result"]
            self._messages.append(answer)

    def _message(self) -> dict[str, Any]:
        """The next event, those first that came while an answer was waited for."""
        return self._messages.popleft() if self._messages else self._receive()

    def _receive(self) -> dict[str, Any]:
        end = time.monotonic() + _PATIENCE_S
        while b"\0" not in self._rest:
            ready, _, _ = select.select([self._read], [], [], max(end - time.monotonic(), 0.0))
            part = os.read(self._read, 1 << 16) if ready else b""
            assert part, f"the browser {'has ended' if ready else 'does not answer'}: {self._said.read_text()[-2000:]}"
            self._rest += part
        line, _, self._rest = self._rest.partition(b"\0")
        found: dict[str, Any] = json.loads(line)
        if found.get("method") == "Network.requestWillBeSent":
            self.requests.append(found["params"]["request"]["url"])
        return found
