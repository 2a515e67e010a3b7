"""Drivers that stand in for a GPU's, compiled for this machine."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from fusion.build.toolchain import RUNTIME

NATIVE = Path(__file__).parent / "native"


def make_stand_in(folder: Path) -> Path:
    """One that notes every call, and fails on demand."""
    return _library(NATIVE / "opencl_stand_in.c", folder)


def make_pixel(folder: Path) -> Path:
    """One that hands out the functions of the one that ``STAND_IN`` names, as on Pixel phones."""
    return _library(NATIVE / "pixel.c", folder)


def _library(source: Path, folder: Path) -> Path:
    library = folder / f"lib{source.stem}.so"
    flags = ["-shared", "-fPIC", "-O1", "-fno-sanitize=all", "-Wall", "-Werror", "-I", str(RUNTIME)]
    subprocess.run([sys.executable, "-m", "ziglang", "cc", *flags, str(source), "-o", str(library)], check=True)
    return library
