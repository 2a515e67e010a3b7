"""Rules that turn ONNX's operators, one at a time, into operators without axes.

After these rules no operator refers to an axis by number, so that rows of (S, H), (1, S, H) and (S, 1, H) are the same
rows, and views between them can be left out.

    view(x; sizes, perm)          reshape, transpose and their like          mean(x)     of each row
    rows(x; first, count)         a range of rows                            weigh(x)    softmax of each row
    shift(x; offset)              row r is row r + offset, or zeros          scale(x; factor)
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from data.errors import ModelError
from fusion.graph import Operator
from fusion.rewriting.algebra import number
from fusion.rewriting.patterns import Apply, Constant, Draft, Replacement, Rule, Tensor
from fusion.rewriting.views import IDENTITY, elements, make_view, normal_view

_X = Tensor("x")
_ID_CASTS = {"int32", "int64"}
_MAX_LOOKED_UP = 1 << 24


def _reshape(draft: Draft, bound: Mapping[str, str], root: Operator) -> Replacement | None:
    """An operator that keeps all elements in their order."""
    before, after = draft.types[bound["x"]], draft.types[root.output]
    if before.dtype != after.dtype or elements(before) != elements(after):
        return None
    return Replacement([make_view(bound["x"], root.output, IDENTITY, root.name)])


def _dropout(draft: Draft, bound: Mapping[str, str], root: Operator) -> Replacement | None:
    """Nothing, unless the model is told only while it runs whether it trains; a constant "yes" is refused before."""
    training = root.inputs[2] if len(root.inputs) > 2 else ""
    if training and training not in draft.constants:
        return None
    return _reshape(draft, bound, root)


def _transpose(draft: Draft, bound: Mapping[str, str], root: Operator) -> Replacement:
    shape = draft.types[bound["x"]].shape
    perm = root.attribute("perm", tuple(reversed(range(len(shape)))))
    assert isinstance(perm, tuple)
    return Replacement([make_view(bound["x"], root.output, normal_view(shape, perm), root.name)])


def _cast(draft: Draft, bound: Mapping[str, str], root: Operator) -> Replacement | None:
    """A cast between the same types, or between the types of ids, is nothing."""
    before, after = draft.types[bound["x"]].dtype, draft.types[root.output].dtype
    if before != after and not {before, after} <= _ID_CASTS:
        return None
    return Replacement([make_view(bound["x"], root.output, IDENTITY, root.name)])


def _is_last(axis: object, rank: int) -> bool:
    return axis in (-1, rank - 1)


def _softmax(draft: Draft, bound: Mapping[str, str], root: Operator) -> Replacement | None:
    if not _is_last(root.attribute("axis", -1), len(draft.types[root.output].shape)):
        return None
    return Replacement([Operator("weigh", (bound["x"],), root.output, (), root.name)])


def _layer_norm(draft: Draft, bound: Mapping[str, str], root: Operator) -> Replacement | None:
    """``LayerNormalization`` over the last axis; without a shift, the shift is zero."""
    width = draft.types[root.output].columns
    vectors = [name for name in root.inputs[1:] if name]
    if not _is_last(root.attribute("axis", -1), len(draft.types[root.output].shape)) or not vectors:
        return None
    if any(draft.constants.get(name, np.empty(0)).size != width for name in vectors):
        return None
    made = Replacement()
    names = [
        made.constant(draft.fresh(f"{root.output}/{part}"), draft.constants[name].reshape(-1))
        for part, name in zip(("scale", "shift"), vectors, strict=False)
    ]
    if len(names) == 1:
        names.append(made.constant(draft.fresh(f"{root.output}/shift"), np.zeros(width, np.float32)))
    attributes = (("epsilon", root.attribute("epsilon", 1e-5)),)
    made.operators.append(Operator("layer_norm", (bound["x"], *names), root.output, attributes, root.name))
    return made


def _gelu(draft: Draft, bound: Mapping[str, str], root: Operator) -> Replacement | None:
    """The operator ``Gelu`` of opset 20; our own operators of that name carry no attribute."""
    if not root.attributes:
        return None
    kind = {"none": "gelu", "tanh": "gelu_tanh"}.get(str(root.attribute("approximate", "none")))
    return Replacement([Operator(kind, (bound["x"],), root.output, (), root.name)]) if kind else None


def _gemm(draft: Draft, bound: Mapping[str, str], root: Operator) -> Replacement | None:
    """``Gemm`` with constant weights, transposed or not, as a product and a sum."""
    if root.attribute("transA", 0):
        return None
    alpha, beta = (np.float32(number(root, name)) for name in ("alpha", "beta"))
    matrix = draft.constants[bound["w"]]
    if matrix.dtype != np.float32 or matrix.ndim != 2:
        return None
    made, weights = Replacement(), bound["w"]
    if root.attribute("transB", 0) or alpha != 1:
        matrix = matrix.T if root.attribute("transB", 0) else matrix
        weights = made.constant(draft.fresh(f"{root.output}/weights"), np.ascontiguousarray(matrix * alpha))
    bias = root.inputs[2] if len(root.inputs) > 2 else ""
    if bias and bias not in draft.constants:
        return None
    if bias and not _fits(draft.constants[bias].shape, draft.types[root.output].shape):
        raise ModelError(
            f"operator gemm (node {root.name or root.output}): a bias of shape {list(draft.constants[bias].shape)} for "
            f"a product of shape {list(draft.types[root.output].shape)}"
        )
    product = draft.fresh(f"{root.output}/product") if bias else root.output
    made.types[product] = draft.types[root.output]
    made.operators.append(Operator("matmul", (bound["x"], weights), product, (), root.name))
    if bias:
        if beta != 1:
            bias = made.constant(draft.fresh(f"{root.output}/shift"), draft.constants[bias] * beta)
        made.operators.append(Operator("add", (product, bias), root.output, (), root.name))
    return made


def _fits(shape: tuple[int, ...], whole: tuple[int, ...]) -> bool:
    """Whether numbers of one shape are broadcast to another, which ONNX's inference does not ask of a bias."""
    ends = zip(reversed(shape), reversed(whole), strict=False)
    return len(shape) <= len(whole) and all(size in (1, full) for size, full in ends)


