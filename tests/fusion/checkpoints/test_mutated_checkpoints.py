"""2,000 broken configurations and 2,000 broken safetensors files: our errors, or the numbers that transformers' own
BERT computes from what is left, soon, and without filling the memory."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import BertConfig, BertForSequenceClassification

from data.errors import PocketBertError
from fusion.checkpoints.loading import load_checkpoint, quiet_transformers
from tests.fusion.checkpoint_mutations import mutated_config, mutated_weights
from tests.fusion.families import random_model

FILES, CHUNKS = 2000, 4
VOCABULARY = {"vocab_size": 20, "max_position_embeddings": 8}
SIZES = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 24}
# All that BERT reads of its configuration while it computes.
READ = {"vocab_size", "max_position_embeddings", "type_vocab_size", "hidden_act", "layer_norm_eps", "pad_token_id"}
IDS = torch.tensor([[5, 6, 7, 8, 9, 2, 1]])
MASK = torch.tensor([[1, 1, 1, 1, 1, 0, 0]])


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("base")
    with quiet_transformers():
        random_model("bert", "classification", **VOCABULARY, **SIZES).save_pretrained(folder)
    return folder


def expected_logits(checkpoint: Path) -> torch.Tensor:
    """What BERT makes of the files, put together without any of transformers' loading."""
    config: dict[str, Any] = json.loads((checkpoint / "config.json").read_bytes())
    read = {key: value for key, value in config.items() if key in READ | SIZES.keys()}
    model = BertForSequenceClassification(BertConfig(num_labels=3, attn_implementation="eager", **read)).eval()
    model.load_state_dict({name: value.float() for name, value in load_file(checkpoint / "model.safetensors").items()})
    return logits_of(model)


def logits_of(model: Any) -> torch.Tensor:
    with torch.no_grad():
        logits: torch.Tensor = model(IDS, attention_mask=MASK).logits
    return logits


@pytest.mark.parametrize("chunk", range(CHUNKS))
@pytest.mark.parametrize(("name", "mutated"), [("config.json", mutated_config), ("model.safetensors", mutated_weights)])
def test_broken_files_give_our_error_or_right_numbers(
    name: str, mutated: Callable[[bytes, int], bytes], chunk: int, base: Path, tmp_path: Path
) -> None:
    checkpoint = Path(shutil.copytree(base, tmp_path / "checkpoint"))
    content = (base / name).read_bytes()
    right = refused = 0
    for seed in range(chunk, FILES, CHUNKS):
        (checkpoint / name).write_bytes(mutated(content, seed))
        try:
            model = load_checkpoint(checkpoint)
        except PocketBertError as error:
            assert str(error) and "\n" not in str(error), f"seed {seed}"
            refused += 1
            continue
        assert torch.allclose(logits_of(model), expected_logits(checkpoint), atol=1e-5, equal_nan=True), f"seed {seed}"
        right += 1
    assert right and refused > right
