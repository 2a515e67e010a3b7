"""Models of known sizes with random weights, for timing: latency does not depend on the weights' values."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from data.architecture import preset
from data.errors import UnknownNameError
from fusion.checkpoints.loading import quiet_transformers
from fusion.checkpoints.onnx_export import checkpoint_to_onnx

_SHORTEST_POSITIONS = 512


def _bert(name: str, positions: int) -> Any:
    """A BERT of the sizes that the search knows by this name."""
    from transformers import BertConfig

    architecture = preset(name)
    return BertConfig(
        vocab_size=architecture.vocab_size,
        hidden_size=architecture.hidden,
        num_hidden_layers=architecture.layers,
        num_attention_heads=architecture.heads,
        intermediate_size=architecture.intermediate,
        max_position_embeddings=positions,
    )


def _distilbert(positions: int) -> Any:
    """distilbert-base-uncased: no token types, no pooler."""
    from transformers import DistilBertConfig

    return DistilBertConfig(max_position_embeddings=positions)


def _mobilebert(positions: int) -> Any:
    """google/mobilebert-uncased, whose sizes are its configuration's defaults: 24 layers of 512 with a bottleneck of
    128, four heads, four stacked feed-forward networks, no normalisation, ReLU, embeddings of 128."""
    from transformers import MobileBertConfig

    return MobileBertConfig(max_position_embeddings=positions)


_CONFIGS: Mapping[str, Callable[[int], Any]] = MappingProxyType(
    {
        "bert-base": lambda positions: _bert("bert-base", positions),
        "distilbert": _distilbert,
        "mobilebert": _mobilebert,
        "deep-narrow": lambda positions: _bert("deep-narrow", positions),
    }
)
PRESETS = tuple(_CONFIGS)


def preset_to_onnx(name: str, folder: Path, seq_len: int) -> Path:
    """Exports a preset with random weights as a classifier; the checkpoint is left beside it, in ``folder / name``.

    Raises:
        UnknownNameError: there is no such preset.
    """
    if name not in _CONFIGS:
        raise UnknownNameError("preset", name, PRESETS)

    import torch
    from transformers import AutoModelForSequenceClassification

    config = _CONFIGS[name](max(seq_len, _SHORTEST_POSITIONS))
    torch.manual_seed(0)
    with quiet_transformers():
        AutoModelForSequenceClassification.from_config(config).save_pretrained(folder / name)
    return checkpoint_to_onnx(folder / name, folder / f"{name}.onnx", seq_len)