def _gather(draft: Draft, bound: Mapping[str, str], root: Operator) -> Replacement | None:
    """One index along an axis: the whole of an axis of length one, or one row; of constants, any indices."""
    index, type_ = draft.constants[bound["i"]], draft.types[bound["x"]]
    axis = root.attribute("axis", 0)
    if not isinstance(axis, int):
        return None
    if bound["x"] in draft.constants:
        return _looked_up(draft, draft.constants[bound["x"]], index, axis, root)
    if index.size != 1:
        return None
    axis, position = axis % len(type_.shape), int(index.reshape(()))
    if not -type_.shape[axis] <= position < type_.shape[axis]:
        raise ModelError(f"operator gather (node {root.name}): index {position} is not within {list(type_.shape)}")
    return part_of(draft, bound["x"], axis, position % type_.shape[axis], 1, root)


def _looked_up(draft: Draft, table: np.ndarray, index: np.ndarray, axis: int, root: Operator) -> Replacement | None:
    """Constant rows of a constant table."""
    if elements(draft.types[root.output]) > _MAX_LOOKED_UP:
        return None
    made = Replacement()
    try:
        made.alias = made.constant(draft.fresh(f"{root.output}/rows"), np.take(table, index, axis))
    except IndexError as error:
        raise ModelError(f"operator gather (node {root.name}): {error}") from error
    return made


def part_of(draft: Draft, source: str, axis: int, first: int, count: int, root: Operator) -> Replacement | None:
    """A range along one axis: columns, or rows of what is one matrix."""
    type_ = draft.types[source]
    if first == 0 and count == type_.shape[axis]:
        return Replacement([make_view(source, root.output, IDENTITY, root.name)])
    if axis == len(type_.shape) - 1 and count:
        made, part = Replacement(), draft.fresh(f"{root.output}/columns")
        made.types[part] = replace(type_, shape=(*type_.shape[:-1], count))
        made.operators = [
            Operator("columns", (source,), part, (("first", first),), root.name),
            make_view(part, root.output, IDENTITY, root.name),
        ]
        return made
    if axis != len(type_.shape) - 2 or type_.rows != type_.shape[axis]:
        return None
    attributes = (("count", count), ("first", first))
    return Replacement([Operator("rows", (source,), root.output, attributes, root.name)])


