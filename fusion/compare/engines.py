"""Other runtimes of the same model, to be timed beside our own in one process; each is optional."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from data.errors import EngineUnavailableError, UnknownNameError
from fusion.compare.failures import engine_failures
from fusion.compare.quantised import fastest_onnxruntime, quantised_openvino
from fusion.torch_threads import torch_threads

Inputs = Mapping[str, np.ndarray]
Run = Callable[[Inputs], list[np.ndarray]]


@dataclass(frozen=True)
class ModelFiles:
    """One model as the engines want it: ONNX at ``seq_len``, and the Hugging Face directory that it was made of."""

    onnx: Path
    seq_len: int
    checkpoint: Path | None = None


@dataclass(frozen=True)
class EngineSettings:
    """What all engines share: CPU threads; ``litert_python`` names a Python that has litert-torch. With ``precision``
    ``int8`` each engine has what its own tools make of the model, else it computes in fp32."""

    threads: int
    litert_python: str | None = None
    precision: str = "fp32"


@dataclass(frozen=True)
class Call:
    """An engine with a model: from inputs to outputs; ``how`` tells what its tools made of it, where they did."""

    run: Run
    how: str = ""

    def __call__(self, inputs: Inputs) -> list[np.ndarray]:
        return self.run(inputs)


def _onnxruntime(files: ModelFiles, settings: EngineSettings) -> Call:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = settings.threads
    options.log_severity_level = 3

    def opened(path: Path) -> Any:
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])

    if settings.precision == "int8":
        session, how = fastest_onnxruntime(files.onnx, opened, _ones)
    else:
        session, how = opened(files.onnx), ""
    taken = {value.name: (_ONNX_TYPES.get(value.type, "int64"), value.shape) for value in session.get_inputs()}

    def call(inputs: Inputs) -> list[np.ndarray]:
        given = {name: inputs[name].astype(type_, copy=False) for name, (type_, _) in taken.items() if name in inputs}
        unread = {name: _zeros(*kind) for name, kind in taken.items() if name not in inputs}
        return [np.asarray(output) for output in session.run(None, given | unread)]

    return Call(call, how)


def _ones(session: Any) -> dict[str, np.ndarray]:
    """Inputs of ONNX Runtime's for trials of speed."""
    kinds = [(port.name, _ONNX_TYPES.get(port.type, "int64"), port.shape) for port in session.get_inputs()]
    return {name: _zeros(type_, shape) + np.ones((), type_) for name, type_, shape in kinds}


def _openvino(files: ModelFiles, settings: EngineSettings) -> Call:
    import openvino

    core = openvino.Core()
    options = {
        "INFERENCE_NUM_THREADS": settings.threads,
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_PRECISION_HINT": "f32",
    }
    model, how = core.read_model(str(files.onnx)), ""
    if settings.precision == "int8":
        model, how = quantised_openvino(model), "weights and activations in int8 by NNCF"
    compiled = core.compile_model(model, "CPU", options)
    request = compiled.create_infer_request()
    outputs = compiled.outputs
    taken = {name: port.get_element_type().to_dtype() for port in compiled.inputs for name in port.get_names()}

    def call(inputs: Inputs) -> list[np.ndarray]:
        given = {name: inputs[name].astype(taken[name], copy=False) for name in inputs if name in taken}
        results = request.infer(given)
        return [np.array(results[output]) for output in outputs]

    return Call(call, how)


def _pytorch(files: ModelFiles, settings: EngineSettings) -> Call:
    """The Hugging Face module as its users run it: its own attention, inference mode, tensors in and out."""
    from fusion.checkpoints.model import open_checkpoint

    if settings.precision != "fp32":
        raise EngineUnavailableError(f"pytorch: is timed in fp32 only, not in {settings.precision}")
    if files.checkpoint is None:
        raise EngineUnavailableError("pytorch: runs a Hugging Face directory or a preset, not an ONNX file")
    import torch

    model = open_checkpoint(files.checkpoint, attention=None)

    def call(inputs: Inputs) -> list[np.ndarray]:
        with torch_threads(settings.threads), torch.inference_mode():
            outputs = model.module(*(torch.from_numpy(inputs[name]) for name in model.inputs))
            return [output.numpy() for output in outputs.values()]

    return Call(call)


def _litert(files: ModelFiles, settings: EngineSettings) -> Call:
    from fusion.compare.litert import open_litert

    if files.checkpoint is None:
        raise EngineUnavailableError("litert: needs a Hugging Face directory or a preset, not an ONNX file")
    options = (settings.litert_python, settings.precision)
    call = open_litert(files.checkpoint, files.seq_len, settings.threads, *options)
    return Call(call, "dynamic-range int8 by ai-edge-quantizer" if settings.precision == "int8" else "")


@dataclass(frozen=True)
class _Engine:
    """The module that must be importable, the package that brings it, and what opens a model."""

    module: str
    package: str
    open: Callable[[ModelFiles, EngineSettings], Call]


_ENGINES: Mapping[str, _Engine] = MappingProxyType(
    {
        "onnxruntime": _Engine("onnxruntime", "onnxruntime", _onnxruntime),
        "openvino": _Engine("openvino", "openvino", _openvino),
        "litert": _Engine("ai_edge_litert", "ai-edge-litert", _litert),
        "pytorch": _Engine("torch", "torch", _pytorch),
    }
)
ENGINES = tuple(_ENGINES)
_LONGEST_REASON = 200
# What ONNX Runtime calls the types of inputs; whole numbers where it is none of these.
_ONNX_TYPES = MappingProxyType(
    {"tensor(int32)": "int32", "tensor(bool)": "bool", "tensor(float)": "float32", "tensor(float16)": "float16"}
)


def check_engine(name: str) -> None:
    """``UnknownNameError`` when there is no engine of that name."""
    if name not in _ENGINES:
        raise UnknownNameError("engine", name, _ENGINES)


def open_engine(name: str, files: ModelFiles, settings: EngineSettings) -> Call:
    """A function from int64 inputs [1, seq_len] to outputs in the ONNX order; some engines give the first one only.

    Raises:
        EngineUnavailableError: its package is not installed, or it cannot take this model; the message says why.
            So does the function itself.
        UnknownNameError: there is no engine of that name.
    """
    check_engine(name)
    engine = _ENGINES[name]
    if importlib.util.find_spec(engine.module) is None:
        raise EngineUnavailableError(f"{name}: not installed (pip install {engine.package})")
    with _failures_of(name):
        call = engine.open(files, settings)

    def guarded(inputs: Inputs) -> list[np.ndarray]:
        with _failures_of(name):
            return call(inputs)

    return Call(guarded, getattr(call, "how", ""))


@contextmanager
def _failures_of(name: str) -> Iterator[None]:
    """What an engine raises means that it cannot take this model."""
    try:
        yield
    except EngineUnavailableError:
        raise
    except engine_failures() as error:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        told = [line for line in lines if not line.startswith("Exception from")]  # OpenVINO's own source lines
        reason = next(iter(told or lines), type(error).__name__)
        raise EngineUnavailableError(f"{name}: {reason[:_LONGEST_REASON]}") from error


def _zeros(type_: str, shape: Sequence[object]) -> np.ndarray:
    """For an input that the model does not read, but ONNX Runtime wants."""
    return np.zeros([size if isinstance(size, int) else 1 for size in shape], type_)
