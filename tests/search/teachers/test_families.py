"""Each family's encoder, taken as a BERT, computes what its own class computes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoTokenizer, BertForSequenceClassification, BertForTokenClassification

from data.errors import InputError
from search.learning.factorised_embeddings import is_factorised, read_model
from search.teachers.families import bert_config, load_encoder, with_head
from tests.search.teachers.pretrained import FAMILIES, HIDDEN, PAIRS, POSITIONS, save_pretrained


def inputs_of(folder: Path) -> dict[str, torch.Tensor]:
    """Pairs of texts of several lengths, padded."""
    first, second = ([pair[index] for pair in PAIRS] for index in (0, 1))
    batch = AutoTokenizer.from_pretrained(folder)(first, second, padding=True, return_tensors="pt")
    return {name: batch[name] for name in ("input_ids", "attention_mask")}


def assert_same_states(own: Any, model: Any, folder: Path) -> None:
    inputs = inputs_of(folder)
    valid = inputs["attention_mask"].bool()
    assert 0 < int(valid.sum()) < valid.numel()
    with torch.no_grad():
        expected, got = (one(**inputs, output_hidden_states=True) for one in (own, model))
    for states, others in zip(got.hidden_states, expected.hidden_states, strict=True):
        torch.testing.assert_close(states[valid], others[valid], atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", FAMILIES)
def test_hidden_states_are_those_of_the_familys_own_class(name: str, tmp_path: Path) -> None:
    own = save_pretrained(name, tmp_path)
    loaded = load_encoder(tmp_path)
    assert_same_states(own, loaded.model, tmp_path)
    assert loaded.family == own.config.model_type
    assert {weights.dtype for weights in loaded.model.parameters()} == {torch.float32}
    if getattr(own, "pooler", None) is not None:
        inputs = inputs_of(tmp_path)
        with torch.no_grad():
            torch.testing.assert_close(
                loaded.model(**inputs).pooler_output, own(**inputs).pooler_output, atol=1e-5, rtol=0
            )
        assert loaded.remarks == ()
    else:
        assert loaded.remarks == ("it holds no pooler, so a new one is drawn",)


@pytest.mark.parametrize("kind", ["bert", "electra", "roberta", "albert"])
def test_token_types_count(kind: str, tmp_path: Path) -> None:
    own = save_pretrained(kind, tmp_path, type_vocab_size=2)
    model = load_encoder(tmp_path).model
    inputs = inputs_of(tmp_path)
    types = torch.randint(0, 2, inputs["input_ids"].shape, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        states, expected = (one(**inputs, token_type_ids=types).last_hidden_state for one in (model, own))
    valid = inputs["attention_mask"].bool()
    torch.testing.assert_close(states[valid], expected[valid], atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", FAMILIES)
def test_sizes_are_a_berts(name: str, tmp_path: Path) -> None:
    own = save_pretrained(name, tmp_path).config
    config = bert_config(tmp_path)
    assert (config.model_type, config.hidden_size, config.intermediate_size) == ("bert", HIDDEN, 96)
    padding = own.pad_token_id + 1 if "roberta" in own.model_type or own.model_type == "camembert" else 0
    assert config.max_position_embeddings == POSITIONS - padding
    assert config.num_hidden_layers == {"albert of groups": 10}.get(name, 3)
    assert config.type_vocab_size == getattr(own, "type_vocab_size", 1)
    assert is_factorised(config) == (name in ("small electra", "albert", "albert of groups"))


HEADS = [
    ("bert", "ForMaskedLM", "cls.predictions"),
    ("bert", "ForPreTraining", "cls.predictions"),
    ("bert", "ForTokenClassification", "classifier.bias"),
    ("bert", "ForQuestionAnswering", "qa_outputs"),
    ("bert", "ForMultipleChoice", None),
    ("distilbert", "ForMaskedLM", "vocab_"),
    ("distilbert", "ForSequenceClassification", "classifier.bias"),
    ("roberta", "ForMaskedLM", "lm_head"),
    ("roberta", "ForTokenClassification", "classifier.bias"),
    ("xlm-roberta", "ForMaskedLM", "lm_head"),
    ("electra", "ForPreTraining", "discriminator_predictions"),
    ("electra", "ForMaskedLM", "generator_"),
    ("electra", "ForMultipleChoice", "classifier.bias"),
    ("electra", "ForSequenceClassification", "classifier.dense"),
    ("small electra", "ForTokenClassification", "classifier.bias"),
    ("albert", "ForPreTraining", "predictions"),
    ("albert", "ForMaskedLM", "predictions"),
]


@pytest.mark.parametrize(("name", "head", "tensor"), HEADS)
def test_the_encoder_is_taken_out_of_any_head(name: str, head: str, tensor: str | None, tmp_path: Path) -> None:
    own = save_pretrained(name, tmp_path, head)
    loaded = load_encoder(tmp_path)
    assert_same_states(own.base_model, loaded.model, tmp_path)
    told = " ".join(loaded.remarks)
    assert tensor in told if tensor else "left out" not in told
    assert "\n" not in told


@pytest.mark.parametrize("name", ["bert", "roberta", "xlm-roberta", "camembert", "albert"])
def test_a_classifier_on_a_pooler_of_as_many_labels_goes_on(name: str, tmp_path: Path) -> None:
    own = save_pretrained(name, tmp_path, "ForSequenceClassification", num_labels=3)
    loaded = load_encoder(tmp_path)
    assert any("classifier of 3 labels is kept" in remark for remark in loaded.remarks)
    model = with_head(BertForSequenceClassification, loaded, num_labels=3)
    inputs = inputs_of(tmp_path)
    with torch.no_grad():
        torch.testing.assert_close(model(**inputs).logits, own(**inputs).logits, atol=1e-5, rtol=0)


def test_a_head_of_other_labels_is_new_and_finite(tmp_path: Path) -> None:
    save_pretrained("bert", tmp_path, "ForSequenceClassification", num_labels=3)
    names = {0: "no", 1: "yes", 2: "maybe", 3: "never"}
    torch.manual_seed(3)
    model = with_head(BertForSequenceClassification, load_encoder(tmp_path), id2label=names, num_labels=4)
    assert model(**inputs_of(tmp_path)).logits.shape == (len(PAIRS), 4)
    assert model.config.id2label == names
    assert model.bert.config is model.config
    torch.manual_seed(3)
    again = with_head(BertForSequenceClassification, load_encoder(tmp_path), num_labels=4)
    assert torch.equal(model.classifier.weight, again.classifier.weight)
    assert 0.01 < float(model.classifier.weight.detach().std()) < 0.03
    assert not any(weights.is_meta for weights in model.state_dict().values())


def test_tags_need_no_pooler(tmp_path: Path) -> None:
    save_pretrained("bert", tmp_path)
    model = with_head(BertForTokenClassification, load_encoder(tmp_path), num_labels=5)
    assert model.bert.pooler is None
    assert model(**inputs_of(tmp_path)).logits.shape[-1] == 5


def test_a_new_pooler_is_that_of_the_seed(tmp_path: Path) -> None:
    save_pretrained("electra", tmp_path)
    first, again, other = (load_encoder(tmp_path, seed).model.pooler.dense.weight for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


@pytest.mark.parametrize("name", ["small electra", "albert", "bert"])
def test_a_saved_model_is_read_again(name: str, tmp_path: Path) -> None:
    save_pretrained(name, tmp_path / "source")
    model = with_head(BertForSequenceClassification, load_encoder(tmp_path / "source"), num_labels=3)
    model.save_pretrained(tmp_path / "saved")
    again = read_model(BertForSequenceClassification, tmp_path / "saved")
    assert is_factorised(again.config) == (name != "bert")
    inputs = inputs_of(tmp_path / "source")
    with torch.no_grad():
        assert torch.equal(model(**inputs).logits, again(**inputs).logits)


def test_narrow_embeddings_are_trained(tmp_path: Path) -> None:
    save_pretrained("albert", tmp_path)
    model = with_head(BertForSequenceClassification, load_encoder(tmp_path)).train()
    model(**inputs_of(tmp_path)).logits.sum().backward()
    assert all(weights.grad is not None for weights in model.bert.embeddings.parameters())
    assert model.bert.embeddings.projection.weight.shape == (HIDDEN, 16)


def merge(folder: Path, **values: Any) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("name", ["distilbert", "albert"])
def test_half_precision_is_read_as_it_is(name: str, dtype: torch.dtype, tmp_path: Path) -> None:
    own = save_pretrained(name, tmp_path).to(dtype)
    own.save_pretrained(tmp_path)
    assert_same_states(own.float(), load_encoder(tmp_path).model, tmp_path)


@pytest.mark.parametrize("kind", ["mpnet", "deberta-v2", "modernbert", "t5", "gpt2", "nonsense", None, 7])
def test_other_families_are_refused_by_name(kind: Any, tmp_path: Path) -> None:
    save_pretrained("bert", tmp_path)
    merge(tmp_path, model_type=kind)
    with pytest.raises(InputError, match=r"model_type in config\.json is .*can be any of albert, bert, .*roberta"):
        load_encoder(tmp_path)


@pytest.mark.parametrize(
    ("name", "values", "problem"),
    [
        ("roberta", {"max_position_embeddings": 2}, "max_position_embeddings"),
        ("roberta", {"pad_token_id": None}, "pad_token_id"),
        ("roberta", {"is_decoder": True}, "is_decoder"),
        ("roberta", {"num_hidden_layers": 4}, r"16 tensors .*layer\.3.* missing"),
        ("distilbert", {"n_layers": 2}, r"16 tensors .*layer\.2.* left over"),
        ("distilbert", {"dim": 32}, "of another shape"),
        ("distilbert", {"activation": "xielu"}, "activation"),
        ("electra", {"embedding_size": 16}, "of another shape"),
        ("electra", {"position_embedding_type": "relative_key"}, "position_embedding_type"),
        ("albert", {"num_hidden_groups": 2}, "16 tensors .*missing"),
        ("albert", {"auto_map": {"AutoModel": "code.Model"}}, "auto_map"),
        ("albert", {"quantization_config": {"load_in_8bit": True}}, "quantization_config"),
    ],
)
def test_what_contradicts_the_tensors_is_named(name: str, values: dict[str, Any], problem: str, tmp_path: Path) -> None:
    save_pretrained(name, tmp_path)
    merge(tmp_path, **values)
    with pytest.raises(InputError, match=problem) as raised:
        load_encoder(tmp_path)
    assert "\n" not in str(raised.value)


def test_weights_that_are_no_numbers_are_named(tmp_path: Path) -> None:
    save_pretrained("roberta", tmp_path, "ForSequenceClassification")
    stored = load_file(tmp_path / "model.safetensors")
    for name, problem in (("roberta.encoder.layer.1.output.dense.bias", "NaN"), ("classifier.out_proj.bias", "NaN")):
        save_file(stored | {name: stored[name] * torch.nan}, tmp_path / "model.safetensors", {"format": "pt"})
        with pytest.raises(InputError, match=problem):
            load_encoder(tmp_path)
    whole = "roberta.encoder.layer.1.output.dense.weight"
    save_file(stored | {whole: stored[whole].to(torch.int8)}, tmp_path / "model.safetensors", {"format": "pt"})
    with pytest.raises(InputError, match=r"1 tensor .* of type I8: quantised"):
        load_encoder(tmp_path)


def test_pickled_weights_are_refused_with_the_way_out(tmp_path: Path) -> None:
    save_pretrained("distilbert", tmp_path)
    (tmp_path / "model.safetensors").rename(tmp_path / "pytorch_model.bin")
    with pytest.raises(InputError, match=r"pickled weights.*never read.*save_pretrained"):
        load_encoder(tmp_path)
