"""A small checkpoint that tests copy and change: a BERT of two layers with a classifier of three labels."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from fusion.checkpoints.loading import quiet_transformers
from tests.fusion.families import random_model

Tensors = dict[str, torch.Tensor]
Edit = Callable[[Tensors], Tensors | None]


def save_classifier(folder: Path, **options: object) -> Path:
    """Writes the checkpoint."""
    with quiet_transformers():
        random_model("bert", "classification").save_pretrained(folder, **options)
    return folder


def change(checkpoint: Path, edit: Edit) -> None:
    """Rewrites the stored tensors."""
    tensors = load_file(checkpoint / "model.safetensors")
    save_file(edit(tensors) or tensors, checkpoint / "model.safetensors", {"format": "pt"})


def configure(checkpoint: Path, without: str = "", **keys: object) -> None:
    """Sets keys of the configuration, and takes one out."""
    config = json.loads((checkpoint / "config.json").read_text()) | keys
    config.pop(without, None)
    (checkpoint / "config.json").write_text(json.dumps(config))
