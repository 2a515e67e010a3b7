"""The block: a fused set of operators, the unit of compilation, measurement and prediction."""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import dataclass
from functools import cached_property
from itertools import takewhile
from types import MappingProxyType
from typing import Literal, get_args

from data.errors import InputError

Anchor = Literal[
    "embeddings",
    "gemm",
    "attention",
    "rowwise",
    "scores",
    "softmax",
    "context",
    "position_ids",
    "view",
    "concat",
    "top",
    "pool",
    "mask_rows",
]
ANCHORS: tuple[str, ...] = get_args(Anchor)
FLOAT_BYTES = 4
# Of a number of activations and matrices, by precision; residual sums, constants of epilogues and sums are fp32 always.
PRECISION_BYTES = MappingProxyType({"fp32": FLOAT_BYTES, "fp16": 2, "int8": 1})
# Numbers of the inner dimension of an int8 product whose sums fit 32 bits, whatever the bytes: 255 * 128 each.
MOST_INT8_INNER = 1 << 16


@dataclass(frozen=True)
class Cost:
    """What a block must do, whatever the machine: floating-point operations and bytes moved."""

    flops: int
    bytes_read: int
    bytes_written: int
    weight_bytes: int

    @property
    def bytes_moved(self) -> int:
        """Bytes read (weights included) and written."""
        return self.bytes_read + self.bytes_written


@dataclass(frozen=True)
class Block:
    """A fused set of operators with known shapes.

    ``anchor`` is the operator that decides the loops; ``shape`` holds its sizes by name (``gemm``: rows, inner,
    columns; ``attention``, ``scores``, ``context``: rows, keys, heads, head_size; ``softmax``: rows, keys;
    ``embeddings``: rows, hidden, tables; ``rowwise``: rows, columns; ``position_ids``: rows; those that reshape or
    reduce: rows, columns, tokens of a mask, and where they differ result_rows, result_columns); ``epilogue`` names what
    is applied to the anchor's result, in order (``bias``, ``gelu``, ``residual``, ``layer_norm`` ...); ``attributes``
    are constants baked into the code, among them ``columns1``: the width of the tensor of which operand 1 is some
    columns, and with precision ``fp16`` ``fp32_tensors``: which operands, by their places, and whether the ``result``,
    are fp32 all the same. On a processor products alone are narrow: see ``NARROW_OPERAND``. Two models that hold an
    equal block share its code and its measurement.
    """

    anchor: str
    shape: tuple[tuple[str, int], ...]
    epilogue: tuple[str, ...] = ()
    attributes: tuple[tuple[str, float | int | str], ...] = ()
    precision: str = "fp32"

    @cached_property
    def signature(self) -> str:
        """Canonical JSON of all fields; equal blocks give equal text."""
        document = {
            "anchor": self.anchor,
            "shape": dict(self.shape),
            "epilogue": list(self.epilogue),
            "attributes": dict(self.attributes),
            "precision": self.precision,
        }
        return json.dumps(document, sort_keys=True, separators=(",", ":"))

    @cached_property
    def hash(self) -> str:
        """Content hash of the signature: 16 hexadecimal digits."""
        return hashlib.sha256(self.signature.encode()).hexdigest()[:16]

    @cached_property
    def sizes(self) -> dict[str, int]:
        """The shape as a dictionary."""
        return dict(self.shape)

    @cached_property
    def cost(self) -> Cost:
        """Floating-point operations and bytes of the fused block."""
        return _COSTS[self.anchor](self)

    @property
    def table_entries(self) -> tuple[int, ...]:
        """Rows of each table that an embeddings block looks up, in the order of its inputs."""
        names = (f"entries{index}" for index in range(len(self.shape)))
        return tuple(self.sizes[name] for name in names if name in self.sizes)

    @property
    def constant_tables(self) -> int:
        """How many of the constant rows that an embeddings block adds are int8, as its tables are: those added to what
        it looks up (``add_rows`` before any other step), whose row ``r`` has a scale of its own."""
        if self.anchor != "embeddings" or self.precision != "int8" or self.window_offsets:
            return 0
        return len(list(takewhile("add_rows".__eq__, self.epilogue)))

    @property
    def window_offsets(self) -> tuple[int, ...]:
        """Of an embeddings block that looks up neighbours: how far each of them is from a row's own place."""
        return attribute_numbers(dict(self.attributes).get("offsets", ""))

    @property
    def operand_count(self) -> int:
        """How many activations or ids the block reads."""
        attributes = dict(self.attributes)
        own = {
            "embeddings": len(self.table_entries),
            "attention": 3,
            "scores": 2,
            "context": 2,
            "concat": len(str(attributes.get("widths", "")).split(",")),
        }.get(self.anchor, 1)
        masks = ("masked_bias" in attributes) + ("tokens" in self.sizes)
        return own + masks + self.epilogue.count("residual")

    @property
    def reads_narrow_rows(self) -> bool:
        """Whether it is a product on a processor that is multiplied in the block's own precision, not in fp32."""
        return NARROW_OPERAND in dict(self.attributes)

    @property
    def name(self) -> str:
        """Readable name, such as ``gemm 128x192x768 bias+gelu``, and ``int8`` behind it of such a product."""
        sizes = "x".join(str(size) for _, size in self.shape)
        is_narrow = self.precision == "int8" or self.reads_narrow_rows
        precision = self.precision if is_narrow else ""
        return " ".join(filter(None, [self.anchor, sizes, "+".join(self.epilogue), precision]))

    @classmethod
    def from_signature(cls, signature: str) -> Block:
        """Inverse of :attr:`signature`.

        Raises:
            InputError: the text is not the signature of a block.
        """
        try:
            document = json.loads(signature)
            block = cls(
                anchor=document["anchor"],
                shape=tuple((name, int(size)) for name, size in document["shape"].items()),
                epilogue=tuple(document["epilogue"]),
                attributes=tuple(document["attributes"].items()),
                precision=document["precision"],
            )
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise InputError(f"not the signature of a block: {signature[:80]!r}") from error
        if block.anchor not in ANCHORS or min(block.sizes.values(), default=0) < 1:
            raise InputError(f"not the signature of a block: {signature[:80]!r}")
        return block


