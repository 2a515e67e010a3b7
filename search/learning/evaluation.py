"""A checkpoint's predictions on a task's dev examples, in the precision that it is computed in."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING

from data.architecture import Precision
from data.tasks import Task
from search.learning.encoding import encode
from search.learning.objectives import predict
from search.learning.task_models import load_model
from search.quantisation.products import in_precision

if TYPE_CHECKING:
    import numpy as np


def dev_predictions(
    checkpoint: Path,
    task: Task,
    max_tokens: int,
    precision: Precision = "fp32",
    fp32: Collection[str] = (),
    pair_limit: int | None = None,
) -> tuple[np.ndarray, int]:
    """Predictions on ``task.dev`` as :meth:`~data.tasks.Task.score` takes them, and how many of its texts were cut.

    Args:
        checkpoint: a Hugging Face folder of the task's kind, with its tokenizer.
        task: whose dev examples are predicted.
        max_tokens: where texts are cut.
        precision: what the model is computed in.
        fp32: names of modules whose products are fp32 all the same.
        pair_limit: of int8 weights, as :func:`~search.quantisation.products.in_int8` has it.

    Raises:
        InputError: the model's outputs are not finite, or there are no such modules.
    """
    from transformers import AutoTokenizer

    from fusion.checkpoints.loading import quiet_transformers

    with quiet_transformers():
        tokenizer = AutoTokenizer.from_pretrained(checkpoint)
        encoded = encode(tokenizer, task.dev, task.kind, max_tokens)
        model = load_model(checkpoint, task.kind)
        with in_precision(model, precision, fp32, pair_limit):
            return predict(model, encoded), encoded.cut
