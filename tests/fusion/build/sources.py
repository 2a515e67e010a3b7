"""A model's library, called as an app would: weights from a path, a descriptor or memory."""

from __future__ import annotations

import ctypes
import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from fusion.emit.program import Program

PATH, DESCRIPTOR, MEMORY = 1, 2, 3
_ERROR_BYTES = 512


class Source(ctypes.Structure):
    """pb_source."""

    _fields_ = (
        ("kind", ctypes.c_int),
        ("path", ctypes.c_char_p),
        ("descriptor", ctypes.c_int),
        ("offset", ctypes.c_int64),
        ("memory", ctypes.c_void_p),
        ("length", ctypes.c_int64),
    )


@dataclass(frozen=True)
class Library:
    """The functions of a library that take sources; ``weights`` are its program's, in a file."""

    file: Path
    program: Program[Any]
    weights: Path

    @cached_property
    def native(self) -> Any:
        native = ctypes.CDLL(str(self.file))
        native.pb_open_from.restype = ctypes.c_void_p
        return native

    def open(
        self, source: Source | None, kernels: Path | None = None, program: bytes = b"model", threads: int = 2
    ) -> tuple[Any, str]:
        """The open model, or an error."""
        error = ctypes.create_string_buffer(_ERROR_BYTES)
        reference = ctypes.byref(source) if source is not None else None
        folder = os.fsencode(kernels) if kernels is not None else None
        handle = self.native.pb_open_from(program, reference, threads, folder, error, _ERROR_BYTES)
        assert bool(handle) != bool(error.value)
        return ctypes.c_void_p(handle) if handle else None, error.value.decode()

    def opened(self, source: Source, threads: int = 2) -> Any:
        """The open model, which there has to be."""
        handle, error = self.open(source, threads=threads)
        assert not error, error
        return handle

    def close(self, handle: Any) -> None:
        self.native.pb_close(handle)

    def verify(self, source: Source) -> str:
        """What is wrong with the weights; empty where nothing is."""
        error = ctypes.create_string_buffer(_ERROR_BYTES)
        failed = self.native.pb_verify(b"model", ctypes.byref(source), error, _ERROR_BYTES)
        assert bool(failed) == bool(error.value)
        return error.value.decode()

    def run(self, source: Source) -> list[float]:
        """All outputs, one after the other."""
        handle = self.opened(source)
        made = self.outputs(handle)
        self.close(handle)
        return made

    def outputs(self, handle: Any) -> list[float]:
        """Those of an open model, one after the other."""
        ids, outputs = self._arrays()
        assert self.native.pb_run(handle, _pointers(ids), _pointers(outputs)) == 0
        return [float(value) for output in outputs for value in output.ravel()]

    def time_ms(self, handle: Any, runs: int) -> np.ndarray:
        """Milliseconds of runs of an open model [runs]: those after the first."""
        ids, outputs = self._arrays()
        run_ms, step_ms = np.zeros(runs + 1), np.zeros((runs, len(self.program.steps)))
        targets = [ctypes.c_void_p(array.ctypes.data) for array in (run_ms, step_ms)]
        assert self.native.pb_time(handle, _pointers(ids), _pointers(outputs), 1, runs, *targets) == 0
        return run_ms[1:]

    def _arrays(self) -> tuple[list[np.ndarray], list[np.ndarray]]:
        ids = [np.ones(port.rows, np.int64) for port in self.program.inputs]
        return ids, [np.zeros((port.rows, port.columns), np.float32) for port in self.program.outputs]


def _pointers(arrays: list[np.ndarray]) -> Any:
    return (ctypes.c_void_p * len(arrays))(*(array.ctypes.data for array in arrays))
