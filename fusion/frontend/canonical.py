"""Turns ONNX's primitive operators into the canonical ones that the planner takes.

Three rule sets, one after the other: operators without axes (``lowering.py``); functions that exporters spell out, and
the laws that bring their spellings together (``algebra.py``, ``views.py``, ``attention_rule.py``); what is left over.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from fusion.frontend.legality import check_operators
from fusion.frontend.lowering import LOWERING
from fusion.graph import Graph, Operator, check
from fusion.rewriting.algebra import LAWS, LEFT_OVERS
from fusion.rewriting.attention_rule import ATTENTION_RULES
from fusion.rewriting.outputs import with_outputs_of
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
    rewrite,
)
from fusion.rewriting.views import VIEW_RULES, same_rows

_X = Tensor("x")


def canonicalize(graph: Graph) -> Graph:
    """The same computation in canonical operators only; outputs keep their names and shapes.

    Raises:
        UnsupportedOperatorError: an operator that no rule takes; names its node, its shape and what is supported.
        ModelError: an operator breaks ONNX's rules, or an output does not depend on the ids.
    """
    rewritten = graph
    with np.errstate(over="ignore", invalid="ignore"):  # weights may be as large as they like
        for rules in (LOWERING, RULES, (*RULES, *LEFT_OVERS)):
            rewritten = check(rewrite(rewritten, rules))
    return check(check_operators(with_outputs_of(rewritten, graph)))


def _replace_with(kind: str) -> Build:
    """Builds one operator of a kind on ``x``, which has the root's rows and columns."""

    def build(draft: Draft, bound: Mapping[str, str], root: Operator) -> Replacement | None:
        if not same_rows(draft.types[bound["x"]], draft.types[root.output]):
            return None
        return Replacement([Operator(kind, (bound["x"],), root.output, (), root.name)])

    return build


def _normalised(draft: Draft, bound: Mapping[str, str], root: Operator) -> Replacement | None:
    """Layer normalisation as exported before opset 17; its scale and shift are merged into it afterwards."""
    type_ = draft.types[root.output]
    if not same_rows(draft.types[bound["x"]], type_):
        return None
    made = Replacement()
    scale = made.constant(draft.fresh(f"{root.output}/scale"), np.ones(type_.columns, np.float32))
    shift = made.constant(draft.fresh(f"{root.output}/shift"), np.zeros(type_.columns, np.float32))
    epsilon = float(draft.constants[bound["epsilon"]].reshape(-1)[0])
    inputs = (bound["x"], scale, shift)
    made.operators.append(Operator("layer_norm", inputs, root.output, (("epsilon", epsilon),), root.name))
    return made


def _one_row(draft: Draft, bound: Mapping[str, str], root: Operator) -> Replacement | None:
    if root.attribute("count") != 1:
        return None
    row = (("row", root.attribute("first")),)
    return Replacement([Operator("select_row", (bound["x"],), root.output, row, root.name)])


def _scaled(operand: Pattern, factor: float) -> Apply:
    return Apply("scale", (operand,), factor=factor)


def _half_of_product(function: Pattern) -> Apply:
    """x * (1 + function) / 2, in the form to which the laws bring every order of its factors."""
    return _scaled(commutes("mul", _X, commutes("add|bias", function, Constant(value=1.0))), 0.5)


_SQUARES = (Apply("pow", (_X, Constant(value=2.0))), commutes("mul", _X, _X))
_CUBES = (Apply("pow", (_X, Constant(value=3.0))), *(commutes("mul", _X, square) for square in _SQUARES))
_BENT = (
    *(commutes("add", _X, _scaled(cube, 0.044715)) for cube in _CUBES),
    *(commutes("mul", _X, commutes("add", _scaled(square, 0.044715), Constant(value=1.0))) for square in _SQUARES),
)
_GELU = (
    Rule("gelu", _half_of_product(Apply("erf", (_scaled(_X, 0.5**0.5),))), _replace_with("gelu")),
    *(
        Rule(
            f"gelu by tanh {index}",
            _half_of_product(Apply("tanh", (_scaled(bent, (2 / np.pi) ** 0.5),))),
            _replace_with("gelu_tanh"),
        )
        for index, bent in enumerate(_BENT)
    ),
)

_CENTRED = Apply("sub", (_X, Apply("mean", (_X,))))
_VARIANCES = tuple(
    commutes("add|bias", Apply("mean", (square,)), Constant("epsilon"))
    for square in (Apply("pow", (_CENTRED, Constant(value=2.0))), Apply("mul", (_CENTRED, _CENTRED)))
)
_DEVIATIONS = tuple(
    deviation
    for variance in _VARIANCES
    for deviation in (Apply("sqrt", (variance,)), Apply("pow", (variance, Constant(value=0.5))))
)
_NORMALISATIONS = tuple(
    Rule(f"layer normalisation {index}", pattern, _normalised)
    for index, pattern in enumerate(
        pattern
        for deviation in _DEVIATIONS
        for pattern in (
            Apply("div", (_CENTRED, deviation)),
            commutes("mul", _CENTRED, Apply("reciprocal", (deviation,))),
        )
    )
)

RULES: tuple[Rule, ...] = (
    *ATTENTION_RULES,
    *VIEW_RULES,
    *_GELU,
    *_NORMALISATIONS,
    *LAWS,
    Rule("one row", Apply("rows", (_X,)), _one_row),
)
