"""A checkpoint whose weights do not fit is refused, naming the tensors; other precisions are read as fp32."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from transformers import BertConfig, BertForPreTraining, BertForSequenceClassification

from data.errors import DataFileError
from fusion import compile_model
from fusion.checkpoints.files import tensor_headers
from fusion.checkpoints.loading import HEAD_TENSORS, POOLER_TENSORS, load_checkpoint, load_model, quiet_transformers
from tests.fusion.checkpoints.checkpoints import Edit, Tensors, change, configure, save_classifier
from tests.fusion.directories import save_head

pytestmark = pytest.mark.usefixtures("shared_home")

SIZES = {"hidden_size": 24, "num_hidden_layers": 1, "num_attention_heads": 3, "intermediate_size": 40}
QUERY = "bert.encoder.layer.1.attention.self.query.bias"


def without(pattern: str) -> Callable[[Tensors], Tensors]:
    return lambda tensors: {name: value for name, value in tensors.items() if pattern not in name}


def renamed(tensors: Tensors) -> Tensors:
    return {f"student.{name}": value for name, value in tensors.items()}


def with_nan(tensors: Tensors) -> None:
    tensors[QUERY][3] = torch.nan


def beyond_fp32(tensors: Tensors) -> None:
    tensors[QUERY] = torch.full((48,), 1e300, dtype=torch.float64)


def transposed(tensors: Tensors) -> None:
    name = "bert.encoder.layer.0.intermediate.dense.weight"
    tensors[name] = tensors[name].T.contiguous()


def older(tensors: Tensors) -> Tensors:
    """Names of normalisations and a buffer as transformers once stored them."""
    old = {name.replace("LayerNorm.weight", "LayerNorm.gamma"): value for name, value in tensors.items()}
    old = {name.replace("LayerNorm.bias", "LayerNorm.beta"): value for name, value in old.items()}
    return old | {"bert.embeddings.position_ids": torch.arange(64)[None]}


def quantised(tensors: Tensors) -> None:
    tensors["bert.encoder.layer.0.intermediate.dense.weight"] = torch.ones(80, 48, dtype=torch.int8)


def twice_named(tensors: Tensors) -> None:
    tensors[QUERY.removeprefix("bert.")] = tensors[QUERY] + 1


BROKEN: tuple[tuple[Edit, str], ...] = (
    (without("layer.1."), r"16 tensors \(bert.encoder.layer.1.attention.output.LayerNorm.bias, .*\) missing"),
    (without("classifier"), r"2 tensors \(classifier.bias, classifier.weight\) missing"),
    (without("pooler"), r"2 tensors \(bert.pooler.dense.bias, bert.pooler.dense.weight\) missing"),
    (without(QUERY), rf"1 tensor \({QUERY}\) missing"),
    (renamed, r"41 tensors \(.*\) missing; 41 tensors \(student.bert.*\) left over"),
    (with_nan, rf"NaN or infinite numbers in 1 tensor \({QUERY}\)"),
    (beyond_fp32, rf"NaN or infinite numbers in 1 tensor \({QUERY}\)"),
    (transposed, r"1 tensor \(bert.encoder.layer.0.intermediate.dense.weight is \[48, 80\], not \[80, 48\]\)"),
    (quantised, r"1 tensor \(bert.encoder.layer.0.intermediate.dense.weight\) of type I8: quantised"),
    (twice_named, rf"2 tensors \({QUERY}, .*\) stand for the same weights"),
)


@pytest.mark.parametrize(
    ("edit", "problem"), BROKEN, ids=[edit.__name__ + str(i) for i, (edit, _) in enumerate(BROKEN)]
)
def test_weights_that_do_not_fit_are_named(edit: Edit, problem: str, checkpoint: Path) -> None:
    change(checkpoint, edit)
    with pytest.raises(DataFileError, match=problem) as raised:
        compile_model(checkpoint, seq_len=8)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("keys", "problem"),
    [
        ({"num_hidden_layers": 1}, r"16 tensors \(.*layer.1.*\) left over"),
        ({"num_hidden_layers": 3}, r"16 tensors \(.*layer.2.*\) missing"),
        ({"architectures": ["BertModel"]}, r"2 tensors \(classifier.bias, classifier.weight\) left over"),
        ({"vocab_size": 61}, r"word_embeddings.weight is \[60, 48\], not \[61, 48\]"),
        ({"vocab_size": 1 << 23, "hidden_size": 1 << 20}, "config.json describes [0-9]+ weights, where"),
        ({"num_labels": 4, "id2label": None}, r"classifier.weight is \[3, 48\], not \[4, 48\]"),
    ],
)
def test_a_configuration_of_another_model_is_refused(keys: dict[str, object], problem: str, checkpoint: Path) -> None:
    configure(checkpoint, **keys)
    with pytest.raises(DataFileError, match=problem):
        load_checkpoint(checkpoint)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_precisions_are_read_as_fp32(dtype: torch.dtype, checkpoint: Path) -> None:
    change(checkpoint, lambda tensors: {name: value.to(dtype) for name, value in tensors.items()})
    configure(checkpoint, dtype=str(dtype).removeprefix("torch."))
    rounded = {name: value.float() for name, value in load_file(checkpoint / "model.safetensors").items()}
    model = load_checkpoint(checkpoint)
    assert all(torch.equal(value, rounded[name]) for name, value in model.state_dict().items())
    ids = np.arange(8)[None]
    with torch.no_grad():
        expected = model(torch.from_numpy(ids)).logits
    (logits,) = compile_model(checkpoint, seq_len=8, threads=1).run({"input_ids": ids})
    assert np.abs(logits - expected.numpy()).max() < 1e-4


def test_leftovers_that_hold_nothing_are_passed_over(checkpoint: Path) -> None:
    expected = load_checkpoint(checkpoint)
    change(checkpoint, older)
    model = load_checkpoint(checkpoint)
    assert all(torch.equal(value, expected.state_dict()[name]) for name, value in model.state_dict().items())


def test_a_pretrained_model_is_the_masked_language_model_that_it_is_called(tmp_path: Path) -> None:
    """As bert-base-uncased is stored: tied words, old names, and the choice of the next sentence beside the head."""
    with quiet_transformers():
        BertForPreTraining(BertConfig(vocab_size=60, **SIZES)).save_pretrained(tmp_path)
    configure(tmp_path, architectures=["BertForMaskedLM"])
    change(tmp_path, older)
    model = load_checkpoint(tmp_path)
    assert type(model).__name__ == "BertForMaskedLM"
    words = load_file(tmp_path / "model.safetensors")["bert.embeddings.word_embeddings.weight"]
    assert torch.equal(model.cls.predictions.decoder.weight, words)
    configure(tmp_path, architectures=["BertModel"])
    with pytest.raises(DataFileError, match=r"left over; name the class that takes them in architectures"):
        load_checkpoint(tmp_path)


def test_a_teacher_may_lack_its_head_alone(checkpoint: Path) -> None:
    change(checkpoint, without("classifier"))
    model = load_model(BertForSequenceClassification, checkpoint, may_lack=HEAD_TENSORS, num_labels=2)
    assert model.classifier.weight.shape == (2, 48)
    change(checkpoint, without("pooler"))
    load_model(BertForSequenceClassification, checkpoint, may_lack=(*HEAD_TENSORS, *POOLER_TENSORS))
    change(checkpoint, without(QUERY))
    with pytest.raises(DataFileError, match=rf"1 tensor \({QUERY}\) missing"):
        load_model(BertForSequenceClassification, checkpoint, may_lack=(*HEAD_TENSORS, *POOLER_TENSORS))


def test_a_teacher_may_have_a_head_of_another_size(checkpoint: Path) -> None:
    model = load_model(BertForSequenceClassification, checkpoint, may_lack=HEAD_TENSORS, num_labels=2)
    assert model.classifier.weight.shape == (2, 48)
    with pytest.raises(DataFileError, match=r"classifier.weight is \[3, 48\], not \[2, 48\]"):
        load_model(BertForSequenceClassification, checkpoint, num_labels=2)


def shards(checkpoint: Path) -> None:
    tensors = load_file(checkpoint / "model.safetensors")
    (checkpoint / "model.safetensors").unlink()
    save_classifier(checkpoint, max_shard_size="40KB")
    assert not (checkpoint / "model.safetensors").exists()
    assert tensor_headers(checkpoint).keys() == tensors.keys()


def test_shards_are_read_together(checkpoint: Path) -> None:
    expected = load_checkpoint(checkpoint)
    shards(checkpoint)
    model = load_checkpoint(checkpoint)
    assert all(torch.equal(value, expected.state_dict()[name]) for name, value in model.state_dict().items())


@pytest.mark.parametrize("part", ["weight", "bias"])
def test_tied_weights_that_differ_are_named(part: str, tmp_path: Path) -> None:
    save_head("bert", "ForMaskedLM", tmp_path)
    names = {"weight": "bert.embeddings.word_embeddings.weight", "bias": "cls.predictions.bias"}
    change(tmp_path, lambda tensors: tensors | {f"cls.predictions.decoder.{part}": tensors[names[part]].clone()})
    load_checkpoint(tmp_path)
    change(tmp_path, lambda tensors: tensors | {f"cls.predictions.decoder.{part}": tensors[names[part]] + 1})
    with pytest.raises(DataFileError, match=f"cls.predictions.decoder.{part}.* differ, though config.json ties them"):
        load_checkpoint(tmp_path)


@pytest.mark.parametrize("dtype", [torch.int64, torch.bfloat16])
def test_stored_positions_are_those_that_are_counted(dtype: torch.dtype, checkpoint: Path) -> None:
    name, positions = "bert.embeddings.position_ids", torch.arange(512).to(dtype)[None]
    change(checkpoint, lambda tensors: tensors | {name: positions})
    load_checkpoint(checkpoint)
    change(checkpoint, lambda tensors: tensors | {name: positions.flip(1).contiguous()})
    with pytest.raises(DataFileError, match=f"{name} holds other values"):
        load_checkpoint(checkpoint)
