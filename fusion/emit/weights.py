"""The weights file of a program: a 64-byte header, then every block's packed weights, aligned, ready to be mapped.

The header holds a magic number, a version, the program's id and, in its last eight bytes, a checksum of the rest.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from data.kept import replacing
from fusion.emit.layout import ALIGNMENT, round_up
from fusion.emit.program import AnyUnit, Program

_MAGIC = b"PBWEIGHT"
_VERSION = 2
_BLOCK_BYTES = 1 << 20


def write_weights(program: Program[AnyUnit], constants: Mapping[str, np.ndarray], path: Path) -> Path:
    """Packs and writes all weights of a program; the file appears whole or not at all."""
    with replacing(path) as partial, partial.open("wb") as file:
        file.write(header(program))
        checksum = 0
        for step in program.steps:
            arrays = [constants[name] for name in step.fused.weights]
            data = program.emitter.pack(step.fused.block, arrays)
            for part in (data.data, bytes(round_up(data.nbytes, ALIGNMENT) - data.nbytes)):
                file.write(part)
                checksum = zlib.crc32(part, checksum)
        file.seek(0)
        file.write(header(program, checksum))
    return path


def are_whole(program: Program[AnyUnit], path: Path) -> bool:
    """Whether a file holds the weights that were written for a program, every byte of them."""
    try:
        with path.open("rb") as file:
            head, checksum, count = file.read(ALIGNMENT), 0, 0
            while part := file.read(_BLOCK_BYTES):
                checksum, count = zlib.crc32(part, checksum), count + len(part)
    except OSError:
        return False
    return head == header(program, checksum) and count == program.weight_bytes


def header(program: Program[AnyUnit], checksum: int = 0) -> bytes:
    """Magic, version, the program's id and the checksum, in one alignment."""
    head = _MAGIC + _VERSION.to_bytes(8, "little") + program.id.encode()
    return head.ljust(ALIGNMENT - 8, b"\0") + checksum.to_bytes(8, "little")
