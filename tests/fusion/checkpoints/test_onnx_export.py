"""Checkpoints exported to ONNX compute what PyTorch does."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import BertConfig, BertForSequenceClassification

from data.errors import InputError
from fusion.checkpoints.onnx_export import checkpoint_to_onnx


@pytest.mark.parametrize(
    ("layers", "hidden", "heads", "seq_len", "real"), [(2, 32, 4, 16, 16), (3, 48, 3, 24, 9), (1, 24, 1, 8, 1)]
)
def test_export_equals_pytorch(layers: int, hidden: int, heads: int, seq_len: int, real: int, tmp_path: Path) -> None:
    import onnx
    import onnxruntime

    torch.manual_seed(layers)
    sizes = {"num_hidden_layers": layers, "hidden_size": hidden, "num_attention_heads": heads}
    config = BertConfig(
        vocab_size=100, max_position_embeddings=32, intermediate_size=64, initializer_range=0.3, **sizes
    )
    model = BertForSequenceClassification(config).eval()
    model.save_pretrained(tmp_path)
    path = checkpoint_to_onnx(tmp_path, tmp_path / "out" / "model.onnx", seq_len)
    graph = onnx.load(path).graph
    assert [value.name for value in graph.input] == ["input_ids", "attention_mask", "token_type_ids"]
    assert [dim.dim_value for dim in graph.output[0].type.tensor_type.shape.dim] == [1, 2]
    random = np.random.default_rng(0)
    mask = (np.arange(seq_len) < real).astype(np.int64)[None]
    inputs = {
        "input_ids": random.integers(0, 100, (1, seq_len)),
        "attention_mask": mask,
        "token_type_ids": random.integers(0, 2, (1, seq_len)),
    }
    (logits,) = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"]).run(None, inputs)
    with torch.no_grad():
        expected = model(**{name: torch.from_numpy(values) for name, values in inputs.items()}).logits.numpy()
    np.testing.assert_allclose(logits, expected, atol=1e-4)
    assert not list(tmp_path.rglob("*.partial"))


def test_export_refuses_what_it_cannot_do(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no Hugging Face checkpoint"):
        checkpoint_to_onnx(tmp_path, tmp_path / "model.onnx", 16)
    config = BertConfig(vocab_size=9, hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8)
    config.max_position_embeddings = 64
    BertForSequenceClassification(config).save_pretrained(tmp_path / "model")
    with pytest.raises(InputError, match="64 positions"):
        checkpoint_to_onnx(tmp_path / "model", tmp_path / "model.onnx", 65)