def make_block(
    anchor: Anchor,
    sizes: dict[str, int],
    epilogue: tuple[str, ...] = (),
    attributes: dict[str, float | int | str] | None = None,
    precision: str = "fp32",
) -> Block:
    """A block with its names sorted, so that equal content gives equal blocks."""
    return Block(anchor, tuple(sorted(sizes.items())), epilogue, tuple(sorted((attributes or {}).items())), precision)


# Functions of whole rows that may end an epilogue.
ROW_FUNCTIONS = frozenset({"layer_norm", "l2_norm", "row_softmax", "row_log_softmax"})


def attribute_numbers(text: object) -> tuple[int, ...]:
    """The whole numbers of an attribute that holds several, ``1,0,2``."""
    return tuple(int(number) for number in str(text).split(",") if number)


RESULT = "result"
# The attribute of blocks in half precision that names what is fp32 all the same.
FP32_TENSORS = "fp32_tensors"
# On a processor all tensors are fp32, and a product of another precision reads a narrow copy of its operand's rows,
# which lies behind them: they are rows from the first one named on, of so many ("0,128"). Whoever makes them is told
# in which precision to leave that copy.
NARROW_OPERAND, NARROW_RESULT = "narrow_operand", "narrow_result"


def number_bytes(block: Block | None) -> int:
    """Bytes of a number of a block's matrix or tables; of fp32 without a block."""
    return PRECISION_BYTES[block.precision] if block else FLOAT_BYTES


def tensor_number_bytes(block: Block, tensor: int | str) -> int:
    """Bytes of a number of an operand, by its place, or of ``RESULT``."""
    if block.precision == "int8" or block.reads_narrow_rows:
        return FLOAT_BYTES
    single = str(dict(block.attributes).get(FP32_TENSORS, "")).split(",")
    return FLOAT_BYTES if str(tensor) in single else number_bytes(block)


def narrow_rows(block: Block) -> tuple[int, int]:
    """The first row that a narrow product reads, and the rows of the tensor behind which the narrow ones lie; zeros for
    other blocks."""
    first, rows = attribute_numbers(dict(block.attributes).get(NARROW_OPERAND, "0,0"))
    return first, rows


def product_precision(block: Block) -> str:
    """What a product is multiplied in on a processor: its block's precision where it reads narrow rows, else fp32."""
    return block.precision if block.reads_narrow_rows else "fp32"


# Floating-point operations per element of an epilogue step, counted as arithmetic operations of the vector code.
_EPILOGUE_FLOPS = {
    "bias": 1,
    "residual": 1,
    "gelu": 20,
    "gelu_tanh": 16,
    "relu": 1,
    "tanh": 15,
    "sigmoid": 15,
    "silu": 16,
    "layer_norm": 8,
    "row_softmax": 20,
    "row_log_softmax": 20,
    "l2_norm": 3,
    "no_norm": 2,
}
# fp32 vectors of constants, one element a column, that a step reads; ``add_rows`` reads one a row.
EPILOGUE_VECTORS = MappingProxyType({"bias": 1, "layer_norm": 2, "no_norm": 2})
_SOFTMAX_FLOPS = 20


def epilogue_vectors(block: Block) -> int:
    """fp32 vectors of constants, as long as a row, that a block's epilogue reads."""
    rows = block.sizes["rows"] * (block.epilogue.count("add_rows") - block.constant_tables)
    return rows + sum(EPILOGUE_VECTORS.get(step, 0) for step in block.epilogue)


def _epilogue_cost(block: Block, rows: int, columns: int) -> tuple[int, int, int]:
    """(flops, activation bytes read, weight bytes) of the epilogue on a rows x columns result."""
    flops = rows * columns * sum(_EPILOGUE_FLOPS.get(step, 1) for step in block.epilogue)
    residual = rows * columns * FLOAT_BYTES * block.epilogue.count("residual")
    return flops, residual, epilogue_vectors(block) * columns * FLOAT_BYTES


