"""What the tests of the GPU's runtime share: drivers that stand in for one."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fusion.build.drivers import make_pixel, make_stand_in


@pytest.fixture(scope="session")
def stand_in(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_stand_in(tmp_path_factory.mktemp("driver"))


@pytest.fixture(scope="session")
def pixel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_pixel(tmp_path_factory.mktemp("driver"))
