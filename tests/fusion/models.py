"""Small models for the compiler's tests: Hugging Face BERT with random weights, exported to ONNX, and their inputs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
import torch
from transformers import BertConfig, BertForSequenceClassification

from data.architecture import Architecture
from fusion.checkpoints.onnx_export import checkpoint_to_onnx


def random_architecture(seed: int) -> Architecture:
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
        labels=int(generator.integers(1, 4)),
    )


def save_checkpoint(architecture: Architecture, folder: Path, seed: int = 0) -> Path:
    """A checkpoint with weights large enough that every part of the model matters."""
    config = BertConfig(
        vocab_size=architecture.vocab_size,
        hidden_size=architecture.hidden,
        num_hidden_layers=architecture.layers,
        num_attention_heads=architecture.heads,
        intermediate_size=architecture.intermediate,
        num_labels=architecture.labels,
    )
    torch.manual_seed(seed)
    model = BertForSequenceClassification(config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=0.15)
    model.save_pretrained(folder)
    return folder


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


def export(architecture: Architecture, folder: Path, seed: int = 0) -> Path:
    """The checkpoint as ONNX at the architecture's sequence length."""
    checkpoint = save_checkpoint(architecture, folder / "checkpoint", seed)
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
