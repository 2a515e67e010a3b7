"""Ctrl-C that is not lost: libraries that swallow ``KeyboardInterrupt``, as they do once in some dozens of times while
they load, would let a command run on as if nobody had pressed a key."""

from __future__ import annotations

import signal
import threading
from types import FrameType


class Interrupts:
    """Raises ``KeyboardInterrupt`` at Ctrl-C, as Python does, and again at each :meth:`check` after it."""

    def __init__(self) -> None:
        self._heard = False
        self._before: object = None

    def listen(self) -> None:
        """Begins to listen; beside the main thread, where signals do not arrive, nothing is changed."""
        if threading.current_thread() is threading.main_thread():
            self._before = signal.signal(signal.SIGINT, self._hear)

    def end(self) -> None:
        """Leaves the signal to whom it belonged before."""
        if self._before is not None:
            signal.signal(signal.SIGINT, self._before)  # type: ignore[arg-type]
            self._before = None

    def check(self) -> None:
        """Raises what was swallowed."""
        if self._heard:
            raise KeyboardInterrupt

    def _hear(self, number: int, frame: FrameType | None) -> None:
        self._heard = True
        raise KeyboardInterrupt
