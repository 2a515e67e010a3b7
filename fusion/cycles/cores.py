"""Models of cores: what runs through a line of instructions, and what of LLVM's models is corrected first."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from data.errors import UnknownNameError
from fusion.cycles.in_order import in_order_cycles
from fusion.cycles.mca import mca_cycles

# A steady state is the difference between more and fewer rounds; in order it is there at once.
_FEWER, _MORE = 5, 15
_FEWER_IN_ORDER, _MORE_IN_ORDER = 1, 3


@dataclass(frozen=True)
class Correction:
    """Instructions that LLVM's model of a core has wrong: ``pattern`` finds their names, ``stand_in`` is what is
    counted for them, with words replaced in their operands."""

    pattern: str
    stand_in: str
    operands: tuple[tuple[str, str], ...] = ()

    def __call__(self, instruction: str) -> str:
        name, space, operands = instruction.partition(" ")
        if not re.fullmatch(self.pattern, name) or not all(old in operands for old, _ in self.operands[:1]):
            return instruction
        for old, new in self.operands:
            operands = operands.replace(old, new)
        return re.sub(self.pattern, self.stand_in, name) + space + operands


@dataclass(frozen=True)
class Core:
    """A model of a core: llvm-mca's ``cpu``, or without one the cores that issue in order.

    ``decoded`` instructions a cycle come in at most.
    """

    name: str
    machine: str
    cpu: str | None = None
    decoded: int = 2
    corrections: tuple[Correction, ...] = ()

    def cycles(self, instructions: Sequence[str]) -> float:
        """Cycles of one round through the instructions, of many in a row.

        Raises:
            ToolchainError: llvm-mca is not installed, or an instruction is not known.
        """
        line = list(_apart(self._corrected(instruction) for instruction in instructions))
        if self.cpu is None:
            more, fewer = (in_order_cycles(line, rounds) for rounds in (_MORE_IN_ORDER, _FEWER_IN_ORDER))
            return (more - fewer) / (_MORE_IN_ORDER - _FEWER_IN_ORDER)
        more, fewer = (mca_cycles(line, self.machine, self.cpu, rounds) for rounds in (_MORE, _FEWER))
        return max((more - fewer) / (_MORE - _FEWER), len(instructions) / self.decoded)

    def _corrected(self, instruction: str) -> str:
        for correction in self.corrections:
            instruction = correction(instruction)
        return instruction


_STEPPED = re.compile(r"(?P<moved>(ld|st)\w+ .*\[(?P<address>\w+)\]), (?P<step>\S+)$")
_STEPPED_BEFORE = re.compile(r"(?P<moved>(ld|st)\w+ .*)\[(?P<address>\w+), (?P<step>#\S+)\]!$")


def _apart(instructions: Iterable[str]) -> Iterable[str]:
    """An address that a load or store steps on as an addition of its own: LLVM's models of Arm's cores let whoever
    needs it wait for the data that are loaded or stored."""
    for instruction in instructions:
        after, before = _STEPPED.match(instruction), _STEPPED_BEFORE.match(instruction)
        if after:
            yield after["moved"]
            yield f"add {after['address']}, {after['address']}, {after['step']}"
        elif before:
            yield f"add {before['address']}, {before['address']}, {before['step']}"
            yield f"{before['moved']}[{before['address']}]"
        else:
            yield instruction


# LLVM's Sapphire Rapids does most arithmetic of 512 bits in one port, the machine in two: 256 bits have two in LLVM's.
_NARROWER = (("%zmm", "%ymm"), ("{1to16}", "{1to8}"))
_TWO_PORTS = (
    Correction(r"(vfn?m(?:add|sub)\d{3}ps|vpdpbusd|vpmadd(?:ubsw|wd))", r"\1", _NARROWER),
    Correction(r"v(add|sub|mul|max|min)ps|vpaddd", "vmulps", _NARROWER),
)
# LLVM's Zen 4 has a multiplier of bytes for every second cycle, where the machine's are those of fp32; and lets what is
# broadcast from memory take the time of a multiplication, where the machine's loads do it.
_ZEN4 = (
    Correction(r"vpdpbusd", "vfmadd231ps"),
    Correction(r"vp?broadcast(?:ss|d)", "vmovups", (("(", "("),)),
)
CORES: Mapping[str, Core] = MappingProxyType(
    {
        core.name: core
        for core in (
            # Cortex-A76 and A77: the N1 is an A76 with other caches.
            Core("neoverse-n1", "aarch64", "neoverse-n1", decoded=4),
            Core("cortex-a55", "aarch64"),
            Core("sapphire-rapids", "x86_64", "sapphirerapids", decoded=6, corrections=_TWO_PORTS),
            Core("zen4", "x86_64", "znver4", decoded=6, corrections=_ZEN4),
        )
    }
)


def core_named(name: str) -> Core:
    """The model of that name, ``UnknownNameError`` when there is none."""
    if name not in CORES:
        raise UnknownNameError("core", name, CORES)
    return CORES[name]
