"""Machines that plans are compiled for: a processor, or a GPU with the driver that was found."""

from __future__ import annotations

import ctypes
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, Protocol

from data.errors import DeviceError
from fusion.build.toolchain import DRIVER_SOURCES, NOTHING, Addition, Toolchain, toolchain
from fusion.emit.c.program import build_program, emit_table
from fusion.emit.named import OPENCL
from fusion.emit.opencl.family import FAMILIES, Family, Tile, family_of
from fusion.emit.opencl.program import OpenClEmitter, emit_gpu_table
from fusion.emit.program import Program, place
from fusion.planning.plan import Plan
from fusion.target import Target, host_target, target_named

_DESCRIPTION_BYTES = 4096


class Machine(Protocol):
    """What a plan is laid out for, and what its code is compiled to."""

    @property
    def name(self) -> str:
        """For people."""
        ...

    @property
    def code(self) -> str:
        """What its code is generated for: see :func:`fusion.emit.named.emitter_named`."""
        ...

    @property
    def compiler(self) -> str:
        """Name and version of the C compiler."""
        ...

    @property
    def details(self) -> Mapping[str, str]:
        """What else tells it from others of its name."""
        ...

    @property
    def on_processor(self) -> bool:
        """Whether its code runs on the processor's cores."""
        ...

    def place(self, plan: Plan, name: str = "model") -> Program[Any]:
        """The plan, laid out in memory."""
        ...

    def sources(self, programs: Sequence[Program[Any]]) -> list[str]:
        """C of the programs, to be compiled with the runtime."""
        ...

    def library(self, program: Program[Any], addition: Addition = NOTHING) -> Path:
        """The compiled shared library in the cache."""
        ...

    def executable(
        self, programs: Sequence[Program[Any]], cache_dir: Path | None = None, addition: Addition = NOTHING
    ) -> Path:
        """The programs with the runner around them, in the cache."""
        ...


@dataclass(frozen=True)
class Processor:
    """A processor that runs a target's code."""

    target: Target

    @property
    def name(self) -> str:
        """The target's."""
        return self.target.name

    @property
    def code(self) -> str:
        """The target's name, too."""
        return self.target.name

    @property
    def compiler(self) -> str:
        """Name and version of the C compiler."""
        return toolchain(self.target).version

    @property
    def details(self) -> Mapping[str, str]:
        """None: a target is its name."""
        return {}

    @property
    def on_processor(self) -> bool:
        """It is one."""
        return True

    def place(self, plan: Plan, name: str = "model") -> Program[Any]:
        """In C."""
        return build_program(plan, self.target, name)

    def sources(self, programs: Sequence[Program[Any]]) -> list[str]:
        """Each distinct block's code once, and the table of the programs."""
        units = {unit.block.hash: unit.source for program in programs for unit in program.units}
        return [*(units[name] for name in sorted(units)), emit_table(programs)]

    def library(self, program: Program[Any], addition: Addition = NOTHING) -> Path:
        """Kernels and runtime."""
        return toolchain(self.target).library(self.sources([program]), addition)

    def executable(
        self, programs: Sequence[Program[Any]], cache_dir: Path | None = None, addition: Addition = NOTHING
    ) -> Path:
        """Static: it runs wherever the processor is."""
        return toolchain(self.target, cache_dir).executable(self.sources(programs), addition)


