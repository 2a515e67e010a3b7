"""Inputs of a file under other names: guessed where that is safe, else refused with the option that says it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from click.testing import CliRunner
from onnx import TensorProto, helper

from data.errors import InputError, ModelError
from fusion import compile_model
from fusion.importing.input_names import parse_renames
from fusion.importing.onnx_import import import_onnx
from search.commands.fuse_model import main
from tests.fusion.families import INPUTS, Export, export_family, ragged_inputs, runtime_outputs

pytestmark = pytest.mark.usefixtures("shared_home")

HOW = Export("bert", changes={"num_hidden_layers": 1})
SEQ_LEN = 7


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export_family(HOW, tmp_path_factory.mktemp("base") / "model.onnx")


def renamed(base: Path, path: Path, names: tuple[str, ...], swapped: tuple[int, ...] = (0, 1, 2)) -> Path:
    """The base with its three inputs called otherwise, in another order."""
    model = onnx.load(str(base))
    changes = dict(zip(INPUTS, names, strict=True))
    for node in model.graph.node:
        node.input[:] = [changes.get(name, name) for name in node.input]
    inputs = [model.graph.input[index] for index in swapped]
    for value in inputs:
        value.name = changes[value.name]
    kept = [onnx.ValueInfoProto.FromString(value.SerializeToString()) for value in inputs]
    del model.graph.input[:]
    model.graph.input.extend(kept)
    onnx.save(model, str(path))
    return path


def agrees(base: Path, path: Path, names: Mapping[str, str], rename: Mapping[str, str] | None = None) -> bool:
    """Whether the renamed file gives the base's numbers, its inputs under our names and under its own."""
    model = compile_model(path, seq_len=SEQ_LEN, threads=1, rename=rename)
    inputs = ragged_inputs(HOW, SEQ_LEN, 4)
    (expected,) = runtime_outputs(HOW, base, inputs)
    theirs = {names.get(name, name): value for name, value in inputs.items()}
    return all(np.abs(model.run(one)[0] - expected).max() < 1e-4 for one in (inputs, theirs))


@pytest.mark.parametrize(
    "names",
    [
        ("input_word_ids", "input_mask", "input_type_ids"),
        ("input_ids:0", "attention_mask:0", "token_type_ids:0"),
        ("serving_default_input_ids:0", "serving_default_input_mask:0", "serving_default_segment_ids:0"),
        ("bert/Input-Ids", "MASK", "Segment-Ids"),
        ("x", "y", "z"),
        ("input.1", "mask", "input.3"),
        ("ids", "onnx::Cast_1", "segment_ids"),
    ],
)
def test_names_of_other_exporters_are_understood(names: tuple[str, ...], base: Path, tmp_path: Path) -> None:
    path = renamed(base, tmp_path / "model.onnx", names, (2, 0, 1))
    assert agrees(base, path, dict(zip(INPUTS, names, strict=True)))


def test_a_name_against_its_use_is_refused_until_it_is_said(base: Path, tmp_path: Path) -> None:
    names = ("input_mask", "tokens", "segment_ids")
    path = renamed(base, tmp_path / "model.onnx", names)
    with pytest.raises(ModelError, match=r"'input_mask'.*--rename input_mask=input_ids"):
        import_onnx(path, SEQ_LEN)
    said = {"input_mask": "input_ids", "tokens": "attention_mask"}
    assert agrees(base, path, dict(zip(INPUTS, names, strict=True)), said)


def test_our_own_names_may_be_exchanged(base: Path, tmp_path: Path) -> None:
    path = renamed(base, tmp_path / "model.onnx", ("attention_mask", "input_ids", "token_type_ids"))
    said = {"attention_mask": "input_ids", "input_ids": "attention_mask"}
    assert agrees(base, path, {}, said)


def test_two_inputs_of_one_use_are_not_guessed(base: Path, tmp_path: Path) -> None:
    model = onnx.load(str(renamed(base, tmp_path / "model.onnx", ("a", "b", "c"))))
    model.graph.input.append(helper.make_tensor_value_info("d", TensorProto.INT64, [1, SEQ_LEN]))
    model.graph.node.append(helper.make_node("Gather", [_table(model), "d"], ["looked_up"]))
    model.graph.output.append(helper.make_tensor_value_info("looked_up", TensorProto.FLOAT, None))
    onnx.save(model, str(tmp_path / "two.onnx"))
    with pytest.raises(ModelError, match=r"'a' is not one of .*--rename a="):
        import_onnx(tmp_path / "two.onnx", SEQ_LEN)


def _table(model: onnx.ModelProto) -> str:
    return next(tensor.name for tensor in model.graph.initializer if len(tensor.dims) == 2 and tensor.dims[0] > 16)


