"""llvm-mca: how many cycles a core takes for instructions that it runs again and again."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Sequence
from functools import cache

from data.errors import ToolchainError

# The version that the stored counts are of: those before 17 borrow the Cortex-A57's schedule for Neoverse cores.
VERSION = 19
_NAMES = (f"llvm-mca-{VERSION}", "llvm-mca")
_LIMIT_S = 120


@cache
def find_mca() -> str | None:
    """The installed llvm-mca of the version that the stored counts are of, or None."""
    for name in _NAMES:
        path = shutil.which(name)
        if path and _version(path) == VERSION:
            return path
    return None


def _version(path: str) -> int | None:
    said = subprocess.run([path, "--version"], capture_output=True, text=True, timeout=_LIMIT_S, check=False).stdout
    match = re.search(r"LLVM version (\d+)", said)
    return int(match[1]) if match else None


def mca_cycles(instructions: Sequence[str], machine: str, cpu: str, iterations: int) -> int:
    """Cycles of so many rounds through the instructions, everything in L1 cache and every jump foreseen.

    Raises:
        ToolchainError: llvm-mca is not installed, or does not know an instruction.
    """
    path = find_mca()
    if path is None:
        raise ToolchainError(f"llvm-mca {VERSION} is not installed: apt-get install llvm-{VERSION}")
    attributes = ["-mattr=+all"] if machine == "aarch64" else []
    command = [path, f"-mtriple={machine}", f"-mcpu={cpu}", *attributes, f"-iterations={iterations}", "-json", "-"]
    text = "\n".join(instructions)
    done = subprocess.run(command, input=text, capture_output=True, text=True, timeout=_LIMIT_S, check=False)
    if done.returncode:
        raise ToolchainError(f"llvm-mca failed: {' '.join(done.stderr.split())[:200]}")
    return int(json.loads(done.stdout)["CodeRegions"][0]["SummaryView"]["TotalCycles"])
