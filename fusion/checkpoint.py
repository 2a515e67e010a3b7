"""Hugging Face checkpoints to ONNX."""

from __future__ import annotations

import logging
import warnings
from pathlib import Path

from data.errors import DataFileError, InputError

OPSET = 17


def checkpoint_to_onnx(directory: Path | str, path: Path | str, seq_len: int) -> Path:
    """Exports a checkpoint at batch 1 and a fixed sequence length; inputs int64 [1, seq_len], output ``logits``
    (classification and regression) or ``last_hidden_state``.

    Raises:
        DataFileError: the directory holds no checkpoint that transformers can read.
        InputError: the sequence length exceeds the model's positions.
    """
    import torch
    from transformers import AutoConfig, AutoModel, AutoModelForSequenceClassification

    directory, path = Path(directory), Path(path)
    try:
        config = AutoConfig.from_pretrained(directory, local_files_only=True)
        heads = any("ForSequenceClassification" in name for name in config.architectures or [])
        maker = AutoModelForSequenceClassification if heads else AutoModel
        model = maker.from_pretrained(directory, local_files_only=True, attn_implementation="eager").eval()
    except (OSError, ValueError, KeyError) as error:
        raise DataFileError(directory, f"no Hugging Face checkpoint ({str(error).splitlines()[0]})") from error
    if seq_len > getattr(config, "max_position_embeddings", seq_len):
        raise InputError(f"seq_len {seq_len} exceeds the model's {config.max_position_embeddings} positions")
    model.config.return_dict = False
    names = ["input_ids", "attention_mask"] + (["token_type_ids"] if getattr(config, "type_vocab_size", 0) > 0 else [])
    ones = torch.ones((1, seq_len), dtype=torch.long)
    example = {name: torch.zeros_like(ones) if name == "token_type_ids" else ones for name in names}
    path.parent.mkdir(parents=True, exist_ok=True)
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # tracer warnings about shapes that are fixed here on purpose
        logging.getLogger("torch.onnx").setLevel(logging.ERROR)
        torch.onnx.export(
            model,
            (),
            str(path),
            kwargs=example,
            input_names=names,
            output_names=["logits" if heads else "last_hidden_state"],
            opset_version=OPSET,
            dynamo=False,
        )
    return path
