"""What several test files need: the checkout, and its commands as child processes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
SHARED_DATA = ROOT.parent / "shared" / "data"
COMMANDS = ("profile-device", "search", "portability-study", "fuse-model")

# The folder of what the C compiler makes in this run of the tests; conftest.py sets it.
COMPILED_VARIABLE = "POCKETBERT_TESTS_COMPILED"

Completed = subprocess.CompletedProcess[str]


def new_home(folder: Path) -> Path:
    """A state home, empty but for what this run of the tests compiled: the same code is compiled once for all tests.

    Tests of the compiler's cache itself have homes of their own.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "compiled").is_symlink():
        (folder / "compiled").symlink_to(os.environ[COMPILED_VARIABLE], target_is_directory=True)
    return folder


def command_line(name: str) -> list[str]:
    """How this checkout's command is started, installed or not: what its console script does."""
    module = f"search.commands.{name.replace('-', '_')}"
    return [sys.executable, "-c", f"import sys; sys.argv[0] = {name!r}; from {module} import main; sys.exit(main())"]


def environment(home: Path, **extra: str) -> dict[str, str]:
    """This process's environment with the checkout first on the path, no hub, and ``home`` as the state home."""
    return os.environ | {
        "PYTHONPATH": str(ROOT),
        "POCKETBERT_HOME": str(home),
        "HF_HUB_OFFLINE": "1",
        "COLUMNS": "120",
        "NO_COLOR": "1",
        **extra,
    }


def run_in(folder: Path, argv: list[str], env: dict[str, str], timeout: float = 60) -> Completed:
    """A child process in ``folder``, without standard input, its output as text."""
    return subprocess.run(
        argv,
        cwd=folder,
        env=env,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )


def assert_one_error_line(completed: Completed, exit_code: int, *parts: str) -> None:
    """The command failed with ``exit_code`` and exactly one line on standard error, which holds each of ``parts``."""
    assert "Traceback" not in completed.stderr, completed.stderr
    assert completed.returncode == exit_code, f"exit {completed.returncode}: {completed.stderr}"
    errors = [line for line in completed.stderr.splitlines() if line.startswith("error:")]
    assert len(errors) == 1, completed.stderr
    assert completed.stderr.splitlines()[-1] == errors[0], completed.stderr
    for part in parts:
        assert part in errors[0]
