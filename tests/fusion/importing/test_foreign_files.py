"""ONNX files as other tools leave them: optimised, in other precisions, with quantised weights, of old opsets."""

from __future__ import annotations

import contextlib
import io
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
import transformers
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.transformers import optimizer
from onnxruntime.transformers.float16 import convert_float_to_float16
from onnxruntime.transformers.fusion_options import FusionOptions

from data.errors import ModelError, PocketBertError, UnsupportedOperatorError
from fusion import compile_model
from fusion.frontend.canonical import canonicalize
from fusion.importing.onnx_import import import_onnx
from tests.fusion.families import INPUTS, Export, export_family, ragged_inputs, random_model

pytestmark = pytest.mark.usefixtures("shared_home")

SEQ_LEN = 7
ONE_LAYER = {"num_hidden_layers": 1}
HOW = Export("bert", dynamic=True, changes=ONE_LAYER)


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export_family(HOW, tmp_path_factory.mktemp("bert") / "bert.onnx")


@pytest.fixture(scope="module")
def expected(bert: Path) -> list[np.ndarray]:
    return [outputs(bert, used) for used in (SEQ_LEN, 4, 1)]


def outputs(path: Path, used: int) -> np.ndarray:
    """ONNX Runtime's first output, its inputs as the file wants them; optimised, it would quantise activations."""
    kinds = {"int64": np.int64, "int32": np.int32, "float": np.float32, "float16": np.float16, "bool": np.bool_}
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    inputs = ragged_inputs(HOW, SEQ_LEN, used, seed=used)
    fed = {one.name: inputs[one.name].astype(kinds[one.type[7:-1]]) for one in session.get_inputs()}
    return np.asarray(session.run(None, fed)[0])


def ours(path: Path) -> list[np.ndarray]:
    model = compile_model(path, seq_len=SEQ_LEN, threads=1)
    return [model.run(ragged_inputs(HOW, SEQ_LEN, used, seed=used))[0] for used in (SEQ_LEN, 4, 1)]


def difference(ours: list[np.ndarray], theirs: list[np.ndarray]) -> float:
    return max(
        float(np.abs(one - np.asarray(other, np.float64)).max()) for one, other in zip(ours, theirs, strict=True)
    )


@pytest.mark.parametrize("level", ["ORT_ENABLE_BASIC", "ORT_ENABLE_EXTENDED", "ORT_ENABLE_ALL"])
@pytest.mark.parametrize("family", ["bert", "roberta", "distilbert"])
def test_files_that_onnx_runtime_saved_compile(level: str, family: str, tmp_path: Path) -> None:
    how = Export(family, attention="sdpa", changes={"n_layers": 1} if family == "distilbert" else ONE_LAYER)
    path = export_family(how, tmp_path / "model.onnx")
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = getattr(onnxruntime.GraphOptimizationLevel, level)
    options.optimized_model_filepath = str(tmp_path / "optimised.onnx")
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    inputs = ragged_inputs(how, SEQ_LEN, 4)
    (logits,) = compile_model(tmp_path / "optimised.onnx", seq_len=SEQ_LEN, threads=1).run(inputs)
    present = {one.name for one in session.get_inputs()}
    theirs = session.run(None, {name: value for name, value in inputs.items() if name in present})[0]
    assert np.abs(logits - theirs).max() < 1e-4


def optimised(bert: Path, path: Path, **options: Any) -> Path:
    """The file after ONNX Runtime's optimiser of transformers; ``options`` of its fusions."""
    fusions = FusionOptions("bert")
    fusions.use_raw_attention_mask(True)
    for name, value in options.items():
        setattr(fusions, name, value)
    model = optimizer.optimize_model(
        str(bert), "bert", num_heads=4, hidden_size=48, opt_level=0, optimization_options=fusions
    )
    model.save_model_to_file(str(path))
    return path


