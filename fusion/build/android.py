"""Shared libraries for apps on Android: one program, compiled for each ABI that devices and the emulator have."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

from data.errors import InputError, StoreError, UnknownNameError
from data.kept import read_sealed
from fusion.build.machine import Gpu, Machine, Processor
from fusion.build.toolchain import GPU_SOURCES, NOTHING, RUNTIME_SOURCES, Addition, toolchain
from fusion.emit.c.levels import in_levels, signed_rows
from fusion.emit.c.program import emit_table
from fusion.emit.opencl.family import FAMILIES
from fusion.emit.program import Program
from fusion.target import Target, target_named

# Targets by Android's names of its 64-bit ABIs. What an ABI has, every device has: Armv8.0 with NEON, or SSE4.2 with
# POPCNT, as the emulator does.
ABIS: Mapping[str, str] = MappingProxyType({"arm64-v8a": "aarch64-neon", "x86_64": "x86_64-sse"})
# Of phones' GPUs; those whose kernels run on a processor's cores are no phone's.
GPU_FAMILIES = ("adreno", "mali", "other")
# Also compiled for int8 products: what phones have had since about 2018. Both levels read the same weights.
BETTER: Mapping[str, str] = MappingProxyType({"arm64-v8a": "aarch64-dotprod"})
# The least that OpenCL 1.2 allows an image of one axis, in texels.
_LEAST_TEXELS = 65536

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,63}")
# libNAME.so of these names are Android's own.
_TAKEN = frozenset(
    "aaudio amidi android binder_ndk c camera2ndk dl EGL GLESv1_CM GLESv2 GLESv3 icu jnigraphics log m mediandk"
    " nativehelper nativewindow neuralnetworks OpenCL OpenMAXAL OpenSLES stdc sync vulkan z".split()
)


def checked_name(name: str) -> str:
    """A name for ``lib<name>.so``, which C and Java can say.

    Raises:
        InputError: it is something else than a letter with up to 63 letters, digits and underscores, or a library of
            Android's own is called so.
    """
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise InputError(f"a library's name is a letter and up to 63 letters, digits and underscores, not {name!r}")
    if name in _TAKEN:
        raise InputError(f"lib{name}.so is a library of Android's own: take another name")
    return name


def phones_processor(precision: str = "fp32") -> Processor:
    """What programs for an app's processor are laid out for, on every ABI, with products in a precision.

    Vectors have as many bytes on all of them, so that code and weights may be the same; the emulator's processor has
    half the registers that the tiles are made for, and takes longer. Tiles of int8 products are those for dot products.

    Raises:
        InputError: apps' libraries have no products in that precision.
    """
    if precision not in ("fp32", "int8"):
        raise InputError(f"an app's library for processors has products in fp32 or int8, not in {precision}")
    return Processor(target_named((BETTER if precision == "int8" else ABIS)["arm64-v8a"]))


def phones_gpu(family: str) -> Gpu:
    """A GPU of which only the family is known, with the least that each of it has.

    Raises:
        UnknownNameError: there is no such family of phones' GPUs.
    """
    if family not in GPU_FAMILIES:
        raise UnknownNameError("family of GPUs", family, GPU_FAMILIES)
    width = FAMILIES[family].width
    group = max(tile.group[0] * tile.group[1] for tile in FAMILIES[family].tiles)
    return Gpu(family, "", "", "", "", False, width, group, _LEAST_TEXELS, 0, android=True)


def java_class(name: str) -> str:
    """The class that an app's library brings its methods to, as the Java Native Interface names classes."""
    return f"pocketbert/{name}/NativeModel"


def app_libraries(
    program: Program[Any],
    machine: Machine,
    name: str,
    addition: Addition = NOTHING,
    cache_dir: Path | None = None,
) -> Mapping[str, bytes]:
    """``lib<name>.so`` for each ABI, of a program laid out for ``machine``: one of the two above, or a phone's GPU.

    They read the same weights. What else goes into them is exported as well, where it has default visibility. int8
    products are there for phones with dot products and for those without.

    Raises:
        InputError: the name is none for a library.
        ToolchainError: the C compiler failed, or the code calls what Android's C library may not have.
        StoreError: the cache was changed meanwhile.
    """
    runtime = RUNTIME_SOURCES if isinstance(machine, Processor) else GPU_SOURCES
    name, runtime = checked_name(name), (*runtime, *addition.files)
    libraries = {}
    for abi, target in ABIS.items():
        sources, others = _sources(program, machine, abi)
        compiler = toolchain(target_named(target), cache_dir)
        file = compiler.bionic_library([*sources, *addition.sources], name, runtime, others)
        content = read_sealed(file)
        if content is None:
            raise StoreError(f"the compiled library {file} was changed or removed while it was read")
        libraries[abi] = content
    return MappingProxyType(libraries)


def _sources(program: Program[Any], machine: Machine, abi: str) -> tuple[list[str], Mapping[Target, Sequence[str]]]:
    """C of the program for an ABI, and what is compiled for other targets than the ABI's own."""
    if not isinstance(machine, Processor):
        return machine.sources([program]), {}
    units = {unit.block.hash: unit for unit in program.units}
    ordered, table = [units[name] for name in sorted(units)], emit_table([program])
    if abi not in BETTER:
        return [*map(signed_rows, ordered), table], {}
    better = target_named(BETTER[abi])
    levels = in_levels(ordered, better)
    return [*levels.plain, table], {better: levels.better}
