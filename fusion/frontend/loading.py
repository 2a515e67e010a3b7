"""Hugging Face checkpoints as models of transformers, checked while they are loaded."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from data.errors import DataFileError

# Heads that are kept, as transformers names them; any other is dropped, and hidden states are the output.
_HEADS = ("ForSequenceClassification", "ForTokenClassification")


def load_checkpoint(directory: Path, attention: str | None = "eager") -> tuple[Any, bool]:
    """The model on the CPU, and whether it has a head for classification or regression.

    ``attention`` is one of transformers' implementations, None leaves the choice to it.

    Raises:
        DataFileError: the directory holds no checkpoint that transformers can read.
    """
    import transformers
    from safetensors import SafetensorError

    try:
        config = transformers.AutoConfig.from_pretrained(directory, local_files_only=True)
        heads = [head for head in _HEADS if any(name.endswith(head) for name in config.architectures or [])]
        maker = getattr(transformers, f"AutoModel{heads[0] if heads else ''}")
        with quiet_transformers():
            model = maker.from_pretrained(
                directory, local_files_only=True, use_safetensors=True, attn_implementation=attention
            )
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        problem = (str(error).splitlines() or [type(error).__name__])[0]
        raise DataFileError(directory, f"no Hugging Face checkpoint ({problem})") from error
    model.config.return_dict = False
    return model.cpu().eval(), bool(heads)


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
