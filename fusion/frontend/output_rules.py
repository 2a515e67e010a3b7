"""Rules for what stands behind an encoder: parts of its logits, softmax and its like, arg max, L2 normalisation.

Operators along another axis than the last are turned to it and back by views. A norm is found step by step:

    row_norm(x) = max(sqrt(sum of squares of each row + inside), floor) + outside
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from fusion.frontend.lowering import part_of
from fusion.graph import Attribute, Operator, TensorType
from fusion.rewriting.algebra import number
from fusion.rewriting.patterns import (
    Apply,
    Build,
    Constant,
    Draft,
    Pattern,
    Replacement,
    Rule,
    Tensor,
    commutes,
)
from fusion.rewriting.views import IDENTITY, make_view, normal_view, same_rows

_X = Tensor("x")
_WHOLE = {"int32", "int64"}
# A row of zeros divided by the smallest normal number stays zero, as LpNormalization leaves it.
_SMALLEST = float(np.finfo(np.float32).tiny)


def _part(draft: Draft, bound: Mapping[str, str], root: Operator) -> Replacement | None:
    axis, first, count = (root.attribute(name) for name in ("axis", "first", "count"))
    assert isinstance(axis, int) and isinstance(first, int) and isinstance(count, int)
    return part_of(draft, bound["x"], axis % len(draft.types[bound["x"]].shape), first, count, root)


def _along_axis(kind: str) -> Build:
    """An operator along any axis, which has its operand's shape, as one of each row."""

    def build(draft: Draft, bound: Mapping[str, str], root: Operator) -> Replacement | None:
        axis, shape = root.attribute("axis", -1), draft.types[bound["x"]].shape
        if not isinstance(axis, int) or not shape:
            return None
        if root.attribute("flattened", 0) and math.prod(shape[axis % len(shape) :]) != shape[axis]:
            return None
        return _turned(draft, bound["x"], axis, root, draft.types[root.output], kind)

    return build


def _turned(
    draft: Draft,
    source: str,
    axis: int,
    root: Operator,
    result: TensorType,
    kind: str,
    attributes: tuple[tuple[str, Attribute], ...] = (),
) -> Replacement:
    """One operator on rows between views that bring an axis to the end and back; ``result`` still has the axis."""
    shape = draft.types[source].shape
    axis %= len(shape)
    order = (*(one for one in range(len(shape)) if one != axis), axis)
    names = [draft.fresh(f"{root.output}/{part}") for part in ("turned", "result")]
    made = Replacement()
    made.types[names[0]] = TensorType(tuple(shape[one] for one in order), draft.types[source].dtype)
    made.types[names[1]] = TensorType(tuple(result.shape[one] for one in order), result.dtype)
    back = tuple(order.index(one) for one in range(len(shape)))
    made.operators = [
        make_view(source, names[0], normal_view(shape, order), root.name),
        Operator(kind, (names[0],), names[1], attributes, root.name),
        make_view(names[1], root.output, normal_view(made.types[names[1]].shape, back), root.name),
    ]
    return made


def _arg(draft: Draft, bound: Mapping[str, str], root: Operator) -> Replacement | None:
    """``ArgMax`` and ``ArgMin``: where the first (or last) of the largest numbers stands."""
    entries = {
        "indices": 1,
        "largest": int(root.kind == "argmax"),
        "last": int(root.attribute("select_last_index", 0) == 1),
    }
    return _top(draft, bound["x"], root, 1, entries)


def _chosen(draft: Draft, bound: Mapping[str, str], root: Operator) -> Replacement | None:
    """``TopK``, in order."""
    axis = root.attribute("axis")
    assert isinstance(axis, int)
    entries = {name: root.attribute(name) for name in ("indices", "largest", "last")}
    return _top(draft, bound["x"], root, draft.types[root.output].shape[axis], entries)


def _top(draft: Draft, source: str, root: Operator, count: int, entries: Mapping[str, Attribute]) -> Replacement | None:
    axis, type_ = root.attribute("axis", 0), draft.types[source]
    if not isinstance(axis, int) or not type_.shape or type_.dtype != "float32":
        return None
    axis %= len(type_.shape)
    shape = tuple(count if one == axis else size for one, size in enumerate(type_.shape))
    result = TensorType(shape, draft.types[root.output].dtype)
    return _turned(draft, source, axis, root, result, "top", tuple(sorted(entries.items())))


