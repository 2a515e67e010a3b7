"""What a Hugging Face directory computes: one module of token ids, its inputs and outputs by name."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from data.errors import InputError
from fusion.frontend.heads import MULTIPLE_CHOICE
from fusion.frontend.loading import load_checkpoint


@dataclass(frozen=True)
class CheckpointModel:
    """A torch module of positional inputs, int64 [1, seq_len] each, which gives a mapping of fp32 outputs by name.

    ``longest`` is the most tokens that it takes, and ``limit`` says what sets that.
    """

    module: Any
    name: str
    inputs: tuple[str, ...]
    longest: int | None
    limit: str

    def check_length(self, seq_len: int) -> None:
        """``InputError`` when the model takes no sequence of this length."""
        if seq_len < 1 or (self.longest is not None and seq_len > self.longest):
            raise InputError(f"seq-len {seq_len} is not within {self.limit}")


def open_checkpoint(directory: Path, attention: str | None = "eager") -> CheckpointModel:
    """The model of a directory, with its head.

    Outputs are named and ordered as transformers' own: ``logits``; ``start_logits`` and ``end_logits``;
    ``prediction_logits`` and ``seq_relationship_logits`` or ``sop_logits``; an encoder's ``last_hidden_state`` and,
    where a pooler is stored, ``pooler_output``. Hidden states that ``config.json`` asks for follow as
    ``hidden_states.0`` and so on. A multiple choice is one choice's logit, [1, 1]: run each choice, and compare.

    Raises:
        DataFileError, ModelError: as :func:`fusion.frontend.loading.load_checkpoint`.
    """
    model = load_checkpoint(directory, attention)
    name, inputs, positions = type(model).__name__, _input_names(model), _positions(model)
    module = _named_module(model, inputs, choice=name.endswith(MULTIPLE_CHOICE))
    return CheckpointModel(module, name, inputs, positions, f"the model's {positions} positions")


def _input_names(model: Any) -> tuple[str, ...]:
    """The inputs that make a difference to a model."""
    taken = inspect.signature(type(model).forward).parameters
    names = ["input_ids", "attention_mask"]
    if "token_type_ids" in taken and getattr(model.config, "type_vocab_size", 0) > 1:
        names.append("token_type_ids")
    return tuple(names)


def _positions(model: Any) -> int | None:
    """How many tokens a model has positions for; RoBERTa counts them from behind the padding id."""
    for name, module in model.named_modules():
        padding = getattr(module, "padding_idx", None)
        if name.endswith("position_embeddings") and padding is not None:
            return int(module.num_embeddings) - int(padding) - 1
    positions = getattr(model.config, "max_position_embeddings", None)
    return None if positions is None else int(positions)


def named_tensors(output: Mapping[str, Any]) -> dict[str, Any]:
    """The tensors of transformers' output, those of a tuple numbered."""
    found: dict[str, Any] = {}
    for name, value in output.items():
        parts = {f"{name}.{index}": part for index, part in enumerate(value)} if isinstance(value, tuple) else {}
        found |= parts or {name: value}
    return found


def _named_module(model: Any, inputs: tuple[str, ...], choice: bool) -> Any:
    """The tracer passes optional inputs by position, in its own order: here every input has its place."""
    import torch

    class NamedOutputs(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, *ids: torch.Tensor) -> dict[str, torch.Tensor]:
            given = (one.unsqueeze(1) for one in ids) if choice else ids
            return named_tensors(self.model(**dict(zip(inputs, given, strict=True)), return_dict=True))

    return NamedOutputs().eval()
