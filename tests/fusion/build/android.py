"""What phones have and this machine lacks: a loader that brings a C library, and a driver; for runners under qemu."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from fusion.build import bionic
from fusion.build.toolchain import RUNTIME
from fusion.target import target_named
from tests.fusion.build.elf import Elf

NATIVE = Path(__file__).parent / "native"
TARGET = target_named("aarch64-neon")
_ZIG = [sys.executable, "-m", "ziglang", "cc", "-target", TARGET.static_triple]
_COMPILE = [*_ZIG, "-c", "-O1", "-fPIC", "-fno-builtin", "-fno-sanitize=all", "-Wall", "-Werror"]


def make_driver(folder: Path) -> Path:
    """The driver that stands in for one, for a phone."""
    unit, library = folder / "driver.o", folder / "libdriver.so"
    source = NATIVE / "opencl_stand_in.c"
    subprocess.run([*_COMPILE, "-I", str(RUNTIME), str(source), "-o", str(unit)], check=True)
    subprocess.run([*_ZIG, "-shared", "-nostdlib", str(unit), "-o", str(library)], check=True)
    return library


def make_sysroot(folder: Path, driver: Path) -> Path:
    """A folder for qemu's ``-L``, with a loader where phones have theirs, which is their C library as well.

    It has what runners may import, and what the driver needs besides, as a vendor's may.
    """
    functions = {name for names in bionic.FUNCTIONS.values() for name in names} | Elf.of(driver).imported
    variables = {name for names in bionic.VARIABLES.values() for name in names}
    lines = [f"NAME({name})\n" for name in sorted(functions - variables)]
    (folder / "names.h").write_text("".join([*lines, *(f"VARIABLE({name})\n" for name in sorted(variables))]))
    loader = folder / bionic.LOADER.lstrip("/")
    loader.parent.mkdir(parents=True)
    unit = folder / "linker64.o"
    subprocess.run([*_COMPILE, "-I", str(folder), str(NATIVE / "linker64.c"), "-o", str(unit)], check=True)
    # Without any other flag, as the static runner is linked: the C library for others takes minutes to build.
    subprocess.run([*_ZIG, "-static", str(unit), "-o", str(loader)], check=True)
    return folder
