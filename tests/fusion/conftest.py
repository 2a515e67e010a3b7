"""What the compiler's tests share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest


@pytest.fixture(scope="module")
def shared_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A state home for all tests of a file: blocks that several models share are compiled once."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("POCKETBERT_HOME", str(tmp_path_factory.mktemp("home")))
        yield
