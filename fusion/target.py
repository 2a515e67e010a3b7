"""Targets: what the code generator needs to know of a processor."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from data.errors import InputError, UnknownNameError


@dataclass(frozen=True)
class Target:
    """An instruction set: vector width in bytes, vector registers, L2 bytes a core, and the compiler's words for it."""

    name: str
    machine: str
    vector_bytes: int
    registers: int
    l2_bytes: int
    cpu: str
    flags: tuple[str, ...] = ()

    @property
    def lanes(self) -> int:
        """fp32 numbers in a vector."""
        return self.vector_bytes // 4

    @property
    def static_triple(self) -> str:
        """Zig's triple for the static runner."""
        return f"{self.machine}-linux-musl"

    @property
    def shared_triple(self) -> str:
        """Zig's triple for the shared library, with the oldest glibc that it may meet."""
        return f"{self.machine}-linux-gnu.2.28"


# Wide vectors must be asked for: tuned for x86-64-v4, the compiler splits them into halves.
_WIDE = ("-mprefer-vector-width=512",)
TARGETS: Mapping[str, Target] = MappingProxyType(
    {
        target.name: target
        for target in (
            Target("x86_64-avx512", "x86_64", 64, 32, 1 << 20, "x86_64_v4", _WIDE),
            Target("x86_64-avx2", "x86_64", 32, 16, 1 << 20, "x86_64_v3"),
            Target("x86_64-sse", "x86_64", 16, 16, 1 << 19, "x86_64_v2"),
            Target("aarch64-neon", "aarch64", 16, 32, 1 << 18, "cortex_a76"),
        )
    }
)

# What a processor must report to run a target's code, best target first. x86-64 without SSE4.2 is not met any more.
_NEEDED_FLAGS: Mapping[str, frozenset[str]] = MappingProxyType(
    {
        "x86_64-avx512": frozenset({"avx512f", "avx512bw", "avx512vl", "avx512dq", "avx2", "fma"}),
        "x86_64-avx2": frozenset({"avx2", "fma"}),
        "x86_64-sse": frozenset(),
    }
)


def target_named(name: str) -> Target:
    """The target of that name, ``UnknownNameError`` when there is none."""
    if name not in TARGETS:
        raise UnknownNameError("target", name, TARGETS)
    return TARGETS[name]


def host_target() -> Target:
    """The best target that this machine runs."""
    return host_targets()[0]


def host_targets() -> tuple[Target, ...]:
    """The targets that this machine runs, best first."""
    if platform.machine().lower() in {"aarch64", "arm64"}:
        return (TARGETS["aarch64-neon"],)
    flags = _cpu_flags()
    return tuple(TARGETS[name] for name, needed in _NEEDED_FLAGS.items() if needed <= flags)


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


def _cpu_flags() -> set[str]:
    cpuinfo = Path("/proc/cpuinfo")
    if not cpuinfo.exists():
        return set()
    for line in cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines():
        if line.startswith("flags"):
            return set(line.split(":", 1)[1].split())
    return set()
