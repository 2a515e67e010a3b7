"""Hugging Face checkpoints to ONNX: static shapes, batch 1, token ids in, logits or hidden states out."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from data.errors import DataFileError, InputError, StoreError

_OPSET = 17


def checkpoint_to_onnx(directory: Path | str, path: Path | str, seq_len: int) -> Path:
    """Exports a checkpoint at batch 1 and a fixed sequence length.

    Inputs are ``input_ids``, ``attention_mask`` and, where the model has them, ``token_type_ids``, int64
    [1, seq_len]; the output is ``logits`` (classification and regression) or ``last_hidden_state``, fp32.

    Raises:
        DataFileError: the directory holds no checkpoint that transformers can read.
        InputError: the sequence length exceeds the model's positions.
        StoreError: the file cannot be written.
    """
    import torch

    directory, path = Path(directory), Path(path)
    model, classifies = load_checkpoint(directory)
    positions = getattr(model.config, "max_position_embeddings", seq_len)
    if not 1 <= seq_len <= positions:
        raise InputError(f"seq-len {seq_len} is not within the model's {positions} positions")
    ids = torch.zeros(1, seq_len, dtype=torch.int64)
    example = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    if getattr(model.config, "type_vocab_size", 0):
        example["token_type_ids"] = torch.zeros_like(ids)
    partial = path.with_name(f"{path.name}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")  # the tracer warns of Python values that static shapes make constant
            torch.onnx.export(
                model,
                (),
                str(partial),
                kwargs=example,
                input_names=list(example),
                output_names=["logits" if classifies else "last_hidden_state"],
                opset_version=_OPSET,
                dynamo=False,
            )
        os.replace(partial, path)
    except OSError as error:
        raise StoreError(f"cannot write {path}: {error.strerror or error}") from error
    return path


def load_checkpoint(directory: Path, attention: str | None = "eager") -> tuple[Any, bool]:
    """The model on the CPU, and whether it has a classifier; eager attention, whose plain products and softmax the
    compiler recognises, or another of transformers' implementations; None leaves the choice to it.

    Raises:
        DataFileError: the directory holds no checkpoint that transformers can read.
    """
    from safetensors import SafetensorError
    from transformers import AutoConfig, AutoModel, AutoModelForSequenceClassification

    try:
        config = AutoConfig.from_pretrained(directory, local_files_only=True)
        classifies = any("ForSequenceClassification" in name for name in config.architectures or [])
        maker = AutoModelForSequenceClassification if classifies else AutoModel
        with quiet_transformers():
            model = maker.from_pretrained(
                directory, local_files_only=True, use_safetensors=True, attn_implementation=attention
            )
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        problem = (str(error).splitlines() or [type(error).__name__])[0]
        raise DataFileError(directory, f"no Hugging Face checkpoint ({problem})") from error
    model.config.return_dict = False
    return model.cpu().eval(), classifies


@contextmanager
def quiet_transformers() -> Iterator[None]:
    """Keeps transformers' notices (new classifier head, progress bars of loading) off the terminal."""
    from transformers.utils import logging

    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()
