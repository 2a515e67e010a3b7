"""The search space as data: which sizes of encoder may be proposed, and where each lies in the unit cube."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

import numpy as np

from data.architecture import Architecture, Head, Precision
from data.errors import DataFileError, InputError
from search.options import SpaceFile

if TYPE_CHECKING:
    from numpy.typing import NDArray

FLOAT_BYTES = 4
DIMENSIONS = ("layers", "hidden", "head_size", "intermediate")

# Whatever the teacher's depth: surplus layers start as the identity. One layer of a dozen is a step of 8%, and beyond
# that steps stay coarser than what widths offer between them (docs/decisions/space-as-data.md).
_LAYERS = (*range(1, 13), 14, 16, 20, 24, 28)
# The teacher's own sizes bound the student's, which is cut out of it.
_HIDDEN_STEP = 32
_MIN_HIDDEN = 64
_INTERMEDIATE_STEP = 128
# Attention heads are vectorised along the head size: multiples of 8 fill AVX2 and two NEON registers.
_HEAD_SIZE_STEP = 8
_MIN_HEAD_SIZE = 16
_MAX_HEAD_SIZE = 64
# Steps in which the teacher is scaled: finer than any size's own.
_SCALES = 64
# More than this makes each step of the search slow, and no search tells so many apart.
_MOST_CANDIDATES = 100_000
# Values that a message names.
_SHOWN = 8


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
    ``hidden / head_size`` heads, where that is a whole number. Where ``heads`` are named instead, it has one of these,
    where ``hidden`` is a multiple of it; ``head_sizes`` are then empty. ``teacher_compiles`` is false of a teacher
    whose embeddings are narrower than its encoder: it is no candidate itself, the ``template`` is its largest student.
    Every size is there in each of the ``precisions``; the ``template`` has the first.
    """

    layers: tuple[int, ...]
    hidden: tuple[int, ...]
    head_sizes: tuple[int, ...]
    intermediate: tuple[int, ...]
    template: Architecture
    teacher_compiles: bool = True
    heads: tuple[int, ...] = ()
    precisions: tuple[Precision, ...] = ("fp32",)

    @classmethod
    def from_teacher(
        cls,
        teacher: EncoderSizes,
        *,
        seq_len: int,
        labels: int,
        head: Head = "sequence",
        named: SpaceFile | None = None,
        precisions: tuple[Precision, ...] = ("fp32",),
    ) -> SearchSpace:
        """The space of the students of a teacher: nowhere wider than the teacher, since they are cut out of it, and of
        any depth. ``labels`` and ``head`` are the task's, whatever the teacher's are; ``named`` are the user's values.

        Raises:
            InputError: the teacher is too small to have students, or has fewer positions than ``seq_len``.
            DataFileError: ``named`` are beyond the teacher's, give no architecture, or too many.
        """
        if seq_len > teacher.max_positions:
            raise InputError(f"--seq-len {seq_len} exceeds the {teacher.max_positions} positions of the teacher")
        given = named or SpaceFile("")
        _check_bounds(given, teacher)
        head_sizes = given.head_size or tuple(range(_MIN_HEAD_SIZE, _MAX_HEAD_SIZE + 1, _HEAD_SIZE_STEP))
        space = cls(
            layers=given.layers or _LAYERS,
            hidden=given.hidden or tuple(range(_MIN_HIDDEN, teacher.hidden + 1, _HIDDEN_STEP)),
            head_sizes=() if given.heads else head_sizes,
            intermediate=given.intermediate
            or tuple(range(_INTERMEDIATE_STEP, teacher.intermediate + 1, _INTERMEDIATE_STEP)),
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
                precision=precisions[0],
            ),
            teacher_compiles=not teacher.factorised,
            heads=given.heads or (),
            precisions=precisions,
        )
        if not (space.hidden and space.intermediate):
            raise InputError(
                f"the teacher (hidden {teacher.hidden}, intermediate {teacher.intermediate}) is too small: students "
                f"have at least hidden {_MIN_HIDDEN}, intermediate {_INTERMEDIATE_STEP}, or what --space names"
            )
        space._check_size(given)
        return space

    @property
    def teachers(self) -> tuple[Architecture, ...]:
        """The teacher in each precision."""
        return tuple(replace(self.template, precision=precision) for precision in self.precisions)

    @property
    def values(self) -> dict[str, tuple[int, ...] | tuple[Precision, ...]]:
        """The candidate values by name, as a file of ``--space`` names them."""
        return {
            "layers": self.layers,
            "hidden": self.hidden,
            **({"heads": self.heads} if self.heads else {"head_size": self.head_sizes}),
            "intermediate": self.intermediate,
            "precision": self.precisions,
        }

    @property
    def unused(self) -> dict[str, tuple[int, ...]]:
        """Values that no candidate has, since widths do not divide into the heads, by name; of the others nothing."""
        used = [(hidden, heads) for hidden in self.hidden for heads in self.heads_of(hidden)]
        widths, numbers = {hidden for hidden, _ in used}, {heads for _, heads in used}
        sizes = {hidden // heads for hidden, heads in used}
        found = {
            "hidden": tuple(value for value in self.hidden if value not in widths),
            "heads": tuple(value for value in self.heads if value not in numbers),
            "head_size": tuple(value for value in self.head_sizes if value not in sizes),
        }
        return {name: values for name, values in found.items() if values}

    @property
    def smallest(self) -> Architecture:
        """The candidate with the fewest weights."""
        return min(self.architectures(), key=model_bytes)

    def heads_of(self, hidden: int) -> tuple[int, ...]:
        """The numbers of heads that candidates of a width have."""
        if self.heads:
            return tuple(heads for heads in self.heads if hidden % heads == 0)
        return tuple(hidden // size for size in self.head_sizes if hidden % size == 0)

    def architectures(self) -> tuple[Architecture, ...]:
        """Every candidate, in a fixed order."""
        return tuple(
            self._architecture(layers, hidden, heads, intermediate, precision)
            for precision in self.precisions
            for layers in self.layers
            for hidden in self.hidden
            for heads in self.heads_of(hidden)
            for intermediate in self.intermediate
        )

    @property
    def extremes(self) -> tuple[Architecture, Architecture]:
        """The smallest and the largest of all sizes together."""
        sizes = (self.layers, self.hidden, self.intermediate)
        return self._extreme(*map(min, sizes)), self._extreme(*map(max, sizes))

    def uniformly_scaled(self) -> tuple[Architecture, ...]:
        """The teacher shrunk in all its sizes alike, smallest first: what one would try without a search.

        Each size takes the value nearest to its share, and the head size stays the nearest to the teacher's. None is
        deeper than the teacher: there are none where the space holds deeper candidates only. Of several precisions they
        have the last, which computes fastest.
        """
        found: dict[Architecture, None] = {}
        teacher = self.template
        depths = [layers for layers in self.layers if layers <= teacher.layers]
        widths = [hidden for hidden in self.hidden if self.heads_of(hidden)]
        for step in range(1, _SCALES + 1) if depths else ():
            hidden = _nearest(widths, teacher.hidden * step / _SCALES)
            sizes = {hidden // heads: heads for heads in self.heads_of(hidden)}
            found[
                self._architecture(
                    _nearest(depths, teacher.layers * step / _SCALES),
                    hidden,
                    sizes[_nearest(sorted(sizes), teacher.hidden / teacher.heads)],
                    _nearest(self.intermediate, teacher.intermediate * step / _SCALES),
                    self.precisions[-1],
                )
            ] = None
        return tuple(found)

    def encode(self, architectures: Sequence[Architecture]) -> NDArray[np.float64]:
        """Candidates as points of the unit cube, in the order of ``DIMENSIONS``, and of their precision where the space
        has several.

        Sizes are taken as logarithms: from 2 to 3 layers is a larger step than from 11 to 12.

        Returns:
            n x 4 array, or n x 5; a size of which the space offers one value only is 0.
        """
        sizes = [[a.layers, a.hidden, a.head_size, a.intermediate] for a in architectures]
        logs = np.log(np.asarray(sizes, dtype=np.float64).reshape(-1, len(DIMENSIONS)))
        head_sizes = [hidden // heads for hidden in self.hidden for heads in self.heads_of(hidden)]
        values = (self.layers, self.hidden, head_sizes, self.intermediate)
        low = np.log([float(min(candidates)) for candidates in values])
        high = np.log([float(max(candidates)) for candidates in values])
        points = np.asarray((logs - low) / np.where(high > low, high - low, 1.0))
        if len(self.precisions) == 1:
            return points
        places = [self.precisions.index(each.precision) / (len(self.precisions) - 1) for each in architectures]
        return np.column_stack([points, places])

    def _extreme(self, layers: int, hidden: int, intermediate: int) -> Architecture:
        return self._architecture(layers, hidden, 1, intermediate, self.precisions[0])

    def _architecture(
        self, layers: int, hidden: int, heads: int, intermediate: int, precision: Precision
    ) -> Architecture:
        return replace(
            self.template, layers=layers, hidden=hidden, heads=heads, intermediate=intermediate, precision=precision
        )

    def _check_size(self, given: SpaceFile) -> None:
        """Refuses a space without architectures, or with too many."""
        pairs = sum(len(self.heads_of(hidden)) for hidden in self.hidden)
        count = pairs * len(self.layers) * len(self.intermediate) * len(self.precisions)
        if not count:
            name, values = ("heads", self.heads) if self.heads else ("head_size", self.head_sizes)
            raise DataFileError(
                given.path,
                f"{name}: no hidden ({_listed(self.hidden)}) is a multiple of any {name} "
                f"({_listed(values)}): name some that divide it",
            )
        if count > _MOST_CANDIDATES:
            raise DataFileError(
                given.path,
                f"{count:,} architectures are too many, {_MOST_CANDIDATES:,} at most: take larger steps, or fewer "
                "values of layers, hidden, heads, intermediate or precision",
            )


def _check_bounds(given: SpaceFile, teacher: EncoderSizes) -> None:
    """Refuses widths beyond the teacher's."""
    for name, most in (("hidden", teacher.hidden), ("intermediate", teacher.intermediate)):
        beyond = [value for value in getattr(given, name) or () if value > most]
        if beyond:
            raise DataFileError(
                given.path,
                f"{name}: {_listed(beyond)} is beyond the teacher's {most}, out of which students are cut: "
                f"name {most} at most, or a wider --teacher",
            )


def _nearest(values: Sequence[int], wanted: float) -> int:
    return min(values, key=lambda value: abs(value - wanted))


def _listed(values: Sequence[int]) -> str:
    return ", ".join(map(str, values[:_SHOWN])) + (", ..." if len(values) > _SHOWN else "")


def model_bytes(architecture: Architecture) -> int:
    """Size of the model's weights in bytes, which is what ``--max-size`` bounds: those of products in the model's
    precision, all others fp32."""
    narrow = 0 if architecture.precision == "fp32" else architecture.product_parameters
    return (architecture.parameters - narrow) * FLOAT_BYTES + narrow
