"""A teacher's own answers on the examples that its students are judged by, kept beside it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from data.tasks import Task
from search.learning.encoding import Encoded
from search.learning.kept_arrays import kept_array
from search.learning.objectives import predict

if TYPE_CHECKING:
    import numpy as np
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
    return kept_array(directory / f"answers-{task.fingerprint[:16]}.npy", lambda: predict(model, held))
