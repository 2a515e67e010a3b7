"""Models of known sizes with random weights, for timing: latency does not depend on the weights' values."""

from __future__ import annotations

from pathlib import Path

from data.architecture import preset
from fusion.checkpoint import checkpoint_to_onnx


def preset_to_onnx(name: str, folder: Path, seq_len: int) -> Path:
    """Exports a preset with random weights as a BERT classifier; ``UnknownNameError`` when there is no such preset."""
    architecture = preset(name).with_seq_len(seq_len)

    import torch
    from transformers import BertConfig, BertForSequenceClassification

    config = BertConfig(
        vocab_size=architecture.vocab_size,
        hidden_size=architecture.hidden,
        num_hidden_layers=architecture.layers,
        num_attention_heads=architecture.heads,
        intermediate_size=architecture.intermediate,
        max_position_embeddings=architecture.max_positions,
    )
    torch.manual_seed(0)
    BertForSequenceClassification(config).save_pretrained(folder / name)
    return checkpoint_to_onnx(folder / name, folder / f"{name}.onnx", seq_len)
