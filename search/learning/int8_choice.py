"""Which products of a checkpoint stay fp32 where it is int8, by its answers on training examples."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from data.tasks import Kind, Task
from search.learning.divergence import divergence
from search.learning.encoding import encode
from search.learning.objectives import predict
from search.learning.task_models import load_model
from search.learning.units import Units
from search.quantisation.sensitivity import choose_fp32
from search.records import Int8Choice

if TYPE_CHECKING:
    import numpy as np

# How far an int8 model may be from itself in fp32 (docs/decisions/int8-accuracy.md), and how many examples tell it.
MOST_DIVERGENCE = 0.005
_EXAMPLES = 256


def int8_choice(
    checkpoint: Path, task: Task, max_tokens: int, pair_limit: int | None = None, limit: float = MOST_DIVERGENCE
) -> Int8Choice:
    """Which products of a checkpoint stay fp32 where it is int8, by its answers on some of ``task.train``.

    Args:
        checkpoint: a Hugging Face folder of the task's kind, with its tokenizer.
        task: whose training examples are answered; dev is not read.
        max_tokens: where texts are cut.
        pair_limit: of int8 weights, as :func:`~search.quantisation.products.in_int8` has it.
        limit: how far its answers may be from those in fp32, as :class:`~search.records.Int8Choice` has it.

    Raises:
        InputError: the model's outputs are not finite.
    """
    from transformers import AutoTokenizer

    from fusion.checkpoints.loading import quiet_transformers

    examples = task.train[:: max(1, len(task.train) // _EXAMPLES)][:_EXAMPLES]
    with quiet_transformers():
        tokenizer, model = AutoTokenizer.from_pretrained(checkpoint), load_model(checkpoint, task.kind)
        encoded = encode(tokenizer, examples, task.kind, max_tokens)
        units, wanted = Units.of(encoded), predict(model, encoded)

        def distance() -> float:
            return _distance(task.kind, predict(model, encoded), wanted, units)

        return choose_fp32(model, distance, limit, pair_limit=pair_limit)


def _distance(kind: Kind, own: np.ndarray, wanted: np.ndarray, units: Units) -> float:
    found = divergence(kind, own, wanted, units).mean
    return found / float(wanted.var(axis=0).mean()) if kind == "similarity" else found
