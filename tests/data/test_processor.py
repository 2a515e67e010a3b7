"""What /proc/cpuinfo says of instruction sets, on machines that describe themselves well, badly and wrongly."""

from __future__ import annotations

import pytest

from data.processor import processors, shared_flags


def arm(number: int, part: str, features: str, implementer: str = "0x41") -> str:
    """One processor as the kernel of a 64-bit Arm lists it."""
    return (
        f"processor\t: {number}\nBogoMIPS\t: 38.40\nFeatures\t: {features}\n"
        f"CPU implementer\t: {implementer}\nCPU architecture: 8\nCPU part\t: {part}\n\n"
    )


V8, V8_2 = "fp asimd evtstrm crc32 cpuid", "fp asimd evtstrm crc32 atomics asimddp cpuid"


def test_what_all_processors_have() -> None:
    assert shared_flags("processor\t: 0\nflags\t\t: avx2 fma\n\nprocessor\t: 1\nflags\t\t: avx2\n") == {"avx2"}
    assert "atomics" in shared_flags(arm(0, "0xd05", V8_2) + arm(4, "0xd0b", V8_2))
    assert "atomics" not in shared_flags(arm(0, "0xd05", V8_2) + arm(4, "0xd0b", V8))


@pytest.mark.parametrize(
    ("implementer", "part"), [("0x41", "0xd03"), ("0x41", "0xd08"), ("0x51", "0x800"), ("0x53", "0x002")]
)
def test_cores_of_armv8_0_have_no_atomics_whatever_the_kernel_says(implementer: str, part: str) -> None:
    assert "atomics" not in shared_flags(arm(0, "0xd05", V8_2) + arm(4, part, V8_2, implementer))


def test_features_that_stand_once_for_all() -> None:
    old = f"Processor\t: AArch64\nprocessor\t: 0\nprocessor\t: 1\nFeatures\t: {V8}\nCPU part\t: 0xd03\n"
    assert shared_flags(old) == set(V8.split())
    assert [processor.number for processor in processors(old)] == [0, 1]


@pytest.mark.parametrize(
    "text", ["", "cat: /proc/cpuinfo: Permission denied", arm(0, "0xd0b", "half thumb neon vfpv4 lpae"), "flags"]
)
def test_what_is_not_told_is_unknown(text: str) -> None:
    assert shared_flags(text) == frozenset()


def test_parts_of_processors() -> None:
    text = arm(0, "0xd05", V8) + "processor\t: 7\nCPU part\t: x\n\nprocessor\t: y\n"
    assert [(found.number, found.part) for found in processors(text)] == [(0, (0x41, 0xD05)), (7, None)]
