"""The C tokenizer as a library, once for all tests of this folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fusion.tokenizer.native import built_library


@pytest.fixture(scope="session")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The C tokenizer, built by zig cc as exported models have it."""
    return built_library(tmp_path_factory.mktemp("library"))