@pytest.mark.parametrize(
    ("options", "operator"),
    [
        ({}, "Attention"),
        ({"use_multi_head_attention": True}, "MultiHeadAttention"),
        ({"enable_gelu_approximation": True}, "FastGelu"),
        ({"enable_embed_layer_norm": False}, "SkipLayerNormalization"),
        ({"enable_bias_gelu": False, "enable_attention": False}, "Gelu"),
    ],
)
def test_files_of_the_optimiser_of_transformers_compile(
    options: dict[str, Any], operator: str, bert: Path, tmp_path: Path
) -> None:
    path = optimised(bert, tmp_path / "optimised.onnx", **options)
    assert operator in {node.op_type for node in onnx.load(str(path)).graph.node}
    assert difference(ours(path), [outputs(path, used) for used in (SEQ_LEN, 4, 1)]) < 1e-4


def test_an_operator_of_onnx_runtime_that_is_unknown_is_named(bert: Path, tmp_path: Path) -> None:
    model = onnx.load(str(optimised(bert, tmp_path / "optimised.onnx")))
    node = next(node for node in model.graph.node if node.op_type == "BiasGelu")
    node.op_type = "BifurcationDetector"
    onnx.save(model, str(tmp_path / "unknown.onnx"))
    with pytest.raises(
        UnsupportedOperatorError, match=r"BifurcationDetector .*optimised by ONNX Runtime.*take the file"
    ):
        import_onnx(tmp_path / "unknown.onnx", SEQ_LEN)


@pytest.mark.parametrize("blocked", [[], ["LayerNormalization", "Softmax"]])
@pytest.mark.parametrize("kept", [True, False])
def test_half_precision_files_compile(
    blocked: list[str], kept: bool, bert: Path, expected: list[np.ndarray], tmp_path: Path
) -> None:
    model = convert_float_to_float16(onnx.load(str(bert)), keep_io_types=kept, op_block_list=blocked)
    onnx.save(model, str(tmp_path / "half.onnx"))
    found = ours(tmp_path / "half.onnx")
    assert found[0].dtype == np.float32
    assert difference(found, [outputs(tmp_path / "half.onnx", used) for used in (SEQ_LEN, 4, 1)]) < 1e-2
    assert difference(found, expected) < 1e-2


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("attention", ["eager", "sdpa"])
def test_models_of_other_precisions_are_computed_in_single(dtype: torch.dtype, attention: str, tmp_path: Path) -> None:
    model = random_model("bert", "classification", attention, **ONE_LAYER).to(dtype)
    path = export(_Logits(model), tmp_path / "model.onnx", dynamo=True)
    single = model.to(torch.float32)
    for used in (SEQ_LEN, 4, 1):
        inputs = ragged_inputs(HOW, SEQ_LEN, used, seed=used)
        with torch.no_grad():
            theirs = single(**{name: torch.from_numpy(value) for name, value in inputs.items()}).logits.numpy()
        found = compile_model(path, seq_len=SEQ_LEN, threads=1).run(inputs)[0]
        assert np.abs(found - theirs).max() < (5e-3 if dtype == torch.bfloat16 else 1e-3)


class _Logits(torch.nn.Module):
    """A model with positional inputs and its first output alone."""

    def __init__(self, model: torch.nn.Module, names: tuple[str, ...] = INPUTS) -> None:
        super().__init__()
        self.model, self.names = model, names

    def forward(self, *ids: torch.Tensor) -> torch.Tensor:
        output: torch.Tensor = self.model(**dict(zip(self.names, ids, strict=True)), return_dict=False)[0]
        return output


def export(module: _Logits, path: Path, *, dynamo: bool, opset: int = 18) -> Path:
    ids = torch.full((1, SEQ_LEN), 5)
    values = {"input_ids": ids, "attention_mask": torch.ones_like(ids), "token_type_ids": torch.zeros_like(ids)}
    options: dict[str, Any] = {"external_data": False, "verbose": False} if dynamo else {}
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()), torch.no_grad():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            module.eval(),
            tuple(values[name] for name in module.names),
            str(path),
            input_names=list(module.names),
            dynamo=dynamo,
            opset_version=opset,
            **options,
        )
    return path


@pytest.mark.parametrize("opset", [9, 10, 11, 12, 13])
def test_old_opsets_compile(opset: int, tmp_path: Path) -> None:
    path = export_family(Export("bert", opset=opset, changes=ONE_LAYER), tmp_path / "old.onnx")
    assert difference(ours(path), [outputs(path, used) for used in (SEQ_LEN, 4, 1)]) < 1e-4


