"""Bounds of what operators compute hold for all numbers within their operands' bounds."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper
from onnx.reference import ReferenceEvaluator

from fusion.importing.quantisation.bounds import UNKNOWN, Bounds, bounds_of_array, bounds_of_node

NODES = {
    **{kind: helper.make_node(kind, ["a", "b"], ["y"]) for kind in "Add Sub Mul Div Max Min".split()},
    **{kind: helper.make_node(kind, ["a"], ["y"]) for kind in "Relu Sigmoid Tanh Erf Abs Exp Identity".split()},
    "square": helper.make_node("Mul", ["a", "a"], ["y"]),
    "softmax": helper.make_node("Softmax", ["a"], ["y"], axis=-1),
    "to truth": helper.make_node("Cast", ["a"], ["y"], to=TensorProto.BOOL),
    "to whole numbers": helper.make_node("Cast", ["a"], ["y"], to=TensorProto.INT32),
    "to fractions": helper.make_node("Cast", ["a"], ["y"], to=TensorProto.FLOAT),
    "concat": helper.make_node("Concat", ["a", "b"], ["y"], axis=0),
    "clip": helper.make_node("Clip", ["a", "low"], ["y"]),
    "sum": helper.make_node("ReduceSum", ["a"], ["y"], keepdims=0),
    "mean": helper.make_node("ReduceMean", ["a"], ["y"], keepdims=0),
    "power": helper.make_node("Pow", ["a", "two"], ["y"]),
    "odd power": helper.make_node("Pow", ["a", "three"], ["y"]),
    "choice": helper.make_node("Where", ["t", "a", "b"], ["y"]),
    "comparison": helper.make_node("Less", ["a", "b"], ["y"]),
}
FIXED = {
    "low": np.array(-0.5, np.float32),
    "two": np.array(2, np.float32),
    "three": np.array(3, np.float32),
    "t": np.array([True, False, True, False]),
}
NUMBERS = st.lists(st.floats(-8, 8, width=32), min_size=4, max_size=4)


@pytest.mark.parametrize("name", NODES)
@given(first=NUMBERS, second=NUMBERS)
@settings(max_examples=25, deadline=None)
def test_results_lie_within_bounds(name: str, first: list[float], second: list[float]) -> None:
    node = NODES[name]
    values = {"a": np.array(first, np.float32), "b": np.array(second, np.float32), **FIXED}
    known: dict[str, Bounds] = {key: bounds_of_array(value) for key, value in values.items()}
    low, high = bounds_of_node(node, known)
    with np.errstate(all="ignore"):
        result = np.asarray(ReferenceEvaluator(node).run(None, {key: values[key] for key in node.input})[0], np.float64)
    found = result[~np.isnan(result)]
    slack = 1e-6 * np.abs(found).max(initial=1)
    assert (found >= low - slack).all() and (found <= high + slack).all()


def test_what_is_known_to_have_no_negative_numbers() -> None:
    known = {"a": UNKNOWN, "one": (1.0, 1.0), "mask": (0.0, 1.0)}
    gate = bounds_of_node(helper.make_node("Erf", ["a"], ["e"]), known)
    assert bounds_of_node(helper.make_node("Add", ["e", "one"], ["y"]), {**known, "e": gate}) == (0, 2)
    assert bounds_of_node(helper.make_node("Sub", ["one", "mask"], ["y"]), known) == (0, 1)
    assert bounds_of_node(helper.make_node("MatMul", ["a", "a"], ["y"]), known) == UNKNOWN
    assert bounds_of_array(np.array([np.nan, 1])) == UNKNOWN
