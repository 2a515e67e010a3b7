"""Small models for the compiler's tests: Hugging Face BERT with random weights, exported to ONNX, and their inputs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch
from transformers import BertConfig, BertForSequenceClassification, BertForTokenClassification, BertModel

from data.architecture import Architecture, Head
from fusion.checkpoints.onnx_export import checkpoint_to_onnx

# As sentence-transformers writes them, from version 3 on.
_MODULES = {"": "Transformer", "1_Pooling": "Pooling", "2_Normalize": "Normalize"}


def random_architecture(seed: int, head: Head = "sequence") -> Architecture:
    """Sizes that BERTs have and sizes that they don't: odd widths, head sizes off the vector, lengths 1 to 200."""
    generator = np.random.default_rng(seed)
    heads = int(generator.choice([1, 2, 3, 4, 6]))
    head_size = int(generator.choice([8, 16, 20, 32, 33, 48, 64]))
    return Architecture(
        layers=int(generator.integers(1, 4)),
        hidden=heads * head_size,
        heads=heads,
        intermediate=int(generator.choice([64, 100, 256, 500])),
        vocab_size=300,
        seq_len=int(generator.choice([1, 2, 7, 16, 40, 64, 100, 128, 200])),
        labels=1 if head == "embedding" else int(generator.integers(1, 4)),
        head=head,
    )


def save_checkpoint(architecture: Architecture, folder: Path, seed: int = 0, **settings: Any) -> Path:
    """A checkpoint with weights large enough that every part of the model matters; ``settings`` go into config.json.
    That of an embedding is a sentence-transformers folder."""
    config = BertConfig(
        vocab_size=architecture.vocab_size,
        hidden_size=architecture.hidden,
        num_hidden_layers=architecture.layers,
        num_attention_heads=architecture.heads,
        intermediate_size=architecture.intermediate,
        type_vocab_size=architecture.token_types,
        num_labels=architecture.labels,
        **settings,
    )
    torch.manual_seed(seed)
    model: Any = _CLASSES[architecture.head](config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=0.15)
    model.save_pretrained(folder)
    if architecture.head == "embedding":
        _save_modules(architecture.hidden, folder)
    return folder


_CLASSES: dict[Head, Any] = {
    "sequence": BertForSequenceClassification,
    "tokens": BertForTokenClassification,
    "embedding": lambda config: BertModel(config, add_pooling_layer=False),
}


def _save_modules(hidden: int, folder: Path) -> None:
    """Says that the folder's encoder is pooled by its mean and normalised."""
    described = [
        {"idx": index, "name": str(index), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for index, (path, kind) in enumerate(_MODULES.items())
    ]
    (folder / "modules.json").write_text(json.dumps(described))
    (folder / "1_Pooling").mkdir()
    pooling = {"word_embedding_dimension": hidden, "pooling_mode_mean_tokens": True}
    (folder / "1_Pooling" / "config.json").write_text(json.dumps(pooling))


def tiny_checkpoint(folder: Path) -> Path:
    """A checkpoint of one narrow layer whose weights are the same whatever the version of torch."""
    config = BertConfig(
        vocab_size=8,
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=8,
    )
    model = BertForSequenceClassification(config)
    with torch.no_grad():
        for parameter in model.parameters():
            values = np.sin(np.arange(parameter.numel(), dtype=np.float64) * 1.7).astype(np.float32)
            parameter.copy_(torch.from_numpy(values * 0.5).reshape(parameter.shape))
    model.save_pretrained(folder)
    return folder


def export(architecture: Architecture, folder: Path, seed: int = 0, **settings: Any) -> Path:
    """The checkpoint as ONNX at the architecture's sequence length."""
    checkpoint = save_checkpoint(architecture, folder / "checkpoint", seed, **settings)
    return checkpoint_to_onnx(checkpoint, folder / "model.onnx", architecture.seq_len)


def random_inputs(architecture: Architecture, used: int, seed: int = 0) -> dict[str, np.ndarray]:
    """int64 inputs [1, seq_len] of which the first ``used`` positions are not masked."""
    generator = np.random.default_rng(seed)
    shape = (1, architecture.seq_len)
    return {
        "input_ids": generator.integers(0, architecture.vocab_size, shape),
        "attention_mask": (np.arange(architecture.seq_len) < used).astype(np.int64)[None],
        "token_type_ids": generator.integers(0, 2, shape),
    }


def reference(path: Path, inputs: dict[str, np.ndarray]) -> np.ndarray:
    """ONNX Runtime's first output."""
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return np.asarray(session.run(None, inputs)[0])
