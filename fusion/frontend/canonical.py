"""Turns ONNX's primitive operators into the canonical ones that the planner takes.

One after the other: operators without axes (``lowering.py``); functions that exporters spell out, known by what they
compute (``normalisations.py``, ``activations.py``); attention, views and the laws that bring spellings together
(``attention_rule.py``, ``views.py``, ``algebra.py``); what is left over.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from fusion.frontend.activations import find_activations
from fusion.frontend.legality import check_operators
from fusion.frontend.lowering import LOWERING
from fusion.frontend.normalisations import find_normalisations
from fusion.frontend.output_rules import OUTPUT_LEFT_OVERS, OUTPUT_LOWERING, OUTPUT_RULES
from fusion.frontend.pooling_rules import POOLING_LEFT_OVERS, POOLING_LOWERING, POOLING_RULES
from fusion.graph import Graph, Operator, check
from fusion.rewriting.algebra import LAWS, LEFT_OVERS
from fusion.rewriting.attention_rule import ATTENTION_RULES
from fusion.rewriting.outputs import with_outputs_of, without_output_views
from fusion.rewriting.patterns import Apply, Draft, Replacement, Rule, Tensor, rewrite
from fusion.rewriting.views import AXIS_KEEPING_VIEW_RULES, VIEW_RULES

_X = Tensor("x")


def canonicalize(graph: Graph) -> Graph:
    """The same computation in canonical operators only; outputs keep their names and shapes.

    Raises:
        UnsupportedOperatorError: an operator that no rule takes; names its node, its shape and what is supported.
        ModelError: an operator breaks ONNX's rules, or an output does not depend on the ids.
    """
    rewritten = graph
    with np.errstate(over="ignore", invalid="ignore"):  # weights may be as large as they like
        lowering = (*LOWERING, *OUTPUT_LOWERING, *POOLING_LOWERING, *AXIS_KEEPING_VIEW_RULES)
        rewritten = check(rewrite(check(rewrite(rewritten, lowering)), VIEW_RULES))
        rewritten = find_activations(find_normalisations(rewritten))
        for rules in (RULES, (*RULES, *LEFT_OVERS, *OUTPUT_LEFT_OVERS, *POOLING_LEFT_OVERS)):
            rewritten = check(rewrite(rewritten, rules))
    return check(check_operators(with_outputs_of(without_output_views(rewritten), graph)))


def _one_row(draft: Draft, bound: Mapping[str, str], root: Operator) -> Replacement | None:
    if root.attribute("count") != 1:
        return None
    row = (("row", root.attribute("first")),)
    return Replacement([Operator("select_row", (bound["x"],), root.output, row, root.name)])


RULES: tuple[Rule, ...] = (
    *ATTENTION_RULES,
    *VIEW_RULES,
    *LAWS,
    Rule("one row", Apply("rows", (_X,)), _one_row),
    *OUTPUT_RULES,
    *POOLING_RULES,
)
