"""Damaged quantised files: each is refused in one line, or is still a legal model; none ends in a crash."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from data.errors import PocketBertError
from fusion.frontend.canonical import canonicalize
from fusion.importing.onnx_import import import_onnx
from fusion.planning.plan import plan_graph
from fusion.rewriting.rewrite import simplify
from tests.fusion.families import export_family
from tests.fusion.mutations import mutated
from tests.fusion.quantised_files import HOW, SEQ_LEN, dynamic, static

FORMS = ("dynamic", "QDQ", "QOperator")
FUZZED = 96


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, bytes]:
    """One file in each form, scales a column, without the exporter's notes."""
    folder = tmp_path_factory.mktemp("forms")
    source = export_family(HOW, folder / "source.onnx")
    made = {form: folder / f"{form}.onnx" for form in FORMS}
    dynamic(source, made["dynamic"], per_channel=True)
    for form in FORMS[1:]:
        static(source, made[form], form, per_channel=True)
    return {form: _bare(path) for form, path in made.items()}


def _bare(path: Path) -> bytes:
    model = onnx.load(str(path))
    for part in (model, model.graph, *model.graph.node, *model.graph.value_info, *model.graph.input):
        part.ClearField("metadata_props")
    return model.SerializeToString()


def read(path: Path) -> None:
    plan_graph(simplify(canonicalize(import_onnx(path, SEQ_LEN))))


Damage = Callable[[np.ndarray], np.ndarray]


def weights(model: onnx.ModelProto) -> str:
    """The name of the wider layer's weights [48, 80], without what the tools put behind it."""
    quantised = [one for one in model.graph.initializer if list(one.dims) == [48, 80]]
    return quantised[0].name.removesuffix("_quantized")


def change(model: onnx.ModelProto, name: str, damage: Damage) -> None:
    tensor = next(one for one in model.graph.initializer if one.name == name)
    tensor.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(damage(numpy_helper.to_array(tensor))), name))


def filled(number: float) -> Damage:
    return lambda values: np.full_like(values, number)


def as_type(dtype: str) -> Damage:
    return lambda values: values.astype(dtype)


def of_shape(*shape: int) -> Damage:
    return lambda values: np.resize(values, shape)


SCALES: dict[str, Damage] = {
    "NaN": filled(np.nan),
    "zero": filled(0),
    "negative": filled(-0.01),
    "infinite": filled(np.inf),
    "whole numbers": as_type("int32"),
    "three of them": of_shape(3),
    "of another rank": of_shape(1, 80),
    "none": of_shape(0),
}
ZERO_POINTS: dict[str, Damage] = {
    "three of them": of_shape(3),
    "one": of_shape(1),
    "of another rank": of_shape(1, 80),
    "without a sign": as_type("uint8"),
    "wide": as_type("int32"),
    "fractions": as_type("float32"),
}
NUMBERS: dict[str, Damage] = {
    "without a sign": as_type("uint8"),
    "fractions": as_type("float32"),
    "very wide": as_type("int64"),
    "turned": np.transpose,
    "few": of_shape(48, 3),
}
KINDS = {"scale": SCALES, "zero_point": ZERO_POINTS, "quantized": NUMBERS}
# A sum of whole numbers may be multiplied by any tensor that is broadcast to it, and columns may share a zero point.
LEGAL_OF_SUMS = {("dynamic", "scale", "of another rank"), ("dynamic", "zero_point", "one")}
CASES = {(form, part, damage) for form in FORMS for part, kinds in KINDS.items() for damage in kinds} - LEGAL_OF_SUMS


@pytest.mark.parametrize(("form", "part", "damage"), sorted(CASES))
def test_damaged_weights_are_refused_in_one_line(
    form: str, part: str, damage: str, files: Mapping[str, bytes], tmp_path: Path
) -> None:
    model = onnx.ModelProto.FromString(files[form])
    change(model, f"{weights(model)}_{part}", KINDS[part][damage])
    refused(model, tmp_path)


@pytest.mark.parametrize("form", FORMS[1:])
@pytest.mark.parametrize("damage", ["NaN", "zero", "negative", "infinite", "whole numbers", "three of them", "none"])
def test_damaged_scales_of_activations_are_refused_in_one_line(
    form: str, damage: str, files: Mapping[str, bytes], tmp_path: Path
) -> None:
    model = onnx.ModelProto.FromString(files[form])
    node = next(one for one in model.graph.node if one.op_type == "QuantizeLinear" and "LayerNorm" in one.name)
    change(model, node.input[1], SCALES[damage])
    refused(model, tmp_path)


@pytest.mark.parametrize("axis", [-3, 0, 2, 99])
def test_a_wrong_axis_is_refused_in_one_line(axis: int, files: Mapping[str, bytes], tmp_path: Path) -> None:
    model = onnx.ModelProto.FromString(files["QDQ"])
    name = f"{weights(model)}_quantized"
    node = next(one for one in model.graph.node if one.input and one.input[0] == name)
    del node.attribute[:]
    node.attribute.append(helper.make_attribute("axis", axis))
    refused(model, tmp_path)


@pytest.mark.parametrize("form", FORMS)
def test_operators_without_a_scale_are_refused_in_one_line(
    form: str, files: Mapping[str, bytes], tmp_path: Path
) -> None:
    model = onnx.ModelProto.FromString(files[form])
    scale = f"{weights(model)}_scale"
    for node in model.graph.node:
        node.input[:] = ["" if name == scale else name for name in node.input]
    refused(model, tmp_path)


def test_an_operator_whose_name_is_no_text_is_refused_in_one_line(files: Mapping[str, bytes], tmp_path: Path) -> None:
    refused(files["dynamic"].replace(b"\x22\x0dMatMulInteger", b"\x22\x0dMatMulIntege\xff"), tmp_path)


def refused(model: onnx.ModelProto | bytes, folder: Path) -> None:
    path = folder / "damaged.onnx"
    path.write_bytes(model if isinstance(model, bytes) else model.SerializeToString())
    with pytest.raises(PocketBertError) as told:
        read(path)
    assert str(told.value) and "\n" not in str(told.value)


@pytest.mark.parametrize("form", FORMS)
def test_mutated_quantised_files_give_our_error_or_a_legal_model(
    form: str, files: Mapping[str, bytes], tmp_path: Path
) -> None:
    path, refusals = tmp_path / "mutated.onnx", 0
    for seed in range(FORMS.index(form), FUZZED, len(FORMS)):
        path.write_bytes(mutated(files[form], seed))
        try:
            read(path)
        except PocketBertError as error:
            assert str(error) and "\n" not in str(error), f"seed {seed}"
            refusals += 1
    assert refusals
