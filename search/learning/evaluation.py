"""A checkpoint's predictions on a task's dev examples, and what they are worth."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from data.tasks import Task
from search.learning.encoding import encode
from search.learning.objectives import predict
from search.learning.task_models import load_model

if TYPE_CHECKING:
    import numpy as np


def dev_predictions(checkpoint: Path, task: Task, max_tokens: int) -> tuple[np.ndarray, int]:
    """Predictions on ``task.dev`` as :meth:`~data.tasks.Task.score` takes them, and how many of its texts were cut.

    Args:
        checkpoint: a Hugging Face folder of the task's kind, with its tokenizer.
        task: whose dev examples are predicted.
        max_tokens: where texts are cut.

    Raises:
        InputError: the model's outputs are not finite.
    """
    from transformers import AutoTokenizer

    from fusion.checkpoints.loading import quiet_transformers

    with quiet_transformers():
        tokenizer = AutoTokenizer.from_pretrained(checkpoint)
        encoded = encode(tokenizer, task.dev, task.kind, max_tokens)
        return predict(load_model(checkpoint, task.kind), encoded), encoded.cut
