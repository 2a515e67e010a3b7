"""Other runtimes' own int8 of a model: what their tools make of the fp32 file, in a temporary folder."""

from __future__ import annotations

import importlib.util
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np

from data.errors import EngineUnavailableError
from data.processor import shared_flags
from fusion.compare.benchmark import time_in_turn
from fusion.compare.failures import engine_failures

# Bytes with these multiply without sums that may not fit 16 bits.
_EXACT = frozenset({"avx512_vnni", "avx_vnni", "asimddp"})
# Random texts that OpenVINO's tools take the ranges of activations from: only times are compared, and how far a model
# is from fp32 on random texts.
_CALIBRATION_TEXTS = 10
_TRIAL_ROUNDS, _TRIAL_RUNS = 3, 3
_LONGEST_REASON = 120

Session = Callable[[Path], Any]


def fastest_onnxruntime(onnx: Path, open_session: Session, inputs: Any) -> tuple[Any, str]:
    """A session of the file as ``quantize_dynamic`` makes it, and with which of its settings it was fastest here: a
    scale a channel or a matrix, of the file as it is or after ONNX Runtime's own optimiser.

    ``inputs`` takes a session and gives what it is to run on. Weights have 7 bits only where sums of two products may
    not fit 16 bits.

    Raises:
        EngineUnavailableError: none of the settings gave a model.
    """
    sessions: dict[str, Any] = {}
    failures: list[str] = []
    with tempfile.TemporaryDirectory() as folder:
        for source, how in _sources(onnx, Path(folder), failures):
            for per_channel in (True, False):
                name = f"{how}, a scale {'a channel' if per_channel else 'a matrix'}"
                try:
                    path = _quantised(source, Path(folder) / f"{len(sessions)}.onnx", per_channel)
                    sessions[name] = open_session(path)
                except engine_failures() as error:
                    failures.append(f"{name}: {error}")
    calls = {name: (lambda session=session: session.run(None, inputs(session))) for name, session in sessions.items()}
    if not calls:
        raise EngineUnavailableError(f"onnxruntime: its quantize_dynamic failed: {_one_line(failures[0])}")
    timings = time_in_turn(calls, rounds=_TRIAL_ROUNDS, runs=_TRIAL_RUNS, warmup=1).timings
    best = min(timings, key=lambda timing: timing.min_ms).engine
    told = f"dynamic int8, {best}, fastest of {len(calls)} settings"
    told += ", 7 bits" if _needs_7_bits() else ""
    return sessions[best], "; ".join([told, *(f"failed: {_one_line(failure)}" for failure in failures)])


def _sources(onnx: Path, folder: Path, failures: list[str]) -> Iterator[tuple[Path, str]]:
    """The file, and what ONNX Runtime's optimiser for transformers makes of it where it takes it."""
    yield onnx, "as exported"
    path = folder / "optimised.onnx"
    try:
        from onnxruntime.transformers.optimizer import optimize_model

        with quiet():
            optimize_model(str(onnx), model_type="bert", num_heads=0, hidden_size=0).save_model_to_file(str(path))
    except engine_failures() as error:
        failures.append(f"after its optimiser: {error}")
        return
    yield path, "after its optimiser"


def _quantised(source: Path, path: Path, per_channel: bool) -> Path:
    from onnx import TensorProto
    from onnxruntime.quantization import QuantType, quantize_dynamic

    # Its optimiser leaves tensors without a type.
    others = {"DefaultTensorType": TensorProto.FLOAT}
    options = {"per_channel": per_channel, "reduce_range": _needs_7_bits(), "extra_options": others}
    with quiet():
        quantize_dynamic(str(source), str(path), weight_type=QuantType.QInt8, **options)
    return path


def _one_line(text: str) -> str:
    """The first of its lines, cut."""
    return text.strip().splitlines()[0][:_LONGEST_REASON]


def _needs_7_bits() -> bool:
    cpuinfo = Path("/proc/cpuinfo")
    flags = shared_flags(cpuinfo.read_text(encoding="utf-8", errors="replace")) if cpuinfo.exists() else frozenset()
    return not flags & _EXACT


def quantised_openvino(model: Any) -> Any:
    """An OpenVINO model with weights and activations in int8, as NNCF's ``quantize`` makes it for transformers.

    Raises:
        EngineUnavailableError: NNCF is not installed.
    """
    if importlib.util.find_spec("nncf") is None:
        raise EngineUnavailableError("openvino: its int8 is made by NNCF, which is not installed (pip install nncf)")
    with quiet():
        import nncf

        texts = nncf.Dataset(_random_texts(model))
        return nncf.quantize(model, texts, model_type=nncf.ModelType.TRANSFORMER, subset_size=_CALIBRATION_TEXTS)


def _random_texts(model: Any) -> Sequence[dict[str, np.ndarray]]:
    generator = np.random.default_rng(0)
    return [
        {
            port.get_any_name(): _values(port.get_any_name(), list(port.get_shape()), generator).astype(
                port.get_element_type().to_dtype()
            )
            for port in model.inputs
        }
        for _ in range(_CALIBRATION_TEXTS)
    ]


def _values(name: str, shape: Sequence[int], generator: np.random.Generator) -> np.ndarray:
    """Ids of any vocabulary, every position in use."""
    if "mask" in name:
        return np.ones(shape, np.int64)
    return np.zeros(shape, np.int64) if "type" in name else generator.integers(0, 1000, shape)


@contextmanager
def quiet() -> Iterator[None]:
    """What tools print while they work, and their bars of progress, is nothing that their users asked for."""
    with redirect_stdout(StringIO()), redirect_stderr(StringIO()):
        yield