def _whole_as_float(draft: Draft, bound: Mapping[str, str], root: Operator) -> Replacement | None:
    """Positions are fp32 already."""
    if draft.types[bound["x"]].dtype not in _WHOLE or draft.types[root.output].dtype != "float32":
        return None
    name = bound["x"]
    while (maker := draft.producers.get(name)) is not None and maker.kind == "view":
        name = maker.inputs[0]
    if maker is None or maker.kind != "top":
        return None
    return Replacement([make_view(bound["x"], root.output, IDENTITY, root.name)])


def reduced_axes(draft: Draft, root: Operator) -> tuple[int, ...] | None:
    """The axes that a reduction sums over, all of them when none is named; None when they are not known."""
    rank = len(draft.types[root.inputs[0]].shape)
    operand = root.inputs[1] if len(root.inputs) > 1 else ""
    if operand and operand not in draft.constants:
        return None
    axes = draft.constants[operand].reshape(-1).tolist() if operand else root.attribute("axes", ())
    assert isinstance(axes, list | tuple)
    if not axes and root.attribute("noop_with_empty_axes", 0):
        return ()
    return tuple(sorted({int(axis) % rank for axis in axes or range(rank)})) if rank else None


def _reduced_row(kind: str, attributes: tuple[tuple[str, Attribute], ...] = ()) -> Build:
    """A reduction of each row, which leaves one column."""

    def build(draft: Draft, bound: Mapping[str, str], root: Operator) -> Replacement | None:
        type_, axes = draft.types[bound["x"]], reduced_axes(draft, root)
        if axes is None or type_.dtype != "float32" or _long_axes(type_, axes) != (len(type_.shape) - 1,):
            return None
        made = Replacement()
        column = draft.fresh(f"{root.output}/column")
        made.types[column] = TensorType((*type_.shape[:-1], 1))
        made.operators = [
            Operator(kind, (bound["x"],), column, attributes, root.name),
            make_view(column, root.output, IDENTITY, root.name),
        ]
        return made

    return build


def _long_axes(type_: TensorType, axes: tuple[int, ...]) -> tuple[int, ...]:
    """Those of the axes that are longer than one, besides the last."""
    return tuple(axis for axis in axes if type_.shape[axis] != 1 or axis == len(type_.shape) - 1)


_NORM: tuple[tuple[str, Attribute], ...] = (("floor", 0.0), ("inside", 0.0), ("outside", 0.0))


def _norm_of(source: str, root: Operator, **numbers: float) -> Replacement:
    attributes = tuple(sorted({**dict(_NORM), **numbers}.items()))
    return Replacement([Operator("row_norm", (source,), root.output, attributes, root.name)])


def _single(draft: Draft, name: str) -> float | None:
    """The number of a constant that holds one number, or the same one throughout."""
    value = draft.constants[name].reshape(-1)
    return float(value[0]) if value.size and (value == value[0]).all() else None


def _root_of_squares(draft: Draft, bound: Mapping[str, str], root: Operator) -> Replacement | None:
    return _norm_of(bound["x"], root) if _is_column(draft, root) else None


def _root_of_sum(draft: Draft, bound: Mapping[str, str], root: Operator) -> Replacement | None:
    epsilon = _single(draft, bound["c"])
    return _norm_of(bound["x"], root, inside=epsilon) if epsilon is not None and epsilon >= 0 else None


def _root_of_floor(draft: Draft, bound: Mapping[str, str], root: Operator) -> Replacement | None:
    floor = _lower_bound(draft, draft.producers[bound["bounded"]])
    return None if floor is None or floor < 0 else _norm_of(bound["x"], root, floor=math.sqrt(floor))


def _is_column(draft: Draft, root: Operator) -> bool:
    return draft.types[root.output].columns == 1


