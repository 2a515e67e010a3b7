"""Hugging Face checkpoints to ONNX: static shapes, batch 1, token ids in, what the model's head gives out."""

from __future__ import annotations

import os
import warnings
from pathlib import Path
from typing import Any

from data.errors import ModelError, StoreError, first_line
from fusion.checkpoints.model import CheckpointModel, open_checkpoint
from fusion.labels import add_labels

_OPSET = 17


def checkpoint_to_onnx(directory: Path | str, path: Path | str, seq_len: int) -> Path:
    """Exports a checkpoint at batch 1 and a fixed sequence length.

    Inputs are ``input_ids``, ``attention_mask`` and, where the model tells several token types apart,
    ``token_type_ids``, int64 [1, seq_len]; outputs, fp32, are those of
    :func:`fusion.checkpoints.model.open_checkpoint`. The metadata ``pocketbert.labels`` is a JSON list of the names of
    a classifier's logits, where the checkpoint has some.

    Raises:
        DataFileError: the directory holds no checkpoint that transformers can read.
        InputError: the sequence length exceeds the model's positions, or its ``max_seq_length``.
        ModelError: the head is not compiled, or transformers or torch cannot run or export the model as an encoder of
            token ids.
        StoreError: the file cannot be written.
    """
    directory, path = Path(directory), Path(path)
    model = open_checkpoint(directory)
    model.check_length(seq_len)
    partial = path.with_name(f"{path.name}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _export(model, partial, seq_len)
        if model.labels:
            add_labels(partial, model.labels)
        os.replace(partial, path)
    except OSError as error:
        raise StoreError(f"cannot write {path}: {error.strerror or error}") from error
    except (RuntimeError, TypeError, ValueError, AttributeError, LookupError) as error:
        problem = first_line(error)
        raise ModelError(f"{directory}: {model.architecture} cannot be exported ({problem})") from error
    return path


def _export(model: CheckpointModel, path: Path, seq_len: int) -> None:
    import torch

    ids = torch.zeros(1, seq_len, dtype=torch.int64)
    example = tuple(torch.ones_like(ids) if name == "attention_mask" else ids.clone() for name in model.inputs)
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # the tracer warns of Python values that static shapes make constant
        names = list(model.module(*example))
        torch.onnx.export(
            _outputs_in_order(model.module),
            example,
            str(path),
            input_names=list(model.inputs),
            output_names=names,
            opset_version=_OPSET,
            dynamo=False,
        )


def _outputs_in_order(module: Any) -> Any:
    """A module whose outputs are a tuple, as the tracer wants them."""
    import torch

    class Outputs(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.module = module

        def forward(self, *ids: torch.Tensor) -> tuple[torch.Tensor, ...]:
            return tuple(self.module(*ids).values())

    return Outputs()
