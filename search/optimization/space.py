"""The search space as data: which sizes of encoder may be proposed, and where each lies in the unit cube."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

import numpy as np

from data.architecture import Architecture, Head
from data.errors import InputError

if TYPE_CHECKING:
    from numpy.typing import NDArray

FLOAT_BYTES = 4
DIMENSIONS = ("layers", "hidden", "head_size", "intermediate")

# Below this nothing is learned on any task that we know of; above, the teacher's own sizes bound the student's.
_MIN_LAYERS = 2
_MAX_LAYERS = 12
_HIDDEN_STEP = 32
_MIN_HIDDEN = 64
_INTERMEDIATE_STEP = 128
# Attention heads are vectorised along the head size: multiples of 8 fill AVX2 and two NEON registers.
_HEAD_SIZE_STEP = 8
_MIN_HEAD_SIZE = 16
_MAX_HEAD_SIZE = 64
# Steps in which the teacher is scaled: finer than any size's own.
_SCALES = 64


class EncoderSizes(Protocol):
    """What the space needs to know of a teacher."""

    @property
    def layers(self) -> int: ...
    @property
    def hidden(self) -> int: ...
    @property
    def heads(self) -> int: ...
    @property
    def intermediate(self) -> int: ...
    @property
    def vocab_size(self) -> int: ...
    @property
    def max_positions(self) -> int: ...
    @property
    def token_types(self) -> int: ...
    @property
    def factorised(self) -> bool: ...


@dataclass(frozen=True)
class SearchSpace:
    """Candidate values of each size; what is common to all candidates stands in ``template``.

    ``head_sizes`` rather than numbers of heads: a head size means the same at every width. A candidate has
    ``hidden / head_size`` heads, where that is a whole number. ``teacher_compiles`` is false of a teacher whose
    embeddings are narrower than its encoder: it is no candidate itself, the ``template`` is its largest student.
    """

    layers: tuple[int, ...]
    hidden: tuple[int, ...]
    head_sizes: tuple[int, ...]
    intermediate: tuple[int, ...]
    template: Architecture
    teacher_compiles: bool = True

    @classmethod
    def from_teacher(cls, teacher: EncoderSizes, *, seq_len: int, labels: int, head: Head = "sequence") -> SearchSpace:
        """The space of the students of a teacher: nowhere larger than the teacher, since they are cut out of it.
        ``labels`` and ``head`` are the task's, whatever the teacher's are.

        Raises:
            InputError: the teacher is too small to have students, or has fewer positions than ``seq_len``.
        """
        if seq_len > teacher.max_positions:
            raise InputError(f"--seq-len {seq_len} exceeds the {teacher.max_positions} positions of the teacher")
        space = cls(
            layers=tuple(range(_MIN_LAYERS, min(teacher.layers, _MAX_LAYERS) + 1)),
            hidden=tuple(range(_MIN_HIDDEN, teacher.hidden + 1, _HIDDEN_STEP)),
            head_sizes=tuple(range(_MIN_HEAD_SIZE, _MAX_HEAD_SIZE + 1, _HEAD_SIZE_STEP)),
            intermediate=tuple(range(_INTERMEDIATE_STEP, teacher.intermediate + 1, _INTERMEDIATE_STEP)),
            template=Architecture(
                layers=teacher.layers,
                hidden=teacher.hidden,
                heads=teacher.heads,
                intermediate=teacher.intermediate,
                vocab_size=teacher.vocab_size,
                seq_len=seq_len,
                max_positions=teacher.max_positions,
                token_types=teacher.token_types,
                labels=labels,
                head=head,
            ),
            teacher_compiles=not teacher.factorised,
        )
        if not (space.layers and space.hidden and space.intermediate):
            raise InputError(
                f"the teacher ({teacher.layers} layers, hidden {teacher.hidden}, intermediate {teacher.intermediate}) "
                f"is too small: students have at least {_MIN_LAYERS} layers, hidden {_MIN_HIDDEN}, "
                f"intermediate {_INTERMEDIATE_STEP}"
            )
        return space

    def architectures(self) -> tuple[Architecture, ...]:
        """Every candidate, in a fixed order."""
        return tuple(
            self._architecture(layers, hidden, hidden // head_size, intermediate)
            for layers in self.layers
            for hidden in self.hidden
            for head_size in self.head_sizes
            if hidden % head_size == 0
            for intermediate in self.intermediate
        )

    @property
    def extremes(self) -> tuple[Architecture, Architecture]:
        """The smallest and the largest of all sizes together."""
        sizes = (self.layers, self.hidden, self.intermediate)
        return self._extreme(*map(min, sizes)), self._extreme(*map(max, sizes))

    def uniformly_scaled(self) -> tuple[Architecture, ...]:
        """The teacher shrunk in all its sizes alike, smallest first: what one would try without a search.

        Each size takes the value nearest to its share, and the head size stays the nearest to the teacher's.
        """
        found: dict[Architecture, None] = {}
        teacher = self.template
        for step in range(1, _SCALES + 1):
            hidden = _nearest(self.hidden, teacher.hidden * step / _SCALES)
            sizes = [size for size in self.head_sizes if hidden % size == 0]
            found[
                self._architecture(
                    _nearest(self.layers, teacher.layers * step / _SCALES),
                    hidden,
                    hidden // _nearest(sizes, teacher.hidden / teacher.heads),
                    _nearest(self.intermediate, teacher.intermediate * step / _SCALES),
                )
            ] = None
        return tuple(found)

    def encode(self, architectures: Sequence[Architecture]) -> NDArray[np.float64]:
        """Candidates as points of the unit cube, in the order of ``DIMENSIONS``.

        Sizes are taken as logarithms: from 2 to 3 layers is a larger step than from 11 to 12.

        Returns:
            n x 4 array; a dimension of which the space offers one value only is 0.
        """
        sizes = [[a.layers, a.hidden, a.head_size, a.intermediate] for a in architectures]
        logs = np.log(np.asarray(sizes, dtype=np.float64).reshape(-1, len(DIMENSIONS)))
        values = (self.layers, self.hidden, self.head_sizes, self.intermediate)
        low = np.log([float(min(candidates)) for candidates in values])
        high = np.log([float(max(candidates)) for candidates in values])
        return np.asarray((logs - low) / np.where(high > low, high - low, 1.0))

    def _extreme(self, layers: int, hidden: int, intermediate: int) -> Architecture:
        return self._architecture(layers, hidden, 1, intermediate)

    def _architecture(self, layers: int, hidden: int, heads: int, intermediate: int) -> Architecture:
        return replace(self.template, layers=layers, hidden=hidden, heads=heads, intermediate=intermediate)


def _nearest(values: Sequence[int], wanted: float) -> int:
    return min(values, key=lambda value: abs(value - wanted))


def model_bytes(architecture: Architecture) -> int:
    """Size of the model's fp32 weights in bytes, which is what ``--max-size`` bounds."""
    return architecture.parameters * FLOAT_BYTES
