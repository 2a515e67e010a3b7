"""What the compiler's tests share."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from data.errors import DeviceError
from fusion.build.machine import Gpu, host_gpu
from tests.fusion.checkpoints.checkpoints import save_classifier


@pytest.fixture(scope="module")
def gpu(shared_home: None) -> Gpu:
    """This machine's GPU, or PoCL on its cores; the test is skipped where there is no driver."""
    try:
        return host_gpu()
    except DeviceError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_classifier(tmp_path_factory.mktemp("classifier"))


@pytest.fixture
def checkpoint(classifier: Path, tmp_path: Path) -> Path:
    """A copy of the classifier."""
    return Path(shutil.copytree(classifier, tmp_path / "checkpoint"))
