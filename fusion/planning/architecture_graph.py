"""The canonical operator graph of an architecture, without weights: what a candidate would run."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

import numpy as np

from data.architecture import Architecture, Head
from fusion.graph import Attribute, Graph, Operator, TensorType

LAYER_NORM_EPSILON = float(np.float32(1e-12))
# What torch's normalisation of vectors divides by at least.
SMALLEST_NORM = float(np.float32(1e-12))
# The most negative fp32: what Hugging Face adds to the scores of masked keys.
MASKED_BIAS = float(np.finfo(np.float32).min)


@dataclass
class _Builder:
    """Collects operators while the graph is written down layer by layer."""

    operators: list[Operator] = field(default_factory=list)
    types: dict[str, TensorType] = field(default_factory=dict)
    constants: dict[str, np.ndarray] = field(default_factory=dict)

    def constant(self, name: str, *shape: int) -> str:
        self.constants[name] = np.broadcast_to(np.float32(0), shape)
        self.types[name] = TensorType(shape)
        return name

    def apply(self, kind: str, inputs: tuple[str, ...], shape: tuple[int, ...], **attributes: Attribute) -> str:
        output = f"{kind}_{len(self.operators)}"
        self.operators.append(Operator(kind, inputs, output, tuple(sorted(attributes.items())), output))
        self.types[output] = TensorType(shape)
        return output

    def dense(self, source: str, rows: int, inner: int, columns: int) -> str:
        tag = len(self.operators)
        product = self.apply("matmul", (source, self.constant(f"w{tag}", inner, columns)), (1, rows, columns))
        return self.apply("bias", (product, self.constant(f"b{tag}", columns)), (1, rows, columns))

    def layer_norm(self, source: str, rows: int, columns: int) -> str:
        tag = len(self.operators)
        scale, shift = self.constant(f"g{tag}", columns), self.constant(f"s{tag}", columns)
        return self.apply("layer_norm", (source, scale, shift), (1, rows, columns), epsilon=LAYER_NORM_EPSILON)


def architecture_graph(architecture: Architecture) -> Graph:
    """The graph that importing and rewriting an exported model of this architecture gives.

    Where there is one token type only, token types are no input.
    """
    builder = _Builder()
    inputs = ("input_ids", "attention_mask", *(("token_type_ids",) if architecture.token_types > 1 else ()))
    for name in inputs:
        builder.types[name] = TensorType((1, architecture.seq_len), "int64")
    hidden = _embeddings(builder, architecture)
    for _ in range(architecture.layers):
        hidden = _layer(builder, architecture, hidden)
    output = _HEADS[architecture.head](builder, architecture, hidden)
    return Graph(inputs, (output,), tuple(builder.operators), builder.types, builder.constants, len(builder.operators))


def _embeddings(builder: _Builder, architecture: Architecture) -> str:
    rows, hidden = architecture.seq_len, architecture.hidden
    shape = (1, rows, hidden)
    total = builder.apply("gather", (builder.constant("words", architecture.vocab_size, hidden), "input_ids"), shape)
    if architecture.token_types > 1:
        table = builder.constant("kinds", architecture.token_types, hidden)
        total = builder.apply("add", (total, builder.apply("gather", (table, "token_type_ids"), shape)), shape)
    total = builder.apply("add_rows", (total, builder.constant("positions", rows, hidden)), shape)
    return builder.layer_norm(total, rows, hidden)


def _layer(builder: _Builder, architecture: Architecture, source: str) -> str:
    rows, hidden = architecture.seq_len, architecture.hidden
    shape = (1, rows, hidden)
    q, k, v = (builder.dense(source, rows, hidden, hidden) for _ in range(3))
    context = builder.apply(
        "attention",
        (q, k, v, "attention_mask"),
        shape,
        heads=architecture.heads,
        scale=float(np.float32(architecture.head_size**-0.5)),
        masked_bias=MASKED_BIAS,
    )
    projected = builder.dense(context, rows, hidden, hidden)
    attended = builder.layer_norm(builder.apply("add", (projected, source), shape), rows, hidden)
    wide = builder.dense(attended, rows, hidden, architecture.intermediate)
    wide = builder.apply("gelu", (wide,), (1, rows, architecture.intermediate))
    narrow = builder.dense(wide, rows, architecture.intermediate, hidden)
    return builder.layer_norm(builder.apply("add", (narrow, attended), shape), rows, hidden)


def _sequence_head(builder: _Builder, architecture: Architecture, source: str) -> str:
    """Logits of the whole sequence, (1, labels), from its first token."""
    hidden = architecture.hidden
    first = builder.apply("select_row", (source,), (1, hidden), row=0)
    pooled = builder.apply("tanh", (builder.dense(first, 1, hidden, hidden),), (1, hidden))
    return builder.dense(pooled, 1, hidden, architecture.labels)


def _tokens_head(builder: _Builder, architecture: Architecture, source: str) -> str:
    """Logits of every token, (1, seq_len, labels)."""
    return builder.dense(source, architecture.seq_len, architecture.hidden, architecture.labels)


def _embedding_head(builder: _Builder, architecture: Architecture, source: str) -> str:
    """The mean of the tokens that the mask keeps, brought to length 1: (1, hidden)."""
    shape, table = (1, architecture.hidden), (2, architecture.seq_len + 1)
    tables = builder.constant("scales", *table), builder.constant("shifts", *table)
    mean = builder.apply("pool", (source, "attention_mask", *tables), shape, function="sum")
    return builder.apply("l2_norm", (mean,), shape, inside=0.0, floor=SMALLEST_NORM, outside=0.0)


_HEADS: Mapping[Head, Callable[[_Builder, Architecture, str], str]] = MappingProxyType(
    {"sequence": _sequence_head, "tokens": _tokens_head, "embedding": _embedding_head}
)
