"""Fixtures for all tests."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support import COMPILED_VARIABLE, Completed, command_line, environment, new_home, run_in

# Files of more than half a minute, longest first; behind the whole searches, which take longest of all.
LONGEST = (
    "test_answers",
    "test_heads",
    "test_families",
    "test_search_command",
    "test_packaging",
    "test_distill",
    "test_profiling_a_phone",
    "test_table1_benchmark",
    "test_drifting_phone",
    "test_compiled_model",
    "test_trouble",
    "test_gpu",
    "test_mutated_files",
    "test_mutated_checkpoints",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What takes longest begins first: of several processes, none is then left alone with it at the end."""
    items.sort(key=_place)


def _place(item: pytest.Item) -> int:
    if item.get_closest_marker("end_to_end"):
        return -1
    return LONGEST.index(item.path.stem) if item.path.stem in LONGEST else len(LONGEST)


@pytest.fixture(scope="session", autouse=True)
def no_phones() -> Iterator[None]:
    """Tests neither see a developer's phones nor leave an adb server behind; those that need one bring their own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ANDROID_ADB_SERVER_PORT", "1")
        patch.setenv("ADBUTILS_ADB_PATH", "/nowhere/adb")
        yield


@pytest.fixture(scope="session", autouse=True)
def own_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A state home that is not the developer's; and one folder of what the C compiler makes, for all homes and all of
    pytest's processes."""
    temporary = tmp_path_factory.getbasetemp()
    folder = (temporary.parent if "PYTEST_XDIST_WORKER" in os.environ else temporary) / "compiled"
    folder.mkdir(exist_ok=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(COMPILED_VARIABLE, str(folder))
        patch.setenv("POCKETBERT_HOME", str(new_home(tmp_path_factory.mktemp("home"))))
        yield


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A state home."""
    return new_home(tmp_path / "home")


@pytest.fixture(scope="module")
def shared_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A state home for all tests of a file."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("POCKETBERT_HOME", str(new_home(tmp_path_factory.mktemp("home"))))
        yield


@pytest.fixture
def run_command(home: Path, tmp_path: Path) -> Callable[..., Completed]:
    """Runs one of the four commands in ``tmp_path``: ``run_command("search", "--device", "host", timeout=60)``."""

    def run(name: str, *arguments: str | Path, timeout: float = 60, **extra: str) -> Completed:
        argv = [*command_line(name), *map(str, arguments)]
        return run_in(tmp_path, argv, environment(home, **extra), timeout)

    return run
