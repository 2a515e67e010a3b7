"""Every computed index lies in its table: sequences beyond the positions are refused, the longest ones are right."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from data.errors import InputError
from fusion import compile_model
from fusion.frontend.canonical import canonicalize
from fusion.importing.onnx_import import import_onnx
from tests.fusion.families import INPUTS, PADDING, VOCABULARY, Export, export_family, ragged_inputs, runtime_outputs

pytestmark = pytest.mark.usefixtures("shared_home")

ONE_LAYER = {"num_hidden_layers": 1}
LENGTHS = {"roberta": 62, "bert": 64, "distilbert": 64, "albert": 64, "mobilebert": 64}
EXPORTS = [
    Export(family, *how, dynamic=True, inputs=inputs, changes={"n_layers": 1} if family == "distilbert" else ONE_LAYER)
    for family in LENGTHS
    for how, inputs in (
        (("torchscript", 17, "classification", "eager"), INPUTS),
        (("dynamo", 18, "classification", "sdpa"), INPUTS[:1]),
    )
    if how[0] == "torchscript" or family in {"roberta", "bert"}
]


@pytest.mark.parametrize("how", EXPORTS, ids=str)
def test_lengths_beyond_the_positions_are_refused(how: Export, tmp_path: Path) -> None:
    path, longest = export_family(how, tmp_path / "model.onnx"), LENGTHS[how.family]
    assert canonicalize(import_onnx(path, longest)).outputs
    for seq_len in (longest + 1, longest + 2, 80, 2000):
        with pytest.raises(InputError, match=f"^seq-len {seq_len} exceeds the model's {longest} positions$"):
            canonicalize(import_onnx(path, seq_len))


@pytest.mark.parametrize("padding", [PADDING, 0, VOCABULARY - 1])
def test_the_longest_roberta_is_right_and_one_longer_is_refused(padding: int, tmp_path: Path) -> None:
    """Positions begin behind the padding id, which may be the vocabulary's last."""
    changes = ONE_LAYER | {"pad_token_id": padding}
    how = Export("roberta", seq_len=3, dynamic=True, inputs=INPUTS[:2], changes=changes)
    path, longest = export_family(how, tmp_path / "model.onnx"), 64 - padding - 1
    model = compile_model(path, seq_len=longest, threads=1)
    for ids in (np.full((1, longest), 5), np.full((1, longest), padding), None):
        inputs = ragged_inputs(how, longest, longest) | ({} if ids is None else {"input_ids": ids})
        (expected,) = runtime_outputs(how, path, inputs)
        assert np.abs(model.run(inputs)[0] - expected).max() < 1e-4
    with pytest.raises(InputError, match=f"seq-len {longest + 1} exceeds the model's {longest} positions"):
        compile_model(path, seq_len=longest + 1)


def lookup_model(path: Path, index: Sequence[int] | None, node: onnx.NodeProto | None = None) -> Path:
    """Words and constant positions, looked up in tables of 30 and 5 rows, and summed."""
    tables = {"words": np.ones((30, 4), np.float32), "places": np.arange(20, dtype=np.float32).reshape(5, 4)}
    nodes = [
        helper.make_node("Gather", ["words", "input_ids"], ["word"]),
        node or helper.make_node("Gather", ["places", "index"], ["place"], name="look"),
        helper.make_node("Add", ["word", "place"], ["y"]),
    ]
    weights = [numpy_helper.from_array(value, name) for name, value in tables.items()]
    if index is not None:
        weights.append(numpy_helper.from_array(np.array(index, np.int64), "index"))
    ids = helper.make_tensor_value_info("input_ids", TensorProto.INT64, ["batch", "sequence"])
    output = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    graph = helper.make_graph(nodes, "g", [ids], [output], weights)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), str(path))
    return path


def test_constant_indices_may_count_from_the_end(tmp_path: Path) -> None:
    path = lookup_model(tmp_path / "model.onnx", [0, 4, -1, -5])
    outputs = compile_model(path, seq_len=4, threads=1).run({"input_ids": np.full((1, 4), 3)})
    (expected,) = runtime_outputs(Export("bert"), path, {"input_ids": np.full((1, 4), 3)})
    assert np.abs(outputs[0] - expected).max() < 1e-5


@pytest.mark.parametrize(
    ("index", "problem"),
    [([0, 1, 2, 3, 4, 5], "seq-len 6 exceeds the model's 5 positions"), ([0, -6], "index -6.*table of 5 entries")],
)
def test_constant_indices_outside_their_table_are_refused(index: list[int], problem: str, tmp_path: Path) -> None:
    path = lookup_model(tmp_path / "model.onnx", index)
    with pytest.raises(InputError, match=problem):
        compile_model(path, seq_len=len(index), threads=1)


def test_ids_beyond_the_vocabulary_are_refused_when_the_model_runs(tmp_path: Path) -> None:
    path = lookup_model(tmp_path / "model.onnx", [0, 1])
    model = compile_model(path, seq_len=2, threads=1)
    for ids in ([[30, 0]], [[0, -1]]):
        with pytest.raises(InputError, match="outside 0 to 29"):
            model.run({"input_ids": ids})


def test_ids_may_index_no_other_table_unchecked(tmp_path: Path) -> None:
    """Ids that index a table of whole numbers, such as a map of a smaller vocabulary, are refused when compiled."""
    node = helper.make_node("Gather", ["map", "input_ids"], ["word_ids"])
    model = onnx.load(str(lookup_model(tmp_path / "model.onnx", [0, 1])))
    model.graph.initializer.append(numpy_helper.from_array(np.arange(30)[::-1].copy(), "map"))
    model.graph.node[0].input[1] = "word_ids"
    model.graph.node.insert(0, node)
    onnx.save(model, str(tmp_path / "mapped.onnx"))
    with pytest.raises(InputError, match="table of 30 entries"):
        compile_model(tmp_path / "mapped.onnx", seq_len=2, threads=1)
