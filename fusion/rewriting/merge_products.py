"""Merges products that read the same rows: x A and x B become x [A B], one product (distributive law).

Queries, keys and values of BERT become one product; so do the bottlenecks of MobileBERT.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from fusion.graph import Graph, Operator, TensorType

# Steps that a product's kernel applies to its own result: a merged product could not.
_EPILOGUE_KINDS = frozenset(
    "add_rows gelu gelu_tanh l2_norm layer_norm no_norm relu row_log_softmax row_softmax sigmoid silu tanh".split()
)


@dataclass(frozen=True)
class _Product:
    """x W, or x W + b: one or two operators, of which the last makes the result."""

    operators: tuple[Operator, ...]

    @property
    def weights(self) -> str:
        return self.operators[0].inputs[1]

    @property
    def bias(self) -> str | None:
        return self.operators[1].inputs[1] if len(self.operators) == 2 else None

    @property
    def result(self) -> str:
        return self.operators[-1].output


def merge_products(graph: Graph) -> Graph:
    """The graph in which products of one source are one product, whose columns are views."""
    merged: dict[str, list[Operator]] = {}
    dropped: set[str] = set()
    constants, types = dict(graph.constants), dict(graph.types)
    fp32 = list(graph.fp32_products)
    for group in _groups(graph):
        first = min(group, key=lambda product: graph.positions[product.operators[0].output])
        name = f"{first.result}/merged"
        width = sum(graph.types[product.result].columns for product in group)
        shape = (*graph.types[first.result].shape[:-1], width)
        constants[f"{name}_weights"] = _side_by_side([graph.constants[product.weights] for product in group])
        operators = [Operator("matmul", (first.operators[0].inputs[0], f"{name}_weights"), name, (), name)]
        if first.operators[0].name in graph.fp32_products:
            fp32.append(name)
        if first.bias is not None:
            constants[f"{name}_bias"] = _side_by_side([_bias(graph, product) for product in group])
            operators = [
                replace(operators[0], output=f"{name}_product"),
                Operator("bias", (f"{name}_product", f"{name}_bias"), name, (), name),
            ]
        types |= {operator.output: TensorType(shape) for operator in operators}
        types |= {
            key: TensorType(constants[key].shape) for key in (f"{name}_weights", f"{name}_bias") if key in constants
        }
        merged[first.operators[0].output] = [*operators, *_views(graph, group, name)]
        dropped |= {operator.output for product in group for operator in product.operators}
    kept: list[Operator] = []
    for operator in graph.operators:
        kept.extend(merged.get(operator.output, []))
        if operator.output not in dropped:
            kept.append(operator)
    return replace(graph, operators=tuple(kept), constants=constants, types=types, fp32_products=tuple(fp32))


def _groups(graph: Graph) -> list[list[_Product]]:
    """Products of one source, alike in having a bias and in being left in fp32 or not, two or more of them."""
    found: dict[tuple[str, bool, bool], list[_Product]] = {}
    for operator in graph.operators:
        if operator.kind == "matmul" and operator.inputs[1] in graph.constants:
            product = _product(graph, operator)
            if _is_free(graph, product):
                left = operator.name in graph.fp32_products
                found.setdefault((operator.inputs[0], product.bias is not None, left), []).append(product)
    return [group for group in found.values() if len(group) > 1]


def _product(graph: Graph, matmul: Operator) -> _Product:
    readers = graph.consumers.get(matmul.output, [])
    if len(readers) == 1 and readers[0].kind == "bias" and matmul.output not in graph.outputs:
        return _Product((matmul, readers[0]))
    return _Product((matmul,))


def _is_free(graph: Graph, product: _Product) -> bool:
    """Whether nothing that follows would rather be this product's epilogue."""
    if product.result in graph.outputs:
        return False
    readers = graph.consumers.get(product.result, [])
    return not (len(readers) == 1 and (readers[0].kind in _EPILOGUE_KINDS or _is_only_host(graph, readers[0])))


def _is_only_host(graph: Graph, reader: Operator) -> bool:
    """Whether an addition has no other product that could take it as its residual."""
    if reader.kind != "add":
        return False
    makers = [graph.producers.get(name) for name in dict.fromkeys(reader.inputs)]
    hosts = [maker for maker in makers if maker is not None and maker.kind in {"matmul", "bias"}]
    return len(hosts) < 2


def _bias(graph: Graph, product: _Product) -> np.ndarray:
    assert product.bias is not None
    return graph.constants[product.bias].reshape(-1)


def _side_by_side(arrays: Sequence[np.ndarray]) -> np.ndarray:
    """The arrays joined along their last axis; arrays without values (stride 0) stay without."""
    if all(not any(array.strides) for array in arrays):
        shape = (*arrays[0].shape[:-1], sum(array.shape[-1] for array in arrays))
        return np.broadcast_to(arrays[0].reshape(-1)[:1], shape)
    return np.concatenate(arrays, axis=-1)


def _views(graph: Graph, group: Sequence[_Product], merged: str) -> list[Operator]:
    views, first = [], 0
    for product in group:
        views.append(Operator("columns", (merged,), product.result, (("first", first),), product.result))
        first += graph.types[product.result].columns
    return views
