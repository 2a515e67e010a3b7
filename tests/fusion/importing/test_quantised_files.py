"""Files with quantised activations: dynamically quantised, in QDQ form, and of operators on whole numbers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from data.errors import ModelError, UnsupportedOperatorError
from fusion import compile_model
from fusion.compiled import CompiledModel
from fusion.frontend.canonical import canonicalize
from fusion.graph import Graph
from fusion.importing.onnx_import import import_onnx
from fusion.planning.plan import plan_graph
from fusion.rewriting.rewrite import simplify
from tests.fusion.families import Export, export_family, ragged_inputs
from tests.fusion.interpreter import evaluate
from tests.fusion.quantised_files import (
    HOW,
    PRODUCTS,
    RELU,
    SEQ_LEN,
    dynamic,
    fused,
    outputs,
    roundings,
    saved,
    static,
    with_rounded_weights,
)

pytestmark = pytest.mark.usefixtures("shared_home")

INPUTS = [ragged_inputs(HOW, SEQ_LEN, SEQ_LEN, seed=seed) for seed in (50, 51, 52)]
# What fp32 and fp64 differ by.
EXACT = 2e-5
LAYER = "/model/bert/encoder/layer.0"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("quantised")


@pytest.fixture(scope="module")
def bert(folder: Path) -> Path:
    return export_family(HOW, folder / "bert.onnx")


@pytest.fixture(scope="module")
def relu(folder: Path) -> Path:
    return export_family(RELU, folder / "relu.onnx")


def read(path: Path) -> Graph:
    return simplify(canonicalize(import_onnx(path, SEQ_LEN)))


def anchors(graph: Graph) -> list[tuple[str, tuple[str, ...]]]:
    return sorted((fused.block.anchor, fused.block.epilogue) for fused in plan_graph(graph).blocks)


def difference(ours: list[np.ndarray], theirs: list[np.ndarray]) -> float:
    return max(float(np.abs(np.ravel(one) - np.ravel(other)).max()) for one, other in zip(ours, theirs, strict=True))


def check(source: Path, quantised: Path, tool: Path | None = None) -> Graph:
    """That a quantised file is the fp32 file with its weights; ``tool`` is the file as the tool left it.

    Against ONNX Runtime, whose activations are rounded: a rounding moves a number by half of a step, a 510th of the
    range of its tensor, and normalisation keeps that share; all of them at once, in one direction, are a bound.
    Against the file before: a weight is moved by half of one of 127 steps, or of 63 with the range reduced.
    """
    graph = read(quantised)
    assert graph.quantised_bits == 8
    ours = [evaluate(graph, inputs)[0] for inputs in INPUTS]
    before = [outputs(source, inputs) for inputs in INPUTS]
    largest = max(float(np.abs(one).max()) for one in before)
    assert difference(ours, [outputs(quantised, inputs) for inputs in INPUTS]) < roundings(quantised) / 510 * largest
    rounded, weights = with_rounded_weights(source, tool or quantised, quantised.with_suffix(".rounded.onnx"))
    assert difference(ours, [outputs(rounded, inputs) for inputs in INPUTS]) < EXACT
    assert difference(ours, before) < weights / 126 * largest
    assert difference(ours, before) > EXACT
    assert anchors(graph) == anchors(read(source))
    assert graph.fp32_products == ()
    return graph


@pytest.mark.parametrize(
    ("weights", "options"),
    [
        ("QInt8", {}),  # as Optimum has it for AVX-512
        ("QInt8", {"per_channel": True}),  # for AVX-512 with VNNI, and for ARM
        ("QUInt8", {"reduce_range": True}),  # for AVX2
        ("QUInt8", {"per_channel": True}),
        ("QInt8", {"extra_options": {"WeightSymmetric": False}}),
        ("QInt8", {"extra_options": {"MatMulConstBOnly": False}}),  # attention's products as well
        ("QInt8", {"op_types_to_quantize": ["MatMul"]}),
    ],
)
def test_dynamically_quantised_files_compile(weights: str, options: dict[str, Any], bert: Path, tmp_path: Path) -> None:
    path = dynamic(bert, tmp_path / "dynamic.onnx", weights, **options)
    assert "MatMulInteger" in {node.op_type for node in onnx.load(str(path)).graph.node}
    check(bert, path)


@pytest.mark.parametrize("form", ["QDQ", "QOperator"])
@pytest.mark.parametrize(
    ("activations", "options"),
    [
        ("QUInt8", {}),
        ("QInt8", {"per_channel": True}),
        ("QUInt8", {"per_channel": True, "op_types_to_quantize": PRODUCTS}),
        ("QInt8", {"extra_options": {"ActivationSymmetric": True}, "op_types_to_quantize": PRODUCTS}),
    ],
)
def test_statically_quantised_files_compile(
    form: str, activations: str, options: dict[str, Any], bert: Path, tmp_path: Path
) -> None:
    check(bert, static(bert, tmp_path / "static.onnx", form, activations, **options))


@pytest.mark.parametrize("form", ["dynamic", "QDQ", "QOperator"])
def test_quantised_files_that_onnx_runtime_saved_compile(form: str, bert: Path, tmp_path: Path) -> None:
    path = tmp_path / "quantised.onnx"
    made = dynamic(bert, path, per_channel=True) if form == "dynamic" else static(bert, path, form)
    optimised = saved(made, tmp_path / "saved.onnx")
    kinds = {node.op_type for node in onnx.load(str(optimised)).graph.node}
    wanted = {"DynamicQuantizeMatMul", "MatMulIntegerToFloat"} if form == "dynamic" else {"QLinearMatMul", "QGemm"}
    assert wanted <= kinds
    check(bert, optimised, made)


@pytest.mark.parametrize("per_channel", [False, True])
def test_quantised_attention_and_embeddings_of_onnx_runtime_compile(
    per_channel: bool, bert: Path, tmp_path: Path
) -> None:
    source = fused(bert, tmp_path / "fused.onnx")
    options = {"DefaultTensorType": TensorProto.FLOAT}
    path = dynamic(source, tmp_path / "dynamic.onnx", per_channel=per_channel, extra_options=options)
    assert {"QAttention", "QEmbedLayerNormalization"} <= {node.op_type for node in onnx.load(str(path)).graph.node}
    graph = read(path)
    ours = [evaluate(graph, inputs)[0] for inputs in INPUTS]
    theirs, before = ([outputs(file, inputs) for inputs in INPUTS] for file in (path, bert))
    largest = max(float(np.abs(one).max()) for one in before)
    assert graph.quantised_bits == 8 and anchors(graph) == anchors(read(source)) and graph.fp32_products == ()
    assert difference(ours, theirs) < roundings(path) / 510 * largest
    assert difference(ours, before) < 12 / 126 * largest


@pytest.mark.parametrize("form", ["QDQ", "QOperator"])
@pytest.mark.parametrize("activations", ["QUInt8", "QInt8"])
def test_a_relu_that_a_tool_left_to_a_range_stays(form: str, activations: str, relu: Path, tmp_path: Path) -> None:
    kinds = ["MatMul", "Gemm", "Add", "Relu", "Softmax"]
    path = static(relu, tmp_path / "static.onnx", form, activations, op_types_to_quantize=kinds)
    assert "Relu" in {node.op_type for node in onnx.load(str(relu)).graph.node}
    assert "Relu" not in {node.op_type for node in onnx.load(str(path)).graph.node}
    graph = check(relu, path)
    assert ["relu" in epilogue for _, epilogue in anchors(graph)].count(True) == 1


@pytest.mark.parametrize("opset", [11, 20])
@pytest.mark.parametrize("form", ["dynamic", "QOperator"])
def test_other_opsets_compile_quantised(opset: int, form: str, tmp_path: Path) -> None:
    how = Export("bert", opset=opset, dynamic=True, changes=HOW.changes)
    source = export_family(how, tmp_path / "source.onnx")
    path, options = tmp_path / "quantised.onnx", {"per_channel": True, "op_types_to_quantize": PRODUCTS}
    made = dynamic(source, path, **options) if form == "dynamic" else static(source, path, form, **options)
    graph = read(made)
    ours = [evaluate(graph, inputs)[0] for inputs in INPUTS]
    theirs = [outputs(made, inputs) for inputs in INPUTS]
    assert difference(ours, theirs) < roundings(made) / 510 * max(float(np.abs(one).max()) for one in theirs)


def test_a_compiled_file_says_that_its_activations_were_quantised(bert: Path, tmp_path: Path) -> None:
    path = dynamic(bert, tmp_path / "dynamic.onnx", per_channel=True)
    rounded, _ = with_rounded_weights(bert, path, tmp_path / "rounded.onnx")
    for _ in range(2):  # imported, and as it was kept
        model = compile_model(path, seq_len=SEQ_LEN, threads=1, precision="fp32")
        assert "quantises its activations" in " ".join(model.summary.notes)
    found = [model.run(inputs)[0] for inputs in INPUTS]
    assert difference(found, [outputs(rounded, inputs) for inputs in INPUTS]) < EXACT
    assert compile_model(bert, seq_len=SEQ_LEN, threads=1).summary.notes == ()
    narrow = compile_model(path, seq_len=SEQ_LEN, threads=1)
    assert narrow.precision == "int8" and compile_model(bert, seq_len=SEQ_LEN).precision == "fp32"
    assert "each token has its own scale" in " ".join(narrow.summary.notes)
    theirs = [outputs(path, inputs) for inputs in INPUTS]
    largest = max(float(np.abs(one).max()) for one in theirs)
    assert difference([narrow.run(inputs)[0] for inputs in INPUTS], theirs) < 2 * roundings(path) / 510 * largest


@pytest.mark.parametrize("form", ["with zero points", "without zero points"])
def test_activations_of_sixteen_bits_do_not_become_eight_unasked(form: str, bert: Path, tmp_path: Path) -> None:
    options = {"UseQDQContribOps": True, "ActivationSymmetric": True}
    path = static(bert, tmp_path / "static.onnx", "QDQ", "QInt16", extra_options=options)
    if form == "without zero points":
        path = with_output_types(path, tmp_path / "typed.onnx")
    for _ in range(2):  # imported, and as it was kept
        model = compile_model(path, seq_len=SEQ_LEN, threads=1)
        assert model.precision == "fp32" and "which are fp32 here" in model.summary.notes[0]
    assert read(path).quantised_bits == 16
    assert compile_model(path, seq_len=SEQ_LEN, threads=1, precision="int8").precision == "int8"


def with_output_types(source: Path, path: Path) -> Path:
    """The file, whose whole numbers of 16 bits have their type from an attribute instead of a zero point."""
    model = onnx.load(str(source))
    zeros = {one.name for one in model.graph.initializer if one.data_type == TensorProto.INT16 and not one.dims}
    for node in model.graph.node:
        node.domain = "" if node.domain == "com.microsoft" else node.domain
        if node.op_type in ("QuantizeLinear", "DequantizeLinear") and node.input[-1] in zeros:
            del node.input[2]
            if node.op_type == "QuantizeLinear":
                node.attribute.append(helper.make_attribute("output_dtype", TensorProto.INT16))
    for entry in model.opset_import:
        entry.version = 21 if entry.domain == "" else entry.version
    onnx.save(model, str(path))
    return path


def in_precision(model: CompiledModel, precision: str) -> list[str]:
    """The products of a compiled model in a precision, by the names of their nodes."""
    products = [fused for fused in model.plan.blocks if fused.block.anchor == "gemm"]
    return [fused.operators[0].name for fused in products if fused.block.precision == precision]


@pytest.mark.parametrize("optimised", [False, True])
@pytest.mark.parametrize("form", ["dynamic", "QDQ", "QOperator"])
def test_products_that_a_file_leaves_in_fp32_stay_so(form: str, optimised: bool, bert: Path, tmp_path: Path) -> None:
    kept = [f"{LAYER}/{name}/MatMul" for name in ("attention/self/key", "output/dense")]
    path = tmp_path / "quantised.onnx"
    if form == "dynamic":
        made = dynamic(bert, path, per_channel=True, nodes_to_exclude=kept)
    else:
        made = static(bert, path, form, nodes_to_exclude=kept, op_types_to_quantize=PRODUCTS)
    path = saved(made, tmp_path / "saved.onnx") if optimised else made
    for _ in range(2):  # imported, and as it was kept
        model = compile_model(path, seq_len=SEQ_LEN, threads=1)
        assert model.precision == "int8"
        left = in_precision(model, "fp32")
        assert [any(name in one for one in left) for name in kept] == [True, True]
        assert len(left) == 3 and "classifier" in left[2]  # which has too few columns
        assert len(in_precision(model, "int8")) == 5
        note = model.summary.notes[1]
        assert note.startswith("what the file leaves in fp32 stays so") and all(name in note for name in kept)
        assert "classifier" not in note
    theirs = [outputs(path, inputs) for inputs in INPUTS]
    largest = max(float(np.abs(one).max()) for one in theirs)
    assert difference([model.run(inputs)[0] for inputs in INPUTS], theirs) < 2 * roundings(path) / 510 * largest
    assert len(compile_model(path, seq_len=SEQ_LEN, precision="fp32").summary.notes) == 1
    # Each row alike: what is left in fp32 is not merged with what is not.
    assert len(compile_model(bert, seq_len=SEQ_LEN).blocks) == len(model.blocks) - 1


def test_attention_of_onnx_runtime_that_a_file_leaves_in_fp32_stays_so(bert: Path, tmp_path: Path) -> None:
    source = fused(bert, tmp_path / "fused.onnx")
    options = {"DefaultTensorType": TensorProto.FLOAT}
    path = dynamic(source, tmp_path / "dynamic.onnx", nodes_to_exclude=["Attention_0"], extra_options=options)
    model = compile_model(path, seq_len=SEQ_LEN, threads=1)
    assert len(in_precision(model, "int8")) == 4
    assert len(in_precision(model, "fp32")) == 3 and "Attention_0" in model.summary.notes[1]


def test_products_without_names_are_told_apart(bert: Path, tmp_path: Path) -> None:
    kept = f"{LAYER}/output/dense/MatMul"
    model = onnx.load(str(dynamic(bert, tmp_path / "dynamic.onnx", nodes_to_exclude=[kept])))
    for node in model.graph.node:
        node.name = ""
    onnx.save(model, str(tmp_path / "nameless.onnx"))
    compiled = compile_model(tmp_path / "nameless.onnx", seq_len=SEQ_LEN, threads=1)
    assert in_precision(compiled, "fp32")[0] == f"{kept}_output_0"
    assert len(in_precision(compiled, "int8")) == 5


def test_weights_alone_do_not_make_a_file_quantised(bert: Path, tmp_path: Path) -> None:
    graph = read(dynamic(bert, tmp_path / "tables.onnx", op_types_to_quantize=["Gather"]))
    assert graph.quantised_bits == 0


def test_inputs_with_other_names_are_known_by_quantised_tables(bert: Path, tmp_path: Path) -> None:
    model = onnx.load(str(static(bert, tmp_path / "static.onnx", "QDQ", op_types_to_quantize=PRODUCTS)))
    names = {"input_ids": "first", "attention_mask": "second", "token_type_ids": "third"}
    for value in model.graph.input:
        value.name = names[value.name]
    for node in model.graph.node:
        node.input[:] = [names.get(name, name) for name in node.input]
    onnx.save(model, str(tmp_path / "renamed.onnx"))
    assert {ours: name for name, ours in read(tmp_path / "renamed.onnx").renamed_inputs} == names


Change = Callable[[onnx.ModelProto], None]


def first(model: onnx.ModelProto, kind: str) -> onnx.NodeProto:
    return next(node for node in model.graph.node if node.op_type == kind)


def renamed_to(kind: str, domain: str) -> Change:
    def change(model: onnx.ModelProto) -> None:
        node = first(model, "MatMulInteger")
        node.op_type, node.domain = kind, domain

    return change


def another_zero_point(model: onnx.ModelProto) -> None:
    node = first(model, "MatMulInteger")
    other = [one for one in model.graph.node if one.op_type == "DynamicQuantizeLinear"][-1]
    node.input[2] = other.output[2]


def numbers_as_output(model: onnx.ModelProto) -> None:
    name = first(model, "DynamicQuantizeLinear").output[0]
    model.graph.output.append(helper.make_tensor_value_info(name, TensorProto.UINT8, None))


def sums_read_otherwise(model: onnx.ModelProto) -> None:
    node = next(one for one in model.graph.node if one.op_type == "Cast" and "quantized" in one.input[0])
    node.op_type = "Abs"
    del node.attribute[:]


def another_scale(model: onnx.ModelProto) -> None:
    """Behind the products, so that it reads numbers that are made."""
    node = onnx.NodeProto.FromString(first(model, "DequantizeLinear").SerializeToString())
    model.graph.initializer.append(numpy_helper.from_array(np.array(0.5, np.float32), "other"))
    last = [one for one in model.graph.node if one.op_type == "DynamicQuantizeLinear"][-1]
    node.input[:], node.output[0] = [last.output[0], "other"], "dequantised"
    model.graph.node.append(node)
    model.graph.output.append(helper.make_tensor_value_info("dequantised", TensorProto.FLOAT, None))


@pytest.mark.parametrize(
    ("change", "cause"),
    [
        (renamed_to("ConvInteger", ""), "ConvInteger .*quantised activations.*MatMulInteger"),
        (renamed_to("QLinearConv", ""), "QLinearConv .*quantised activations"),
        (renamed_to("QOrderedMatMul", "com.microsoft"), "QOrderedMatMul .*quantised activations"),
        (another_zero_point, "MatMulInteger .*nor what DynamicQuantizeLinear makes, with its zero point"),
        (numbers_as_output, "DynamicQuantizeLinear .*whole numbers as an output"),
        (sums_read_otherwise, "MatMulInteger .*whole numbers are read by operator Abs"),
        (another_scale, "DequantizeLinear .*not those by which the numbers were made"),
    ],
)
def test_what_is_not_known_of_quantised_numbers_is_named(
    change: Change, cause: str, bert: Path, tmp_path: Path
) -> None:
    model = onnx.load(str(dynamic(bert, tmp_path / "dynamic.onnx")))
    change(model)
    onnx.save(model, str(tmp_path / "changed.onnx"))
    with pytest.raises(UnsupportedOperatorError, match=rf"{cause}.*") as told:
        import_onnx(tmp_path / "changed.onnx", SEQ_LEN)
    assert "floating-point file" in str(told.value) and "\n" not in str(told.value)


def test_masks_of_minus_infinity_in_a_calibration_are_told(tmp_path: Path) -> None:
    model = onnx.load(str(static(export_family(HOW, tmp_path / "bert.onnx"), tmp_path / "static.onnx", "QDQ")))
    name = first(model, "QuantizeLinear").input[1]
    tensor = next(one for one in model.graph.initializer if one.name == name)
    tensor.CopyFrom(numpy_helper.from_array(np.array(np.inf, np.float32), name))
    onnx.save(model, str(tmp_path / "infinite.onnx"))
    with pytest.raises(ModelError, match=r"a scale is inf, as calibrating on masks.*without the operators of the mask"):
        import_onnx(tmp_path / "infinite.onnx", SEQ_LEN)
