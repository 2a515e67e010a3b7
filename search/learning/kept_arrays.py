"""Arrays that take seconds to compute and are wanted again by later processes, kept in a file each."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from data.errors import StoreError
from data.kept import replacing

if TYPE_CHECKING:
    from numpy.typing import NDArray


def kept_array(path: Path, make: Callable[[], NDArray[np.float32]]) -> NDArray[np.float32]:
    """What ``make`` gives, float32 of any shape: read from ``path``, or made now and put there.

    Raises:
        StoreError: the file is damaged, or cannot be written.
    """
    if not path.exists():
        made = np.asarray(make(), dtype=np.float32)
        with replacing(path) as partial, partial.open("wb") as file:
            np.save(file, made, allow_pickle=False)
        return made
    try:
        found = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise StoreError(f"{path} is damaged; remove it to have it made anew") from error
    return np.asarray(found, dtype=np.float32)
