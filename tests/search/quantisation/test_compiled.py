"""What is scored as int8 is what compiled int8 code gives."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import BertConfig

from data.architecture import Precision
from data.tasks import Kind
from fusion import Target, compile_model
from fusion.target import host_targets
from search.learning.task_models import load_model, name_labels, new_model, save_model
from search.quantisation.products import in_precision

LENGTH = 24


def made(kind: Kind, folder: Path) -> Path:
    """A checkpoint of two layers with 20 labels, whose head has enough columns to be int8, and lively weights."""
    sizes = {"hidden_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 96}
    config = BertConfig(vocab_size=60, max_position_embeddings=32, initializer_range=0.15, **sizes)
    name_labels(config, [] if kind == "similarity" else [f"class {number}" for number in range(20)])
    torch.manual_seed(0)
    model = new_model(config, kind)
    save_model(model, kind, None, folder, LENGTH)
    return folder


@pytest.mark.parametrize("target", host_targets(), ids=lambda target: target.name)
@pytest.mark.parametrize("kind", ["classification", "tokens", "similarity"])
def test_compiled_int8_gives_what_is_scored(kind: Kind, target: Target, tmp_path: Path) -> None:
    """But for roundings to another level, where fp32's sums differ in their last bits."""
    folder = made(kind, tmp_path / "model")
    random = np.random.default_rng(0)
    texts = []
    for _ in range(16):
        inputs = {name: np.zeros((1, LENGTH), np.int64) for name in ("input_ids", "attention_mask", "token_type_ids")}
        inputs["input_ids"][0, :19] = random.integers(1, 60, 19)
        inputs["attention_mask"][0, :19] = 1
        texts.append(inputs)
    model = load_model(folder, kind)
    kept = ["bert.encoder.layer.1.output.dense"]
    # Queries, keys and values are one product.
    kept += [f"bert.encoder.layer.0.attention.self.{name}" for name in ("query", "key", "value")]

    def scored(fp32: list[str], precision: Precision, pair_limit: int | None) -> np.ndarray:
        with torch.inference_mode(), in_precision(model, precision, fp32, pair_limit):
            given = {name: torch.from_numpy(np.concatenate([text[name] for text in texts])) for name in texts[0]}
            return np.asarray(model(**given).logits)

    exact, limit = scored([], "fp32", None), target.int8_pair_limit
    rows = (slice(None), slice(0, 19)) if kind == "tokens" else (slice(None),)
    for modules in ([], kept):
        names = [name.removeprefix("bert.") for name in modules]
        compiled = compile_model(folder, seq_len=LENGTH, threads=1, target=target, precision="int8", fp32_modules=names)
        found = np.concatenate([compiled.run(text)[0] for text in texts])
        expected = scored(modules, "int8", limit)
        noise = np.abs(expected - exact)[rows].mean()
        assert np.abs(found - expected)[rows].mean() < 0.1 * noise
        if limit is not None:
            without = scored(modules, "int8", None)
            assert np.abs(found - without)[rows].mean() > 0.3 * noise, "pairs are limited, which scores know"