@pytest.mark.parametrize("activation", ["silu", "quick_gelu"])
def test_gated_activations_compile(activation: str, tmp_path: Path) -> None:
    path = export_family(Export("bert", changes=ONE_LAYER | {"hidden_act": activation}), tmp_path / "gated.onnx")
    assert difference(ours(path), [outputs(path, used) for used in (SEQ_LEN, 4, 1)]) < 1e-4


@pytest.mark.parametrize(
    "kind", ["Einsum", "Attention", "MultiHeadAttention", "EmbedLayerNormalization", "FusedMatMul"]
)
@pytest.mark.parametrize("count", [0, 1, 2, 3, 5])
def test_broken_operands_of_spelled_out_operators_are_refused(
    kind: str, count: int, bert: Path, tmp_path: Path
) -> None:
    model = onnx.load(str(bert))
    node = [node for node in model.graph.node if node.op_type == "Add"][-1]
    names = [*node.input, "input_ids", *node.input]
    node.op_type, node.domain = kind, "" if kind == "Einsum" else "com.microsoft"
    node.input[:] = names[:count]
    node.attribute.extend([helper.make_attribute("num_heads", 4), helper.make_attribute("equation", "ab,bc->ac")])
    onnx.save(model, str(tmp_path / "broken.onnx"))
    with pytest.raises(PocketBertError):
        canonicalize(import_onnx(tmp_path / "broken.onnx", SEQ_LEN))


def test_a_bias_that_does_not_fit_its_product_is_refused(bert: Path, tmp_path: Path) -> None:
    model = onnx.load(str(bert))
    name = next(node for node in model.graph.node if node.op_type == "Gemm").input[2]
    tensor = next(one for one in model.graph.initializer if one.name == name)
    tensor.CopyFrom(numpy_helper.from_array(np.zeros(80, np.float32), name))
    onnx.save(model, str(tmp_path / "bias.onnx"))
    with pytest.raises(ModelError, match=r"gemm .*a bias of shape \[80\] for a product of shape \[1, 48\]"):
        canonicalize(import_onnx(tmp_path / "bias.onnx", SEQ_LEN))


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
def test_the_attention_operator_of_opset_23_compiles(attention: str, tmp_path: Path) -> None:
    how = Export("bert", "dynamo", 23, "hidden", attention, changes=ONE_LAYER)
    path = export_family(how, tmp_path / "new.onnx")
    assert difference(ours(path), [outputs(path, used) for used in (SEQ_LEN, 4, 1)]) < 1e-4


def test_normalisation_before_its_opset_with_outputs_that_nothing_reads(bert: Path, tmp_path: Path) -> None:
    model = onnx.load(str(bert))
    model.opset_import[0].version = 14
    for index, node in enumerate(model.graph.node):
        if node.op_type == "LayerNormalization":
            node.output.extend([f"mean{index}", f"deviation{index}"])
    onnx.save(model, str(tmp_path / "early.onnx"))
    assert difference(ours(tmp_path / "early.onnx"), [outputs(bert, used) for used in (SEQ_LEN, 4, 1)]) < 1e-4


def _dropouts(model: onnx.ModelProto, training: bool, ratio: float) -> None:
    """A dropout with its mask behind every normalisation."""
    model.graph.initializer.append(numpy_helper.from_array(np.array(ratio, np.float32), "ratio"))
    model.graph.initializer.append(numpy_helper.from_array(np.array(training), "training"))
    nodes = []
    for index, node in enumerate(model.graph.node):
        nodes.append(node)
        if node.op_type == "LayerNormalization":
            made, node.output[0] = node.output[0], f"dropped{index}"
            nodes.append(helper.make_node("Dropout", [f"dropped{index}", "ratio", "training"], [made, f"mask{index}"]))
    copies = [onnx.NodeProto.FromString(node.SerializeToString()) for node in nodes]
    del model.graph.node[:]
    model.graph.node.extend(copies)