def test_positions_as_an_input_are_refused_with_what_to_do(base: Path, tmp_path: Path) -> None:
    path = renamed(base, tmp_path / "model.onnx", ("input_ids", "attention_mask", "position_ids"))
    with pytest.raises(ModelError, match=r"'position_ids' is not taken; export the model without it"):
        import_onnx(path, SEQ_LEN)


def test_inputs_that_nothing_reads_are_accepted_and_change_nothing(base: Path, tmp_path: Path) -> None:
    model = onnx.load(str(base))
    model.graph.input.append(helper.make_tensor_value_info("labels", TensorProto.FLOAT, [1]))
    model.graph.input.append(helper.make_tensor_value_info("position_ids", TensorProto.INT64, [1, SEQ_LEN]))
    onnx.save(model, str(tmp_path / "model.onnx"))
    compiled = compile_model(tmp_path / "model.onnx", seq_len=SEQ_LEN, threads=1)
    inputs = ragged_inputs(HOW, SEQ_LEN, 4)
    (expected,) = runtime_outputs(HOW, base, inputs)
    fed = {**inputs, "labels": np.ones(1, np.float32), "position_ids": np.arange(SEQ_LEN)[None]}
    assert np.abs(compiled.run(fed)[0] - expected).max() < 1e-4
    assert np.array_equal(compiled.run(inputs)[0], compiled.run(fed)[0])
    with pytest.raises(InputError, match="'pixels'"):
        compiled.run({**inputs, "pixels": np.ones(1)})


def test_an_inner_tensor_with_one_of_our_names_gives_way(base: Path, tmp_path: Path) -> None:
    model = onnx.load(str(renamed(base, tmp_path / "model.onnx", ("ids", "mask", "types"))))
    inner = model.graph.node[5].output[0]
    for node in model.graph.node:
        node.input[:] = ["input_ids" if name == inner else name for name in node.input]
        node.output[:] = ["input_ids" if name == inner else name for name in node.output]
    onnx.save(model, str(tmp_path / "inner.onnx"))
    assert agrees(base, tmp_path / "inner.onnx", dict(zip(INPUTS, ("ids", "mask", "types"), strict=True)))


@pytest.mark.parametrize(
    ("rename", "problem"),
    [
        ({"pixels": "input_ids"}, r"no input 'pixels'; it has input_ids, attention_mask, token_type_ids"),
        ({"input_ids": "pixels"}, r"'pixels' is not one of input_ids"),
        ({"input_ids": "attention_mask", "token_type_ids": "attention_mask"}, r"two inputs are renamed"),
        ({"token_type_ids": "attention_mask"}, r"'attention_mask'"),
    ],
)
def test_renames_are_checked(rename: dict[str, str], problem: str, base: Path) -> None:
    with pytest.raises(InputError, match=problem):
        import_onnx(base, SEQ_LEN, rename)


def test_directories_have_nothing_to_rename(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="only inputs of ONNX files"):
        compile_model(tmp_path, rename={"a": "input_ids"})


@pytest.mark.parametrize("rename", [["a=b"], "a=b", {"a": 1}])
def test_renames_are_a_mapping_of_names(rename: Any, base: Path) -> None:
    with pytest.raises(InputError, match="must map names"):
        compile_model(base, seq_len=SEQ_LEN, rename=rename)


@pytest.mark.parametrize("texts", [("a",), ("=b",), ("a=",), ("a=input_ids", "a=attention_mask")])
def test_renames_on_the_command_line_have_one_form(texts: tuple[str, ...]) -> None:
    with pytest.raises(InputError, match=f"--rename {texts[-1]}"):
        parse_renames(texts)
    result = CliRunner().invoke(main, ["model.onnx", *(part for text in texts for part in ("--rename", text))])
    assert result.exit_code == 2
    assert f"--rename {texts[-1]}" in result.output
    assert "Traceback" not in result.output


def test_the_command_line_renames(base: Path, tmp_path: Path) -> None:
    path = renamed(base, tmp_path / "model.onnx", ("input_mask", "tokens", "segment_ids"))
    options = ["--seq-len", str(SEQ_LEN), "--rename", "input_mask=input_ids", "--rename", "tokens=attention_mask"]
    result = CliRunner().invoke(main, [str(path), *options, "--json"])
    assert result.exit_code == 0, result.output


def test_a_given_input_counts_once(base: Path, tmp_path: Path) -> None:
    path = renamed(base, tmp_path / "model.onnx", ("ids", "mask", "types"))
    model = compile_model(path, seq_len=SEQ_LEN, threads=1)
    ids = ragged_inputs(HOW, SEQ_LEN, 4)["input_ids"]
    with pytest.raises(InputError, match="'input_ids' is given twice"):
        model.run({"ids": ids, "input_ids": ids})
