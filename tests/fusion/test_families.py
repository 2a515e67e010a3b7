"""Every family of BERT-like encoders, from either exporter, computes what ONNX Runtime computes."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch

from data.errors import InputError, ModelError
from fusion import compile_model
from fusion.checkpoints.loading import quiet_transformers
from fusion.checkpoints.onnx_export import checkpoint_to_onnx
from fusion.checkpoints.presets import PRESETS, preset_to_onnx
from fusion.frontend.canonical import canonicalize
from fusion.importing.onnx_import import import_onnx
from fusion.rewriting.rewrite import simplify
from tests.fusion.families import (
    FAMILIES,
    INPUTS,
    PADDING,
    Export,
    export_family,
    ragged_inputs,
    random_model,
    runtime_outputs,
)

pytestmark = pytest.mark.usefixtures("shared_home")

TOLERANCE = 1e-4

# Every family from both exporters and with every head; the other choices are spread over them.
_FEW = ("bert", "roberta", "mobilebert", "albert")
EXPORTS = (
    *(Export(family) for family in FAMILIES),
    *(Export(family, head="tokens", opset=14, attention="sdpa", dynamic=True) for family in FAMILIES),
    *(Export(family, head="regression", opset=20, attention="sdpa", seq_len=40) for family in FAMILIES),
    *(Export(family, head="hidden", opset=15, attention="sdpa", inputs=("input_ids",)) for family in FAMILIES),
    *(Export(family, inputs=INPUTS[:2], dtype=torch.int32, seq_len=40) for family in _FEW),
    *(Export(family, head="states", opset=16, seq_len=1) for family in FAMILIES),
    *(Export(family, "dynamo", 18, seq_len=40) for family in FAMILIES),
    *(Export(family, "dynamo", 20, "hidden", "sdpa", dynamic=True) for family in _FEW),
    *(Export("bert", "dynamo", opset, "regression", "sdpa") for opset in (19, 21)),
    *(
        Export("bert", exporter, opset, changes={"hidden_act": activation})
        for exporter, opset in (("torchscript", 17), ("dynamo", 20))
        for activation in ("gelu_new", "gelu_pytorch_tanh", "gelu_fast", "relu")
    ),
)


def names(exports: tuple[Export, ...]) -> list[str]:
    return [f"{export}-{len(export.inputs)}-{'-'.join(export.changes.values())}" for export in exports]


@pytest.mark.parametrize("how", EXPORTS, ids=names(EXPORTS))
def test_a_compiled_family_agrees_with_onnx_runtime(how: Export, tmp_path: Path) -> None:
    path = export_family(how, tmp_path / "model.onnx")
    for seq_len in (7, 40) if how.dynamic else (how.seq_len,):
        model = compile_model(path, seq_len=seq_len, threads=1)
        for used in {seq_len, max(1, seq_len // 3), 1}:
            inputs = ragged_inputs(how, seq_len, used, seed=used)
            expected = runtime_outputs(how, path, inputs)
            outputs = model.run(inputs)
            assert [one.shape for one in outputs] == [one.shape for one in expected]
            assert max(np.abs(one - other).max() for one, other in zip(outputs, expected, strict=True)) < TOLERANCE


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("head", ["classification", "hidden", "tokens"])
def test_checkpoints_of_every_family_are_exported(family: str, head: str, tmp_path: Path) -> None:
    with quiet_transformers():
        random_model(family, head).save_pretrained(tmp_path)
    how = Export(family, head=head, seq_len=40)
    path = checkpoint_to_onnx(tmp_path, tmp_path / "model.onnx", 40)
    graph = simplify(canonicalize(import_onnx(path, 40)))
    assert graph.inputs == (INPUTS[:2] if family in {"distilbert", "roberta"} else INPUTS)
    hidden = ("last_hidden_state",) + ("pooler_output",) * (family not in {"distilbert", "electra"})
    assert graph.outputs == (hidden if head == "hidden" else ("logits",))
    inputs = {name: values for name, values in ragged_inputs(how, 40, 20).items() if name in graph.inputs}
    expected = runtime_outputs(how, path, inputs)
    assert [graph.types[name].shape for name in graph.outputs] == [one.shape for one in expected]


@pytest.mark.parametrize(("family", "longest"), [("roberta", 62), ("bert", 64)])
def test_sequences_beyond_the_positions_are_refused(family: str, longest: int, tmp_path: Path) -> None:
    with quiet_transformers():
        random_model(family, "classification").save_pretrained(tmp_path)
    checkpoint_to_onnx(tmp_path, tmp_path / "model.onnx", longest)
    with pytest.raises(InputError, match=f"{longest} positions"):
        checkpoint_to_onnx(tmp_path, tmp_path / "model.onnx", longest + 1)


def test_another_length_than_that_of_the_file_is_refused(tmp_path: Path) -> None:
    path = export_family(Export("distilbert"), tmp_path / "model.onnx")
    with pytest.raises(ModelError, match=r"'input_ids' is of shape \[1, 7\], not \[1, 8\]"):
        import_onnx(path, 8)


@pytest.mark.parametrize("exporter", ["torchscript", "dynamo"])
def test_positions_after_padding_are_one_operator(exporter: str, tmp_path: Path) -> None:
    how = Export("roberta", exporter, 18)
    graph = canonicalize(import_onnx(export_family(how, tmp_path / "model.onnx"), 7))
    (positions,) = [operator for operator in graph.operators if operator.kind == "position_ids"]
    assert positions.attribute("padding") == PADDING


def test_no_norm_and_scales_enter_the_weights_where_they_can(tmp_path: Path) -> None:
    graph = canonicalize(import_onnx(export_family(Export("mobilebert"), tmp_path / "model.onnx"), 7))
    makers = [graph.producers[operator.inputs[0]].kind for operator in graph.operators if operator.kind == "no_norm"]
    assert set(makers) == {"add"}


def test_mobilebert_has_the_published_sizes(tmp_path: Path) -> None:
    path = preset_to_onnx("mobilebert", tmp_path, 8)
    graph = canonicalize(import_onnx(path, 8))
    kinds = Counter(operator.kind for operator in graph.operators)
    assert "mobilebert" in PRESETS
    assert (kinds["attention"], kinds["relu"], kinds["window"]) == (24, 4 * 24, 1)
    assert {operator.attribute("heads") for operator in graph.operators if operator.kind == "attention"} == {4}
    weights = Counter(graph.constants[one.inputs[1]].shape for one in graph.operators if one.kind == "matmul")
    # Bottlenecks in, queries and keys, attention's output: 128 wide; values are made from all 512; then the pooler.
    assert weights == {
        (3 * 128, 512): 1,
        (512, 128): (2 + 1 + 4) * 24,
        (128, 512): (4 + 1) * 24,
        (128, 128): 3 * 24,
        (512, 512): 1,
        (512, 2): 1,
    }
    assert graph.types["logits"].shape == (1, 2)
