"""What stands behind an encoder computes what ONNX Runtime computes, fused and unfused."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Mapping
from itertools import cycle
from pathlib import Path

import numpy as np
import pytest
from torch import Tensor

from data.errors import UnsupportedOperatorError
from fusion import Processor, compile_model, target_named
from tests.fusion.families import FAMILIES, Export, export_family, ragged_inputs, runtime_outputs
from tests.fusion.heads import POOLED, SCORES, UNIT_ROWS, Head, everything, export_head

pytestmark = pytest.mark.usefixtures("shared_home")

TOLERANCE = 1e-4
EMULATOR = "qemu-aarch64-static"
_HEADS = SCORES | UNIT_ROWS | POOLED

# Every family with published heads, from one exporter or the other.
_EXPORTERS = ("torchscript", "dynamo")
PUBLISHED = (
    *(
        Export(family, exporter, opset, "questions", attention)
        for family, exporter, opset, attention in zip(
            FAMILIES, cycle(_EXPORTERS), (14, 18, 16, 20, 17, 21, 20, 19), cycle(("sdpa", "eager", "eager"))
        )
    ),
    *(
        Export(family, exporter, opset, "masked", attention)
        for family, exporter, opset, attention in zip(
            FAMILIES, cycle(_EXPORTERS[::-1]), (18, 14, 20, 16, 21, 17, 19, 20), cycle(("sdpa", "eager"))
        )
    ),
    Export("bert", head="questions", opset=15, dynamic=True, seq_len=40),
)


def _spread(heads: Mapping[str, Head]) -> list[tuple[str, Export, bool]]:
    """Each head from one of the exporters, over their opsets in turn, behind one and the same layer, fused or not."""
    one_layer = {"num_hidden_layers": 1}
    ways = cycle([("torchscript", True), ("dynamo", True), ("dynamo", False), ("torchscript", False)])
    opsets = {"torchscript": cycle(range(11, 21)), "dynamo": cycle(range(18, 22))}
    return [
        (name, Export("bert", exporter, next(opsets[exporter]), "hidden", changes=one_layer), fuse)
        for name, (exporter, fuse) in zip(heads, ways, strict=False)
    ]


def assert_agrees(how: Export, path: Path, fuse: bool) -> None:
    """The compiled model gives ONNX Runtime's outputs, of its shapes and types, for several masks."""
    model = compile_model(path, seq_len=how.seq_len, threads=1, fuse=fuse)
    taken = {port.name for port in model.program.inputs}
    for used in (how.seq_len, 3, 1):
        inputs = ragged_inputs(how, how.seq_len, used, seed=used)
        expected = runtime_outputs(how, path, inputs)
        outputs = model.run({name: value for name, value in inputs.items() if name in taken})
        assert [(one.shape, one.dtype) for one in outputs] == [(one.shape, one.dtype) for one in expected]
        assert max(np.abs(one - other).max() for one, other in zip(outputs, expected, strict=True)) < TOLERANCE


@pytest.mark.parametrize("how", PUBLISHED, ids=map(str, PUBLISHED))
def test_published_heads_of_every_family(how: Export, tmp_path: Path) -> None:
    assert_agrees(how, export_family(how, tmp_path / "model.onnx"), fuse=how.dynamic or how.opset % 2 == 0)


@pytest.mark.parametrize(("name", "how", "fuse"), _spread(_HEADS), ids=str)
def test_heads_behind_hidden_states(name: str, how: Export, fuse: bool, tmp_path: Path) -> None:
    assert_agrees(how, export_head(how, _HEADS[name], tmp_path / "model.onnx"), fuse)


@pytest.mark.parametrize("name", ["softmax of one row", "log softmax"])
def test_softmax_of_all_axes_from_the_last_on_as_before_opset_13(name: str, tmp_path: Path) -> None:
    how = Export("bert", "torchscript", 11, "hidden", changes={"num_hidden_layers": 1})
    assert_agrees(how, export_head(how, SCORES[name], tmp_path / "model.onnx"), fuse=True)


def test_outputs_keep_their_names(tmp_path: Path) -> None:
    how = Export("bert", "dynamo", 18, "hidden")
    path = export_head(how, SCORES["flat"], tmp_path / "model.onnx")
    first, second = compile_model(path, seq_len=7).program.outputs
    assert first.name != second.name
    assert first.offset == second.offset


def test_a_pooled_mask_of_zeros_is_as_in_the_file(tmp_path: Path) -> None:
    how = Export("bert", "dynamo", 18, "hidden", changes={"num_hidden_layers": 1})
    path = export_head(how, POOLED["mean"], tmp_path / "model.onnx")
    inputs = ragged_inputs(how, how.seq_len, 0)
    (expected,), (output,) = runtime_outputs(how, path, inputs), compile_model(path, seq_len=7).run(inputs)
    assert np.array_equal(output, expected) and not output.any()


@pytest.mark.parametrize("seq_len", [1, 48])
def test_a_mask_over_as_many_tokens_as_columns_or_one(seq_len: int, tmp_path: Path) -> None:
    changes = {"num_hidden_layers": 1}
    how = Export("roberta", "torchscript", 16, "hidden", "sdpa", seq_len, changes=changes)
    for name in ("mean", "largest by where", "mean by product"):
        assert_agrees(how, export_head(how, POOLED[name], tmp_path / "model.onnx"), fuse=True)


@pytest.mark.skipif(shutil.which(EMULATOR) is None, reason="qemu-user is not installed")
def test_phones_compute_the_same(tmp_path: Path) -> None:
    """On an Armv8.0 core and on a later one, in an emulator."""
    how = Export("bert", "dynamo", 18, "hidden", seq_len=13, changes={"num_hidden_layers": 1})
    path = export_head(how, everything, tmp_path / "model.onnx")
    inputs = ragged_inputs(how, how.seq_len, 9)
    expected = runtime_outputs(how, path, inputs)
    model = compile_model(path, seq_len=how.seq_len)
    rows = {port.name: [int(value) for value in inputs[port.name][0]] for port in model.program.inputs}
    for core, target in (("cortex-a53", "aarch64-neon"), ("cortex-a76", "aarch64-lse")):
        command = model.runner(Processor(target_named(target))).command(
            "model", threads=2, warmup=0, runs=1, inputs=rows
        )
        done = subprocess.run(
            [EMULATOR, "-cpu", core, *command], capture_output=True, text=True, timeout=120, check=True
        )
        made = json.loads(done.stdout)["outputs"].values()
        assert len(made) == len(expected)
        for one, other in zip(made, expected, strict=True):
            assert np.abs(np.array(one).reshape(other.shape) - other).max() < TOLERANCE


def test_a_mask_that_counts_tokens_in_order_is_refused(tmp_path: Path) -> None:
    def discounted(hidden: Tensor, mask: Tensor) -> Tensor:
        return (hidden * mask.cumsum(1).float()[..., None]).sum(1)

    how = Export("bert", "dynamo", 18, "hidden", changes={"num_hidden_layers": 1})
    path = export_head(how, discounted, tmp_path / "model.onnx")
    with pytest.raises(UnsupportedOperatorError, match="made of the attention mask alone: only masks that"):
        compile_model(path, seq_len=7)
