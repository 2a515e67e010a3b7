"""What the tests of the GPU's runtime share: a driver that stands in for one."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from fusion.build.toolchain import RUNTIME

NATIVE = Path(__file__).parent / "native"


@pytest.fixture(scope="session")
def stand_in(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The stand-in, compiled; it notes every call, and fails on demand."""
    return _library(NATIVE / "opencl_stand_in.c", tmp_path_factory.mktemp("driver"))


@pytest.fixture(scope="session")
def pixel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A library that hands out the functions of the one that ``STAND_IN`` names, as on Pixel phones."""
    return _library(NATIVE / "pixel.c", tmp_path_factory.mktemp("driver"))


def _library(source: Path, folder: Path) -> Path:
    library = folder / f"lib{source.stem}.so"
    flags = ["-shared", "-fPIC", "-O1", "-fno-sanitize=all", "-Wall", "-Werror", "-I", str(RUNTIME)]
    subprocess.run([sys.executable, "-m", "ziglang", "cc", *flags, str(source), "-o", str(library)], check=True)
    return library
