"""A directory's head is compiled, whichever of transformers' it is, or named in one line; never lost."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import transformers

from data.errors import InputError, ModelError
from fusion import compile_model
from fusion.checkpoints.loading import quiet_transformers
from fusion.checkpoints.onnx_export import checkpoint_to_onnx
from fusion.compare.engines import EngineSettings, ModelFiles, open_engine
from tests.fusion.directories import edit_json, expected_outputs, heads_of, save_head, token_inputs
from tests.fusion.families import FAMILIES

pytestmark = pytest.mark.usefixtures("shared_home")

SEQ_LEN = 12
TOLERANCE = 1e-4
OUTPUTS = {
    "ForQuestionAnswering": ["start_logits", "end_logits"],
    "ForMaskedLM": ["logits"],
    "ForNextSentencePrediction": ["logits"],
    "ForMultipleChoice": ["logits"],
}
# Every family and every head, each family with the heads whose turn it is.
PAIRS = [
    (family, head)
    for index, family in enumerate(FAMILIES)
    for turn, head in enumerate(heads_of(family))
    if (turn + index) % 4 == 0
]


def check_outputs(model: Any, directory: Path, path: Path, choice: bool = False) -> list[str]:
    """Compiled and exported, a directory computes what transformers computes; the outputs' names."""
    checkpoint_to_onnx(directory, path, SEQ_LEN)
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    compiled = compile_model(directory, seq_len=SEQ_LEN, threads=1)
    for used in (SEQ_LEN, 5, 1):
        inputs = token_inputs(tuple(value.name for value in session.get_inputs()), SEQ_LEN, used)
        expected = expected_outputs(model, inputs, choice)
        for outputs in (session.run(None, inputs), compiled.run(inputs)):
            assert [one.shape for one in outputs] == [one.shape for one in expected]
            assert max(np.abs(a - b).max() for a, b in zip(outputs, expected, strict=True)) < TOLERANCE
    return [value.name for value in session.get_outputs()]


@pytest.mark.parametrize(("family", "head"), PAIRS)
def test_a_head_computes_what_transformers_computes(family: str, head: str, tmp_path: Path) -> None:
    model = save_head(family, head, tmp_path / "model")
    names = check_outputs(
        model, tmp_path / "model", tmp_path / f"{family}-{head}.onnx", choice=head == "ForMultipleChoice"
    )
    assert names == OUTPUTS.get(head, names)


def test_both_heads_of_pre_training_are_named(tmp_path: Path) -> None:
    model = save_head("bert", "ForPreTraining", tmp_path / "model")
    names = check_outputs(model, tmp_path / "model", tmp_path / "model.onnx")
    assert names == ["prediction_logits", "seq_relationship_logits"]


@pytest.mark.parametrize("labels", [1, 5])
def test_a_head_has_as_many_labels_as_stored(labels: int, tmp_path: Path) -> None:
    model = save_head("bert", "ForSequenceClassification", tmp_path / "model", num_labels=labels)
    assert check_outputs(model, tmp_path / "model", tmp_path / "model.onnx") == ["logits"]


@pytest.mark.parametrize("head", [head for head in heads_of("bert") if head != "ForMultipleChoice"])
@pytest.mark.parametrize("stated", [None, []])
def test_without_architectures_the_stored_tensors_tell(head: str, stated: list[str] | None, tmp_path: Path) -> None:
    model = save_head("bert", head, tmp_path / "model")
    edit_json(tmp_path / "model" / "config.json", architectures=stated)
    path = checkpoint_to_onnx(tmp_path / "model", tmp_path / "model.onnx", SEQ_LEN)
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    inputs = token_inputs(tuple(value.name for value in session.get_inputs()), SEQ_LEN, 5)
    outputs, expected = session.run(None, inputs), expected_outputs(model, inputs)
    assert max(np.abs(a - b).max() for a, b in zip(outputs, expected, strict=True)) < TOLERANCE


def test_of_several_architectures_the_stored_one_is_taken(tmp_path: Path) -> None:
    save_head("roberta", "ForTokenClassification", tmp_path / "model")
    named = ["RobertaForMaskedLM", "RobertaForTokenClassification"]
    edit_json(tmp_path / "model" / "config.json", architectures=named)
    path = checkpoint_to_onnx(tmp_path / "model", tmp_path / "model.onnx", SEQ_LEN)
    (output,) = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"]).get_outputs()
    assert output.shape == [1, SEQ_LEN, 3]


