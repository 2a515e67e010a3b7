"""Emitters by the name of what they generate code for."""

from __future__ import annotations

from typing import Any

from data.errors import UnknownNameError
from fusion.emit.c.program import CEmitter
from fusion.emit.emitter import Emitter
from fusion.emit.opencl.family import FAMILIES
from fusion.emit.opencl.program import OpenClEmitter
from fusion.target import TARGETS

OPENCL = "opencl-"
# Whether a matrix that is too large for an image is read as a buffer changes no bytes.
_ANY_TEXELS = 1 << 40


def emitter_named(name: str) -> Emitter[Any]:
    """That of a processor's instruction set, such as ``x86_64-avx2``, or of a family of GPUs, such as
    ``opencl-adreno``; ``UnknownNameError`` when there is none."""
    if name in TARGETS:
        return CEmitter(TARGETS[name])
    family = FAMILIES.get(name.removeprefix(OPENCL)) if name.startswith(OPENCL) else None
    if family is None:
        raise UnknownNameError("code", name, (*TARGETS, *(f"{OPENCL}{other}" for other in FAMILIES)))
    return OpenClEmitter(family, _ANY_TEXELS)
