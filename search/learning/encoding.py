"""Token ids of a task's texts, kept ragged (unpadded), and batches of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from data.errors import InputError
from data.tasks import Example, TaggedWords

if TYPE_CHECKING:
    import torch

_EVALUATION_TOKENS = 4096  # per batch: keeps both cores busy, and the activations in tens of megabytes


@dataclass(frozen=True)
class Encoded:
    """Tokenised examples, one after another.

    ``tokens`` and ``types`` are (total,) int32; example i is ``[offsets[i], offsets[i + 1])``; ``labels`` is
    (n,) float32.
    """

    tokens: np.ndarray
    types: np.ndarray
    offsets: np.ndarray
    labels: np.ndarray

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def lengths(self) -> np.ndarray:
        """Number of tokens of each example, (n,)."""
        return np.diff(self.offsets)

    def span(self, index: int) -> slice:
        """Where example ``index`` lies in ``tokens``."""
        return slice(int(self.offsets[index]), int(self.offsets[index + 1]))


def encode(tokenizer: Any, examples: Sequence[Example | TaggedWords], seq_len: int) -> Encoded:
    """Tokenise with the teacher's tokenizer, cut to ``seq_len`` tokens; types are 0 where its model knows none."""
    texts = [example for example in examples if isinstance(example, Example)]
    if len(texts) < len(examples):
        raise InputError("tagged words cannot be learnt yet")
    first = [example.first for example in texts]
    paired = bool(texts) and texts[0].second is not None
    second = [example.second for example in texts] if paired else None
    batch = tokenizer(first, second, truncation=True, max_length=seq_len)
    lengths = [len(ids) for ids in batch["input_ids"]]
    types = batch.get("token_type_ids") or [[0] * length for length in lengths]
    return Encoded(
        tokens=np.concatenate([np.asarray(ids, np.int32) for ids in batch["input_ids"]]),
        types=np.concatenate([np.asarray(ids, np.int32) for ids in types]),
        offsets=np.concatenate([[0], np.cumsum(lengths)]),
        labels=np.array([example.label for example in texts], np.float32),
    )


def pad(encoded: Encoded, indices: Sequence[int] | np.ndarray) -> dict[str, torch.Tensor]:
    """A batch padded to its own longest example: input_ids, attention_mask, token_type_ids, each (b, longest)."""
    import torch

    longest = max(int(encoded.lengths[index]) for index in indices)
    batch = np.zeros((3, len(indices), longest), np.int64)
    for row, index in enumerate(indices):
        span = encoded.span(index)
        length = span.stop - span.start
        batch[0, row, :length] = encoded.tokens[span]
        batch[1, row, :length] = 1
        batch[2, row, :length] = encoded.types[span]
    names = ("input_ids", "attention_mask", "token_type_ids")
    return {name: torch.from_numpy(values) for name, values in zip(names, batch, strict=True)}


def rows_of(encoded: Encoded) -> list[dict[str, Any]]:
    """Items for Trainer: the example's index, and its ids by whose length Trainer groups them."""
    return [{"index": index, "input_ids": encoded.tokens[encoded.span(index)]} for index in range(len(encoded))]


def batches_by_length(encoded: Encoded) -> Iterator[np.ndarray]:
    """Index batches of similar length, longest first, of about ``_EVALUATION_TOKENS`` tokens each."""
    order = np.argsort(-encoded.lengths, kind="stable")
    start = 0
    while start < len(order):
        count = max(1, _EVALUATION_TOKENS // int(encoded.lengths[order[start]]))
        yield order[start : start + count]
        start += count


def predict_logits(model: Any, encoded: Encoded) -> np.ndarray:
    """Logits of every example, (n, labels) float32, in the examples' order.

    Raises:
        InputError: the logits are not finite (training diverged).
    """
    import torch

    model.eval()
    device = next(model.parameters()).device
    rows: list[np.ndarray] = []
    order: list[np.ndarray] = []
    with torch.inference_mode():
        for indices in batches_by_length(encoded):
            batch = {name: values.to(device) for name, values in pad(encoded, indices).items()}
            rows.append(model(**batch).logits.float().cpu().numpy())
            order.append(indices)
    logits = np.concatenate(rows)[np.argsort(np.concatenate(order))]
    if not np.isfinite(logits).all():
        raise InputError("the model's logits are not finite: training diverged")
    return logits
