"""The compiled library, called in this process through ctypes."""

from __future__ import annotations

import ctypes
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from data.errors import InputError, PocketBertError
from fusion.emit.program import Program

_ERROR_BYTES = 512


class NativeModel:
    """One open model of a library: its weights mapped, its threads waiting.

    Raises:
        PocketBertError: the library does not open, or the weights are not its own.
    """

    def __init__(self, library: Path, weights: Path, program: Program, threads: int) -> None:
        try:
            self._library = ctypes.CDLL(str(library))
        except OSError as error:
            raise PocketBertError(f"the compiled library {library} cannot be loaded ({error})") from error
        self._library.pb_open.restype = ctypes.c_void_p
        self._library.pb_utilisation.restype = ctypes.c_double
        self._library.pb_memory_bytes.restype = ctypes.c_long
        self._program = program
        message = ctypes.create_string_buffer(_ERROR_BYTES)
        name = program.name.encode()
        handle = self._library.pb_open(name, str(weights).encode(), threads, ctypes.c_long(0), message, _ERROR_BYTES)
        if not handle:
            raise PocketBertError(message.value.decode(errors="replace"))
        self._handle = ctypes.c_void_p(handle)

    def run(self, inputs: Mapping[str, np.ndarray]) -> list[np.ndarray]:
        """Outputs [rows, columns] in the program's order, of ids int64 [rows] by input name."""
        ids, outputs = self._arrays(inputs), self._outputs()
        self._check(self._library.pb_run(self._handle, _pointers(ids), _pointers(outputs)))
        return outputs

    def time(self, inputs: Mapping[str, np.ndarray], warmup: int, runs: int) -> tuple[np.ndarray, np.ndarray]:
        """Milliseconds of each run [runs] and of each step in each run [runs, steps], after the warm-up."""
        ids, outputs = self._arrays(inputs), self._outputs()
        run_ms, step_ms = np.zeros(warmup + runs), np.zeros((runs, len(self._program.steps)))
        targets = (run_ms.ctypes.data_as(ctypes.c_void_p), step_ms.ctypes.data_as(ctypes.c_void_p))
        call = self._library.pb_time
        self._check(call(self._handle, _pointers(ids), _pointers(outputs), warmup, runs, *targets))
        return run_ms[warmup:], step_ms

    @property
    def utilisation(self) -> float:
        """Processor time of the model's threads over wall time x threads, in the last :meth:`time`."""
        return float(self._library.pb_utilisation(self._handle))

    @property
    def memory_bytes(self) -> int:
        """Bytes that the open model holds: weights, activations, scratch of all threads."""
        return int(self._library.pb_memory_bytes(self._handle))

    def close(self) -> None:
        """Ends the threads and unmaps the weights; a second call does nothing."""
        if self._handle:
            self._library.pb_close(self._handle)
            self._handle = ctypes.c_void_p()

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
        if result:
            port = self._program.inputs[result - 1]
            raise InputError(f"input {port.name!r} holds a number outside 0 to {port.limit - 1}")


def _pointers(arrays: Sequence[np.ndarray]) -> ctypes.Array[ctypes.c_void_p]:
    return (ctypes.c_void_p * len(arrays))(*(array.ctypes.data for array in arrays))