def _lower_bound(draft: Draft, operator: Operator) -> float | None:
    """The lower bound of a ``Clip`` without an upper one, or of a maximum with a constant."""
    if operator.kind == "max":
        constants = [name for name in operator.inputs if name in draft.constants]
        return _single(draft, constants[0]) if len(operator.inputs) == 2 and constants else None
    low, high = ([*operator.inputs[1:], "", ""])[:2]
    upper = _single(draft, high) if high in draft.constants else None
    if high and (upper is None or upper < np.finfo(np.float32).max):
        return None
    return _single(draft, low) if low in draft.constants else None


def _bounded_norm(draft: Draft, bound: Mapping[str, str], root: Operator) -> Replacement | None:
    norm, floor = draft.producers[bound["norm"]], _lower_bound(draft, root)
    if floor is None or number(norm, "outside"):
        return None
    numbers = {"inside": number(norm, "inside"), "floor": max(floor, number(norm, "floor"))}
    return _norm_of(norm.inputs[0], root, **numbers)


def _norm_plus(draft: Draft, bound: Mapping[str, str], root: Operator) -> Replacement | None:
    norm, epsilon = draft.producers[bound["norm"]], _single(draft, bound["c"])
    if epsilon is None or epsilon < 0:
        return None
    numbers = {name: number(norm, name) for name in ("inside", "floor", "outside")}
    return _norm_of(norm.inputs[0], root, **(numbers | {"outside": numbers["outside"] + epsilon}))


def _alias_of_column(draft: Draft, bound: Mapping[str, str], root: Operator) -> Replacement | None:
    """A norm repeated for every column, or without its axis of length one, is still the norm of the row."""
    return Replacement(alias=bound["norm"])


def _normalised(draft: Draft, bound: Mapping[str, str], root: Operator) -> Replacement | None:
    norm = draft.producers[bound["norm"]]
    if norm.inputs[0] != bound["x"] or not same_rows(draft.types[bound["x"]], draft.types[root.output]):
        return None
    return Replacement([replace(norm, kind="l2_norm", output=root.output)])


def _lp_norm(draft: Draft, bound: Mapping[str, str], root: Operator) -> Replacement | None:
    axis = root.attribute("axis", -1)
    if root.attribute("p", 2) != 2 or not isinstance(axis, int):
        return None
    attributes = tuple(sorted({**dict(_NORM), "floor": _SMALLEST}.items()))
    return _turned(draft, bound["x"], axis, root, draft.types[root.output], "l2_norm", attributes)


def _reciprocal(draft: Draft, bound: Mapping[str, str], root: Operator) -> Replacement | None:
    if draft.types[bound["x"]].shape != draft.types[root.output].shape:
        return None
    return Replacement([Operator("reciprocal", (bound["x"],), root.output, (), root.name)])


def _extreme(largest: int) -> tuple[tuple[str, Attribute], ...]:
    return (("indices", 0), ("largest", largest), ("last", 0))


def _summed_row(draft: Draft, bound: Mapping[str, str], root: Operator) -> Replacement | None:
    """A sum or a mean that belongs to nothing larger: a product with one column of the same number."""
    columns, made = draft.types[bound["x"]].columns, Replacement()
    factor = 1.0 if root.kind == "row_sum" else 1.0 / columns
    weights = made.constant(draft.fresh(f"{root.output}/weights"), np.full((columns, 1), factor, np.float32))
    made.operators.append(Operator("matmul", (bound["x"], weights), root.output, (), root.name))
    return made


def _subtracted_from_constant(draft: Draft, bound: Mapping[str, str], root: Operator) -> Replacement | None:
    """Constants less something, such as one less a probability: the negative is added to them."""
    if draft.constants[bound["c"]].dtype != np.float32:
        return None
    made, negative = Replacement(), draft.fresh(f"{root.output}/negative")
    made.types[negative] = draft.types[bound["x"]]
    made.operators = [
        Operator("scale", (bound["x"],), negative, (("factor", -1.0),), root.name),
        Operator("add", (negative, bound["c"]), root.output, (), root.name),
    ]
    return made


def _on_rows(kind: str) -> Build:
    def build(draft: Draft, bound: Mapping[str, str], root: Operator) -> Replacement | None:
        return Replacement([Operator(kind, (bound["x"],), root.output, (), root.name)])

    return build


