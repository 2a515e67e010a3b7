"""Keys of a configuration that change the computation are refused by name, or compiled to the right numbers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers

from data.errors import DataFileError
from fusion import compile_model
from fusion.checkpoints.configuration import ACTIVATIONS, FAMILIES
from fusion.checkpoints.loading import load_checkpoint, quiet_transformers
from tests.fusion.checkpoints.checkpoints import configure
from tests.fusion.families import random_model

pytestmark = pytest.mark.usefixtures("shared_home")

NAN = float("nan")
SIZES = ("hidden_size", "num_attention_heads", "num_hidden_layers", "vocab_size", "max_position_embeddings")
REFUSED: tuple[tuple[str, Any], ...] = (
    *(("position_embedding_type", kind) for kind in ("relative_key", "relative_key_query", "alibi", "rotary", 3)),
    *(("is_decoder", value) for value in (True, "true", 1)),
    ("add_cross_attention", True),
    ("is_encoder_decoder", True),
    ("auto_map", {"AutoModel": "modeling_own.OwnModel"}),
    *(
        ("quantization_config", {"quant_method": kind})
        for kind in ("gptq", "bitsandbytes", "awq", "compressed-tensors")
    ),
    ("pruned_heads", {"0": [1]}),
    ("adapters", {"adapters": {"sst2": {}}, "config_map": {}}),
    ("per_layer_config", {"0": {"intermediate_size": 7}}),
    ("transformers_weights", "other.safetensors"),
    ("output_attentions", True),
    *((key, value) for key in SIZES for value in (-1, 0, "48", 48.0, [48], True, None, NAN, 10**12, {"a": 1})),
    *(("hidden_act", value) for value in ("banana", "GELU", "mish", "xielu", None, 3, ["gelu"], "")),
    *(("layer_norm_eps", value) for value in (-1, 0, "1e-12", NAN, None, [1], True)),
    *(("hidden_dropout_prob", value) for value in (-1, 2, "0.1", NAN, [1], True, None)),
    *(("chunk_size_feed_forward", value) for value in (-1, "2", 2.5)),
    *(("pad_token_id", value) for value in (-1, 60, "0", 1.5, True)),
    *(("num_labels", value) for value in (-1, 0, "3", 2.5, 10**9)),
    *(("id2label", value) for value in (["a"], {"a": 1}, {}, "abc", 3)),
    *(("architectures", value) for value in ("BertModel", [3], {"a": 1}, [["BertModel"]])),
    *(("model_type", value) for value in ("banana", "BERT", None, 3, [])),
    ("tie_word_embeddings", "yes"),
    ("output_hidden_states", "all"),
    ("normalization_type", "banana"),
    ("num_attention_heads", 5),
    # Keys that BERT does not read, but whose names say that they mean something.
    *((key, True) for key in ("relative_attention", "is_causal", "use_rotary", "scale_attn_by_inverse_layer_idx")),
    *(("rope_theta", value) for value in (1e4, "1e4")),
    ("alibi_starting_size", 512),
    ("use_bidirectional_attention", False),
    ("norm_type", "rms_norm"),
    ("mlp_type", "glu"),
    ("sliding_window", 128),
    ("num_experts", 8),
)


@pytest.mark.parametrize(("key", "value"), REFUSED, ids=[f"{key}-{value}" for key, value in REFUSED])
def test_what_would_change_the_computation_is_refused_by_name(key: str, value: Any, checkpoint: Path) -> None:
    configure(checkpoint, **{key: value})
    with pytest.raises(DataFileError, match=rf"config\.json: .*{key}") as raised:
        load_checkpoint(checkpoint)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("key", ["model_type", "num_attention_heads"])
def test_what_no_shape_tells_has_to_be_there(key: str, checkpoint: Path) -> None:
    configure(checkpoint, without=key)
    with pytest.raises(DataFileError, match=f"lacks {key}"):
        load_checkpoint(checkpoint)


def test_layers_that_share_their_weights_have_to_be_counted(tmp_path: Path) -> None:
    with quiet_transformers():
        random_model("albert", "classification").save_pretrained(tmp_path)
    configure(tmp_path, without="num_hidden_layers")
    with pytest.raises(DataFileError, match="lacks num_hidden_layers, which no tensor tells"):
        load_checkpoint(tmp_path)


@pytest.mark.parametrize(
    ("kind", "cause"),
    [("mpnet", "relative position"), ("deberta-v2", "relative position"), ("modernbert", "rotary positions")]
    + [("new", "rotary positions"), ("nomic_bert", "rotary positions"), ("gpt2", "a decoder"), ("t5", "relative")],
)
def test_other_families_are_refused_for_what_they_are(kind: str, cause: str, checkpoint: Path) -> None:
    configure(checkpoint, model_type=kind, auto_map={"AutoModel": "modeling_own.OwnModel"})
    with pytest.raises(DataFileError, match=f"model_type is '{kind}': .*{cause}.*; known: albert, bert"):
        load_checkpoint(checkpoint)


def test_code_of_a_checkpoint_is_neither_run_nor_asked_about(checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (checkpoint / "modeling_own.py").write_text("raise SystemExit('was run')\n")
    monkeypatch.setattr("builtins.input", lambda *_: pytest.fail("asked"))
    for kind in ("bert", "own"):
        configure(checkpoint, model_type=kind, auto_map={"AutoConfig": "modeling_own.C", "AutoModel": "modeling_own.M"})
        with pytest.raises(DataFileError, match=r"auto_map .*code of its own, which is never run"):
            compile_model(checkpoint, seq_len=8)


KEPT: tuple[dict[str, Any], ...] = (
    {"position_embedding_type": "absolute", "auto_map": None, "is_decoder": None, "pruned_heads": {}},
    {"chunk_size_feed_forward": 3},
    {"torch_dtype": "float16", "dtype": "banana", "use_cache": None, "transformers_version": 5},
    {"_name_or_path": "x", "attn_implementation": "somebody/kernels", "language": "en", "note": {"a": [1]}},
    {"to_dict": 1, "__class__": 2, "from_pretrained": "x", "num_beams": 4, "problem_type": "banana"},
    {"pooler_fc_size": 768, "directionality": "bidi", "gradient_checkpointing": False, "rope_scaling": None},
    {"sbert_ce_default_activation_function": "torch.nn.modules.linear.Identity", "add_pooling_layer": True},
    {"output_hidden_states": False, "hidden_dropout_prob": 1, "classifier_dropout": 0.5},
    {"attention_type": "full"},
    {"adapters": {"adapters": {}, "config_map": {}, "fusions": {}}, "layers_to_freeze": 6, "embedding_size": 48},
    {
        "cross_entropy_weight": 2.0,
        "loss_scale": 128,
        "attention_type": "full",
        "layerwise_learning_rate_decay": 0.9,
        "converted_from": "x",
    },
)


@pytest.mark.parametrize("keys", KEPT, ids=[" ".join(keys) for keys in KEPT])
def test_what_changes_nothing_is_compiled(keys: dict[str, Any], checkpoint: Path) -> None:
    ids = torch.tensor([[5, 6, 7, 8, 9, 0, 0, 0]])
    with torch.no_grad():
        expected = load_checkpoint(checkpoint)(ids).logits.numpy()
    configure(checkpoint, **keys)
    (logits,) = compile_model(checkpoint, seq_len=8, threads=1).run({"input_ids": ids.numpy()})
    assert np.abs(logits - expected).max() < 1e-4


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_every_activation_that_is_listed_is_compiled(activation: str, checkpoint: Path) -> None:
    configure(checkpoint, hidden_act=activation)
    _compare(checkpoint, "BertForSequenceClassification")


_SIZES = {"hidden_size": 24, "num_hidden_layers": 1, "num_attention_heads": 3, "intermediate_size": 40}
_POSITIONS = {"vocab_size": 60, "max_position_embeddings": 32, "bos_token_id": 0, "eos_token_id": 2}
_OWN = {
    "distilbert": {"dim": 24, "n_layers": 1, "n_heads": 3, "hidden_dim": 40},
    "mobilebert": _SIZES | {"embedding_size": 12, "intra_bottleneck_size": 12},
    "luke": _SIZES | {"entity_vocab_size": 10, "entity_emb_size": 12},
    "rembert": _SIZES | {"input_embedding_size": 12, "output_embedding_size": 12},
    "splinter": _SIZES | {"question_token_id": 4},
}


@pytest.mark.parametrize("kind", sorted(FAMILIES.keys() - {"dpr"}))
def test_every_family_that_is_listed_is_compiled(kind: str, tmp_path: Path) -> None:
    config = transformers.AutoConfig.for_model(kind, **_OWN.get(kind, _SIZES) | _POSITIONS)
    torch.manual_seed(0)
    with quiet_transformers():
        model = transformers.AutoModel.from_config(config)
        for parameter in model.parameters():
            torch.nn.init.normal_(parameter, std=0.15)
        model.save_pretrained(tmp_path)
    _compare(tmp_path, type(model).__name__)


def _compare(checkpoint: Path, kind: str) -> None:
    """What is compiled against what transformers itself makes of the files."""
    with quiet_transformers():
        model = getattr(transformers, kind).from_pretrained(checkpoint, attn_implementation="eager")
    ids, mask = torch.tensor([[5, 6, 7, 8, 9, 1, 1]]), torch.tensor([[1, 1, 1, 1, 1, 0, 0]])
    with torch.no_grad():
        expected = model(input_ids=ids, attention_mask=mask)[0].numpy()
    compiled = compile_model(checkpoint, seq_len=7, threads=1)
    output = compiled.run({"input_ids": ids.numpy(), "attention_mask": mask.numpy()})[0]
    assert np.abs(output - expected).max() < 1e-4


def test_a_size_under_two_names_has_one_value(tmp_path: Path) -> None:
    config = {"model_type": "distilbert", "n_heads": 3, "num_attention_heads": 4}
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(DataFileError, match="num_attention_heads is 4 but n_heads, its other name, 3"):
        load_checkpoint(tmp_path)
