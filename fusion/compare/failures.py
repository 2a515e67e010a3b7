"""What other runtimes and their tools raise where they cannot take a model."""

from __future__ import annotations

import importlib
import importlib.util

from data.errors import PocketBertError

# From bindings and Python code alike. Whatever else is raised is a defect, and keeps its traceback.
_BUILT_IN = (
    AssertionError,
    AttributeError,
    ImportError,
    LookupError,
    MemoryError,
    OSError,
    RuntimeError,
    TypeError,
    ValueError,
)
# Modules with exceptions of their own that have no base in common.
_OWN = (
    "onnxruntime.capi.onnxruntime_pybind11_state",
    "onnx.checker",
    "onnx.shape_inference",
    "google.protobuf.message",
    "nncf.errors",
)


def engine_failures() -> tuple[type[Exception], ...]:
    """The classes of what engines raise, for an ``except``; ours too, of checkpoints that cannot be opened.

    They are looked up when something was raised: until then nobody needs these packages.
    """
    return (*_BUILT_IN, PocketBertError, *(error for module in _OWN for error in _errors_of(module)))


def _errors_of(module: str) -> tuple[type[Exception], ...]:
    if importlib.util.find_spec(module.partition(".")[0]) is None:
        return ()
    held = vars(importlib.import_module(module)).values()
    return tuple(each for each in held if isinstance(each, type) and issubclass(each, Exception))
