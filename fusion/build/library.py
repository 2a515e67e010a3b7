"""The compiled library, called in this process through ctypes."""

from __future__ import annotations

import ctypes
import os
import weakref
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from data.errors import DeviceError, InputError, PocketBertError
from fusion.emit.program import Program

_ERROR_BYTES = 512
# How long one call of the library may last where a caller waits for Ctrl-C to be noticed, milliseconds.
_LONGEST_CALL_MS = 200.0
_STOPPED, _FAILED = -1, -2  # PB_STOPPED and PB_FAILED of pocketbert.h


class ModelStoppedError(PocketBertError):
    """The model was closed, by another thread for instance, before the call's turn came."""


@dataclass(frozen=True)
class Timing:
    """Milliseconds of each run [runs] and of each step in each run [runs, steps], after the warm-up.

    ``utilisation`` is the processor time of the model's threads over wall time x threads in those runs.
    """

    run_ms: np.ndarray
    step_ms: np.ndarray
    utilisation: float


class NativeModel:
    """One open model of a library: its weights mapped, its threads waiting.

    Any thread may call it; calls take turns. What it holds is freed with the last reference to it.

    Raises:
        PocketBertError: the library does not open, or the weights are not its own.
    """

    def __init__(self, library: Path, weights: Path, program: Program[Any], threads: int) -> None:
        try:
            self._library = ctypes.CDLL(str(library))
        except OSError as error:
            raise PocketBertError(f"the compiled library {library} cannot be loaded ({error})") from error
        self._library.pb_open.restype = ctypes.c_void_p
        self._library.pb_utilisation.restype = ctypes.c_double
        self._library.pb_memory_bytes.restype = ctypes.c_long
        self._library.pb_message.restype = ctypes.c_char_p
        self._program = program
        message = ctypes.create_string_buffer(_ERROR_BYTES)
        name, path = program.name.encode(), os.fsencode(weights)
        handle = self._library.pb_open(name, path, threads, ctypes.c_long(0), message, _ERROR_BYTES)
        if not handle:
            raise PocketBertError(message.value.decode(errors="replace"))
        self._handle = ctypes.c_void_p(handle)
        # Not when the interpreter ends: threads that still run then would be waited for.
        weakref.finalize(self, self._library.pb_close, self._handle).atexit = False

    def run(self, inputs: Mapping[str, np.ndarray]) -> list[np.ndarray]:
        """Outputs [rows, columns] in the program's order, of ids int64 [rows] by input name."""
        ids, outputs = self._arrays(inputs), self._outputs()
        self._check(self._library.pb_run(self._handle, _pointers(ids), _pointers(outputs)))
        return outputs

    def time(self, inputs: Mapping[str, np.ndarray], warmup: int, runs: int) -> Timing:
        """Times runs after a warm-up, a few in each call, so that Ctrl-C ends it."""
        ids, outputs = self._arrays(inputs), self._outputs()
        run_ms, step_ms = np.zeros(warmup + runs), np.zeros((runs, len(self._program.steps)))
        done, count, busy_ms = 0, 1, 0.0
        while done < warmup + runs:
            warm = min(count, max(0, warmup - done))
            timed = max(0, done - warmup)
            targets = (run_ms.ctypes.data + done * run_ms.itemsize, step_ms[timed:].ctypes.data)
            pointers = (_pointers(ids), _pointers(outputs), warm, count - warm, *map(ctypes.c_void_p, targets))
            self._check(self._library.pb_time(self._handle, *pointers))
            busy_ms += self._library.pb_utilisation(self._handle) * float(run_ms[done + warm : done + count].sum())
            done += count
            count = min(warmup + runs - done, max(1, int(_LONGEST_CALL_MS * done / run_ms[:done].sum())))
        return Timing(run_ms[warmup:], step_ms, busy_ms / float(run_ms[warmup:].sum()))

    @property
    def memory_bytes(self) -> int:
        """Bytes that the open model holds: weights, activations, scratch of all threads."""
        return int(self._library.pb_memory_bytes(self._handle))

    def close(self) -> None:
        """Waits for the call that runs and ends the threads; calls that come later raise ModelStoppedError."""
        self._library.pb_stop(self._handle)

    def _arrays(self, inputs: Mapping[str, np.ndarray]) -> list[np.ndarray]:
        arrays = []
        for port in self._program.inputs:
            array = np.ascontiguousarray(inputs[port.name], dtype=np.int64).reshape(-1)
            if array.size != port.rows:
                raise InputError(f"input {port.name!r} holds {array.size} numbers, the model takes {port.rows}")
            arrays.append(array)
        return arrays

    def _outputs(self) -> list[np.ndarray]:
        return [np.zeros((port.rows, port.columns), np.float32) for port in self._program.outputs]

    def _check(self, result: int) -> None:
        if result == _STOPPED:
            raise ModelStoppedError("the model is closed")
        if result == _FAILED:
            raise DeviceError(self._library.pb_message(self._handle).decode(errors="replace"))
        if result:
            port = self._program.inputs[result - 1]
            raise InputError(f"input {port.name!r} holds a number outside 0 to {port.limit - 1}")


def _pointers(arrays: Sequence[np.ndarray]) -> ctypes.Array[ctypes.c_void_p]:
    return (ctypes.c_void_p * len(arrays))(*(array.ctypes.data for array in arrays))
