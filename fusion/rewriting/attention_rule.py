"""The rule that finds attention: softmax(scale * Q K^T + bias) V of several heads, (heads, S, size) each.

How heads are split and joined is left to views: the rule makes attention on whole rows, (1, S, heads * size), between
views that lead there and back, and these cancel against those of the model.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from fusion.graph import Attribute, Operator, TensorType
from fusion.rewriting.patterns import Apply, Constant, Draft, Replacement, Rule, Tensor
from fusion.rewriting.views import elements, make_view, normal_view

# The smallest number of fp32: what a masked score becomes at most.
MOST_NEGATIVE = float(np.finfo(np.float32).min)
# A masked score that is replaced rather than added to; only numbers this low make the two the same in fp32.
_LOWEST_REPLACED = -1e9


@dataclass
class _Scores:
    """What stands between the product of queries and keys and the softmax."""

    tensor: str
    scale: float = 1.0
    mask: str = ""
    masked_bias: float = 0.0


def _build(draft: Draft, bound: Mapping[str, str], root: Operator) -> Replacement | None:
    scores = _walk(draft, bound["scores"])
    product = draft.producers.get(scores.tensor)
    if product is None or product.kind != "matmul":
        return None
    q, k, v = *product.inputs, bound["v"]
    sizes = _sizes(draft, q, k, v, product.output, root.output)
    if sizes is None or any(name in draft.constants for name in (q, k, v)):
        return None
    heads, rows, size = sizes
    made = Replacement()
    names = {part: draft.fresh(f"{root.output}/{part}") for part in ("queries", "keys", "values", "context")}
    made.types |= {name: TensorType((1, rows, heads * size)) for name in names.values()}
    by_row = normal_view((heads, rows, size), (1, 0, 2))
    attributes: list[tuple[str, Attribute]] = [("heads", heads), ("scale", float(np.float32(scores.scale)))]
    inputs: tuple[str, ...] = (names["queries"], names["keys"], names["values"])
    if scores.mask:
        attributes.append(("masked_bias", scores.masked_bias))
        inputs += (scores.mask,)
    made.operators = [
        make_view(q, names["queries"], by_row, root.name),
        make_view(k, names["keys"], normal_view((heads, size, rows), (2, 0, 1)), root.name),
        make_view(v, names["values"], by_row, root.name),
        Operator("attention", inputs, names["context"], tuple(sorted(attributes)), root.name),
        make_view(names["context"], root.output, normal_view((rows, heads, size), (1, 0, 2)), root.name),
    ]
    return made


def _sizes(draft: Draft, q: str, k: str, v: str, scores: str, context: str) -> tuple[int, int, int] | None:
    """(heads, rows, size), when queries and values are (..., rows, size) and keys (..., size, rows)."""
    types = [draft.types[name] for name in (q, k, v)]
    if any(len(type_.shape) < 2 or type_.dtype != "float32" for type_ in types):
        return None
    rows, size = types[0].shape[-2:]
    heads = math.prod(types[0].shape[:-2])
    expected = ((rows, size), (size, rows), (rows, size))
    fits = all(
        type_.shape[-2:] == last and math.prod(type_.shape[:-2]) == heads
        for type_, last in zip(types, expected, strict=True)
    )
    unrepeated = elements(draft.types[scores]) == heads * rows * rows
    if not fits or not unrepeated or elements(draft.types[context]) != heads * rows * size or not heads * rows * size:
        return None
    return heads, rows, size


def _walk(draft: Draft, tensor: str) -> _Scores:
    """Up from the softmax through masks and factors, as far as they are understood."""
    scores = _Scores(tensor)
    while True:
        maker = draft.producers.get(scores.tensor)
        if maker is None or not _step(draft, maker, scores):
            return scores


def _step(draft: Draft, maker: Operator, scores: _Scores) -> bool:
    """Takes one operator into account, if it is one that scores may pass through."""
    if maker.kind == "scale":
        factor = maker.attribute("factor")
        assert isinstance(factor, float)
        scores.scale *= factor
        scores.tensor = maker.inputs[0]
        return True
    if maker.kind in {"add", "bias"}:
        return _added(draft, maker, scores)
    return maker.kind == "where" and _chosen(draft, maker, scores)


def _added(draft: Draft, maker: Operator, scores: _Scores) -> bool:
    """Scores plus the bias of masked keys, or plus zeros."""
    for one, other in (maker.inputs, maker.inputs[::-1]):
        bias = draft.producers.get(other)
        if bias is not None and bias.kind == "key_bias" and _keeps(draft, one, maker):
            masked_bias = bias.attribute("masked_bias")
            assert isinstance(masked_bias, float)
            return _take_mask(scores, bias.inputs[0], masked_bias, one)
        if other in draft.constants and not draft.constants[other].any() and _keeps(draft, one, maker):
            scores.tensor = one
            return True
    return False


def _chosen(draft: Draft, maker: Operator, scores: _Scores) -> bool:
    """Scores where a key is kept, and a very low number where it is masked."""
    condition, yes, no = maker.inputs
    choice = draft.producers.get(condition)
    if choice is None or choice.kind != "key_keep":
        return False
    kept, masked = (yes, no) if choice.attribute("kept") == 1 else (no, yes)
    value = draft.constants.get(masked)
    if value is None or value.size != 1 or not value.reshape(()) <= _LOWEST_REPLACED:
        return False
    return _keeps(draft, kept, maker) and _take_mask(scores, choice.inputs[0], float(value.reshape(())), kept)


def _take_mask(scores: _Scores, mask: str, masked_bias: float, tensor: str) -> bool:
    if scores.mask:
        return False
    scores.mask, scores.tensor = mask, tensor
    scores.masked_bias = min(max(masked_bias * scores.scale, MOST_NEGATIVE), -MOST_NEGATIVE)
    return True


def _keeps(draft: Draft, name: str, maker: Operator) -> bool:
    """Whether the operator's result has its operand's shape, so that nothing is repeated."""
    return draft.types[name].shape == draft.types[maker.output].shape


def _unguarded(draft: Draft, bound: Mapping[str, str], root: Operator) -> Replacement | None:
    """Where a softmax is not a number, zero: it always is one, unless every key is masked."""
    maker = draft.producers.get(bound["x"])
    same = draft.types[bound["x"]] == draft.types[root.output]
    return Replacement(alias=bound["x"]) if maker is not None and maker.kind == "weigh" and same else None


_X = Tensor("x")
ATTENTION_RULES: tuple[Rule, ...] = (
    Rule("guard", Apply("where", (Apply("isnan", (_X,)), Constant(value=0.0), _X)), _unguarded),
    Rule("attention", Apply("matmul", (Apply("weigh", (Tensor("scores"),)), Tensor("v"))), _build),
)
