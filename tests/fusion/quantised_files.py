"""Small encoders as ONNX Runtime's quantisation tools leave them, which are those that Optimum runs."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, numpy_helper
from onnxruntime.quantization import (
    CalibrationDataReader,
    QuantFormat,
    QuantType,
    quantize_dynamic,
    quantize_static,
)
from onnxruntime.transformers import optimizer
from onnxruntime.transformers.fusion_options import FusionOptions

from tests.fusion.families import Export, ragged_inputs

SEQ_LEN = 7
# A ReLU inside is what a tool may leave to the range of what follows.
HOW = Export("bert", dynamic=True, changes={"num_hidden_layers": 1})
RELU = Export("bert", dynamic=True, changes={"num_hidden_layers": 1, "hidden_act": "relu"})
PRODUCTS = ["MatMul", "Gemm", "Gather"]


class _Texts(CalibrationDataReader):  # type: ignore[misc]  # onnxruntime has no types
    def __init__(self) -> None:
        self._inputs = iter([ragged_inputs(HOW, SEQ_LEN, SEQ_LEN, seed) for seed in range(8)])

    def get_next(self) -> dict[str, np.ndarray] | None:
        return next(self._inputs, None)


def dynamic(source: Path, path: Path, weights: str = "QInt8", **options: Any) -> Path:
    """Weights of 8 bits, activations quantised while the model runs."""
    with _quiet():
        quantize_dynamic(source, path, weight_type=QuantType[weights], **options)
    return path


def static(source: Path, path: Path, form: str, activations: str = "QUInt8", **options: Any) -> Path:
    """Weights and activations of 8 bits, these with scales from a few calls; ``form``: ``QDQ`` or ``QOperator``."""
    with _quiet():
        quantize_static(
            source,
            path,
            _Texts(),
            quant_format=QuantFormat[form],
            activation_type=QuantType[activations],
            weight_type=QuantType.QInt8,
            **options,
        )
    return path


def fused(source: Path, path: Path) -> Path:
    """The file after ONNX Runtime's optimiser of transformers: with its operators of attention and embeddings."""
    options = FusionOptions("bert")
    options.use_raw_attention_mask(True)
    model = optimizer.optimize_model(
        str(source), "bert", num_heads=4, hidden_size=48, opt_level=0, optimization_options=options
    )
    model.save_model_to_file(str(path))
    return path


def saved(source: Path, path: Path) -> Path:
    """The file as ONNX Runtime saves it, all of its rules applied."""
    session(source, "ORT_ENABLE_ALL", path)
    return path


def session(path: Path, level: str = "ORT_DISABLE_ALL", saved_as: Path | None = None) -> onnxruntime.InferenceSession:
    """A session on one thread that says nothing."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level, options.intra_op_num_threads = 4, 1
    options.graph_optimization_level = getattr(onnxruntime.GraphOptimizationLevel, level)
    if saved_as is not None:
        options.optimized_model_filepath = str(saved_as)
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def outputs(path: Path, inputs: Mapping[str, np.ndarray]) -> np.ndarray:
    """ONNX Runtime's first output of a file as it is."""
    opened = session(path)
    kinds = {"tensor(int64)": np.int64, "tensor(int32)": np.int32}
    fed = {one.name: inputs[one.name].astype(kinds[one.type]) for one in opened.get_inputs()}
    return np.asarray(opened.run(None, fed)[0])


def roundings(path: Path) -> int:
    """How many nodes of a file round activations to 256 steps."""
    kinds = [node.op_type for node in onnx.load(str(path)).graph.node]
    rounding = ("QuantizeLinear", "DynamicQuantizeLinear", "DynamicQuantizeMatMul", "QGemm")
    return sum(kind in rounding or kind.startswith("QLinear") for kind in kinds)


def with_rounded_weights(source: Path, quantised: Path, path: Path) -> tuple[Path, int]:
    """The file before it was quantised, with the weights that the quantised one holds, and how many they are.

    The tools call them by the weights' names: number, scale and zero point stand side by side.
    """
    model = onnx.load(str(source))
    graph = onnx.load(str(quantised)).graph
    held = {one.name: numpy_helper.to_array(one) for one in graph.initializer}
    for node in graph.node:
        if node.op_type == "QGemm":  # its bias is of the scales of its operands
            held[f"{node.input[6]}_scale"] = held[node.input[1]] * held[node.input[4]]
    count = 0
    for tensor in model.graph.initializer:
        values, name = numpy_helper.to_array(tensor), tensor.name
        turned = f"{name}_Transposed_quantized" in held
        stem = f"{name}_Transposed" if turned else name
        if f"{stem}_quantized" not in held:
            continue
        numbers = held[f"{stem}_quantized"]
        # A bias has no zero point; its scale stands beside its numbers' name.
        scale = held[f"{stem}_scale" if f"{stem}_scale" in held else f"{stem}_quantized_scale"]
        zero = held.get(f"{stem}_zero_point", np.zeros(scale.shape, np.int64))
        # Gemm has its weights transposed, (outputs, inputs).
        columns = (-1, 1) if name.endswith(".weight") and values.ndim == 2 and not turned else (-1,)
        shape = columns if scale.size > 1 else ()
        real = (numbers.astype(np.float32) - zero.astype(np.float32).reshape(shape)) * scale.reshape(shape)
        tensor.CopyFrom(numpy_helper.from_array((real.T if turned else real).astype(np.float32), name))
        assert list(tensor.dims) == list(values.shape) and tensor.data_type == TensorProto.FLOAT
        count += 1
    onnx.save(model, str(path))
    return path, count


class _quiet(warnings.catch_warnings):  # noqa: N801  # used like a function
    """What the tools say of files that were not prepared for them, and of ranges that hold one number."""

    def __enter__(self) -> None:
        super().__enter__()
        warnings.simplefilter("ignore")
        logging.disable(logging.WARNING)

    def __exit__(self, *error: object) -> None:
        logging.disable(logging.NOTSET)
        super().__exit__(*error)
