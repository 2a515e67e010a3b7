"""What the front end's tests share."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.fusion.frontend.checkpoints import save_classifier


@pytest.fixture(scope="session")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_classifier(tmp_path_factory.mktemp("classifier"))


@pytest.fixture
def checkpoint(classifier: Path, tmp_path: Path) -> Path:
    """A copy of the classifier."""
    return Path(shutil.copytree(classifier, tmp_path / "checkpoint"))