def _bounds(draft: Draft, root: Operator) -> list[np.ndarray | None]:
    """Starts, ends, axes and steps of a ``Slice``: operands, or attributes before opset 10."""
    if len(root.inputs) > 1:
        return [draft.constants.get(name) if name else None for name in (*root.inputs[1:], "", "")[:4]]
    given = dict(root.attributes)
    return [np.array(given[name]) if name in given else None for name in ("starts", "ends", "axes", "steps")]


def _slice(draft: Draft, bound: Mapping[str, str], root: Operator) -> Replacement | None:
    """``Slice`` with constant bounds along at most one axis."""
    type_, parts = draft.types[bound["x"]], _bounds(draft, root)
    if parts[0] is None or parts[1] is None or any(name and name not in draft.constants for name in root.inputs[1:]):
        return None
    starts, ends = (part.reshape(-1).tolist() for part in parts[:2] if part is not None)
    axes = parts[2].reshape(-1).tolist() if parts[2] is not None else list(range(len(starts)))
    steps = parts[3].reshape(-1).tolist() if parts[3] is not None else [1] * len(starts)
    if len({len(starts), len(ends), len(axes), len(steps)}) != 1 or set(steps) - {1}:
        return None
    cut = []
    for axis, start, end in zip(axes, starts, ends, strict=True):
        length = type_.shape[axis]
        first, last, _ = slice(start, end).indices(length)
        if (first, last) != (0, length):
            cut.append((axis % len(type_.shape), first, max(last - first, 0)))
    if not cut:
        return Replacement([make_view(bound["x"], root.output, IDENTITY, root.name)])
    return part_of(draft, bound["x"], *cut[0], root) if len(cut) == 1 else None


def _pad(draft: Draft, bound: Mapping[str, str], root: Operator) -> Replacement | None:
    """Rows of zeros around a range of rows that puts them back in place, moved: a shift."""
    inner = draft.producers[bound["rows"]]
    type_, shape = draft.types[root.output], draft.types[bound["rows"]].shape
    value = draft.constants.get(root.inputs[2]) if len(root.inputs) > 2 and root.inputs[2] else None
    moved = len(root.inputs) > 2 and root.inputs[2] and (value is None or value.any())
    if moved or root.attribute("mode", "constant") != "constant" or type_ != draft.types[bound["x"]]:
        return None
    pads = draft.constants[bound["pads"]].reshape(-1).tolist()
    axes = list(range(len(shape)))
    if len(root.inputs) > 3 and root.inputs[3]:
        if root.inputs[3] not in draft.constants:
            return None
        axes = [int(axis) % len(shape) for axis in draft.constants[root.inputs[3]].reshape(-1)]
    if len(pads) != 2 * len(axes) or len(shape) < 2:
        return None
    before = {axis: pads[index] for index, axis in enumerate(axes) if pads[index] or pads[index + len(axes)]}
    if set(before) - {len(shape) - 2}:
        return None
    first, count = inner.attribute("first"), inner.attribute("count")
    assert isinstance(first, int) and isinstance(count, int)
    offset, length = first - int(before.get(len(shape) - 2, 0)), type_.rows
    reached = range(max(offset, 0), min(offset + length, length))
    if reached and not (first <= reached[0] and reached[-1] < first + count):
        return None
    return Replacement([Operator("shift", (bound["x"],), root.output, (("offset", offset),), root.name)])


def _concat(draft: Draft, bound: Mapping[str, str], root: Operator) -> Replacement | None:
    """Shifted copies of one tensor side by side: a window; a single tensor is itself."""
    if len(root.inputs) == 1:
        return _reshape(draft, bound, root)
    if not _is_last(root.attribute("axis", -1), len(draft.types[root.output].shape)):
        return None
    parts: list[tuple[str, int]] = []
    for name in root.inputs:
        maker = draft.producers.get(name)
        offset = maker.attribute("offset") if maker is not None and maker.kind == "shift" else 0
        assert isinstance(offset, int)
        parts.append((maker.inputs[0] if maker is not None and maker.kind == "shift" else name, offset))
    if len({source for source, _ in parts}) != 1 or parts[0][0] in draft.constants:
        return None
    offsets = tuple(offset for _, offset in parts)
    if not any(offsets):
        return None
    return Replacement([Operator("window", (parts[0][0],), root.output, (("offsets", offsets),), root.name)])


