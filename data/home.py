"""Where pocketbert keeps its state: measurements, predictors, compiled blocks, teachers."""

from __future__ import annotations

import os
from pathlib import Path

import platformdirs


def home() -> Path:
    """The state directory: ``POCKETBERT_HOME``, or the platform's data directory for ``pocketbert``.

    The directory is not created here: whoever writes into it does.
    """
    chosen = os.environ.get("POCKETBERT_HOME")
    return Path(os.path.expanduser(chosen)) if chosen else Path(platformdirs.user_data_dir("pocketbert"))
