"""Hugging Face checkpoints as models of transformers, checked while they are loaded."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from data.errors import DataFileError, ModelError
from fusion.frontend.heads import encoder_class, head_classes, is_encoder


def load_checkpoint(directory: Path, attention: str | None = "eager", encoder_only: bool = False) -> Any:
    """The model on the CPU, with the head that ``config.json`` names, or else the one whose tensors are all stored.

    ``attention`` is one of transformers' implementations, None leaves the choice to it. ``encoder_only`` asks for the
    encoder whatever head is named. A pooler that is not stored is left out.

    Raises:
        DataFileError: the directory holds no checkpoint that transformers can read.
        ModelError: it has a head that is not compiled, or one that cannot be told; see :mod:`fusion.frontend.heads`.
    """
    import transformers
    from safetensors import SafetensorError

    try:
        config = transformers.AutoConfig.from_pretrained(directory, local_files_only=True)
        with quiet_transformers():
            classes = (encoder_class(config, directory),) if encoder_only else head_classes(config, directory)
            maker = classes[0] if len(classes) == 1 else _filled_class(directory, classes)
            model, report = _load(maker, directory, attn_implementation=attention)
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        problem = (str(error).splitlines() or [type(error).__name__])[0]
        raise DataFileError(directory, f"no Hugging Face checkpoint ({problem})") from error
    if is_encoder(maker) and any(name.startswith("pooler.") for name in report["missing_keys"]):
        model.pooler = None
    return model.cpu().eval()


def _load(maker: Any, directory: Path, **options: Any) -> Any:
    """A model, and transformers' report of missing, unexpected and mismatched tensors."""
    return maker.from_pretrained(
        directory, local_files_only=True, use_safetensors=True, output_loading_info=True, **options
    )


def _filled_class(directory: Path, classes: tuple[Any, ...]) -> Any:
    """The first class that has a place for every stored tensor, and a stored tensor for every place but a pooler's."""
    left_over: set[str] = set()
    for maker in classes:
        _, report = _load(maker, directory, ignore_mismatched_sizes=True)
        missing = {name for name in report["missing_keys"] if not (is_encoder(maker) and name.startswith("pooler."))}
        if not missing and not report["unexpected_keys"]:
            return maker
        left_over = left_over or set(report["unexpected_keys"]) or missing
    names = sorted(left_over)
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    raise ModelError(
        f"{directory}: the stored tensors ({', '.join(names[:3])}{more}) belong to none of "
        f"{', '.join(maker.__name__ for maker in classes)}; name the model's class in config.json's architectures"
    )


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
