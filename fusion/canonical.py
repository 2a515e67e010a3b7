"""Rules that turn ONNX's primitive operators into the canonical ones that the planner takes."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from data.errors import UnsupportedOperatorError
from fusion.attention_rule import ATTENTION_RULES
from fusion.graph import CANONICAL, MAPPING_TYPES, Graph, Operator, check
from fusion.patterns import Apply, Build, Constant, Pattern, Replacement, Rule, Tensor, commutes, rewrite

_X = Tensor("x")


def canonicalize(graph: Graph) -> Graph:
    """The same computation in canonical operators only.

    Raises:
        UnsupportedOperatorError: an operator that no rule takes; names its node, its shape and what is supported.
    """
    graph = rewrite(graph, RULES)
    for operator in graph.operators:
        if operator.kind not in CANONICAL:
            shape = list(graph.types[operator.output].shape)
            raise UnsupportedOperatorError(
                f"operator {operator.kind} (node {operator.name or operator.output}, output {shape}) is not supported "
                f"here. Supported after rewriting: {', '.join(sorted(MAPPING_TYPES))}"
            )
    return check(graph, canonical=True)


def _replace_with(kind: str, *operands: str, **attributes: float) -> Build:
    """Builds one operator of a kind from the bound tensors of these names."""

    def build(graph: Graph, bound: Mapping[str, str], root: Operator) -> Replacement:
        inputs = tuple(bound[name] for name in operands)
        return Replacement([Operator(kind, inputs, root.output, tuple(sorted(attributes.items())), root.name)])

    return build


def _alias(graph: Graph, bound: Mapping[str, str], root: Operator) -> Replacement | None:
    """The operand itself, when the operator changes neither rows nor columns nor type; heads are left to attention."""
    before, after = graph.types[bound["x"]], graph.types[root.output]
    if max(len(before.shape), len(after.shape)) > 3:
        return None
    same = (before.rows, before.columns, before.dtype) == (after.rows, after.columns, after.dtype)
    return Replacement(alias=bound["x"]) if same else None


def _gemm(graph: Graph, bound: Mapping[str, str], root: Operator) -> Replacement | None:
    """``Gemm`` with constant weights, transposed or not, as a product and a bias."""
    plain = all(root.attribute(name, 1.0) == 1.0 for name in ("alpha", "beta")) and not root.attribute("transA", 0)
    if not plain:
        return None
    made = Replacement()
    matrix = graph.constants[bound["w"]]
    weights = bound["w"]
    if root.attribute("transB", 0):
        weights = made.constant(f"{root.output}/weights", np.ascontiguousarray(matrix.T))
    bias = root.inputs[2] if len(root.inputs) > 2 else ""
    if bias and bias not in graph.constants:
        return None
    product = f"{root.output}/product" if bias else root.output
    made.types[product] = graph.types[root.output]
    made.operators.append(Operator("matmul", (bound["x"], weights), product, (), root.name))
    if bias:
        made.operators.append(Operator("bias", (product, bias), root.output, (), root.name))
    return made


def _add_constant(graph: Graph, bound: Mapping[str, str], root: Operator) -> Replacement | None:
    """A constant vector is a bias, a constant of one number a row is a sum of rows."""
    value, type_ = graph.constants[bound["c"]], graph.types[root.output]
    if graph.types[bound["x"]] != type_ or not value.shape:
        return None
    made = Replacement()
    if value.size == value.shape[-1] == type_.columns:
        vector = made.constant(f"{root.output}/vector", value.reshape(-1))
        made.operators.append(Operator("bias", (bound["x"], vector), root.output, (), root.name))
        return made
    if value.size == type_.rows * type_.columns and value.shape[-1] == type_.columns:
        rows = made.constant(f"{root.output}/rows", value.reshape(type_.rows, type_.columns))
        made.operators.append(Operator("add_rows", (bound["x"], rows), root.output, (), root.name))
        return made
    return None


def _select_row(graph: Graph, bound: Mapping[str, str], root: Operator) -> Replacement | None:
    """``Gather`` of one position of the sequence."""
    index, type_ = graph.constants[bound["i"]], graph.types[bound["x"]]
    if index.size != 1 or root.attribute("axis", 0) != len(type_.shape) - 2 or type_.dtype != "float32":
        return None
    row = int(index.reshape(())) % type_.shape[-2]
    return Replacement([Operator("select_row", (bound["x"],), root.output, (("row", row),), root.name)])


def _layer_norm(graph: Graph, bound: Mapping[str, str], root: Operator) -> Replacement | None:
    """``LayerNormalization`` over the last axis."""
    axis = root.attribute("axis", -1)
    rank = len(graph.types[root.output].shape)
    if axis not in (-1, rank - 1) or len(root.inputs) < 3 or root.inputs[2] not in graph.constants:
        return None
    epsilon = float(root.attribute("epsilon", 1e-5))  # type: ignore[arg-type]
    return Replacement([Operator("layer_norm", root.inputs[:3], root.output, (("epsilon", epsilon),), root.name)])


def _decomposed_layer_norm(graph: Graph, bound: Mapping[str, str], root: Operator) -> Replacement:
    """Layer normalisation as exported before opset 17."""
    epsilon = float(graph.constants[bound["epsilon"]].reshape(()))
    inputs = (bound["x"], bound["scale"], bound["shift"])
    return Replacement([Operator("layer_norm", inputs, root.output, (("epsilon", epsilon),), root.name)])


def _plus_one_erf(inner: Pattern) -> Pattern:
    return commutes("add", Apply("erf", (inner,)), Constant(value=1.0))


_SCALED = Apply("div", (_X, Constant(value=2**0.5)))
_SCALED_TOO = commutes("mul", _X, Constant(value=0.5**0.5))
_CENTRED = Apply("sub", (_X, Apply("reducemean", (_X,))))
_VARIANCE = Apply("reducemean", (Apply("pow", (_CENTRED, Constant(value=2.0))),))
_NORMALISED = Apply("div", (_CENTRED, Apply("sqrt", (commutes("add", _VARIANCE, Constant("epsilon")),))))

_GELU = tuple(
    Rule(f"gelu {index}", pattern, _replace_with("gelu", "x"))
    for scaled in (_SCALED, _SCALED_TOO)
    for index, pattern in enumerate(
        (
            commutes("mul", commutes("mul", _X, _plus_one_erf(scaled)), Constant(value=0.5)),
            commutes("mul", commutes("mul", _X, Constant(value=0.5)), _plus_one_erf(scaled)),
            commutes("mul", _X, commutes("mul", _plus_one_erf(scaled), Constant(value=0.5))),
        )
    )
)


RULES: tuple[Rule, ...] = (
    *ATTENTION_RULES,
    Rule(
        "no-op",
        Apply("identity|dropout|cast|reshape|flatten|squeeze|unsqueeze|expand", (_X,)),
        _alias,
    ),
    Rule("gemm", Apply("gemm", (_X, Constant("w"))), _gemm),
    *_GELU,
    Rule("layer normalisation", Apply("layernormalization", (_X,)), _layer_norm),
    Rule(
        "decomposed layer normalisation",
        commutes("add", commutes("mul", _NORMALISED, Constant("scale")), Constant("shift")),
        _decomposed_layer_norm,
    ),
    Rule("bias", commutes("add", _X, Constant("c")), _add_constant),
    Rule("first token", Apply("gather", (_X, Constant("i"))), _select_row),
)
