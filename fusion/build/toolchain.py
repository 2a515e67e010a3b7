"""The C compiler: zig cc, for this machine and for phones, behind a content-addressed cache."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence, Set
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cache
from importlib import metadata
from pathlib import Path
from types import MappingProxyType

from data.errors import StoreError, ToolchainError
from data.home import home
from data.kept import read_sealed, seal
from data.usable_processors import usable_processors
from fusion.build import bionic
from fusion.target import Target

RUNTIME = Path(__file__).parents[1] / "runtime"
_COMMON_SOURCES = ("programs.c", "weights.c", "source.c", "checksum.c")
RUNTIME_SOURCES = ("model.c", "pool.c", "placement.c", *_COMMON_SOURCES)
DRIVER_SOURCES = ("opencl/driver.c", "opencl/description.c")
TEXT_SOURCES = tuple(
    f"text/{name}.c"
    for name in ("added", "bert", "byte_pairs", "scratch", "steps", "table", "tokenize", "unigrams", "word_pieces")
)
# Text in, answer out; for a Java machine; and for the runner.
ANSWER_SOURCES = (*TEXT_SOURCES, "app/text_model.c", "app/answers.c")
JAVA_SOURCES = ("app/java.c",)
TELLING_SOURCES = ("app/tell.c",)
GPU_SOURCES = (
    *(f"opencl/{name}.c" for name in ("model", "loaded", "running", "kernels", "device", "driver")),
    *_COMMON_SOURCES,
)
_RUNNER_SOURCES = ("runner.c", "arguments.c", "round.c", "json.c")
RUNNER_SOURCES = (*_RUNNER_SOURCES, "no_texts.c")
_FLAGS = (
    "-std=c11",
    "-O3",
    "-fPIC",
    "-fvisibility=hidden",
    "-ffp-contract=fast",
    "-fno-math-errno",
    "-fno-sanitize=all",
    "-Wall",
    "-Werror",
)
_SHARED = ("-shared", "-nostdlib")
_COMPILE_LIMIT_S = 300
# With less than this left, a failed compilation is put down to the full disk; the compiler just aborts.
_LEAST_FREE_BYTES = 1 << 20


@dataclass(frozen=True)
class _Product:
    """What is made: its name in the cache, the compiler's triple and other words, and the linker's words.

    ``linked_for`` is the linker's triple where zig links nothing for the compiler's.
    """

    name: str
    triple: str
    linking: tuple[str, ...]
    compiling: tuple[str, ...] = ()
    linked_for: str | None = None


@dataclass(frozen=True)
class Addition:
    """What else goes into a library or a runner: generated C ``sources``, and ``files`` of the runtime's folder."""

    sources: tuple[str, ...] = ()
    files: tuple[str, ...] = ()


NOTHING = Addition()


