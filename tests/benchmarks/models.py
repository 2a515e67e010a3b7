"""The models of the benchmark: Hugging Face checkpoints of known sizes with random weights, and their ONNX files."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from data.architecture import Architecture
from data.errors import UnknownNameError
from data.home import home
from fusion.checkpoints.loading import quiet_transformers
from fusion.checkpoints.onnx_export import checkpoint_to_onnx
from fusion.compare.engines import ModelFiles

# Facts.md section 4: the models that the goals speak of.
PUBLISHED = ("bert-base", "distilbert", "mobilebert", "28x256-h4-f1024", "6x384-h12-f1536", "12x128-h2-f512")
# Shapes that nothing was tuned on: odd widths, few wide layers, many narrow ones.
HELD_OUT = ("5x200-h5-f700", "2x1024-h16-f4096", "20x96-h3-f384")
# Shapes on which other engines were found ahead on machines with AVX2 only.
ODD = ("7x312-h12-f1200", "20x192-h3-f640")
_SIZES = re.compile(r"(\d+)x(\d+)-h(\d+)-f(\d+)")


def check_model(name: str) -> None:
    """``UnknownNameError`` for what is neither a family nor sizes such as ``6x384-h12-f1536``."""
    if name not in _FAMILIES and not _SIZES.fullmatch(name):
        raise UnknownNameError("model (nor sizes such as 2x64-h2-f128)", name, [*PUBLISHED, *HELD_OUT])


def model_files(name: str, seq_len: int) -> ModelFiles:
    """The model's checkpoint and ONNX file in the state home, made at the first use; equal names, equal weights."""
    folder = home() / "benchmarks" / f"{name}-{seq_len}"
    if not folder.exists():
        partial = folder.with_name(f"{folder.name}.partial")
        shutil.rmtree(partial, ignore_errors=True)
        _save(name, partial / "checkpoint")
        checkpoint_to_onnx(partial / "checkpoint", partial / "model.onnx", seq_len)
        partial.rename(folder)
    return ModelFiles(folder / "model.onnx", seq_len, folder / "checkpoint")


def _save(name: str, folder: Path) -> None:
    import torch

    torch.manual_seed(0)
    with quiet_transformers():
        _FAMILIES.get(name, lambda: _bert(name))().save_pretrained(folder)


def _bert(name: str) -> Any:
    from transformers import BertConfig, BertForSequenceClassification

    sizes = _SIZES.fullmatch(name)
    assert sizes is not None
    architecture = Architecture(*map(int, sizes.groups()))
    config = BertConfig(
        hidden_size=architecture.hidden,
        num_hidden_layers=architecture.layers,
        num_attention_heads=architecture.heads,
        intermediate_size=architecture.intermediate,
    )
    return BertForSequenceClassification(config)


def _bert_base() -> Any:
    return _bert("12x768-h12-f3072")


def _distilbert() -> Any:
    from transformers import DistilBertConfig, DistilBertForSequenceClassification

    return DistilBertForSequenceClassification(DistilBertConfig())


def _mobilebert() -> Any:
    from transformers import MobileBertConfig, MobileBertForSequenceClassification

    return MobileBertForSequenceClassification(MobileBertConfig())


_FAMILIES: dict[str, Callable[[], Any]] = {
    "bert-base": _bert_base,
    "distilbert": _distilbert,
    "mobilebert": _mobilebert,
}
