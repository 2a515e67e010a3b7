"""How the matrix of a product lies among its block's weights, in the product's precision."""

from __future__ import annotations

from dataclasses import dataclass

from fusion.block import FLOAT_BYTES, NARROW_RESULT, PRECISION_BYTES, Block, product_precision
from fusion.emit.c.half_packing import HALF_STEP
from fusion.emit.c.narrow_tiling import choose_half_tiling, choose_int8_tiling
from fusion.emit.c.tiling import Tiling, choose_tiling, packed_elements
from fusion.emit.c.unit import ROW_STEPS
from fusion.emit.layout import ALIGNMENT, round_up
from fusion.target import Target, check_half


@dataclass(frozen=True)
class PackedMatrix:
    """A packed matrix: its tiling, how many numbers of the inner dimension lie together for a column, how many such
    groups there are, and where it ends; in fp32 numbers, of which the weights are an array. Behind it lie ``scales`` of
    its columns, and as many ``corrections`` of their sums; none where it needs none."""

    tiling: Tiling
    group: int
    groups: int
    panel_elements: int
    matrix_elements: int
    scales: int = 0
    corrections: int = 0

    @property
    def elements(self) -> int:
        """With the scales of its columns, and what is added to their sums, where it has them."""
        return self.matrix_elements + self.scales + self.corrections


def packed_matrix(block: Block, target: Target) -> PackedMatrix:
    """The packed matrix of a product in its precision on a processor."""
    rows, inner, columns = block.sizes["rows"], block.sizes["inner"], block.sizes["columns"]
    precision = product_precision(block)
    if precision == "fp32":
        tiling = choose_tiling(rows, inner, columns, target)
        panel = tiling.panel(target) * inner
        return PackedMatrix(tiling, 1, inner, panel, packed_elements(inner, columns, target, tiling))
    if precision == "fp16":
        check_half(target)
        tiling, group, groups = choose_half_tiling(rows, inner, columns, target), 1, round_up(inner, HALF_STEP)
    else:
        tiling = choose_int8_tiling(rows, inner, columns, target, rounded=_are_rounded(block, target))
        group = target.int8_group
        groups = -(-inner // group)
    each = FLOAT_BYTES // PRECISION_BYTES[precision]
    panel = groups * group * tiling.panel(target) // each
    elements = packed_elements(groups * group, columns, target, tiling) // each
    end, scales = round_up(elements, ALIGNMENT // FLOAT_BYTES), round_up(columns, target.lanes)
    corrections = scales if precision == "int8" and target.int8_offset else 0
    return PackedMatrix(tiling, group, groups, panel, end, scales, corrections)


def _are_rounded(block: Block, target: Target) -> bool:
    """Whether rows are made int8 as the product leaves them, so that their magnitudes are known with their sums: no
    step that takes a whole row changes them, and the last vector has no lanes beyond them. On x86 only, where it
    is measured to be faster."""
    narrow = dict(block.attributes).get(NARROW_RESULT) == "int8" and not ROW_STEPS & set(block.epilogue)
    return narrow and target.machine == "x86_64" and block.sizes["columns"] % target.lanes == 0
