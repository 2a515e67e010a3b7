"""Reshapes and transpositions as one kind of operator, ``view``, in a normal form that composes and cancels.

A view reads its source as axes of ``sizes`` (row-major, without axes of length one) and writes them in the order
``perm``. Axes that stay neighbours are one axis, so equal views have equal attributes, and the identity has none.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise

from fusion.graph import Operator, TensorType
from fusion.rewriting.patterns import Apply, Draft, Replacement, Rule, Tensor

View = tuple[tuple[int, ...], tuple[int, ...]]
IDENTITY: View = ((), ())


def normal_view(sizes: Sequence[int], perm: Sequence[int]) -> View:
    """The normal form of reading ``sizes`` and writing them in the order ``perm``."""
    order = [axis for axis in perm if sizes[axis] != 1]
    groups: list[list[int]] = []
    kept = sorted(order)
    following = dict(pairwise(kept))
    for axis in order:
        if groups and following.get(groups[-1][-1]) == axis:
            groups[-1].append(axis)
        else:
            groups.append([axis])
    if len(groups) < 2:
        return IDENTITY
    ranked = sorted(groups)
    return tuple(math.prod(sizes[axis] for axis in group) for group in ranked), tuple(map(ranked.index, groups))


def compose(first: View, second: View, elements: int) -> View | None:
    """The view that does the first and then the second; None when no single view does that."""
    (sizes, perm), (next_sizes, next_perm) = (view if view[0] else ((elements,), (0,)) for view in (first, second))
    pieces = _refine([sizes[axis] for axis in perm], next_sizes)
    if pieces is None:
        return None
    written, read = pieces
    # Every piece is known by (axis of the source, number within the axis).
    names = [(axis, number) for axis, group in zip(perm, written, strict=True) for number in range(len(group))]
    lengths = dict(zip(names, (size for group in written for size in group), strict=True))
    starts = [sum(len(group) for group in read[:index]) for index in range(len(read))]
    order = [names[starts[axis] + offset] for axis in next_perm for offset in range(len(read[axis]))]
    source = sorted(names)
    return normal_view([lengths[name] for name in source], [source.index(name) for name in order])


def _refine(first: Sequence[int], second: Sequence[int]) -> tuple[list[list[int]], list[list[int]]] | None:
    """Both lists of axes cut into the same pieces, if they nest."""
    groups: tuple[list[list[int]], list[list[int]]] = ([[] for _ in first], [[] for _ in second])
    left, right = list(first), list(second)
    i = j = 0
    while i < len(left) and j < len(right):
        piece = min(left[i], right[j])
        if left[i] % piece or right[j] % piece:
            return None
        groups[0][i].append(piece)
        groups[1][j].append(piece)
        left[i], right[j] = left[i] // piece, right[j] // piece
        i, j = i + (left[i] == 1), j + (right[j] == 1)
    return groups if i == len(left) and j == len(right) else None


def make_view(source: str, output: str, view: View, name: str) -> Operator:
    """The operator of a view."""
    return Operator("view", (source,), output, (("perm", view[1]), ("sizes", view[0])), name)


def view_of(operator: Operator) -> View:
    """The view of a ``view`` operator."""
    sizes, perm = operator.attribute("sizes"), operator.attribute("perm")
    assert isinstance(sizes, tuple) and isinstance(perm, tuple)
    return sizes, perm


def elements(type_: TensorType) -> int:
    """Number of elements of a tensor."""
    return type_.rows * type_.columns


def same_rows(first: TensorType, second: TensorType) -> bool:
    """Whether both are the same rows of the same columns and type, whatever axes the rows are counted by."""
    return (first.rows, first.columns, first.dtype) == (second.rows, second.columns, second.dtype)


def _composed(draft: Draft, bound: Mapping[str, str], root: Operator) -> Replacement | None:
    inner = draft.producers[bound["inner"]]
    view = compose(view_of(inner), view_of(root), elements(draft.types[root.output]))
    return None if view is None else Replacement([make_view(inner.inputs[0], root.output, view, root.name)])


def _cancelled(draft: Draft, bound: Mapping[str, str], root: Operator) -> Replacement | None:
    """A view that moves nothing and whose rows stay rows is its source; heads are left to attention."""
    before, after = draft.types[bound["x"]], draft.types[root.output]
    shallow = max(len(before.shape), len(after.shape)) <= 3 or before.shape == after.shape
    if view_of(root) != IDENTITY or not same_rows(before, after) or not shallow:
        return None
    return Replacement(alias=bound["x"])


def _unchanged(draft: Draft, bound: Mapping[str, str], root: Operator) -> Replacement | None:
    """A view that changes nothing at all is its source, also for readers that count axes."""
    if view_of(root) != IDENTITY or draft.types[bound["x"]] != draft.types[root.output]:
        return None
    return Replacement(alias=bound["x"])


_COMPOSE = Rule("views compose", Apply("view", (Apply("view", (Tensor("x"),), name="inner"),)), _composed)
# While operators still name axes by number, no tensor may take the place of one with other axes.
AXIS_KEEPING_VIEW_RULES: tuple[Rule, ...] = (_COMPOSE, Rule("unchanged", Apply("view", (Tensor("x"),)), _unchanged))
VIEW_RULES: tuple[Rule, ...] = (
    _COMPOSE,
    Rule("views cancel", Apply("view", (Tensor("x"),)), _cancelled),
)
