"""Kernels at two levels: which of them runs is the processor's matter, and is asked where it runs."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from data.architecture import Architecture
from fusion.build.toolchain import RUNTIME
from fusion.emit.c import Unit, emit_block
from fusion.emit.c.levels import in_levels, signed_rows
from fusion.planning.architecture_plan import plan_architecture
from fusion.target import target_named

BETTER = target_named("aarch64-dotprod")
UNITS = [emit_block(block, BETTER) for block in plan_architecture(Architecture(1, 64, 2, 128, precision="int8"))]
MAIN = """
int main(void) {{
  float found = 0;
  const pb_operands operands = {{.output = &found}};
  for (int i = 0; i < 2; i++) {0}(&operands, 0);
  return (int)found;
}}
"""


def telling(unit: Unit, number: int) -> Unit:
    """A kernel of that name that only adds a number to its output."""
    body = f"void {unit.kernel}(const pb_operands *o, int tile) {{ *o->output += {number} + tile; }}\n"
    return replace(unit, source=f'#include "program.h"\n{body}')


def test_only_int8_products_are_there_twice() -> None:
    levels = in_levels(UNITS, BETTER)
    products = [unit for unit in UNITS if "pb_int8_tile(" in unit.source]
    assert 0 < len(products) == len(levels.better) < len(UNITS)
    assert len(levels.plain) == len(UNITS) + 1
    assert in_levels([unit for unit in UNITS if unit not in products], BETTER).better == ()
    for unit in UNITS:
        assert signed_rows(unit).endswith(unit.source)
        assert ("#define PB_INT8_OFFSET 0" in signed_rows(unit)) == ("int8.h" in unit.source)


@pytest.mark.parametrize(("processor", "found"), [("cortex-a53", 2 * 3), ("cortex-a76", 2 * 5)])
def test_the_better_kernel_runs_where_the_processor_has_its_instructions(
    processor: str, found: int, tmp_path: Path
) -> None:
    emulator = shutil.which("qemu-aarch64-static")
    if emulator is None:
        pytest.skip("qemu-user-static is not installed")
    product = next(unit for unit in UNITS if "pb_int8_tile(" in unit.source)
    plain, better = in_levels([telling(product, 3)], BETTER), in_levels([telling(product, 5)], BETTER)
    sources = [plain.plain[0], better.better[0], plain.plain[1] + MAIN.format(product.kernel)]
    files = [tmp_path / f"{index}.c" for index in range(len(sources))]
    for file, source in zip(files, sources, strict=True):
        file.write_text(source)
    words = [sys.executable, "-m", "ziglang", "cc", "-target", "aarch64-linux-musl", "-static", "-std=c11", "-Wall"]
    program = tmp_path / "program"
    subprocess.run(
        [*words, "-Werror", "-I", str(RUNTIME), *map(str, files), "-o", str(program)], check=True, timeout=120
    )
    done = subprocess.run([emulator, str(program)], env=os.environ | {"QEMU_CPU": processor}, timeout=60, check=False)
    assert done.returncode == found
