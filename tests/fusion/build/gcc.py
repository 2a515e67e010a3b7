"""The runtime built by GCC, which brings the sanitizers that zig does not."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from fusion.build.toolchain import RUNTIME, RUNTIME_SOURCES
from fusion.compiled import CompiledModel
from fusion.emit.c.program import emit_table
from fusion.emit.program import Program
from fusion.target import Target

NATIVE = Path(__file__).parent / "native"
PROCESSORS = {
    "x86_64-avx512-vnni": ("-march=x86-64-v4", "-mavx512vnni"),
    "x86_64-avx512": ("-march=x86-64-v4",),
    "x86_64-avx2-vnni": ("-march=x86-64-v3", "-mavxvnni"),
    "x86_64-avx2": ("-march=x86-64-v3",),
    "x86_64-sse": ("-march=x86-64-v2",),
    "aarch64-i8mm": ("-march=armv8.2-a+dotprod+i8mm",),
    "aarch64-dotprod": ("-march=armv8.2-a+dotprod",),
    "aarch64-lse": ("-march=armv8.1-a",),
    "aarch64-neon": ("-march=armv8-a",),
}
WARNINGS = ("-Wall", "-Wextra", "-Werror", "-pedantic")
# Of generated code and the runtime, which may use the compiler's extensions.
RUNTIME_WARNINGS = ("-Wall", "-Werror", "-Wno-unknown-pragmas", "-Wno-psabi")
# Children end while the parent's threads and memory are theirs as well, which is no leak.
SANITIZER_SETTINGS = {
    "TSAN_OPTIONS": "die_after_fork=0:report_thread_leaks=0:atexit_sleep_ms=0",
    "ASAN_OPTIONS": "detect_leaks=0",
}

needs_gcc = pytest.mark.skipif(shutil.which("gcc") is None, reason="GCC is not installed")
needs_gxx = pytest.mark.skipif(shutil.which("g++") is None, reason="G++ is not installed")


def model_objects(model: CompiledModel, sanitizer: str | None, folder: Path) -> list[str]:
    """The model's generated code and the runtime, compiled with a sanitizer; link them with :func:`link`."""
    return program_objects([model.program], model.target, sanitizer, folder)


def program_objects(programs: Sequence[Program], target: Target, sanitizer: str | None, folder: Path) -> list[str]:
    """As :func:`model_objects`, of several programs."""
    units = {unit.block.hash: unit.source for program in programs for unit in program.units}
    sources = [*units.values(), emit_table(programs)]
    files = [folder / f"unit{index}.c" for index in range(len(sources))]
    for file, source in zip(files, sources, strict=True):
        file.write_text(source)
    flags = [*PROCESSORS[target.name], f"-DPB_VECTOR_BYTES={target.vector_bytes}", "-fno-math-errno"]
    words = (*sanitizing(sanitizer), *flags, *RUNTIME_WARNINGS)
    _compile([*words, "-c", *map(str, files)], folder)
    runtime = [_runtime_object(name, words) for name in RUNTIME_SOURCES]
    return [*(str(file.with_suffix(".o")) for file in files), *map(str, runtime)]


def link(parts: Sequence[str | Path], program: Path, sanitizer: str | None = None, flags: Sequence[str] = ()) -> Path:
    """A program of C files and objects."""
    words = (*sanitizing(sanitizer), *flags)
    files = [_runtime_object(part.name, words) if part.parent == RUNTIME else part for part in map(Path, parts)]
    _compile([*words, *map(str, files), "-lpthread", "-lm", "-o", str(program)], program.parent)
    return program


def sanitizing(sanitizer: str | None) -> list[str]:
    """GCC's flags for a sanitizer, or for none."""
    return [f"-fsanitize={sanitizer}", "-fno-sanitize-recover=all"] if sanitizer else []


@cache
def _runtime_object(name: str, flags: tuple[str, ...]) -> Path:
    """A file of the runtime's folder, compiled once for all tests of a process."""
    result = Path(_objects().name) / f"{hash(flags)}-{name.replace('/', '-')}.o"
    _compile([*flags, "-c", str(RUNTIME / name), "-o", str(result)], result.parent)
    return result


@cache
def _objects() -> TemporaryDirectory[str]:
    """A folder that is there until the process ends."""
    return TemporaryDirectory()


def _compile(words: Sequence[str], folder: Path) -> None:
    command = ["gcc", "-std=c11", "-O1", "-g1", "-I", str(RUNTIME), *words]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
