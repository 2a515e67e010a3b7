"""Operators of the domain com.microsoft, which ONNX Runtime's optimisers write, in ONNX's own operators."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType

import numpy as np
from onnx import TensorProto

from data.errors import ModelError
from fusion.importing.evaluation import describe
from fusion.importing.expansion import Expand, Expansion, attend, split_heads

DOMAIN = "com.microsoft"
_MASK_FILTER = -10000.0
_ACTIVATIONS = ("Relu", "Tanh", "Sigmoid")


def _embed_layer_normalization(expansion: Expansion) -> None:
    """Looked-up rows of tokens, positions and token types, summed and normalised."""
    ids, segments, positions = (expansion.operand(index) for index in (0, 1, 8))
    if expansion.output(1):
        raise expansion.refuse("masks given by their length are not supported; optimise with use_raw_attention_mask")
    total = expansion.apply("Gather", expansion.operand(2), ids, axis=0)
    if positions:
        rows = expansion.apply("Gather", expansion.operand(3), positions, axis=0)
    else:
        table, count = expansion.value(3, "position embeddings"), expansion.shape(ids)[-1]
        if len(table) < count:
            raise ModelError(f"{describe(expansion.node)}: the model has {len(table)} positions, not {count}")
        rows = expansion.constant(table[:count])
    total = expansion.apply("Add", total, rows)
    if segments and expansion.operand(4):
        looked_up = expansion.apply("Gather", expansion.operand(4), segments, axis=0)
        total = expansion.apply("Add", total, looked_up)
    if expansion.output(2):
        total = expansion.apply("Identity", total, output=expansion.output(2))
    _normalise(expansion, total, expansion.operand(5), expansion.operand(6))


def _skip_layer_normalization(expansion: Expansion) -> None:
    """Layer normalisation of a sum; the sum may be an output of its own."""
    if expansion.output(1) or expansion.output(2):
        raise expansion.refuse("its mean and deviation are no outputs here")
    total = expansion.apply("Add", expansion.operand(0), expansion.operand(1))
    if expansion.operand(4):
        total = expansion.apply("Add", total, expansion.operand(4))
    if expansion.output(3):
        total = expansion.apply("Identity", total, output=expansion.output(3))
    _normalise(expansion, total, expansion.operand(2), expansion.operand(3))


def _normalise(expansion: Expansion, name: str, scale: str, shift: str) -> None:
    operands = [name, scale, shift] if shift else [name, scale]
    epsilon = expansion.attribute("epsilon", 1e-12)
    expansion.apply("LayerNormalization", *operands, output=expansion.output(0), epsilon=epsilon, axis=-1)


def _attention(expansion: Expansion) -> None:
    """Self-attention with the three products of its input in one matrix of weights [inner, 3 x width]."""
    _check_attention(expansion, past=(4, 6))
    weights, heads = expansion.value(1, "weights"), expansion.attribute("num_heads", 0)
    bias = expansion.value(2, "bias") if expansion.operand(2) else np.zeros(weights.shape[-1], np.float32)
    sizes = expansion.attribute("qkv_hidden_sizes", []) or [weights.shape[-1] // 3] * 3
    rows = expansion.shape(expansion.operand(0))[-2]
    if sum(sizes) != weights.shape[-1] or bias.size != weights.shape[-1] or heads < 1 or sizes[0] % heads:
        raise ModelError(f"{describe(expansion.node)}: weights {list(weights.shape)} do not fit {heads} heads")
    ends = np.cumsum(sizes)[:2]
    parts = []
    for matrix, vector in zip(np.split(weights, ends, -1), np.split(bias.reshape(-1), ends), strict=True):
        product = expansion.apply("MatMul", expansion.operand(0), expansion.constant(matrix))
        summed = expansion.apply("Add", product, expansion.constant(vector))
        parts.append(split_heads(expansion, summed, rows, heads))
    _finish_attention(expansion, parts, rows, sizes, _masks(expansion, 3, 5))


def _multi_head_attention(expansion: Expansion) -> None:
    """Attention of queries, keys and values that are computed outside, with a bias on all three."""
    _check_attention(expansion, past=(6, 7))
    names, heads = [expansion.operand(index) for index in range(3)], expansion.attribute("num_heads", 0)
    if not all(names) or any(len(expansion.shape(name)) != 3 for name in names):
        raise expansion.refuse("packed queries, keys and values are not supported; export them apart")
    rows, sizes = expansion.shape(names[0])[1], [expansion.shape(name)[2] for name in names]
    if heads < 1 or any(size % heads for size in sizes):
        raise ModelError(f"{describe(expansion.node)}: widths {sizes} do not fit {heads} heads")
    if expansion.operand(3):
        bias = expansion.value(3, "bias").reshape(-1)
        if bias.size != sum(sizes):
            raise ModelError(f"{describe(expansion.node)}: a bias of {bias.size} numbers for widths {sizes}")
        vectors = np.split(bias, np.cumsum(sizes)[:2])
        names = [
            expansion.apply("Add", name, expansion.constant(part)) for name, part in zip(names, vectors, strict=True)
        ]
    parts = [split_heads(expansion, name, rows, heads) for name in names]
    _finish_attention(expansion, parts, rows, sizes, _masks(expansion, 4, 5))


def _check_attention(expansion: Expansion, past: Sequence[int]) -> None:
    if any(expansion.operand(index) for index in past) or any(expansion.node.output[1:]):
        raise expansion.refuse("keys and values of earlier tokens are not supported: encoders only")
    if expansion.attribute("unidirectional", 0) or expansion.attribute("do_rotary", 0):
        raise expansion.refuse("causal attention and rotary positions are not supported")


def _finish_attention(
    expansion: Expansion, parts: Sequence[str], rows: int, sizes: Sequence[int], biases: Sequence[str]
) -> None:
    scale = expansion.attribute("scale", 0.0) or (sizes[0] // expansion.attribute("num_heads", 0)) ** -0.5
    q, k, v = parts
    context = expansion.transpose(attend(expansion, q, k, v, scale, biases), (0, 2, 1, 3))
    expansion.reshape(context, (1, rows, sizes[2]), expansion.output(0))


def _masks(expansion: Expansion, mask: int, bias: int) -> list[str]:
    """What is added to the scores: a number where the mask (1, keys) or (1, rows, keys) is zero, and a bias."""
    biases = [expansion.operand(bias)] if expansion.operand(bias) else []
    name = expansion.operand(mask)
    if not name:
        return biases
    shape = expansion.shape(name)
    if len(shape) not in (2, 3) or shape[0] != 1:
        raise expansion.refuse(
            f"a mask of shape {list(shape)} (lengths, not a mask of tokens) is not supported; "
            "optimise with use_raw_attention_mask"
        )
    kept = expansion.apply("Cast", expansion.apply("Cast", name, to=TensorProto.BOOL), to=TensorProto.FLOAT)
    masked = expansion.apply("Sub", expansion.constant(np.array(1, np.float32)), kept)
    number = np.array(expansion.attribute("mask_filter_value", _MASK_FILTER), np.float32)
    added = expansion.apply("Mul", masked, expansion.constant(number))
    return [expansion.reshape(added, (1, 1, *(shape[1:] if len(shape) == 3 else (1, shape[1])))), *biases]


def _gelu(approximate: str) -> Expand:
    def expand(expansion: Expansion) -> None:
        name = expansion.operand(0)
        if expansion.operand(1):
            name = expansion.apply("Add", name, expansion.operand(1))
        expansion.apply("Gelu", name, output=expansion.output(0), approximate=approximate)

    return expand


def _quick_gelu(expansion: Expansion) -> None:
    """x sigmoid(alpha x)."""
    factor = expansion.constant(np.array(expansion.attribute("alpha", 1.702), np.float32))
    gate = expansion.apply("Sigmoid", expansion.apply("Mul", expansion.operand(0), factor))
    expansion.apply("Mul", expansion.operand(0), gate, output=expansion.output(0))


def _gemm_fast_gelu(expansion: Expansion) -> None:
    name = expansion.apply("MatMul", expansion.operand(0), expansion.operand(1))
    if expansion.operand(2):
        name = expansion.apply("Add", name, expansion.operand(2))
    expansion.apply("Gelu", name, output=expansion.output(0), approximate="tanh")


def _fused_matmul(expansion: Expansion) -> None:
    """alpha A B, either of them transposed."""
    if expansion.attribute("transBatchA", 0) or expansion.attribute("transBatchB", 0):
        raise expansion.refuse("transposed batch axes are not supported")
    names = []
    for index, flag in enumerate(("transA", "transB")):
        name = expansion.operand(index)
        rank = len(expansion.shape(name))
        if expansion.attribute(flag, 0) and rank > 1:
            name = expansion.transpose(name, (*range(rank - 2), rank - 1, rank - 2))
        names.append(name)
    product = expansion.apply("MatMul", *names)
    factor = expansion.constant(np.array(expansion.attribute("alpha", 1.0), np.float32))
    expansion.apply("Mul", product, factor, output=expansion.output(0))


def _fused_gemm(expansion: Expansion) -> None:
    """``Gemm`` with an activation behind it."""
    activation = expansion.attribute("activation", "")
    if activation not in _ACTIVATIONS:
        raise expansion.refuse(f"activation {activation!r} is not one of {', '.join(_ACTIVATIONS)}")
    names = ("alpha", "beta", "transA", "transB")
    defaults = (1.0, 1.0, 0, 0)
    attributes = {name: expansion.attribute(name, default) for name, default in zip(names, defaults, strict=True)}
    product = expansion.apply("Gemm", *expansion.node.input, **attributes)
    expansion.apply(activation, product, output=expansion.output(0))


def _bias_softmax(expansion: Expansion) -> None:
    rank = len(expansion.shape(expansion.operand(0)))
    if expansion.attribute("axis", 1) % rank != rank - 1:
        raise expansion.refuse("only a softmax over the last axis is supported")
    total = expansion.apply("Add", expansion.operand(0), expansion.operand(1))
    expansion.apply("Softmax", total, output=expansion.output(0), axis=-1)


def _matmul_of_few_bits(expansion: Expansion) -> None:
    """Weights of 4 or 8 bits in blocks [columns, blocks, bytes], with a scale and a zero point for each block."""
    bits, size = expansion.attribute("bits", 4), expansion.attribute("block_size", 0)
    inner, columns = expansion.attribute("K", 0), expansion.attribute("N", 0)
    if bits not in (4, 8) or size < 1 or inner < 1 or columns < 1 or expansion.operand(4):
        raise expansion.refuse("only weights of 4 or 8 bits, without a group index, are supported")
    blocks = -(-inner // size)
    try:
        weights = _unpacked(expansion.value(1, "weights"), bits).reshape(columns, blocks, size)
        scales = expansion.value(2, "scales").reshape(columns, blocks, 1)
        zero = np.full((columns, blocks, 1), 1 << (bits - 1), np.float32)
        if expansion.operand(3):
            points = expansion.value(3, "zero points").reshape(columns, -1)
            points = points if points.dtype.kind == "f" else _unpacked(points, bits)
            zero = points.reshape(columns, -1)[:, :blocks, None].astype(np.float32)
        matrix = ((weights.astype(np.float32) - zero) * scales).reshape(columns, -1)[:, :inner].T
    except ValueError as error:
        raise ModelError(f"{describe(expansion.node)}: {error}") from error
    product = expansion.apply("MatMul", expansion.operand(0), expansion.constant(matrix.astype(np.float32)))
    if expansion.operand(5):
        product = expansion.apply("Add", product, expansion.operand(5))
    expansion.apply("Identity", product, output=expansion.output(0))


def _unpacked(values: np.ndarray, bits: int) -> np.ndarray:
    """Bytes as numbers of 4 bits, the low half first, or as they are; along the last axis."""
    if bits == 8:
        return values
    return np.stack([values & 15, values >> 4], -1).reshape(*values.shape[:-1], -1)


def _same(expansion: Expansion) -> None:
    """An operator that ONNX has under the same name."""
    attributes = {entry.name: expansion.attribute(entry.name, 0) for entry in expansion.node.attribute}
    expansion.apply(expansion.node.op_type, *expansion.node.input, output=expansion.output(0), **attributes)


MICROSOFT: Mapping[str, Expand] = MappingProxyType(
    {
        "Attention": _attention,
        "BiasGelu": _gelu("none"),
        "BiasSoftmax": _bias_softmax,
        "DequantizeLinear": _same,
        "EmbedLayerNormalization": _embed_layer_normalization,
        "FastGelu": _gelu("tanh"),
        "FusedGemm": _fused_gemm,
        "FusedMatMul": _fused_matmul,
        "Gelu": _gelu("none"),
        "GemmFastGelu": _gemm_fast_gelu,
        "MatMulNBits": _matmul_of_few_bits,
        "MultiHeadAttention": _multi_head_attention,
        "QuantizeLinear": _same,
        "QuickGelu": _quick_gelu,
        "SkipLayerNormalization": _skip_layer_normalization,
        "TransposeMatMul": _fused_matmul,
    }
)
