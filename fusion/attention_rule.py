"""The rule that finds attention: softmax(scale * Q K^T + bias) V between the reshapes that split and join heads."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from fusion.graph import Graph, Operator
from fusion.patterns import Apply, Constant, Pattern, Replacement, Rule, Tensor, commutes


def _heads(name: str) -> Apply:
    """(1, S, H) split into (1, heads, S, size)."""
    return Apply("transpose", (Apply("reshape", (Tensor(name),), name=f"{name}_split"),), name=f"{name}_heads")


_KEYS: tuple[Pattern, ...] = (
    _heads("k"),  # one transposition, (0, 2, 3, 1)
    Apply("transpose", (_heads("k"),), name="k_again"),  # two of them
)


def _scaled(product: Apply) -> tuple[Pattern, ...]:
    """The scores as exporters scale them: divided, multiplied, or not at all."""
    return (
        Apply("div", (product, Constant("divisor"))),
        commutes("mul", product, Constant("factor")),
        product,
    )


def _factor(operand: Pattern, name: str) -> Apply:
    return commutes("mul", operand, Constant(name))


def _attention_patterns() -> tuple[Apply, ...]:
    """Every combination of where the scale stands, how keys are transposed and whether there is a mask."""
    found = []
    for keys in _KEYS:
        products = [Apply("matmul", (_heads("q"), keys))]
        products.append(Apply("matmul", (_factor(_heads("q"), "q_factor"), _factor(keys, "k_factor"))))
        products.append(Apply("matmul", (_factor(_heads("q"), "q_factor"), keys)))
        products.append(Apply("matmul", (Apply("div", (_heads("q"), Constant("divisor"))), keys)))
        for product in products:
            for scores in _scaled(product):
                bias = Apply("key_bias", (Tensor("mask"),), name="bias")
                for masked in (commutes("add", scores, bias), scores):
                    weighted = Apply("matmul", (Apply("softmax", (masked,), name="softmax"), _heads("v")))
                    found.append(Apply("reshape", (Apply("transpose", (weighted,), name="joined"),)))
    return tuple(found)


def _build(graph: Graph, bound: Mapping[str, str], root: Operator) -> Replacement | None:
    """Attention on queries, keys and values of whole rows, (1, S, H) each."""
    heads = _head_count(graph, bound)
    if heads is None:
        return None
    attributes: list[tuple[str, float | int]] = [("heads", heads), ("scale", _scale(graph, bound))]
    inputs: tuple[str, ...] = (bound["q"], bound["k"], bound["v"])
    if "mask" in bound:
        masked_bias = graph.producers[bound["bias"]].attribute("masked_bias")
        assert isinstance(masked_bias, float)
        attributes.append(("masked_bias", masked_bias))
        inputs += (bound["mask"],)
    return Replacement([Operator("attention", inputs, root.output, tuple(sorted(attributes)), root.name)])


def _head_count(graph: Graph, bound: Mapping[str, str]) -> int | None:
    """Heads, when all transpositions are those of multi-head attention."""
    split = graph.types[bound["q_split"]].shape
    if len(split) != 4 or split != graph.types[bound["v_split"]].shape or split != graph.types[bound["k_split"]].shape:
        return None
    expected = {"q_heads": (0, 2, 1, 3), "v_heads": (0, 2, 1, 3), "joined": (0, 2, 1, 3)}
    expected |= {"k_heads": (0, 2, 1, 3), "k_again": (0, 1, 3, 2)} if "k_again" in bound else {"k_heads": (0, 2, 3, 1)}
    fits = all(graph.producers[bound[name]].attribute("perm", ()) == perm for name, perm in expected.items())
    softmax_axis = graph.producers[bound["softmax"]].attribute("axis", -1)
    return split[2] if fits and softmax_axis in (-1, 3) else None


def _scale(graph: Graph, bound: Mapping[str, str]) -> float:
    """The product of all factors that the scores carry, rounded to fp32."""
    scale = 1.0
    for name in ("factor", "q_factor", "k_factor"):
        if name in bound:
            scale *= float(graph.constants[bound[name]].reshape(-1)[0])
    if "divisor" in bound:
        scale /= float(graph.constants[bound["divisor"]].reshape(-1)[0])
    return float(np.float32(scale))


ATTENTION_RULES: tuple[Rule, ...] = tuple(
    Rule(f"attention {index}", pattern, _build) for index, pattern in enumerate(_attention_patterns())
)
