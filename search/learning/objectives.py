"""What a kind of task asks of a model: its losses against labels and teacher, and its predictions.

The losses of "similarity" compare texts of a batch with one another, so that they need no width in common: CoSENT
(Su 2022) against labels, the matrix of cosines (Park et al. 2019, relational distillation) against the teacher.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from data.errors import InputError
from data.tasks import Kind
from search.learning.encoding import NO_LABEL, Encoded, batches_by_length, pad

if TYPE_CHECKING:
    from torch import Tensor

_COSENT_SCALE = 20.0
# Cosines lie closer together than logits: brings the mean square of their differences to the size of other losses.
_COSINES = 100.0


def label_loss(kind: Kind, logits: Tensor, batch: dict[str, Any]) -> Tensor:
    """The loss of a batch against its labels; ``batch`` holds ``labels`` (b,), NaN where there is none, or
    ``token_labels`` (b, s)."""
    import torch
    from torch.nn.functional import cross_entropy, mse_loss

    if kind == "tokens":
        tags = batch["token_labels"].flatten()
        if not bool((tags != NO_LABEL).any()):
            return logits.sum() * 0.0
        return cross_entropy(logits.flatten(0, 1), tags, ignore_index=NO_LABEL)
    labels = batch["labels"]
    if kind == "similarity":
        return _cosent(logits, labels)
    known = ~torch.isnan(labels)
    if not bool(known.any()):
        return logits.sum() * 0.0
    if kind == "regression":
        return mse_loss(logits[known, 0], labels[known])
    return cross_entropy(logits[known], labels[known].long())


def _cosent(embeddings: Tensor, labels: Tensor) -> Tensor:
    """log(1 + sum of exp(20 (cos_j - cos_i))) over pairs of which i should be the more similar."""
    import torch

    if len(embeddings) != 2 * len(labels):
        return embeddings.sum() * 0.0  # plain sentences
    cosines = (embeddings[0::2] * embeddings[1::2]).sum(dim=1) * _COSENT_SCALE
    wrong = cosines[None, :] - cosines[:, None]
    counted = labels[:, None] > labels[None, :]
    zero = torch.zeros(1, device=embeddings.device)
    return torch.logsumexp(torch.cat([zero, wrong[counted]]), dim=0)


def teacher_loss(kind: Kind, logits: Tensor, teacher: Tensor, batch: dict[str, Any]) -> Tensor:
    """The loss of a batch's logits against the teacher's for the same texts."""
    from torch.nn.functional import cross_entropy, mse_loss

    if kind == "regression":
        return mse_loss(logits, teacher)
    if kind == "similarity":
        return _COSINES * (logits @ logits.T - teacher @ teacher.T).square().mean()
    if kind == "tokens":
        counted = batch["attention_mask"].bool()
        return cross_entropy(logits[counted], teacher[counted].softmax(dim=1))
    return cross_entropy(logits, teacher.softmax(dim=1))


def disagreement(kind: Kind, one: Tensor, other: Tensor, batch: dict[str, Any]) -> Tensor:
    """How far two outputs for the same texts are apart: Kullback-Leibler divergence in both directions, halved, or the
    mean square; not of "similarity". ``batch`` holds the ``attention_mask`` of both, one after the other."""
    if kind == "regression":
        return (one - other).square().mean()
    if kind == "tokens":
        counted = batch["attention_mask"][: len(one)].bool()
        one, other = one[counted], other[counted]
    return symmetric_divergence(one, other).mean()


def symmetric_divergence(one: Tensor, other: Tensor) -> Tensor:
    """(n,) Kullback-Leibler divergence in both directions, halved, of each row of logits (n, classes), nats."""
    logs = one.log_softmax(dim=1), other.log_softmax(dim=1)
    return ((logs[0].exp() - logs[1].exp()) * (logs[0] - logs[1])).sum(dim=1) / 2


def predict(model: Any, encoded: Encoded) -> np.ndarray:
    """Predictions as :meth:`data.tasks.Task.score` takes them, in the examples' order.

    Args:
        model: as :mod:`search.learning.task_models` makes it.
        encoded: the examples.

    Raises:
        InputError: they are not finite (training diverged).
    """
    rows = text_outputs(model, encoded)
    if encoded.kind == "tokens":
        found = _word_rows(rows, encoded, model.config.num_labels)
    elif encoded.kind == "similarity" and encoded.texts_each == 2:
        vectors = np.stack(rows)
        found = (vectors[0::2] * vectors[1::2]).sum(axis=1, keepdims=True)
    else:
        found = np.stack(rows)
    if not np.isfinite(found).all():
        raise InputError("the model's outputs are not finite: training diverged")
    return found


def text_outputs(model: Any, encoded: Encoded) -> list[np.ndarray]:
    """Each text's logits, in the texts' order: (labels,), or (s, labels) of "tokens"."""
    import torch

    model.eval()
    device = next(model.parameters()).device
    found: list[np.ndarray] = [np.zeros(0)] * len(encoded.lengths)
    with torch.inference_mode():
        for texts in batches_by_length(encoded):
            batch = {name: values.to(device) for name, values in pad(encoded, texts).items()}
            logits = model(**batch).logits.float().cpu().numpy()
            for row, text in zip(logits, texts, strict=True):
                found[text] = row[: encoded.lengths[text]] if encoded.kind == "tokens" else row
    return found


def _word_rows(rows: list[np.ndarray], encoded: Encoded, labels: int) -> np.ndarray:
    """(words, labels): logits at each word's first token; words that have none get label 0, O, for sure."""
    found = np.full((len(encoded.words), labels), -1.0, np.float32)
    found[:, 0] = 1.0
    logits = [row[encoded.labels[encoded.span(text)] != NO_LABEL] for text, row in enumerate(rows)]
    if logits:
        found[encoded.words] = np.concatenate(logits)
    return found
