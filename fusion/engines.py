"""Other runtimes of ONNX models, to be timed beside our own in one process."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType

import numpy as np

from data.errors import UnknownNameError

Inputs = Mapping[str, np.ndarray]
Call = Callable[[Inputs], list[np.ndarray]]


def _onnxruntime(path: Path, threads: int) -> Call:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return lambda inputs: [np.asarray(output) for output in session.run(None, dict(inputs))]


def _openvino(path: Path, threads: int) -> Call:
    import openvino

    core = openvino.Core()
    settings = {"INFERENCE_NUM_THREADS": threads, "PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32"}
    compiled = core.compile_model(core.read_model(str(path)), "CPU", settings)
    request = compiled.create_infer_request()
    outputs = compiled.outputs
    return lambda inputs: [np.array(request.infer(dict(inputs))[output]) for output in outputs]


# Engine -> (Python module that must be installed, what makes its call).
ENGINES: Mapping[str, tuple[str, Callable[[Path, int], Call]]] = MappingProxyType(
    {"onnxruntime": ("onnxruntime", _onnxruntime), "openvino": ("openvino", _openvino)}
)


def check_engine(name: str) -> None:
    """``UnknownNameError`` when there is no engine of that name."""
    if name not in ENGINES:
        raise UnknownNameError("engine", name, ENGINES)


def is_installed(name: str) -> bool:
    """Whether the engine's package is there."""
    return importlib.util.find_spec(ENGINES[name][0]) is not None


def open_engine(name: str, path: Path, threads: int) -> Call:
    """A function from int64 inputs [1, seq_len] to outputs, in the ONNX order."""
    check_engine(name)
    return ENGINES[name][1](path, threads)
