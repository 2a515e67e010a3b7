"""The operator graph: immutable, single assignment, shapes known.

    Graph     inputs, outputs, operators in topological order, types and constants by tensor name
    Operator  kind, input names, one output name, attributes

Primitive kinds are ONNX's own names in lower case; the rewriter turns them into the canonical kinds of
``CANONICAL``, which the planner takes. :func:`check` states what is legal between passes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from types import MappingProxyType

import numpy as np

from data.errors import ModelError

Scalar = int | float | str
Attribute = Scalar | tuple[int, ...]


@dataclass(frozen=True)
class TensorType:
    """Shape and element type (NumPy's name) of a tensor."""

    shape: tuple[int, ...]
    dtype: str = "float32"

    @property
    def columns(self) -> int:
        """Length of the last axis."""
        return self.shape[-1] if self.shape else 1

    @property
    def rows(self) -> int:
        """Number of rows when all axes but the last are flattened."""
        return math.prod(self.shape[:-1])


@dataclass(frozen=True)
class Operator:
    """One operator; an absent optional input is the empty name, as in ONNX."""

    kind: str
    inputs: tuple[str, ...]
    output: str
    attributes: tuple[tuple[str, Attribute], ...] = ()
    name: str = ""

    def attribute(self, name: str, default: Attribute | None = None) -> Attribute:
        """Value of an attribute, ``ModelError`` when it is absent and has no default."""
        for key, value in self.attributes:
            if key == name:
                return value
        if default is None:
            raise ModelError(f"operator {self.name or self.output} ({self.kind}) lacks the attribute {name!r}")
        return default


@dataclass(frozen=True)
class Graph:
    """A whole model. ``constants`` holds the weights; a graph made from an architecture alone holds
    zero-stride arrays, which take no memory. ``output_shapes``, ``output_names`` and ``output_dtypes`` are the source
    model's, where they are known: two of its outputs may be one tensor in two shapes, and whole numbers are fp32 here.
    ``renamed_inputs`` are (the source's name, ours) of inputs that it calls otherwise, ``unread_inputs`` those of its
    inputs that nothing reads and that are none of ours. ``labels`` are the names of its logits, where it has any.
    ``quantised_bits``: to how many bits at most the source quantises its activations, which the graph does not, 0 where
    it does not either; ``fp32_products`` are the names of the products with weights whose weights such a source left in
    fp32."""

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    operators: tuple[Operator, ...]
    types: Mapping[str, TensorType]
    constants: Mapping[str, np.ndarray] = field(default_factory=lambda: MappingProxyType({}))
    source_operators: int = 0
    output_shapes: tuple[tuple[int, ...], ...] = ()
    renamed_inputs: tuple[tuple[str, str], ...] = ()
    unread_inputs: tuple[str, ...] = ()
    output_names: tuple[str, ...] = ()
    output_dtypes: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    quantised_bits: int = 0
    fp32_products: tuple[str, ...] = ()

    @cached_property
    def producers(self) -> dict[str, Operator]:
        """The operator that makes each tensor."""
        return {operator.output: operator for operator in self.operators}

    @cached_property
    def consumers(self) -> dict[str, list[Operator]]:
        """The operators that read each tensor, in order."""
        readers: dict[str, list[Operator]] = {}
        for operator in self.operators:
            for name in dict.fromkeys(operator.inputs):
                readers.setdefault(name, []).append(operator)
        return readers

    @cached_property
    def positions(self) -> dict[str, int]:
        """The index in ``operators`` of each tensor's maker."""
        return {operator.output: index for index, operator in enumerate(self.operators)}


# Mapping types of DNNFusion (PLDI'21, table 2), from input to output elements. "rowwise" is ours: a many-to-many
# operator that stays within a row, and may therefore follow a GEMM whose rows are complete.
MAPPING_TYPES: Mapping[str, str] = MappingProxyType(
    {
        "gather": "one-to-many",
        "position_ids": "rowwise",
        "window": "one-to-many",
        "add_rows": "one-to-one",
        "add": "one-to-one",
        "bias": "one-to-one",
        "gelu": "one-to-one",
        "gelu_tanh": "one-to-one",
        "relu": "one-to-one",
        "tanh": "one-to-one",
        "sigmoid": "one-to-one",
        "silu": "one-to-one",
        "no_norm": "one-to-one",
        "layer_norm": "rowwise",
        "row_softmax": "rowwise",
        "row_log_softmax": "rowwise",
        "l2_norm": "rowwise",
        "top": "many-to-many",
        "mask_rows": "reorganize",
        "pool": "many-to-many",
        "matmul": "many-to-many",
        "attention": "many-to-many",
        "scores": "many-to-many",
        "softmax": "rowwise",
        "context": "many-to-many",
        "select_row": "reorganize",
        "rows": "reorganize",
        "columns": "reorganize",
        "view": "shuffle",
        "concat": "reorganize",
    }
)
CANONICAL = frozenset(MAPPING_TYPES)


def check(graph: Graph, *, canonical: bool = False) -> Graph:
    """The graph itself, when it is legal.

    Raises:
        ModelError: a tensor is read before it is made, made twice or has no type, an output is missing, or,
            with ``canonical``, an operator is not one that the planner takes.
    """
    known = set(graph.inputs) | set(graph.constants) | {""}
    for operator in graph.operators:
        missing = [name for name in operator.inputs if name not in known]
        if missing:
            raise ModelError(f"operator {operator.name or operator.output}: {missing[0]!r} is read before it is made")
        if operator.output in known:
            raise ModelError(f"tensor {operator.output!r} is made twice")
        if operator.output not in graph.types:
            raise ModelError(f"tensor {operator.output!r} has no type")
        if canonical and operator.kind not in CANONICAL:
            raise ModelError(f"operator {operator.name or operator.output} ({operator.kind}) is not canonical")
        known.add(operator.output)
    lost = [name for name in graph.outputs if name not in known]
    if lost:
        raise ModelError(f"output {lost[0]!r} is never made")
    return graph


def without_dead_code(graph: Graph) -> Graph:
    """The graph with only those operators, types and constants that its outputs need."""
    needed = set(graph.outputs) | set(graph.inputs)
    kept: list[Operator] = []
    for operator in reversed(graph.operators):
        if operator.output in needed:
            kept.append(operator)
            needed.update(operator.inputs)
    return replace(
        graph,
        operators=tuple(reversed(kept)),
        types={name: type_ for name, type_ in graph.types.items() if name in needed},
        constants={name: value for name, value in graph.constants.items() if name in needed},
    )
