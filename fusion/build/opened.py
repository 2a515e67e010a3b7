"""A compiled model that is open: once in each process, for all of its threads."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from typing import TypeVar

from fusion.build.library import ModelStoppedError, NativeModel

Result = TypeVar("Result")


class OpenedModel:
    """Opens a model at its first call, and again after it was closed; a forked child opens its own.

    All is kept by process, locks too: a child inherits locks that threads of its parent hold, and models whose threads
    it does not have.
    """

    def __init__(self) -> None:
        self._models: dict[int, NativeModel] = {}
        self._locks: dict[int, threading.RLock] = {}

    def call(self, open_model: Callable[[], NativeModel], use: Callable[[NativeModel], Result]) -> Result:
        """What ``use`` makes of the open model; it is called anew where another thread closed the model before."""
        while True:
            model = self._open(open_model)
            try:
                return use(model)
            except ModelStoppedError:
                self._forget(model)

    def close(self) -> None:
        """Waits for the call that runs, then ends the model's threads; a second call does nothing."""
        model = self._models.pop(os.getpid(), None)
        if model is not None:
            model.close()

    def _open(self, open_model: Callable[[], NativeModel]) -> NativeModel:
        process = os.getpid()
        with self._locks.setdefault(process, threading.RLock()):
            if process not in self._models:
                # Those of the process that this one was forked from are freed here, and go on there.
                self._models = {process: open_model()}
            return self._models[process]

    def _forget(self, model: NativeModel) -> None:
        process = os.getpid()
        with self._locks.setdefault(process, threading.RLock()):
            if self._models.get(process) is model:
                del self._models[process]
