"""What a Hugging Face directory computes: one module of token ids, its inputs and outputs by name."""

from __future__ import annotations

import inspect
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NoReturn

from data.errors import DataFileError, InputError
from fusion.checkpoints.heads import MULTIPLE_CHOICE
from fusion.checkpoints.label_names import label_names
from fusion.checkpoints.loading import load_checkpoint
from fusion.checkpoints.sentence_embedding import sentence_module
from fusion.checkpoints.sentence_modules import HEAD_FILE, is_sentence_folder, read_sentence_modules

_SUFFIXES = (".json", ".safetensors", HEAD_FILE)


@dataclass(frozen=True)
class CheckpointModel:
    """A torch module of positional inputs, int64 [1, seq_len] each, which gives a mapping of fp32 outputs by name.

    ``architecture`` is the name of transformers' class within it. ``longest`` is the most tokens that it takes, and
    ``limit`` says what sets that. ``labels`` are the names of a classifier's logits, where it has any.
    """

    module: Any
    architecture: str
    inputs: tuple[str, ...]
    longest: int | None
    limit: str
    labels: tuple[str, ...] = ()

    def check_length(self, seq_len: int) -> None:
        """``InputError`` when the model takes no sequence of this length."""
        if seq_len < 1 or (self.longest is not None and seq_len > self.longest):
            raise InputError(f"seq-len {seq_len} is not within {self.limit}")


def files_read(directory: Path) -> list[Path]:
    """What a directory's model depends on; a sentence-transformers folder has some in folders of its own.

    Entries that are no files, such as a link that leads nowhere, are among them: without them it is another directory.

    Raises:
        DataFileError: a folder cannot be read.
    """
    try:
        return sorted(path for path in _entries(directory) if path.name.endswith(_SUFFIXES))
    except OSError as error:
        raise DataFileError(directory, f"cannot be read ({error.strerror or error})") from error


def _entries(directory: Path) -> Iterator[Path]:
    """All entries, also those of folders within where these belong to the model; ``OSError`` when one is closed."""

    def refuse(error: OSError) -> NoReturn:
        raise error

    nested = is_sentence_folder(directory)
    for folder, folders, names in os.walk(directory, onerror=refuse):
        yield from (Path(folder, name) for name in (*folders, *names))
        if not nested:
            return


def open_checkpoint(directory: Path, attention: str | None = "eager") -> CheckpointModel:
    """The model of a directory, with its head.

    Outputs are named and ordered as transformers' own: ``logits``; ``start_logits`` and ``end_logits``;
    ``prediction_logits`` and ``seq_relationship_logits`` or ``sop_logits``; an encoder's ``last_hidden_state`` and,
    where a pooler is stored, ``pooler_output``. Hidden states that ``config.json`` asks for follow as
    ``hidden_states.0`` and so on. A multiple choice is one choice's logit, [1, 1]: run each choice, and compare.

    A sentence-transformers folder gives ``sentence_embedding`` [1, size], pooled, projected and normalised as its
    modules say; its ``max_seq_length``, to which texts are cut, bounds the sequence length. Lower-casing and prompts
    are the tokenizer's part. A cross-encoder gives its head's ``logits``, before any activation.

    Raises:
        DataFileError, ModelError: as :func:`fusion.checkpoints.loading.load_checkpoint`,
            :func:`fusion.checkpoints.label_names.label_names`,
            :func:`fusion.checkpoints.sentence_modules.read_sentence_modules` and
            :func:`fusion.checkpoints.sentence_embedding.sentence_module`.
    """
    if is_sentence_folder(directory):
        return _open_sentence_folder(directory, attention)
    return _open_model(load_checkpoint(directory, attention), directory)


def _open_model(model: Any, directory: Path) -> CheckpointModel:
    name, inputs, positions = type(model).__name__, _input_names(model), _positions(model)
    module = _named_module(model, inputs, choice=name.endswith(MULTIPLE_CHOICE))
    limit, labels = f"the model's {positions} positions", label_names(model, directory)
    return CheckpointModel(module, name, inputs, positions, limit, labels)


def _open_sentence_folder(directory: Path, attention: str | None) -> CheckpointModel:
    described = read_sentence_modules(directory)
    model = load_checkpoint(described.encoder, attention, encoder_only=bool(described.poolings))
    opened = _open_model(model, described.encoder)
    if described.poolings:
        described.check_widths(int(model.config.hidden_size))
        opened = replace(opened, module=sentence_module(opened.module, described))
    limit, longest = described.max_seq_length, opened.longest
    if limit is None or (longest is not None and longest <= limit):
        return opened
    return replace(opened, longest=limit, limit=described.limited_by)


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
