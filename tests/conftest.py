"""Fixtures for all tests."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support import Completed, command_line, environment, run_in


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Whole searches begin first: of several processes, none is then left alone with them at the end."""
    items.sort(key=lambda item: item.get_closest_marker("end_to_end") is None)


@pytest.fixture(scope="session", autouse=True)
def no_phones() -> Iterator[None]:
    """Tests neither see a developer's phones nor leave an adb server behind; those that need one bring their own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ANDROID_ADB_SERVER_PORT", "1")
        patch.setenv("ADBUTILS_ADB_PATH", "/nowhere/adb")
        yield


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """An empty state home."""
    return tmp_path / "home"


@pytest.fixture(scope="module")
def shared_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A state home for all tests of a file: blocks that several models share are compiled once."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("POCKETBERT_HOME", str(tmp_path_factory.mktemp("home")))
        yield


@pytest.fixture
def run_command(home: Path, tmp_path: Path) -> Callable[..., Completed]:
    """Runs one of the four commands in ``tmp_path``: ``run_command("search", "--device", "host", timeout=60)``."""

    def run(name: str, *arguments: str | Path, timeout: float = 60, **extra: str) -> Completed:
        argv = [*command_line(name), *map(str, arguments)]
        return run_in(tmp_path, argv, environment(home, **extra), timeout)

    return run
