"""A program around the kernels of int8 or fp16 products of a target, and how it is run here."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pytest

from fusion.build.toolchain import RUNTIME
from fusion.emit.c.int8_packing import column_corrections, pack_int8
from fusion.emit.layout import ALIGNMENT, LINE, round_up
from fusion.target import Target, host_targets

SOURCE = Path(__file__).with_suffix(".c")
FLAGS = ("-std=c11", "-O3", "-ffp-contract=fast", "-fno-math-errno", "-fno-sanitize=all", "-Wall", "-Werror")
# Processors of the emulator that have no more than the target needs, where it knows such; AVX-512 it does not know.
EMULATED = {
    "x86_64-avx2": "Haswell",
    "x86_64-sse": "Nehalem",
    "aarch64-i8mm": "max",
    "aarch64-dotprod": "cortex-a76",
    "aarch64-lse": "cortex-a76",
    "aarch64-neon": "cortex-a53",
}


def build_probe(
    target: Target,
    tiles: Sequence[tuple[int, int]],
    rows: Sequence[tuple[int, int]],
    folder: Path,
    source: Path = SOURCE,
) -> Path:
    """The program for these tiles (rows, vectors) and narrow rows (columns, padded bytes)."""
    lists = {"PB_TILES": tiles, "PB_ROWS": rows}
    text = "".join(f"#define {name}(X) {''.join(f'X{pair}' for pair in pairs)}\n" for name, pairs in lists.items())
    (folder / "probe.c").write_text(text + source.read_text())
    compile_units(target, [folder / "probe.c"])
    # Linked for every processor, as the toolchain does: zig builds a C library for each it is told of.
    _zig(target, "-static", folder / "probe.o", "-o", folder / "probe")
    return folder / "probe"


def compile_units(target: Target, sources: Sequence[Path]) -> None:
    """Objects beside the sources."""
    kernel = (f"-mcpu={target.cpu}", *target.flags, f"-DPB_VECTOR_BYTES={target.vector_bytes}", "-I", str(RUNTIME))
    for source in sources:
        _zig(target, *kernel, *FLAGS, "-c", source, "-o", source.with_suffix(".o"))


def _zig(target: Target, *words: str | Path) -> None:
    command = [sys.executable, "-m", "ziglang", "cc", "-target", target.static_triple, *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr


@dataclass(frozen=True)
class Product:
    """A tile of a product: rows as they are stored [rows, inner], quantised weights [inner, columns], scales."""

    rows: np.ndarray
    weights: np.ndarray
    row_scales: np.ndarray
    scales: np.ndarray

    def case(self, target: Target) -> bytes:
        """The product as the program reads it; bytes between the rows are no numbers of theirs."""
        (rows, inner), columns = self.rows.shape, self.weights.shape[1]
        group, vectors = target.int8_group, columns // target.lanes
        padded = round_up(inner, group)
        stride = round_up(padded, ALIGNMENT) + ALIGNMENT
        stored = np.full((rows, stride), 77, np.uint8)
        stored[:, :inner] = self.rows.view(np.uint8)
        packed = pack_int8(self.weights, columns, target.lanes, group)
        head = np.array([0, rows, vectors, padded // group, stride], np.int32)
        corrections = column_corrections(self.weights, target.int8_offset)
        parts = (head, stored, packed, corrections, self.row_scales, self.scales)
        return b"".join(part.tobytes() for part in parts)


def row_case(row: np.ndarray, padded: int) -> bytes:
    """A row to make narrow, as the program reads it; numbers behind it are none of its own."""
    lines = np.full(round_up(row.size, LINE), 1e30, np.float32)
    lines[: row.size] = row
    return np.array([1, row.size, padded], np.int32).tobytes() + lines.tobytes()


def run_probe(program: Path, target: Target, cases: Sequence[bytes], folder: Path) -> BinaryIO:
    """What the program says of the cases, on this machine or else in qemu; skips where neither runs it."""
    command = [str(program)]
    if target not in host_targets():
        emulator = shutil.which(f"qemu-{target.machine}-static")
        if emulator is None or target.name not in EMULATED:
            pytest.skip(f"neither this machine nor qemu runs code for {target.name}")
        command = [emulator, "-cpu", EMULATED[target.name], *command]
    (folder / "cases").write_bytes(b"".join(cases))
    command += [str(folder / "cases"), str(folder / "results")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return BytesIO((folder / "results").read_bytes())
