"""Compiled code on lesser processors: it runs, or says in one line what is missing, and never meets the instruction."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from data.architecture import Architecture
from fusion import Processor, build_suite, compile_model, export_compiled, make_block, target_named
from fusion.build.toolchain import RUNTIME
from fusion.target import TARGETS
from tests.fusion.models import export

pytestmark = pytest.mark.usefixtures("shared_home")

BLOCK = make_block("gemm", {"rows": 8, "inner": 64, "columns": 128}, ("bias", "gelu"))
# Target, processor that qemu emulates, and what it lacks (empty: it runs the code).
MEETINGS = [
    ("x86_64-avx512", "Haswell", "avx512f, avx512bw, avx512cd, avx512dq, avx512vl"),
    ("x86_64-avx2", "Haswell", ""),
    ("x86_64-avx2", "Haswell,-bmi2", "bmi2"),
    ("x86_64-avx2", "Haswell,-xsave", "xsave, avx, avx2, f16c, fma"),
    ("x86_64-avx2", "SandyBridge", "avx2, bmi1, bmi2, f16c, fma, abm, movbe"),
    ("x86_64-sse", "Nehalem", ""),
    ("x86_64-sse", "qemu64", "popcnt, ssse3, sse4_1, sse4_2"),
    ("aarch64-dotprod", "cortex-a76", ""),
    ("aarch64-dotprod", "cortex-a72", "atomics, asimdhp, asimddp"),
    ("aarch64-lse", "cortex-a76", ""),
    ("aarch64-lse", "cortex-a53", "atomics"),
    ("aarch64-lse", "cortex-a72", "atomics"),
    ("aarch64-neon", "cortex-a53", ""),
    ("aarch64-neon", "cortex-a72", ""),
]


def emulator(machine: str, cpu: str) -> list[str]:
    """How a program of that machine is run on a processor of that kind."""
    found = shutil.which(f"qemu-{machine}-static")
    if found is None:
        pytest.skip("qemu-user-static is not installed")
    return [found, "-cpu", cpu]


def said(done: subprocess.CompletedProcess[str]) -> list[str]:
    """What the program itself wrote on standard error: the emulator warns of what it does not emulate."""
    return [line for line in done.stderr.splitlines() if "TCG doesn't support" not in line]


@pytest.mark.parametrize(("name", "cpu", "lacks"), MEETINGS)
def test_a_runner_runs_or_says_what_the_processor_lacks(name: str, cpu: str, lacks: str) -> None:
    target = target_named(name)
    command = build_suite([BLOCK], Processor(target)).command(BLOCK.hash, threads=2, warmup=0, runs=1)
    done = subprocess.run([*emulator(target.machine, cpu), *command], capture_output=True, text=True, timeout=120)
    if lacks:
        (line,) = said(done)
        assert line.startswith(f"error: this processor lacks {lacks}, which code for {name} needs: ")
        assert (done.returncode, done.stdout) == (2, "")
    else:
        assert (done.returncode, said(done)) == (0, [])


def test_the_exported_library_says_what_the_processor_lacks(tmp_path: Path) -> None:
    architecture = Architecture(1, 48, 2, 64, vocab_size=50, seq_len=8)
    model = compile_model(export(architecture, tmp_path), seq_len=8, target=target_named("x86_64-avx2"))
    folder = export_compiled(model, tmp_path / "compiled")
    triple = ["-target", model.target.shared_triple, "-mcpu=x86_64"]
    compiler = [sys.executable, "-m", "ziglang", "cc", *triple] if shutil.which("cc") is None else ["cc"]
    subprocess.run([*compiler, "example.c", "./model.so", "-o", "example", "-lpthread"], cwd=folder, check=True)
    command = [*emulator("x86_64", "SandyBridge"), "./example", "weights.bin"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120)
    (line,) = said(done)
    assert line.startswith("error: this processor lacks avx2, bmi1, bmi2, f16c, fma, abm, movbe, which code for ")
    assert done.returncode == 1


def test_the_check_knows_every_instruction_set_that_a_target_needs() -> None:
    known = re.findall(r'\{"(\w+)"', (RUNTIME / "processor.h").read_text())
    needed = {name for target in TARGETS.values() for name in target.needs}
    assert needed <= set(known) and len(known) == len(set(known))