@dataclass(frozen=True)
class Toolchain:
    """Compiles and links for one target; equal content is never compiled twice.

    ``flags`` are added to each call (sanitizers in tests). Errors raise ``ToolchainError`` with the compiler's
    first message, a full disk ``StoreError``.
    """

    target: Target
    cache_dir: Path
    flags: tuple[str, ...] = ()

    @property
    def version(self) -> str:
        """Name and version of the compiler."""
        return f"zig cc {metadata.version('ziglang')}"

    def executable(self, sources: Sequence[str], addition: Addition = NOTHING) -> Path:
        """A static executable of generated sources, the runtime and the runner."""
        product = _Product("runner", self.target.static_triple, ("-static",))
        return self._make(product, (*sources, *addition.sources), (*RUNTIME_SOURCES, *_runner_files(addition)))

    def library(self, sources: Sequence[str], addition: Addition = NOTHING) -> Path:
        """A shared library of generated sources and the runtime.

        It is linked without a C library of its own: the process that loads it brings one. That spares building
        stubs for the target's, half a minute at the first use.
        """
        product = _Product("model.so", self.target.shared_triple, _SHARED)
        return self._make(product, (*sources, *addition.sources), (*RUNTIME_SOURCES, *addition.files))

    def gpu_library(
        self, sources: Sequence[str], runtime: Sequence[str] = GPU_SOURCES, addition: Addition = NOTHING
    ) -> Path:
        """A shared library of generated tables and the GPU's runtime, linked as :meth:`library` is."""
        product = _Product("gpu.so", self.target.shared_triple, _SHARED)
        return self._make(product, (*sources, *addition.sources), (*runtime, *addition.files))

    def gpu_executable(self, sources: Sequence[str], addition: Addition = NOTHING) -> Path:
        """An executable of generated tables, the GPU's runtime and the runner, which loads the driver when it runs."""
        product = _Product("gpu-runner", self.target.shared_triple, ("-ldl", "-lpthread"))
        return self._make(product, (*sources, *addition.sources), (*GPU_SOURCES, *_runner_files(addition)))

    def assembly(self, source: str) -> str:
        """Generated source as the compiler's assembly, for whoever wants to know what became of it."""
        product = _Product("unit.s", self.target.static_triple, ())
        flags = [*self._kernel_flags(product), "-I", str(RUNTIME), "-g0", "-S", "-Wno-unused-command-line-argument"]
        result = self.cache_dir / f"{_digest(self.version, *flags, _header_digest(), source)}.s"
        self._compile(source, flags, result)
        return (read_sealed(result) or b"").decode("utf-8")

    def bionic_executable(self, sources: Sequence[str], addition: Addition = NOTHING) -> Path:
        """As :meth:`gpu_executable`, for 64-bit phones, where the driver needs Android's own C library and loader.

        Raises:
            ToolchainError: the code calls what is not on the list of names that it may import.
        """
        runtime = (*GPU_SOURCES, *_runner_files(addition), *bionic.START_SOURCES)
        flags = bionic.EXECUTABLE_FLAGS
        return self._for_bionic("bionic-runner", flags, (*sources, *addition.sources), runtime, frozenset())

    def bionic_library(
        self,
        sources: Sequence[str],
        name: str,
        runtime: Sequence[str] = RUNTIME_SOURCES,
        others: Mapping[Target, Sequence[str]] = MappingProxyType({}),
    ) -> Path:
        """A shared library ``lib<name>.so`` for apps: generated sources and files of the runtime's folder, and sources
        that are compiled for ``others`` of the machine's targets.

        It exports what these give default visibility, as ``PB_API`` does, and nothing else.

        Raises:
            ToolchainError: as :meth:`bionic_executable`; or the code writes to standard output or standard error.
        """
        file = f"lib{name}.so"
        flags = (*bionic.LIBRARY_FLAGS, f"-Wl,-soname,{file}")
        return self._for_bionic(file, flags, sources, (*runtime, *bionic.HEADER_SOURCES), bionic.PRINTING, others)

    def _for_bionic(
        self,
        name: str,
        linking: Sequence[str],
        sources: Sequence[str],
        runtime: Sequence[str],
        without: Set[str],
        others: Mapping[Target, Sequence[str]] = MappingProxyType({}),
    ) -> Path:
        stubs = [str(self._stub(library, without)) for library in bionic.FUNCTIONS]
        compiling = bionic.compile_flags(self.target.machine, RUNTIME, _zig_folder())
        triple = f"{self.target.machine}-linux-{bionic.ANDROID}"
        product = _Product(name, triple, (*linking, *stubs), compiling, self.target.static_triple)
        try:
            return self._make(product, sources, runtime, others)
        except ToolchainError as error:
            if refused := bionic.refused_name(str(error)):
                what = "library" if name.endswith(".so") else "runner"
                problem = (
                    f"the {what} for Android may not import {refused}: it is not on the list in fusion/build/bionic.py"
                )
                raise ToolchainError(problem) from error
            raise

    def _make(
        self,
        product: _Product,
        sources: Sequence[str],
        runtime: Sequence[str],
        others: Mapping[Target, Sequence[str]] = MappingProxyType({}),
    ) -> Path:
        self.cache_dir.mkdir(parents=True, exist_ok=True)
        kernel_flags, runtime_flags = self._kernel_flags(product), self._runtime_flags(product)
        units = [(source, kernel_flags) for source in sources]
        for target, texts in others.items():
            other_flags = replace(self, target=target)._kernel_flags(product)
            units += [(text, other_flags) for text in texts]
        units += [((RUNTIME / file).read_text(encoding="utf-8"), runtime_flags) for file in runtime]
        flags = ["-target", product.linked_for or product.triple, *product.linking, *self.flags]
        key = _digest(
            self.version,
            *flags,
            *kernel_flags,
            *runtime_flags,
            _header_digest(),
            *(text for text, _ in units),
            *(target.name for target in others),
        )
        result = self.cache_dir / f"{key}-{product.name}"
        if read_sealed(result) is None:
            with ThreadPoolExecutor(max_workers=usable_processors().count) as pool:
                objects = list(pool.map(lambda unit: self._object(*unit), units))
            self._call([*flags, *map(str, objects)], result)
        return result

    def _object(self, source: str, flags: Sequence[str]) -> Path:
        result = self.cache_dir / f"{_digest(self.version, *flags, _header_digest(), source)}.o"
        self._compile(source, [*flags, "-I", str(RUNTIME), "-c"], result)
        return result

    def _stub(self, library: str, without: Set[str]) -> Path:
        """A library of that name that exports what may be imported from it, and does nothing."""
        flags = ["-target", self.target.static_triple, *bionic.STUB_FLAGS, f"-Wl,-soname,{library}"]
        source = bionic.stub_source(library, without)
        result = self.cache_dir / f"{_digest(self.version, *flags, source)}-{library}"
        self._compile(source, flags, result)
        return result

    def _compile(self, source: str, flags: Sequence[str], result: Path) -> None:
        """One source, unless its result is there already."""
        if read_sealed(result) is None:
            self.cache_dir.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=self.cache_dir) as folder:
                file = Path(folder) / "unit.c"
                file.write_text(source, encoding="utf-8")
                self._call([*flags, str(file)], result)

    def _kernel_flags(self, product: _Product) -> tuple[str, ...]:
        target = self.target
        vector = f"-DPB_VECTOR_BYTES={target.vector_bytes}"
        return (*_for(product), f"-mcpu={target.cpu}", *target.flags, vector, *_FLAGS, *self.flags)

    def _runtime_flags(self, product: _Product) -> tuple[str, ...]:
        """The runtime is compiled for every processor of the machine: it is what says that this one lacks something."""
        target = self.target
        needs = (f'-DPB_TARGET="{target.name}"', f'-DPB_NEEDS="{" ".join(target.needs)}"')
        return (*_for(product), f"-mcpu={target.baseline_cpu}", *needs, *_FLAGS, *self.flags)

    def _call(self, arguments: Sequence[str], result: Path) -> None:
        """Runs the compiler; the result appears whole or not at all."""
        partial = result.with_name(f"{result.name}.{os.getpid()}.{id(arguments)}")
        command = [str(_zig_folder() / "zig"), "cc", *arguments, "-o", str(partial)]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=_COMPILE_LIMIT_S, check=False)
        except subprocess.TimeoutExpired as error:
            raise ToolchainError(f"the C compiler gave no result within {_COMPILE_LIMIT_S} s") from error
        if done.returncode or not partial.exists():
            partial.unlink(missing_ok=True)
            if shutil.disk_usage(result.parent).free < _LEAST_FREE_BYTES:
                raise StoreError(f"the disk is full: {result.parent}; free some space and run it again")
            lines = [line for line in done.stderr.splitlines() if "error" in line] or done.stderr.splitlines()
            raise ToolchainError(f"the C compiler failed: {lines[0] if lines else f'exit code {done.returncode}'}")
        seal(partial)
        partial.replace(result)


def toolchain(target: Target, cache_dir: Path | None = None) -> Toolchain:
    """The compiler for a target, with its cache under the state directory unless told otherwise."""
    return Toolchain(target, cache_dir or home() / "compiled")


def _runner_files(addition: Addition) -> tuple[str, ...]:
    return (*_RUNNER_SOURCES, *addition.files) if addition.files else RUNNER_SOURCES


def _for(product: _Product) -> tuple[str, ...]:
    return ("-target", product.triple, *product.compiling)


@cache
def _zig_folder() -> Path:
    """Where the package of zig has its program; ``python -m ziglang`` starts the same one, after an interpreter."""
    return Path(str(metadata.distribution("ziglang").locate_file("ziglang")))


@cache
def _header_digest() -> str:
    return _digest(*(path.read_text(encoding="utf-8") for path in sorted(RUNTIME.rglob("*.h"))))


def _digest(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:32]