@dataclass(frozen=True)
class Gpu:
    """A GPU, as its driver describes it; ``processor`` where the driver runs kernels on a processor's cores.

    ``library_name`` is the driver's own; ``group`` are the most work-items of a group, ``texels`` the most of an image
    of one axis, ``width`` the fp32 numbers of a vector of the device's, ``units`` how many it has. ``tiles`` are
    those of products, by hash, that were chosen by timing; others have the first of their family. ``android`` is
    whether it is a phone's, not this machine's.
    """

    device: str
    vendor: str
    driver: str
    version: str
    library_name: str
    processor: bool
    width: int
    group: int
    texels: int
    units: int
    tiles: Mapping[str, Tile] = field(default_factory=lambda: MappingProxyType({}))
    android: bool = False

    @property
    def name(self) -> str:
        """For people."""
        return f"OpenCL on {self.device}"

    @property
    def code(self) -> str:
        """OpenCL for its family."""
        return f"{OPENCL}{self.family.name}"

    @property
    def family(self) -> Family:
        """What the emitter knows of its kind."""
        if self.processor:
            return FAMILIES[f"cores{16 if self.width >= 16 else 8 if self.width >= 8 else 4}"]
        return family_of(f"{self.device} {self.vendor}")

    @property
    def details(self) -> Mapping[str, str]:
        """Vendor and driver."""
        return {"vendor": self.vendor, "driver": self.driver, "version": self.version, "units": str(self.units)}

    @property
    def on_processor(self) -> bool:
        """Whether the driver runs kernels on a processor's cores."""
        return self.processor

    @property
    def compiler(self) -> str:
        """Name and version of the C compiler; the driver has its own."""
        return toolchain(host_target()).version

    def place(self, plan: Plan, name: str = "model") -> Program[Any]:
        """In OpenCL."""
        return place(plan, OpenClEmitter(self.family, self.texels, self.tiles), name)

    def sources(self, programs: Sequence[Program[Any]]) -> list[str]:
        """The table of the programs, with the sources of their kernels."""
        return [emit_gpu_table(programs, self.family)]

    def library(self, program: Program[Any], addition: Addition = NOTHING) -> Path:
        """The kernels' sources and the GPU's runtime: the driver compiles them when the model is opened.

        Raises:
            DeviceError: it is a phone's.
        """
        if self.android:
            raise DeviceError(f"{self.name}: a phone's GPU has runners only, no library")
        return toolchain(host_target()).gpu_library(self.sources([program]), addition=addition)

    def executable(
        self, programs: Sequence[Program[Any]], cache_dir: Path | None = None, addition: Addition = NOTHING
    ) -> Path:
        """Dynamic: it loads the driver when it runs."""
        if self.android:
            return _android_toolchain(cache_dir).bionic_executable(self.sources(programs), addition)
        return toolchain(host_target(), cache_dir).gpu_executable(self.sources(programs), addition)


def host_gpu() -> Gpu:
    """The first GPU that this machine's OpenCL driver has, or else its first processor.

    Raises:
        DeviceError: there is no driver, or no device; the message tells what was tried.
    """
    library = ctypes.CDLL(str(toolchain(host_target()).gpu_library([], DRIVER_SOURCES)))
    text = ctypes.create_string_buffer(_DESCRIPTION_BYTES)
    failed = library.pb_describe_gpu(text, _DESCRIPTION_BYTES)
    told = text.value.decode(errors="replace")
    if failed:
        raise DeviceError(f"{told}; install one (Debian: pocl-opencl-icd), or name its library in POCKETBERT_OPENCL")
    return described_gpu(told)


def describing_executable() -> Path:
    """A runner without programs, for phones: with ``--describe`` it prints what :func:`described_gpu` takes."""
    return _android_toolchain().bionic_executable([emit_gpu_table([], FAMILIES["other"])])


def described_gpu(text: str, android: bool = False) -> Gpu:
    """The GPU of which a driver said these lines ``key=value``.

    Raises:
        DeviceError: they are not what the runtime prints.
    """
    told = dict(line.partition("=")[::2] for line in text.splitlines())
    try:
        return _told_gpu(told, android)
    except (KeyError, ValueError) as error:
        raise DeviceError(f"a GPU's description was not understood: {text.strip()[:120]!r}") from error


def _android_toolchain(cache_dir: Path | None = None) -> Toolchain:
    """For what every 64-bit phone runs: the kernels are the driver's, the rest is not worth a level."""
    return toolchain(target_named("aarch64-neon"), cache_dir)


def _told_gpu(told: Mapping[str, str], android: bool) -> Gpu:
    return Gpu(
        device=told["name"],
        vendor=told["vendor"],
        driver=told["driver"],
        version=told["version"],
        library_name=told["library"],
        processor=told["processor"] == "1",
        width=int(told["width"]),
        group=int(told["group"]),
        texels=int(told["texels"]),
        units=int(told["units"]),
        android=android,
    )
