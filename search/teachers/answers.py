"""A teacher's own answers on the examples that its students are judged by, kept beside it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from data.errors import StoreError
from data.kept import replacing
from data.tasks import Task
from search.learning.encoding import Encoded
from search.learning.objectives import predict

if TYPE_CHECKING:
    from numpy.typing import NDArray


def kept_answers(directory: Path, model: Any, task: Task, held: Encoded) -> NDArray[np.float32]:
    """The teacher's predictions on ``task.dev``, computed where they are not in its folder yet.

    Args:
        directory: the teacher's.
        model: the teacher, loaded.
        task: the task; answers are kept by its fingerprint.
        held: ``task.dev``, encoded.

    Raises:
        StoreError: what is kept is damaged, or the folder cannot be written.
    """
    path = directory / f"answers-{task.fingerprint[:16]}.npy"
    if not path.exists():
        answers = np.asarray(predict(model, held), dtype=np.float32)
        with replacing(path) as partial, partial.open("wb") as file:
            np.save(file, answers, allow_pickle=False)
        return answers
    try:
        found = np.load(path, allow_pickle=False)
    except (OSError, ValueError) as error:
        raise StoreError(f"{path} is damaged; remove it to have it made anew") from error
    return np.asarray(found, dtype=np.float32)
