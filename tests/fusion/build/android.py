"""What phones have and this machine lacks: a loader that brings a C library, and a driver; for runners under qemu, and
for libraries of apps, which stand-ins load on the emulator's machine as well."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from fusion.build import bionic
from fusion.build.android import ABIS
from fusion.build.toolchain import RUNTIME
from fusion.target import target_named
from tests.fusion.build.elf import Elf

NATIVE = Path(__file__).parent / "native"
TARGET = target_named("aarch64-neon")
_COMPILE = ("-c", "-O1", "-fPIC", "-fno-builtin", "-fno-sanitize=all", "-Wall", "-Werror")


def make_driver(folder: Path, abi: str = "arm64-v8a") -> Path:
    """The driver that stands in for one, for a phone."""
    unit, library = folder / "driver.o", folder / "libdriver.so"
    _zig(abi, [*_COMPILE, "-I", str(RUNTIME), str(NATIVE / "opencl_stand_in.c"), "-o", str(unit)])
    pages = [f"-Wl,-z,{which}-page-size={bionic.SEGMENT_ALIGNMENT}" for which in ("max", "common")]
    _zig(abi, ["-shared", "-nostdlib", *pages, str(unit), "-o", str(library)])
    return library


def make_sysroot(folder: Path, driver: Path) -> Path:
    """A folder for qemu's ``-L``, with a loader where phones have theirs, which is their C library as well.

    It has what runners may import, and what the driver needs besides, as a vendor's may.
    """
    loader = folder / bionic.LOADER.lstrip("/")
    loader.parent.mkdir(parents=True)
    _link_loader(NATIVE / "linker64.c", "arm64-v8a", driver, folder, loader)
    return folder


def make_app(folder: Path, abi: str, driver: Path | None = None, source: str = "app.c") -> list[str]:
    """The command of a program for an ABI that loads an app's library and uses its model: native/app.c, or another."""
    program = _link_loader(NATIVE / source, abi, driver, folder, folder / "program")
    if abi == "x86_64":
        return [str(program)]
    emulator = shutil.which("qemu-aarch64-static")
    if emulator is None:
        pytest.skip("qemu-user-static is not installed")
    return [emulator, str(program)]


def make_bionic_names(folder: Path) -> Path:
    """A folder for the loader of this machine, with libraries of bionic's names around its own C library."""
    for library in bionic.FUNCTIONS:
        words = ["gcc", "-shared", "-fPIC", f"-Wl,-soname,{library}", "-o", str(folder / library)]
        subprocess.run([*words, str(NATIVE / "bionic_names.c")], check=True, timeout=60)
    return folder


def _link_loader(source: Path, abi: str, driver: Path | None, folder: Path, program: Path) -> Path:
    """A static program that hands out its own C library under bionic's names."""
    functions = {name for names in bionic.FUNCTIONS.values() for name in names}
    functions |= Elf.of(driver).imported if driver is not None else set()
    variables = {name for names in bionic.VARIABLES.values() for name in names}
    lines = [f"NAME({name})\n" for name in sorted(functions - variables)]
    (folder / "names.h").write_text("".join([*lines, *(f"VARIABLE({name})\n" for name in sorted(variables))]))
    unit = folder / f"{source.stem}.o"
    _zig(abi, [*_COMPILE, "-I", str(folder), "-I", str(RUNTIME), str(source), "-o", str(unit)])
    # Without any other flag, as the static runner is linked: the C library for others takes minutes to build.
    _zig(abi, ["-static", str(unit), "-o", str(program)])
    return program


def _zig(abi: str, words: list[str]) -> None:
    triple = target_named(ABIS[abi]).static_triple
    subprocess.run([sys.executable, "-m", "ziglang", "cc", "-target", triple, *words], check=True, timeout=300)