def _concat(draft: Draft, bound: Mapping[str, str], root: Operator) -> Replacement | None:
    """Columns of several tensors side by side."""
    if not root.attributes or root.attribute("axis") not in (-1, len(draft.types[root.output].shape) - 1):
        return None
    if any(name in draft.constants for name in root.inputs):
        return None
    return Replacement([replace(root, attributes=())])


OUTPUT_LOWERING: tuple[Rule, ...] = (
    Rule("part", Apply("part", (_X,)), _part),
    Rule("softmax along an axis", Apply("softmax", (_X,)), _along_axis("weigh")),
    Rule("logarithm of softmax", Apply("logsoftmax", (_X,)), _along_axis("row_log_softmax")),
    Rule("arg", Apply("argmax|argmin", (_X,)), _arg),
    Rule("chosen", Apply("chosen", (_X,)), _chosen),
    Rule("one over", Apply("div", (Constant(value=1.0), _X)), _reciprocal),
    Rule("whole numbers as fp32", Apply("cast", (_X,)), _whole_as_float),
    Rule("norm of rows", Apply("reducel2", (_X,)), _reduced_row("row_norm", _NORM)),
    Rule("largest of rows", Apply("reducemax", (_X,)), _reduced_row("top", _extreme(largest=1))),
    Rule("smallest of rows", Apply("reducemin", (_X,)), _reduced_row("top", _extreme(largest=0))),
    Rule("mean of rows", Apply("reducemean", (_X,)), _reduced_row("mean")),
    Rule("sum of rows", Apply("reducesum", (_X,)), _reduced_row("row_sum")),
    Rule("sum of squares of rows", Apply("reducesumsquare", (_X,)), _reduced_row("row_sum_of_squares")),
    Rule("unit rows", Apply("lpnormalization", (_X,)), _lp_norm),
)

_NORM_PATTERN = Apply("row_norm", (_X,), name="norm")
_SQUARES: tuple[Pattern, ...] = (
    Apply("row_sum_of_squares", (_X,)),
    Apply("row_sum", (Apply("pow", (_X, Constant(value=2.0))),)),
    Apply("row_sum", (Apply("mul", (_X, _X)),)),
)


def _roots(squares: Pattern, build: Build, name: str) -> tuple[Rule, ...]:
    roots = (Apply("sqrt", (squares,)), Apply("pow", (squares, Constant(value=0.5))))
    return tuple(Rule(f"{name} {index}", root, build) for index, root in enumerate(roots))


OUTPUT_RULES: tuple[Rule, ...] = (
    *(rule for squares in _SQUARES for rule in _roots(squares, _root_of_squares, "root of squares")),
    *(
        rule
        for squares in _SQUARES
        for rule in _roots(commutes("add|bias", squares, Constant("c")), _root_of_sum, "root of squares and number")
    ),
    *(
        rule
        for squares in _SQUARES
        for pattern in (Apply("clip", (squares,), name="bounded"), commutes("max", squares, Constant(), name="bounded"))
        for rule in _roots(pattern, _root_of_floor, "root of squares with a floor")
    ),
    Rule("norm with a floor", Apply("clip", (_NORM_PATTERN,)), _bounded_norm),
    Rule("larger of norm and number", commutes("max", _NORM_PATTERN, Constant()), _bounded_norm),
    Rule("norm plus number", commutes("add|bias", _NORM_PATTERN, Constant("c")), _norm_plus),
    Rule("norm repeated", Apply("expand|view", (_NORM_PATTERN,)), _alias_of_column),
    Rule("divided by its norm", Apply("div", (_X, Apply("row_norm", (Tensor("y"),), name="norm"))), _normalised),
    Rule(
        "times reciprocal norm",
        commutes("mul", _X, Apply("reciprocal", (Apply("row_norm", (Tensor("y"),), name="norm"),))),
        _normalised,
    ),
)

OUTPUT_LEFT_OVERS: tuple[Rule, ...] = (
    Rule("softmax of rows", Apply("weigh", (_X,)), _on_rows("row_softmax")),
    Rule("concatenation", Apply("concat", (_X,)), _concat),
    Rule("sum or mean of rows", Apply("row_sum|mean", (_X,)), _summed_row),
    Rule("constant less", Apply("sub", (Constant("c"), _X)), _subtracted_from_constant),
)