@pytest.mark.parametrize(("training", "ratio"), [(False, 0.1), (True, 0.0)])
def test_dropout_that_drops_nothing_is_nothing(
    training: bool, ratio: float, bert: Path, expected: list[np.ndarray], tmp_path: Path
) -> None:
    model = onnx.load(str(bert))
    _dropouts(model, training, ratio)
    onnx.save(model, str(tmp_path / "dropout.onnx"))
    assert difference(ours(tmp_path / "dropout.onnx"), expected) < 1e-4


def test_dropout_that_drops_is_refused(bert: Path, tmp_path: Path) -> None:
    model = onnx.load(str(bert))
    _dropouts(model, training=True, ratio=0.1)
    onnx.save(model, str(tmp_path / "dropout.onnx"))
    with pytest.raises(UnsupportedOperatorError, match=r"training mode.*model\.eval\(\)"):
        import_onnx(tmp_path / "dropout.onnx", SEQ_LEN)


def _matrices(model: onnx.ModelProto) -> list[TensorProto]:
    """Weights of products."""
    read = {node.input[1] for node in model.graph.node if node.op_type == "MatMul"}
    return [tensor for tensor in model.graph.initializer if tensor.name in read and len(tensor.dims) == 2]


def _sparse(model: onnx.ModelProto) -> None:
    for index, tensor in enumerate(_matrices(model)):
        values = numpy_helper.to_array(tensor)
        places = np.argwhere(np.ones_like(values)) if index % 2 else np.arange(values.size)
        made = onnx.SparseTensorProto(dims=list(values.shape))
        made.values.CopyFrom(numpy_helper.from_array(values.reshape(-1), tensor.name))
        made.indices.CopyFrom(numpy_helper.from_array(places.astype(np.int64), f"{tensor.name}/places"))
        model.graph.sparse_initializer.append(made)
        model.graph.initializer.remove(tensor)


def _as_constants(model: onnx.ModelProto) -> None:
    """Weights as ``Constant`` nodes of several kinds, behind chains of nothing."""
    nodes = []
    for tensor in list(model.graph.initializer):
        values = numpy_helper.to_array(tensor)
        kind: dict[str, Any] = {"value": numpy_helper.from_array(values)}
        if values.ndim == 1 and values.dtype == np.float32:
            kind = {"value_floats": values.tolist()}
        nodes.append(helper.make_node("Constant", [], [f"{tensor.name}/0"], **kind))
        nodes.append(helper.make_node("Identity", [f"{tensor.name}/0"], [f"{tensor.name}/1"]))
        nodes.append(helper.make_node("Cast", [f"{tensor.name}/1"], [tensor.name], to=tensor.data_type))
    del model.graph.initializer[:]
    nodes.extend(onnx.NodeProto.FromString(node.SerializeToString()) for node in model.graph.node)
    del model.graph.node[:]
    model.graph.node.extend(nodes)


def _condition(model: onnx.ModelProto) -> None:
    """The classifier within the branch of an ``If`` whose condition is constant."""
    node = onnx.NodeProto.FromString(model.graph.node[-1].SerializeToString())
    del model.graph.node[-1]
    name = node.output[0]
    node.output[0] = "inside"
    branches = [
        helper.make_graph([made], kind, [], [helper.make_tensor_value_info("inside", TensorProto.FLOAT, None)])
        for kind, made in (("then", node), ("else", helper.make_node("Identity", ["input_ids"], ["inside"])))
    ]
    model.graph.initializer.append(numpy_helper.from_array(np.array([True]), "condition"))
    chosen = helper.make_node("If", ["condition"], [name], then_branch=branches[0], else_branch=branches[1])
    model.graph.node.append(chosen)


@pytest.mark.parametrize("change", [_sparse, _as_constants, _condition])
def test_weights_and_graphs_in_other_forms_compile(
    change: Callable[[onnx.ModelProto], None], bert: Path, expected: list[np.ndarray], tmp_path: Path
) -> None:
    model = onnx.load(str(bert))
    change(model)
    onnx.save(model, str(tmp_path / "changed.onnx"))
    assert difference(ours(tmp_path / "changed.onnx"), expected) < 1e-4


