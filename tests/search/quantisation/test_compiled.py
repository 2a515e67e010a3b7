"""What is scored as int8 is what compiled int8 code gives."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from transformers import BertConfig

from data.architecture import Architecture
from data.tasks import Kind
from search.learning.task_models import load_model, name_labels, new_model, save_model
from search.profiles.on_device import compile_model
from search.quantisation.products import in_precision

LENGTH = 24


def made(kind: Kind, folder: Path) -> Path:
    """A checkpoint of two layers with 20 labels, whose head has enough columns to be int8, and lively weights, no two
    neighbours of which are so large that processors without dot products need them smaller."""
    sizes = {"hidden_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 96}
    config = BertConfig(vocab_size=60, max_position_embeddings=32, initializer_range=0.15, **sizes)
    name_labels(config, [] if kind == "similarity" else [f"class {number}" for number in range(20)])
    torch.manual_seed(0)
    model = new_model(config, kind)
    for module in model.modules():
        if isinstance(module, torch.nn.Linear):
            weight, largest = module.weight.data, module.weight.data.abs().amax(dim=1)
            # Less than half, so that none lies in the middle of two levels.
            most = 0.45 * largest[:, None]
            weight.copy_(weight.clamp(-most, most))
            weight[:, 0], weight[:, 1] = largest, 0.0
    save_model(model, kind, None, folder, LENGTH)
    return folder


@pytest.mark.parametrize("kind", ["classification", "tokens", "similarity"])
def test_compiled_int8_gives_what_is_scored(kind: Kind, tmp_path: Path) -> None:
    """But for roundings to another level, where fp32's sums differ in their last bits."""
    folder = made(kind, tmp_path / "model")
    host: Any = SimpleNamespace(unit="cpu", spec=SimpleNamespace(kind="host"))
    sizes = Architecture(2, 48, 4, 96, vocab_size=60, seq_len=LENGTH, max_positions=32, precision="int8")
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

    def scored(fp32: list[str], precision: str = "int8") -> np.ndarray:
        with torch.inference_mode(), in_precision(model, precision, fp32):  # type: ignore[arg-type]
            given = {name: torch.from_numpy(np.concatenate([text[name] for text in texts])) for name in texts[0]}
            return model(**given).logits.numpy()

    exact = scored([], "fp32")
    rows = (slice(None), slice(0, 19)) if kind == "tokens" else (slice(None),)
    for modules in ([], kept):
        compiled = compile_model(host, folder, sizes, 1, modules)
        found = np.concatenate([compiled.run(text)[0] for text in texts])
        noise = np.abs(scored(modules) - exact)[rows].mean()
        assert np.abs(found - scored(modules))[rows].mean() < 0.1 * noise
