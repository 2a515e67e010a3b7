"""Targets: what the code generator needs to know of a processor, and which processors run its code."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Set
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Literal

from data.errors import DeviceError, InputError, UnknownNameError
from data.processor import shared_flags

# What the inner loop of int8 products is made of: sums of two products in 16 bits (vpmaddubsw, smlal), of four in 32
# bits (vpdpbusd, sdot), or of 2 x 8 by 8 x 2 numbers (smmla).
Int8Loop = Literal["pairs", "dot", "mmla"]


@dataclass(frozen=True)
class Target:
    """An instruction set: vector width in bytes, vector registers, L2 bytes a core, and the compiler's words for it.

    ``needs`` is every instruction set that the compiler may use for ``cpu``, by the names that Linux gives them in
    ``/proc/cpuinfo``, which the compiled code's own check knows as well (runtime/processor.h). ``int8`` is the inner
    loop of its int8 products (runtime/int8.h); ``half`` is whether it calculates in half precision (runtime/fp16.h).
    """

    name: str
    machine: str
    vector_bytes: int
    registers: int
    l2_bytes: int
    cpu: str
    needs: tuple[str, ...]
    flags: tuple[str, ...] = ()
    int8: Int8Loop = "pairs"
    half: bool = False

    @property
    def int8_group(self) -> int:
        """Bytes of the inner dimension that lie together for a column of int8 weights."""
        return 8 if self.int8 == "mmla" else 4

    @property
    def int8_pair_limit(self) -> int | None:
        """What the magnitudes of two int8 weights that lie together for a column may sum up to: vpmaddubsw adds two
        products of a byte and a weight in 16 bits. None where any weights will do."""
        return 128 if self.int8 == "pairs" and self.machine == "x86_64" else None

    @property
    def int8_offset(self) -> int:
        """What is added to the int8 numbers of rows where they are stored: x86 multiplies unsigned by signed bytes."""
        return 128 if self.machine == "x86_64" else 0

    @property
    def lanes(self) -> int:
        """fp32 numbers in a vector."""
        return self.vector_bytes // 4

    @property
    def baseline_cpu(self) -> str:
        """What every processor of the machine runs: the compiler's word for it."""
        return "generic" if self.machine == "aarch64" else self.machine

    @property
    def static_triple(self) -> str:
        """Zig's triple for the static runner."""
        return f"{self.machine}-linux-musl"

    @property
    def shared_triple(self) -> str:
        """Zig's triple for the shared library, with the oldest glibc that it may meet."""
        return f"{self.machine}-linux-gnu.2.28"


# The levels of the x86-64 ABI: what x86_64_v2, _v3 and _v4 let the compiler use.
_V2 = ("cx16", "lahf_lm", "popcnt", "pni", "ssse3", "sse4_1", "sse4_2")
_V3 = (*_V2, "xsave", "avx", "avx2", "bmi1", "bmi2", "f16c", "fma", "abm", "movbe")
_V4 = (*_V3, "avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl")
_V4_VNNI = "x86_64_v4+avx512vnni"
_V8 = ("fp", "asimd")
# Dot products and half are options of Armv8.2 that come together: from Cortex-A55 and A75 on.
_V8_DOT = (*_V8, "atomics", "asimdhp", "asimddp")
_V8_MMLA = (*_V8_DOT, "i8mm")
# Wide vectors must be asked for: tuned for x86-64-v4, the compiler splits them into halves.
_WIDE = ("-mprefer-vector-width=512",)
# What Armv8.0 has: fp32 code gains nothing from the rest, but for the atomics. Scheduled for cores that issue in order,
# which wait for what a schedule for others leaves close together; those others lose nothing.
_ARMV8 = "cortex_a53-crc-aes-sha2"
_DOT = f"{_ARMV8}+lse+dotprod+fullfp16"
# Best first within each machine.
TARGETS: Mapping[str, Target] = MappingProxyType(
    {
        target.name: target
        for target in (
            Target("x86_64-avx512-vnni", "x86_64", 64, 32, 1 << 20, _V4_VNNI, (*_V4, "avx512_vnni"), _WIDE, "dot"),
            Target("x86_64-avx512", "x86_64", 64, 32, 1 << 20, "x86_64_v4", _V4, _WIDE),
            Target("x86_64-avx2-vnni", "x86_64", 32, 16, 1 << 19, "x86_64_v3+avxvnni", (*_V3, "avx_vnni"), int8="dot"),
            Target("x86_64-avx2", "x86_64", 32, 16, 1 << 19, "x86_64_v3", _V3),
            Target("x86_64-sse", "x86_64", 16, 16, 1 << 19, "x86_64_v2", _V2),
            Target("aarch64-i8mm", "aarch64", 16, 32, 1 << 18, f"{_DOT}+i8mm", _V8_MMLA, int8="mmla", half=True),
            Target("aarch64-dotprod", "aarch64", 16, 32, 1 << 18, _DOT, _V8_DOT, int8="dot", half=True),
            Target("aarch64-lse", "aarch64", 16, 32, 1 << 18, f"{_ARMV8}+lse", (*_V8, "atomics")),
            Target("aarch64-neon", "aarch64", 16, 32, 1 << 18, _ARMV8, _V8),
        )
    }
)
_MACHINES = {"x86_64": "x86_64", "amd64": "x86_64", "aarch64": "aarch64", "arm64": "aarch64"}


