"""Export of a checkpoint to ONNX: static shapes, batch 1, token ids in, logits out."""

from __future__ import annotations

import os
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from data.errors import InputError, StoreError

if TYPE_CHECKING:
    from torch import Tensor

INPUTS = ("input_ids", "attention_mask", "token_type_ids")
_OPSET = 17


def export_onnx(checkpoint_dir: Path, onnx_path: Path, seq_len: int) -> Path:
    """Write ``onnx_path`` and return it.

    The graph has inputs input_ids, attention_mask and token_type_ids, int64 (1, seq_len) each, and the
    output logits, float32 (1, labels).

    Raises:
        InputError: the checkpoint cannot be loaded, or has fewer positions than ``seq_len``.
        StoreError: the file cannot be written.
    """
    import torch

    model = _load(checkpoint_dir)
    positions = model.config.max_position_embeddings
    if not 1 <= seq_len <= positions:
        raise InputError(f"seq-len {seq_len} is not within the model's {positions} positions")
    ids = torch.zeros(1, seq_len, dtype=torch.int64)
    partial = onnx_path.with_name(onnx_path.name + ".partial")
    try:
        onnx_path.parent.mkdir(parents=True, exist_ok=True)
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")  # the tracer warns of Python values that static shapes make constant
            torch.onnx.export(
                _wrapped(model),
                (ids, torch.ones_like(ids), torch.zeros_like(ids)),
                str(partial),
                input_names=list(INPUTS),
                output_names=["logits"],
                opset_version=_OPSET,
                dynamo=False,
            )
        os.replace(partial, onnx_path)
    except OSError as error:
        raise StoreError(f"cannot write {onnx_path}: {error.strerror or error}") from error
    return onnx_path


def _load(checkpoint_dir: Path) -> Any:
    from safetensors import SafetensorError
    from transformers import BertForSequenceClassification

    from search.training import quiet_transformers

    try:
        with quiet_transformers():
            # Eager attention: plain products and a softmax, which the compiler recognises.
            model = BertForSequenceClassification.from_pretrained(
                checkpoint_dir, attn_implementation="eager", use_safetensors=True
            )
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        raise InputError(f"{checkpoint_dir}: cannot be loaded ({str(error).splitlines()[0]})") from error
    return model.cpu().eval()


def _wrapped(model: Any) -> Any:
    """A module that takes its inputs by position and gives a tensor, as the exporter wants."""
    import torch

    class Logits(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, input_ids: Tensor, attention_mask: Tensor, token_type_ids: Tensor) -> Tensor:
            logits: Tensor = self.model(
                input_ids=input_ids, attention_mask=attention_mask, token_type_ids=token_type_ids
            ).logits
            return logits

    return Logits().eval()