def _gemm_cost(block: Block) -> Cost:
    rows, inner, columns = block.sizes["rows"], block.sizes["inner"], block.sizes["columns"]
    flops, residual, vectors = _epilogue_cost(block, rows, columns)
    numbers = PRECISION_BYTES[product_precision(block)]
    scales = FLOAT_BYTES if block.precision == "int8" else 0
    weights = inner * columns * numbers + vectors + columns * scales
    return Cost(
        flops=2 * rows * inner * columns + flops,
        bytes_read=rows * (inner * numbers + scales) + residual + weights,
        bytes_written=rows * columns * FLOAT_BYTES,
        weight_bytes=weights,
    )


def _attention_cost(block: Block) -> Cost:
    rows, keys = block.sizes["rows"], block.sizes["keys"]
    width = block.sizes["heads"] * block.sizes["head_size"]
    softmax = _SOFTMAX_FLOPS * rows * keys * block.sizes["heads"]
    return Cost(
        flops=4 * rows * keys * width + softmax,
        bytes_read=(rows + 2 * keys) * width * FLOAT_BYTES,
        bytes_written=rows * width * FLOAT_BYTES,
        weight_bytes=0,
    )


def _embeddings_cost(block: Block) -> Cost:
    rows, hidden, tables = block.sizes["rows"], block.sizes["hidden"], block.sizes["tables"]
    flops, residual, vectors = _epilogue_cost(block, rows, hidden)
    constant_rows = block.epilogue.count("add_rows")
    narrow = block.precision == "int8"
    entry = hidden * PRECISION_BYTES["int8"] + FLOAT_BYTES if narrow else hidden * FLOAT_BYTES
    gathered = rows * (tables - constant_rows + block.constant_tables) * entry
    return Cost(
        flops=rows * hidden * (tables - constant_rows - 1) + flops,
        bytes_read=gathered + residual + vectors,
        bytes_written=rows * hidden * FLOAT_BYTES,
        weight_bytes=gathered + vectors,
    )


def _rowwise_cost(block: Block) -> Cost:
    rows, columns = block.sizes["rows"], block.sizes["columns"]
    flops, residual, vectors = _epilogue_cost(block, rows, columns)
    return Cost(
        flops=flops,
        bytes_read=rows * columns * FLOAT_BYTES + residual + vectors,
        bytes_written=rows * columns * FLOAT_BYTES,
        weight_bytes=vectors,
    )


def _scores_cost(block: Block) -> Cost:
    rows, keys, heads = block.sizes["rows"], block.sizes["keys"], block.sizes["heads"]
    width = heads * block.sizes["head_size"]
    return Cost(2 * rows * keys * width, (rows + keys) * width * FLOAT_BYTES, heads * rows * keys * FLOAT_BYTES, 0)


def _softmax_cost(block: Block) -> Cost:
    elements = block.sizes["rows"] * block.sizes["keys"]
    return Cost(_SOFTMAX_FLOPS * elements, elements * FLOAT_BYTES, elements * FLOAT_BYTES, 0)


def _context_cost(block: Block) -> Cost:
    rows, keys, heads = block.sizes["rows"], block.sizes["keys"], block.sizes["heads"]
    width = heads * block.sizes["head_size"]
    read = (heads * rows * keys + keys * width) * FLOAT_BYTES
    return Cost(2 * rows * keys * width, read, rows * width * FLOAT_BYTES, 0)


def _position_ids_cost(block: Block) -> Cost:
    rows = block.sizes["rows"]
    return Cost(3 * rows, rows * FLOAT_BYTES, rows * FLOAT_BYTES, 0)


def _reshaping_cost(block: Block) -> Cost:
    """One pass over the operand for each column of the result that is chosen from it; anything else is moved once."""
    elements, results = block.sizes["rows"] * block.sizes["columns"], math.prod(result_size(block))
    flops = elements * block.sizes.get("result_columns", 1) if block.anchor == "top" else elements
    return Cost(flops, elements * FLOAT_BYTES, results * FLOAT_BYTES, 0)


def result_size(block: Block) -> tuple[int, int]:
    """Rows and columns of what a reshaping or reducing block makes."""
    sizes = block.sizes
    return sizes.get("result_rows", sizes["rows"]), sizes.get("result_columns", sizes["columns"])


_COSTS = {
    "gemm": _gemm_cost,
    "attention": _attention_cost,
    "embeddings": _embeddings_cost,
    "rowwise": _rowwise_cost,
    "scores": _scores_cost,
    "softmax": _softmax_cost,
    "context": _context_cost,
    "position_ids": _position_ids_cost,
    "view": _reshaping_cost,
    "concat": _reshaping_cost,
    "top": _reshaping_cost,
    "pool": _reshaping_cost,
    "mask_rows": _reshaping_cost,
}