def _reciprocal(draft: Draft, bound: Mapping[str, str], root: Operator) -> Replacement | None:
    """Division by constants is multiplication."""
    value = draft.constants[bound["c"]]
    if value.dtype != np.float32 or not value.all():
        return None
    made = Replacement()
    inverse = made.constant(draft.fresh(f"{root.output}/inverse"), np.float32(1) / value)
    made.operators.append(Operator("mul", (bound["x"], inverse), root.output, (), root.name))
    return made


def _negative(draft: Draft, bound: Mapping[str, str], root: Operator) -> Replacement | None:
    """Subtraction of constants is addition."""
    made = Replacement()
    if draft.constants[bound["c"]].dtype != np.float32:
        return None
    negative = made.constant(draft.fresh(f"{root.output}/negative"), -draft.constants[bound["c"]])
    made.operators.append(Operator("add", (bound["x"], negative), root.output, (), root.name))
    return made


def _sum(draft: Draft, bound: Mapping[str, str], root: Operator) -> Replacement | None:
    return Replacement([replace(root, kind="add")]) if len(root.inputs) == 2 else None


def _one_hot(draft: Draft, bound: Mapping[str, str], root: Operator) -> Replacement | None:
    """A table's rows chosen by a product with ones and zeros, as TensorFlow looks token types up."""
    table, values = draft.constants[bound["table"]], draft.constants[bound["values"]]
    depth, hot = draft.constants[bound["depth"]], draft.producers[bound["hot"]]
    if values.reshape(-1).tolist() != [0, 1] or table.ndim != 2 or depth.reshape(-1).tolist() != [len(table)]:
        return None
    if not _is_last(hot.attribute("axis", -1), len(draft.types[hot.output].shape)):
        return None
    made, looked_up = Replacement(), draft.fresh(f"{root.output}/rows")
    made.types[looked_up] = draft.types[root.output]
    made.operators = [
        Operator("gather", (bound["table"], bound["ids"]), looked_up, (), root.name),
        make_view(looked_up, root.output, IDENTITY, root.name),
    ]
    return made


def _look_up(draft: Draft, bound: Mapping[str, str], root: Operator) -> Replacement | None:
    """``Gather`` of rows of a table; the canonical one has no attribute."""
    if root.attributes != (("axis", 0),) or len(draft.types[bound["table"]].shape) != 2:
        return None
    return Replacement([replace(root, attributes=())])


_HOT = Apply("onehot", (Tensor("ids"), Constant("depth"), Constant("values")), name="hot")
_SAME_ORDER = "identity|reshape|flatten|squeeze|unsqueeze|expand"
_ROWS = Apply("rows", (_X,), name="rows")

LOWERING: tuple[Rule, ...] = (
    Rule("same elements", Apply(_SAME_ORDER, (_X,)), _reshape),
    Rule("dropout", Apply("dropout", (_X,)), _dropout),
    Rule("transpose", Apply("transpose", (_X,)), _transpose),
    Rule("cast", Apply("cast", (_X,)), _cast),
    Rule("softmax", Apply("softmax", (_X,)), _softmax),
    Rule("layer normalisation", Apply("layernormalization", (_X,)), _layer_norm),
    Rule("gelu", Apply("gelu", (_X,)), _gelu),
    Rule("gemm", Apply("gemm", (_X, Constant("w"))), _gemm),
    Rule("one index", Apply("gather", (_X, Constant("i"))), _gather),
    Rule("slice", Apply("slice", (_X,)), _slice),
    Rule("shift", Apply("pad", (_ROWS, Constant("pads"))), _pad),
    Rule("window", Apply("concat", (_X,)), _concat),
    Rule("division by a constant", Apply("div", (_X, Constant("c"))), _reciprocal),
    Rule("subtraction of a constant", Apply("sub", (_X, Constant("c"))), _negative),
    Rule("sum of two", Apply("sum", (_X, Tensor("y"))), _sum),
    Rule("look-up by a product", Apply("matmul", (_HOT, Constant("table"))), _one_hot),
    Rule("look-up", Apply("gather", (Constant("table"), Tensor("ids"))), _look_up),
)
