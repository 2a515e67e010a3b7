"""Products in int8 or half precision on a processor: which of a plan's, and who leaves their operands' narrow rows."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import replace

from data.errors import InputError
from fusion.block import MOST_INT8_INNER, NARROW_OPERAND, NARROW_RESULT, Block
from fusion.planning.fused_block import FusedBlock, View
from fusion.planning.plan import Plan

# Makers of whole rows that their kernels leave a narrow copy of.
_MAKERS = frozenset({"gemm", "attention", "embeddings", "rowwise"})
# A product with fewer columns is not worth it: most of a panel would be padding.
_FEWEST_COLUMNS = 16


def with_narrow_products(plan: Plan, precision: str, fp32_modules: Collection[str] = ()) -> Plan:
    """The plan with its matrix products in ``int8`` or ``fp16``; all else, and all tensors, stay fp32, but for tables
    that are looked up, and rows of positions that are added to them: with products in ``int8`` they have rows of 8
    bits, a scale each.

    A product stays fp32 where its operand is some columns of a wider tensor, or made by a block that leaves no narrow
    copy of its rows; where it has a few columns only; where ``fp32_modules`` name its module, as PyTorch does
    (``bert.encoder.layer.0.output.dense``), in a file that PyTorch exported; and, with ``int8``, where a quantised file
    left it in fp32 (:func:`left_in_fp32`), or where its sums might overflow.

    Raises:
        InputError: a module has no product that would be narrow.
    """
    makers = {fused.output: fused for fused in plan.blocks}
    narrow = [fused for fused in plan.blocks if _may_be_narrow(plan, fused, makers)]
    if precision == "int8":
        fitting = [fused for fused in narrow if fused.block.sizes["inner"] <= MOST_INT8_INNER]
        narrow = [fused for fused in fitting if not left_in_fp32(plan, fused)]
    kept = {
        scope: {fused.output for fused in narrow if _is_in(plan, fused, scope)} for scope in map(_scope, fp32_modules)
    }
    if unknown := [scope for scope, results in kept.items() if not results]:
        raise InputError(f"no product that would be {precision} belongs to {', '.join(unknown)}")
    narrow = [fused for fused in narrow if not any(fused.output in results for results in kept.values())]
    read = {plan.viewed(fused.inputs[0]) for fused in narrow}
    results = {fused.output for fused in narrow}
    blocks = []
    for fused in plan.blocks:
        block = _with_narrow_operand(plan, fused, precision) if fused.output in results else fused.block
        if precision == "int8" and block.anchor == "embeddings":
            block = replace(block, precision=precision)
        if fused.output in read:
            block = _with_attribute(block, NARROW_RESULT, precision)
        blocks.append(replace(fused, block=block))
    return replace(plan, blocks=tuple(blocks))


def left_in_fp32(plan: Plan, fused: FusedBlock) -> bool:
    """Whether a block's product is one whose weights a file with quantised activations left in fp32."""
    return any(operator.name in plan.graph.fp32_products for operator in fused.operators if operator.kind == "matmul")


def _scope(module: str) -> str:
    """How the names of a module's operators begin, but for the modules around: ``/encoder/layer.0/output/dense/``."""
    return re.sub(r"/(\d+)(?=/)", r".\1", f"/{module.replace('.', '/')}/")


def _is_in(plan: Plan, fused: FusedBlock, scope: str) -> bool:
    """Whether a block's product, or one of those that were merged into it, is that of a module."""
    merged = (name for name, view in plan.views.items() if view.source == fused.output)
    return any(scope in name for name in (fused.output, *merged, *(operator.name for operator in fused.operators)))


def _may_be_narrow(plan: Plan, fused: FusedBlock, makers: dict[str, FusedBlock]) -> bool:
    block = fused.block
    if block.anchor != "gemm" or block.sizes["columns"] < _FEWEST_COLUMNS:
        return False
    source = plan.viewed(fused.inputs[0])
    whole = plan.graph.types[source].columns == block.sizes["inner"]
    return whole and source in makers and makers[source].block.anchor in _MAKERS


def _with_narrow_operand(plan: Plan, fused: FusedBlock, precision: str) -> Block:
    name = fused.inputs[0]
    view = plan.views.get(name, View(name))
    rows = plan.graph.types[view.source].rows
    return replace(_with_attribute(fused.block, NARROW_OPERAND, f"{view.row},{rows}"), precision=precision)


def _with_attribute(block: Block, name: str, value: str) -> Block:
    return replace(block, attributes=tuple(sorted((dict(block.attributes) | {name: value}).items())))
