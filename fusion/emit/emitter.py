"""What turns blocks into source and their constants into the bytes that the source reads: one for each language."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol, TypeVar

from fusion.block import Block

if TYPE_CHECKING:
    import numpy as np


class Unit(Protocol):
    """The source of a block, as every emitter makes it."""

    @property
    def block(self) -> Block: ...
    @property
    def source(self) -> str: ...


Made = TypeVar("Made", bound=Unit, covariant=True)


class Emitter(Protocol[Made]):
    """Emits blocks for one kind of machine."""

    def unit(self, block: Block) -> Made:
        """The source of a block."""
        ...

    def weight_bytes(self, block: Block) -> int:
        """Bytes of a block's constants in the weights file, whole cache lines."""
        ...

    def pack(self, block: Block, weights: Sequence[np.ndarray]) -> np.ndarray:
        """A block's constants, in the order of its plan, as the source reads them: up to ``weight_bytes`` bytes."""
        ...
