"""Kernels of int8 products compiled for two levels of one machine's processors, and chosen where they run."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from fusion.block import product_precision
from fusion.emit.c.unit import Unit
from fusion.emit.c_text import c_string
from fusion.target import Target

# Rows of int8 as ARM has them, also where x86 runs the code: see runtime/int8_x86.h.
_SIGNED_ROWS = "#define PB_INT8_OFFSET 0\n"


@dataclass(frozen=True)
class Levels:
    """C to be compiled for every processor of a machine, and what only the ``better`` level runs."""

    plain: tuple[str, ...]
    better: tuple[str, ...]


def signed_rows(unit: Unit) -> str:
    """The unit with rows of int8 that have no offset, on every machine; other units as they are."""
    return _SIGNED_ROWS + unit.source if '#include "int8.h"' in unit.source else unit.source


def in_levels(units: Iterable[Unit], better: Target) -> Levels:
    """The units, those of int8 products twice: the level's own kernels run where the processor has what it needs."""
    units = tuple(units)
    twice = [unit for unit in units if product_precision(unit.block) == "int8"]
    plain = [_named(unit, "plain") if unit in twice else signed_rows(unit) for unit in units]
    if twice:
        plain.append(_choice([unit.kernel for unit in twice], better))
    return Levels(tuple(plain), tuple(_named(unit, "better") for unit in twice))


def _named(unit: Unit, level: str) -> str:
    return f"#define {unit.kernel} {unit.kernel}_{level}\n{signed_rows(unit)}"


def _choice(kernels: Iterable[str], better: Target) -> str:
    """C of the kernels under their own names: each asks once in the process, at its first tile at the latest."""
    text = (
        f"#define PB_TARGET {c_string(better.name)}\n#define PB_NEEDS {c_string(' '.join(better.needs))}\n"
        '#include "processor.h"\n#include "program.h"\n\n'
        "static int pb_is_better(void) {\n"
        "  static atomic_int known; /* 1 or 2 once it is */\n"
        "  int level = atomic_load_explicit(&known, memory_order_relaxed);\n"
        "  if (!level) {\n"
        "    char lacks[256];\n"
        "    level = pb_processor_lacks(lacks, sizeof lacks) ? 1 : 2;\n"
        "    atomic_store_explicit(&known, level, memory_order_relaxed);\n"
        "  }\n"
        "  return level == 2;\n"
        "}\n"
    )
    for kernel in kernels:
        arguments = "(const pb_operands *o, int tile)"
        text += f"\nvoid {kernel}_plain{arguments};\nvoid {kernel}_better{arguments};\nvoid {kernel}{arguments};\n"
        text += f"void {kernel}{arguments} {{\n  (pb_is_better() ? {kernel}_better : {kernel}_plain)(o, tile);\n}}\n"
    return text