@pytest.mark.parametrize(
    ("architectures", "problem"),
    [
        (["BertForSomethingElse"], "'BertForSomethingElse' .* is not a model that transformers .* has"),
        (["pipeline"], "'pipeline' .* is not a model"),
        (["BertLMHeadModel"], "'BertLMHeadModel' .* is a decoder"),
        (["RobertaForCausalLM"], "'RobertaForCausalLM' .* is a decoder"),
        (["ViTForImageClassification"], "'ViTForImageClassification' .* has a head that is not compiled"),
        (["RobertaForTokenClassification"], "is of model_type 'roberta', but model_type there is 'bert'"),
        (
            ["BertForMaskedLM", "BertForNextSentencePrediction"],
            r"4 tensors \(.*\) belong to none of BertForMaskedLM",
        ),
    ],
)
def test_a_head_that_cannot_be_compiled_is_named(architectures: list[str], problem: str, tmp_path: Path) -> None:
    save_head("bert", "ForSequenceClassification", tmp_path)
    edit_json(tmp_path / "config.json", architectures=architectures)
    with pytest.raises(ModelError, match=problem) as caught:
        compile_model(tmp_path, seq_len=SEQ_LEN)
    assert "\n" not in str(caught.value)


def test_a_head_of_unknown_tensors_is_named(tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    save_head("bert", "ForTokenClassification", tmp_path)
    edit_json(tmp_path / "config.json", architectures=None)
    tensors = load_file(tmp_path / "model.safetensors")
    tensors["ranker.weight"] = tensors.pop("classifier.weight")
    save_file(tensors, tmp_path / "model.safetensors", {"format": "pt"})
    with pytest.raises(InputError, match=r"ranker\.weight.* belong to none of BertModel, .*architectures"):
        compile_model(tmp_path, seq_len=SEQ_LEN)


@pytest.mark.parametrize("kind", ["GPT2", "T5"])
def test_decoders_are_refused_by_their_kind(kind: str, tmp_path: Path) -> None:
    getattr(transformers, f"{kind}Config")().save_pretrained(tmp_path)
    with pytest.raises(InputError, match="decoder"):
        compile_model(tmp_path, seq_len=SEQ_LEN)


@pytest.mark.parametrize("head", ["DPRQuestionEncoder", "DPRContextEncoder", "DPRReader"])
def test_dense_passage_retrieval_is_compiled(head: str, tmp_path: Path) -> None:
    config = transformers.DPRConfig(vocab_size=60, hidden_size=48, num_hidden_layers=1, num_attention_heads=4)
    with quiet_transformers():
        model = getattr(transformers, head)(config).eval()
        model.save_pretrained(tmp_path / "model")
    names = check_outputs(model, tmp_path / "model", tmp_path / "model.onnx")
    assert names == (["start_logits", "end_logits", "relevance_logits"] if head == "DPRReader" else ["pooler_output"])


def test_a_pooler_that_is_not_stored_is_no_output(tmp_path: Path) -> None:
    save_head("bert", "ForMaskedLM", tmp_path / "whole")
    whole = transformers.BertForMaskedLM.from_pretrained(tmp_path / "whole")
    whole.bert.save_pretrained(tmp_path / "model")
    assert json.loads((tmp_path / "model" / "config.json").read_text())["architectures"] == ["BertModel"]
    assert check_outputs(whole.bert.eval(), tmp_path / "model", tmp_path / "model.onnx") == ["last_hidden_state"]


def test_hidden_states_are_outputs_where_the_configuration_asks_for_them(tmp_path: Path) -> None:
    save_head("distilbert", "Model", tmp_path / "model")
    edit_json(tmp_path / "model" / "config.json", output_hidden_states=True)
    path = checkpoint_to_onnx(tmp_path / "model", tmp_path / "model.onnx", SEQ_LEN)
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    names = [value.name for value in session.get_outputs()]
    assert names == ["last_hidden_state", "hidden_states.0", "hidden_states.1", "hidden_states.2"]
    assert len(compile_model(tmp_path / "model", seq_len=SEQ_LEN).run({"input_ids": np.ones((1, SEQ_LEN), int)})) == 4


def test_pytorch_beside_ours_gives_every_output_in_order(tmp_path: Path) -> None:
    model = save_head("albert", "ForPreTraining", tmp_path / "model")
    path = checkpoint_to_onnx(tmp_path / "model", tmp_path / "model.onnx", SEQ_LEN)
    call = open_engine("pytorch", ModelFiles(path, SEQ_LEN, tmp_path / "model"), EngineSettings(1))
    inputs = token_inputs(("input_ids", "attention_mask", "token_type_ids"), SEQ_LEN, 7)
    expected = expected_outputs(model, inputs)
    assert len(expected) == 2
    assert max(np.abs(a - b).max() for a, b in zip(call(inputs), expected, strict=True)) < TOLERANCE
