"""Hugging Face checkpoints to ONNX: static shapes, batch 1, token ids in, logits or hidden states out."""

from __future__ import annotations

import inspect
import os
import warnings
from pathlib import Path
from typing import Any

from data.errors import InputError, ModelError, StoreError
from fusion.frontend.loading import load_checkpoint

_OPSET = 17


def checkpoint_to_onnx(directory: Path | str, path: Path | str, seq_len: int) -> Path:
    """Exports a checkpoint at batch 1 and a fixed sequence length.

    Inputs are ``input_ids``, ``attention_mask`` and, where the model tells several token types apart,
    ``token_type_ids``, int64 [1, seq_len]; the output is ``logits`` (classification and regression of sequences or
    tokens) or ``last_hidden_state``, fp32.

    Raises:
        DataFileError: the directory holds no checkpoint that transformers can read.
        InputError: the sequence length exceeds the model's positions.
        ModelError: transformers or torch cannot run or export the model as an encoder of token ids.
        StoreError: the file cannot be written.
    """
    import torch

    directory, path = Path(directory), Path(path)
    model, has_head = load_checkpoint(directory)
    positions = _positions(model, seq_len)
    if not 1 <= seq_len <= positions:
        raise InputError(f"seq-len {seq_len} is not within the model's {positions} positions")
    names = _input_names(model)
    ids = torch.zeros(1, seq_len, dtype=torch.int64)
    example = tuple(torch.ones_like(ids) if name == "attention_mask" else ids.clone() for name in names)
    partial = path.with_name(f"{path.name}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")  # the tracer warns of Python values that static shapes make constant
            torch.onnx.export(
                _first_output_of(model, names),
                example,
                str(partial),
                input_names=list(names),
                output_names=["logits" if has_head else "last_hidden_state"],
                opset_version=_OPSET,
                dynamo=False,
            )
        os.replace(partial, path)
    except OSError as error:
        raise StoreError(f"cannot write {path}: {error.strerror or error}") from error
    except (RuntimeError, TypeError, ValueError, AttributeError, LookupError) as error:
        problem = (str(error).splitlines() or [type(error).__name__])[0]
        raise ModelError(f"{directory}: {type(model).__name__} cannot be exported ({problem})") from error
    return path


def _input_names(model: Any) -> tuple[str, ...]:
    """The inputs that make a difference to a model."""
    taken = inspect.signature(type(model).forward).parameters
    names = ["input_ids", "attention_mask"]
    if "token_type_ids" in taken and getattr(model.config, "type_vocab_size", 0) > 1:
        names.append("token_type_ids")
    return tuple(names)


def _positions(model: Any, default: int) -> int:
    """How many tokens a model has positions for; RoBERTa counts them from behind the padding id."""
    positions = int(getattr(model.config, "max_position_embeddings", default))
    for name, module in model.named_modules():
        padding = getattr(module, "padding_idx", None)
        if name.endswith("position_embeddings") and padding is not None:
            positions = int(module.num_embeddings) - int(padding) - 1
    return positions


def _first_output_of(model: Any, names: tuple[str, ...]) -> Any:
    """A module of positional inputs and one output: the tracer passes optional inputs by position, in its own order."""
    import torch

    class FirstOutput(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, *ids: torch.Tensor) -> torch.Tensor:
            output: torch.Tensor = self.model(**dict(zip(names, ids, strict=True)))[0]
            return output

    return FirstOutput()
