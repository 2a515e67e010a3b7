"""What of a pre-trained model's head is of use: a pooler, and a classifier on it; all else is left out by name."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from fusion.checkpoints.files import TensorHeader, check_finite, count_of, tensor_headers
from fusion.checkpoints.loading import HEAD_TENSORS, POOLER_TENSORS

if TYPE_CHECKING:
    from torch import Tensor

# Patterns of the names of tensors that belong to heads; the last is that of ELECTRA's multiple choice.
LEFT_OUT = (*HEAD_TENSORS, r"sequence_summary\.")
# Classifiers that are linear in what a BERT's pooler gives; DistilBERT's and ELECTRA's have other functions before.
_ON_THE_POOLER = ("bert", "albert")
# RoBERTa's classifiers have a pooler within, before the linear layer.
_WITH_A_POOLER = ("roberta", "xlm-roberta", "camembert")


@dataclass(frozen=True)
class StoredHead:
    """What is stored above an encoder.

    ``has_pooler``: the encoder's own is stored. ``pooler`` is one taken out of a head, ``dense.weight`` and
    ``dense.bias``; ``classifier`` the weight and bias of a linear classifier on the pooler.
    """

    has_pooler: bool
    pooler: Mapping[str, Tensor] | None
    classifier: tuple[Tensor, Tensor] | None
    remarks: tuple[str, ...]


def stored_head(source: Path, family: str, hidden: int) -> StoredHead:
    """What the checkpoint of a ``family`` holds above its encoder of ``hidden`` columns.

    Raises:
        DataFileError: no whole safetensors files, or numbers in the part that is taken are not finite.
    """
    headers = tensor_headers(source)
    has_pooler = any(re.match(POOLER_TENSORS[0], name) for name in headers)
    heads = {name for name in headers if any(re.match(pattern, name) for pattern in LEFT_OUT)}
    pooler = classifier = None
    if family in _WITH_A_POOLER and not has_pooler:
        pooler = _linear(headers, "classifier.dense", hidden)
        classifier = _linear(headers, "classifier.out_proj", hidden) if pooler else None
    elif family in _ON_THE_POOLER and has_pooler:
        classifier = _linear(headers, "classifier", hidden)
    taken = {name for name in heads if name.startswith("classifier.")} if classifier else set()
    remarks = []
    if classifier:
        remarks.append(f"its classifier of {len(classifier[1])} labels is kept where the task has as many")
    if heads - taken:
        remarks.append(f"its head is left out: {count_of(sorted(heads - taken))}")
    if not has_pooler and not pooler:
        remarks.append("it holds no pooler, so a new one is drawn")
    parts = {"dense.weight": pooler[0], "dense.bias": pooler[1]} if pooler else None
    return StoredHead(has_pooler, parts, classifier, tuple(remarks))


def _linear(headers: Mapping[str, TensorHeader], name: str, columns: int) -> tuple[Tensor, Tensor] | None:
    """Weight (rows, columns) and bias of a stored linear layer in fp32, None where it is not one of that width."""
    weight, bias = headers.get(f"{name}.weight"), headers.get(f"{name}.bias")
    if weight is None or bias is None or weight.shape != (bias.shape[0], columns):
        return None
    return _tensor(weight, f"{name}.weight"), _tensor(bias, f"{name}.bias")


def _tensor(header: TensorHeader, name: str) -> Tensor:
    from safetensors import safe_open

    with safe_open(header.file, "pt") as file:
        values: Tensor = file.get_tensor(name).float()
    check_finite(header.file, [] if values.isfinite().all() else [name])
    return values