def check_half(target: Target, remedy: str | None = None) -> None:
    """Raises ``InputError`` where a target does not calculate in half precision.

    ``remedy`` is what its message offers; without it, the targets that do.
    """
    if not target.half:
        names = ", ".join(other.name for other in TARGETS.values() if other.half)
        remedy = remedy or f"code for {names} has products in fp16, and for a GPU"
        raise InputError(f"code for {target.name} does not calculate in half: {remedy}")


def target_named(name: str) -> Target:
    """The target of that name, ``UnknownNameError`` when there is none."""
    if name not in TARGETS:
        raise UnknownNameError("target", name, TARGETS)
    return TARGETS[name]


def host_target() -> Target:
    """The best target that this machine runs; errors as :func:`host_targets`."""
    return host_targets()[0]


def host_targets() -> tuple[Target, ...]:
    """The targets that this machine runs, best first.

    Raises:
        DeviceError: no code can be generated for this machine's processor.
    """
    machine = _MACHINES.get(platform.machine().lower())
    if machine is None:
        raise DeviceError(f"code is generated for x86-64 and 64-bit ARM processors, not for {platform.machine()}")
    return runnable_targets(machine, _cpu_flags())


def runnable_targets(machine: str, flags: Set[str]) -> tuple[Target, ...]:
    """The targets whose code runs where all processors have these flags, best first; the plainest one where none is
    known to, since the code looks for itself and says what is missing."""
    targets = tuple(target for target in TARGETS.values() if target.machine == machine)
    return tuple(target for target in targets if not missing(target, flags)) or targets[-1:]


def best_target(least: Target, flags: Set[str]) -> Target:
    """The best target of the same machine where all processors have these flags; ``least`` where none is known.

    Raises:
        DeviceError: the processor does not run ``least``.
    """
    if flags and (lacks := missing(least, flags)):
        raise DeviceError(f"its processor lacks {lacks}, which code for {least.name} needs")
    return runnable_targets(least.machine, flags)[0] if flags else least


def missing(target: Target, flags: Set[str]) -> str:
    """What a target needs and a processor with these flags lacks, in one line; empty where it runs the code."""
    return ", ".join(name for name in target.needs if name not in flags)


def host_target_named(word: str) -> Target:
    """The target of that name, or of the name's last part (``avx2`` for ``x86_64-avx2``), for code to run here.

    Raises:
        UnknownNameError: there is no such target.
        InputError: this machine cannot run its code.
    """
    by_word = {name.partition("-")[2]: target for name, target in TARGETS.items()}
    target = TARGETS.get(word) or by_word.get(word)
    if target is None:
        raise UnknownNameError("instruction set", word, by_word)
    runnable = host_targets()
    if target not in runnable:
        names = ", ".join(other.name for other in runnable)
        raise InputError(f"this machine cannot run code for {target.name}: it runs {names}")
    return target


def _cpu_flags() -> frozenset[str]:
    cpuinfo = Path("/proc/cpuinfo")
    return shared_flags(cpuinfo.read_text(encoding="utf-8", errors="replace")) if cpuinfo.exists() else frozenset()