@pytest.mark.parametrize(
    ("dtype", "axis", "block", "zeros"),
    [
        ("int8", None, 0, False),
        ("int8", 0, 0, False),
        ("uint8", 1, 0, True),
        ("int8", 0, 16, True),
        ("int4", 0, 16, False),
        ("uint4", 1, 0, True),
    ],
)
def test_quantised_weights_compile(
    dtype: str, axis: int | None, block: int, zeros: bool, bert: Path, tmp_path: Path
) -> None:
    model = onnx.load(str(bert))
    model.opset_import[0].version, model.ir_version = 21, 10
    kind = getattr(TensorProto, dtype.upper())
    low, high = {"int8": (-128, 127), "uint8": (0, 255), "int4": (-8, 7), "uint4": (0, 15)}[dtype]
    nodes = []
    for tensor in _matrices(model):
        values, name = numpy_helper.to_array(tensor), tensor.name
        shape = list(values.shape) if block else [] if axis is None else [values.shape[axis]]
        if block:
            assert axis is not None
            shape[axis] = -(-shape[axis] // block)
        scale = np.full(shape, np.abs(values).max() / high * (2 if zeros else 1), np.float32)
        middle = (high + low + 1) // 2 if zeros else 0
        numbers = np.rint(values / scale.max() + middle).clip(low, high).astype(np.int32)
        parts = [("q", kind, numbers), ("zero", kind, np.full(shape, middle))] if zeros else [("q", kind, numbers)]
        model.graph.initializer.append(numpy_helper.from_array(scale, f"{name}/scale"))
        for part, type_, array in parts:
            made = helper.make_tensor(f"{name}/{part}", type_, array.shape, array.reshape(-1).tolist())
            model.graph.initializer.append(made)
        operands = [f"{name}/q", f"{name}/scale", *([f"{name}/zero"] if zeros else [])]
        options = {} if axis is None else {"axis": axis} | ({"block_size": block} if block else {})
        nodes.append(helper.make_node("DequantizeLinear", operands, [name], **options))
        model.graph.initializer.remove(tensor)
    nodes.extend(onnx.NodeProto.FromString(node.SerializeToString()) for node in model.graph.node)
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    path = tmp_path / "quantised.onnx"
    onnx.save(model, str(path))
    assert difference(ours(path), [outputs(path, used) for used in (SEQ_LEN, 4, 1)]) < 1e-4


@pytest.mark.parametrize(("dtype", "kind"), [("float32", TensorProto.FLOAT), ("bool", TensorProto.BOOL)])
def test_masks_of_numbers_and_of_truth_values_are_taken(
    dtype: str, kind: int, bert: Path, expected: list[np.ndarray], tmp_path: Path
) -> None:
    model = onnx.load(str(bert))
    for value in model.graph.input:
        if value.name == "attention_mask":
            value.type.tensor_type.elem_type = kind
    for node in model.graph.node:
        node.input[:] = ["mask/whole" if name == "attention_mask" else name for name in node.input]
    model.graph.node.insert(0, helper.make_node("Cast", ["attention_mask"], ["mask/whole"], to=TensorProto.INT64))
    onnx.save(model, str(tmp_path / "mask.onnx"))
    assert difference(ours(tmp_path / "mask.onnx"), expected) < 1e-4


_SIZES = {
    "hidden_size": 48,
    "num_hidden_layers": 1,
    "num_attention_heads": 4,
    "intermediate_size": 80,
    "vocab_size": 60,
}


@pytest.mark.parametrize(
    ("kind", "cause", "changes"),
    [
        ("MPNet", r"relative positions \(as of MPNet", {}),
        ("RoFormer", "rotary positions", {}),
        ("DebertaV2", r"as of DeBERTa", {"relative_attention": True, "pos_att_type": ["p2c", "c2p"]}),
    ],
)
def test_other_architectures_are_refused_with_the_true_cause(
    kind: str, cause: str, changes: dict[str, Any], tmp_path: Path
) -> None:
    config = getattr(transformers, f"{kind}Config")(**_SIZES, **changes)
    torch.manual_seed(0)
    model = transformers.AutoModel.from_config(config, attn_implementation="eager")
    path = export(_Logits(model, INPUTS[:2]), tmp_path / "model.onnx", dynamo=False, opset=17)
    with pytest.raises(UnsupportedOperatorError, match=rf"{cause}.*such as BERT, RoBERTa"):
        canonicalize(import_onnx(path, SEQ_LEN))
