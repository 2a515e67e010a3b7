"""The weights file of a program: a 64-byte header, then every block's packed weights, aligned, ready to be mapped."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from fusion.emit.layout import ALIGNMENT, round_up
from fusion.emit.packing import pack_weights
from fusion.emit.program import Program
from fusion.target import Target

_MAGIC = b"PBWEIGHT"
_VERSION = 1


def write_weights(program: Program, constants: Mapping[str, np.ndarray], target: Target, path: Path) -> Path:
    """Packs and writes all weights of a program; the file appears whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.{os.getpid()}")
    with partial.open("wb") as file:
        file.write(header(program))
        for step in program.steps:
            arrays = [constants[name] for name in step.fused.weights]
            data = pack_weights(step.fused.block, arrays, target)
            file.write(data.data)
            file.write(bytes(round_up(data.nbytes, ALIGNMENT) - data.nbytes))
    partial.replace(path)
    return path


def header(program: Program) -> bytes:
    """Magic, version and the program's id, padded to one alignment."""
    head = _MAGIC + _VERSION.to_bytes(8, "little") + program.id.encode()
    return head.ljust(ALIGNMENT, b"\0")
