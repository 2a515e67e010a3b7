"""What the tests of the GPU's runtime share: a driver that stands in for one."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from fusion.build.toolchain import RUNTIME

STAND_IN = Path(__file__).parent / "native" / "opencl_stand_in.c"


@pytest.fixture(scope="session")
def stand_in(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The stand-in, compiled; it notes every call, and fails on demand."""
    library = tmp_path_factory.mktemp("driver") / "libstandin.so"
    command = [
        sys.executable,
        "-m",
        "ziglang",
        "cc",
        "-shared",
        "-fPIC",
        "-O1",
        "-fno-sanitize=all",
        "-Wall",
        "-Werror",
    ]
    subprocess.run([*command, "-I", str(RUNTIME), str(STAND_IN), "-o", str(library)], check=True)
    return library
