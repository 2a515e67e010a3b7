"""Laws of algebra as rules: numbers and vectors that multiply or add move into weights, biases and normalisations.

    scale(x W + b, c)       = x (c W) + c b            no_norm(x W + b, s, t)  = x (W s) + (b s + t)
    scale(x, c) W           = x (c W)                  no_norm(x, s, t) W + b  = x (s W) + (t W + b)
    scale(x, c) y           = scale(x y, c)            bias(layer_norm(x))     = layer_norm(x) of another shift
    bias(bias(x, a), b)     = bias(x, a + b)           add_rows(bias(x))       = add_rows(x) of other rows
    (e + R) + e', embeddings = (e + e') + R            (x W + R) + e           = x W + (e + R)

A law that drops an operator asks that nothing else reads it (``once``). Constants are folded in fp64.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from data.errors import ModelError
from fusion.graph import Operator, TensorType
from fusion.rewriting.patterns import Apply, Constant, Draft, Replacement, Rule, Tensor, commutes
from fusion.rewriting.views import IDENTITY, elements, make_view, same_rows, view_of

_X, _Y = Tensor("x"), Tensor("y")
Bound = Mapping[str, str]


def number(operator: Operator, name: str) -> float:
    """A numeric attribute of an operator."""
    value = operator.attribute(name)
    if not isinstance(value, int | float):
        raise ModelError(f"operator {operator.name or operator.output}: {name} is no number")
    return float(value)


def _make(
    root: Operator, kind: str, source: str, made: Replacement, draft: Draft, **vectors: np.ndarray
) -> Replacement:
    """One operator of a kind on a source and new constants, in place of the root."""
    names = [
        made.constant(draft.fresh(f"{root.output}/{part}"), np.ascontiguousarray(value, np.float32))
        for part, value in vectors.items()
    ]
    attributes = root.attributes if kind == root.kind else ()
    made.operators.append(Operator(kind, (source, *names), root.output, attributes, root.name))
    return made


def _exact(draft: Draft, name: str) -> np.ndarray:
    return draft.constants[name].astype(np.float64)


def _vector(draft: Draft, name: str, root: Operator) -> np.ndarray | None:
    """A constant that is one number for each column of the root, fp64 [columns]; None when it is not."""
    value, type_ = draft.constants[name], draft.types[root.output]
    if value.dtype != np.float32 or value.shape[-1:] != (type_.columns,) or value.size != type_.columns:
        return None
    return value.reshape(-1).astype(np.float64)


def _keeps_elements(draft: Draft, source: str, root: Operator) -> bool:
    """Whether an element-wise operator does not repeat its source, and is of fp32."""
    before, after = draft.types[source], draft.types[root.output]
    return elements(before) == elements(after) and before.columns == after.columns and after.dtype == "float32"


def _times_constant(draft: Draft, bound: Bound, root: Operator) -> Replacement | None:
    """A product with one number, or with one for each column."""
    value = draft.constants[bound["c"]]
    if not _keeps_elements(draft, bound["x"], root) or value.dtype != np.float32:
        return None
    if value.size == 1:
        attributes = (("factor", float(value.reshape(()))),)
        return Replacement([Operator("scale", (bound["x"],), root.output, attributes, root.name)])
    vector = _vector(draft, bound["c"], root)
    if vector is None:
        return None
    return _make(root, "no_norm", bound["x"], Replacement(), draft, scale=vector, shift=np.zeros_like(vector))


def _plus_constant(draft: Draft, bound: Bound, root: Operator) -> Replacement | None:
    """A sum with one number for each column is a bias, with one for each element a sum of rows."""
    value, type_ = draft.constants[bound["c"]], draft.types[root.output]
    if not _keeps_elements(draft, bound["x"], root) or value.dtype != np.float32 or not value.ndim:
        return None
    vector = _vector(draft, bound["c"], root)
    if vector is not None:
        return _make(root, "bias", bound["x"], Replacement(), draft, vector=vector)
    if value.size == 1 or len(type_.shape) > 3:
        return None
    rows = np.broadcast_to(value, type_.shape).reshape(type_.rows, type_.columns)
    return _make(root, "add_rows", bound["x"], Replacement(), draft, rows=rows)


def _plus_number(draft: Draft, bound: Bound, root: Operator) -> Replacement | None:
    """What is left of sums with one number, once no pattern wants it: a bias."""
    value, columns = draft.constants[bound["c"]], draft.types[root.output].columns
    if value.size != 1 or value.dtype != np.float32 or not _keeps_elements(draft, bound["x"], root):
        return None
    return _make(root, "bias", bound["x"], Replacement(), draft, vector=np.full(columns, float(value.reshape(()))))


def _scale_by_one(draft: Draft, bound: Bound, root: Operator) -> Replacement | None:
    if number(root, "factor") != 1:
        return None
    return Replacement([make_view(bound["x"], root.output, IDENTITY, root.name)])


def _scale_left_over(draft: Draft, bound: Bound, root: Operator) -> Replacement | None:
    columns = draft.types[root.output].columns
    vector = np.full(columns, number(root, "factor"))
    return _make(root, "no_norm", bound["x"], Replacement(), draft, scale=vector, shift=np.zeros(columns))


def _scaled(root: Operator, source: str, factor: float) -> Operator:
    return Operator("scale", (source,), root.output, (("factor", factor),), root.name)


def _scale_of_scale(draft: Draft, bound: Bound, root: Operator) -> Replacement:
    factor = number(root, "factor") * number(draft.producers[bound["inner"]], "factor")
    return Replacement([_scaled(root, bound["x"], factor)])


def _scale_outwards(draft: Draft, bound: Bound, root: Operator) -> Replacement | None:
    """A product, or a view, of what is scaled is scaled itself."""
    made = Replacement()
    inner = draft.fresh(f"{root.output}/unscaled")
    made.types[inner] = draft.types[root.output]
    inputs = tuple(bound["x"] if name == bound["inner"] else name for name in root.inputs)
    made.operators = [
        Operator(root.kind, inputs, inner, root.attributes, root.name),
        _scaled(root, inner, number(draft.producers[bound["inner"]], "factor")),
    ]
    return made


def _weights(draft: Draft, name: str) -> np.ndarray | None:
    """Constant weights of a product, fp64 [inner, columns]."""
    value = draft.constants[name]
    return value.astype(np.float64) if value.ndim == 2 and value.dtype == np.float32 else None


def _product_of_scale(draft: Draft, bound: Bound, root: Operator) -> Replacement | None:
    weights = _weights(draft, bound["w"])
    if weights is None:
        return None
    factor = number(draft.producers[bound["inner"]], "factor")
    return _make(root, "matmul", bound["x"], Replacement(), draft, weights=weights * factor)


def _affine(draft: Draft, root: Operator) -> tuple[np.ndarray, np.ndarray]:
    """What a scale, a bias or a no_norm does to columns, as (scale, shift), fp64 [columns] each."""
    columns = draft.types[root.output].columns
    if root.kind == "scale":
        return np.full(columns, number(root, "factor")), np.zeros(columns)
    if root.kind == "bias":
        return np.ones(columns), _exact(draft, root.inputs[1])
    return _exact(draft, root.inputs[1]), _exact(draft, root.inputs[2])


def _affine_of_product(draft: Draft, bound: Bound, root: Operator) -> Replacement | None:
    weights = _weights(draft, bound["w"])
    if weights is None:
        return None
    scale, shift = _affine(draft, root)
    named = replace(root, name=draft.producers[bound["inner"]].name)  # the product keeps its own name
    if root.kind == "scale":
        return _make(named, "matmul", bound["x"], Replacement(), draft, weights=weights * scale)
    made = Replacement()
    product = draft.fresh(f"{root.output}/product")
    made.types[product] = draft.types[root.output]
    folded = made.constant(draft.fresh(f"{root.output}/weights"), (weights * scale).astype(np.float32))
    made.operators.append(Operator("matmul", (bound["x"], folded), product, (), named.name))
    return _make(root, "bias", product, made, draft, vector=shift)


def _affine_of_affine(draft: Draft, bound: Bound, root: Operator) -> Replacement:
    """Two of scale, bias and no_norm, one after the other, as one; a scaled bias leaves the scale to the product."""
    inner = draft.producers[bound["inner"]]
    (first, early), (second, late) = _affine(draft, inner), _affine(draft, root)
    shift = early * second + late
    if inner.kind == root.kind == "bias":
        return _make(root, "bias", bound["x"], Replacement(), draft, vector=shift)
    if inner.kind == "bias" and root.kind == "scale":
        scaled = draft.fresh(f"{root.output}/scaled")
        made = Replacement(types={scaled: draft.types[root.output]})
        made.operators.append(Operator("scale", (bound["x"],), scaled, root.attributes, root.name))
        return _make(root, "bias", scaled, made, draft, vector=shift)
    return _make(root, "no_norm", bound["x"], Replacement(), draft, scale=first * second, shift=shift)


def _affine_of_layer_norm(draft: Draft, bound: Bound, root: Operator) -> Replacement:
    inner = draft.producers[bound["inner"]]
    scale, shift = _affine(draft, root)
    first, early = _exact(draft, inner.inputs[1]), _exact(draft, inner.inputs[2])
    made = _make(
        root, "layer_norm", inner.inputs[0], Replacement(), draft, scale=first * scale, shift=early * scale + shift
    )
    made.operators[-1] = Operator("layer_norm", made.operators[-1].inputs, root.output, inner.attributes, root.name)
    return made


def _product_of_no_norm(draft: Draft, bound: Bound, root: Operator) -> Replacement | None:
    weights = _weights(draft, bound["w"])
    if weights is None:
        return None
    scale, shift = _affine(draft, draft.producers[bound["inner"]])
    made = Replacement()
    product = draft.fresh(f"{root.output}/product")
    made.types[product] = draft.types[root.output]
    folded = made.constant(draft.fresh(f"{root.output}/weights"), (weights * scale[:, None]).astype(np.float32))
    made.operators.append(Operator("matmul", (bound["x"], folded), product, (), root.name))
    return _make(root, "bias", product, made, draft, vector=shift @ weights)


def _maker(draft: Draft, name: str) -> str:
    maker = draft.producers.get(name)
    return maker.kind if maker is not None else ""


def _rows_of_bias(draft: Draft, bound: Bound, root: Operator) -> Replacement | None:
    """Constants added to looked-up rows are one constant; a bias stays with the product that it follows."""
    inner = draft.producers[bound["inner"]]
    if inner.kind == "bias" and _maker(draft, inner.inputs[0]) == "matmul":
        return None
    rows = _exact(draft, root.inputs[1]) + _exact(draft, inner.inputs[1])
    return _make(root, "add_rows", bound["x"], Replacement(), draft, rows=rows)


def _is_embedding(draft: Draft, name: str) -> bool:
    """Whether a tensor is a sum of looked-up rows."""
    pending = [name]
    while pending:
        maker = draft.producers.get(pending.pop())
        if maker is None or maker.kind not in {"add", "gather"}:
            return False
        if maker.kind == "add":
            pending.extend(maker.inputs)
    return True


def _rows_last(draft: Draft, bound: Bound, root: Operator) -> Replacement | None:
    """Constant rows in a sum are added after all look-ups; next to a product, they go to its other operand."""
    inner = draft.producers[bound["inner"]]
    looked_up = _is_embedding(draft, bound["x"])
    if not _is_embedding(draft, bound["y"]) or (inner.kind == "bias" and not looked_up):
        return None
    if not same_rows(draft.types[bound["y"]], draft.types[root.output]):
        return None
    made = Replacement()
    total = draft.fresh(f"{root.output}/sum")
    made.types[total] = draft.types[root.output]
    constant = inner.inputs[1]
    if looked_up:
        made.operators = [
            Operator("add", (bound["x"], bound["y"]), total, (), root.name),
            Operator(inner.kind, (total, constant), root.output, (), root.name),
        ]
    else:
        made.operators = [
            Operator(inner.kind, (bound["y"], constant), total, (), root.name),
            Operator("add", (bound["x"], total), root.output, (), root.name),
        ]
    return made


def _squeezed_weights(draft: Draft, bound: Bound, root: Operator) -> Replacement | None:
    """Weights with leading axes of length one."""
    value = draft.constants[bound["w"]]
    if value.ndim < 3 or value.size != value.shape[-1] * value.shape[-2]:
        return None
    made = Replacement()
    weights = made.constant(draft.fresh(f"{root.output}/weights"), value.reshape(value.shape[-2:]))
    made.operators.append(Operator("matmul", (bound["x"], weights), root.output, (), root.name))
    return made


def _view_inside(draft: Draft, bound: Bound, root: Operator) -> Replacement:
    """A view of what is scaled is scaled itself."""
    inner = draft.producers[bound["inner"]]
    made = Replacement()
    viewed = draft.fresh(f"{root.output}/view")
    made.types[viewed] = TensorType(draft.types[root.output].shape)
    made.operators = [
        make_view(bound["x"], viewed, view_of(root), root.name),
        _scaled(root, viewed, number(inner, "factor")),
    ]
    return made


def _inner(kind: str) -> Apply:
    return Apply(kind, (_X,), name="inner", once=True)


_PRODUCT = Apply("matmul", (_X, Constant("w")), name="inner", once=True)


LAWS: tuple[Rule, ...] = (
    Rule("times a constant", commutes("mul", _X, Constant("c")), _times_constant),
    Rule("plus a constant", commutes("add", _X, Constant("c")), _plus_constant),
    Rule("scale by one", Apply("scale", (_X,)), _scale_by_one),
    Rule("scale of a scale", Apply("scale", (_inner("scale"),)), _scale_of_scale),
    Rule("scale leaves a product", commutes("mul", _inner("scale"), _Y), _scale_outwards),
    Rule("scale enters weights", Apply("matmul", (_inner("scale"), Constant("w"))), _product_of_scale),
    Rule("scale leaves the left", Apply("matmul", (_inner("scale"), _Y)), _scale_outwards),
    Rule("scale leaves the right", Apply("matmul", (_Y, _inner("scale"))), _scale_outwards),
    Rule("scale leaves a view", Apply("view", (_inner("scale"),)), _view_inside),
    Rule("affine enters weights", Apply("scale|no_norm", (_PRODUCT,)), _affine_of_product),
    Rule("affine after affine", Apply("scale|bias|no_norm", (_inner("bias|no_norm"),)), _affine_of_affine),
    Rule("affine after normalisation", Apply("scale|bias|no_norm", (_inner("layer_norm"),)), _affine_of_layer_norm),
    Rule("no_norm enters weights", Apply("matmul", (_inner("no_norm"), Constant("w"))), _product_of_no_norm),
    Rule("rows after rows", Apply("add_rows", (_inner("bias|add_rows"),)), _rows_of_bias),
    Rule("bias after rows", Apply("bias", (_inner("add_rows"),)), _rows_of_bias),
    Rule("rows last", commutes("add", _inner("bias|add_rows"), _Y), _rows_last),
    Rule("flat weights", Apply("matmul", (_X, Constant("w"))), _squeezed_weights),
)

# Applied when no other rule fits any more.
LEFT_OVERS: tuple[Rule, ...] = (
    Rule("scale is no_norm", Apply("scale", (_X,)), _scale_left_over),
    Rule("number is bias", commutes("add", _X, Constant("c")), _plus_number),
)
