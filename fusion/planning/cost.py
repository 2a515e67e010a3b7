"""What a block costs on a machine that nobody has measured: a roofline with the price of one more block."""

from __future__ import annotations

from fusion.block import Block

# A laptop's or big phone's order of magnitude: only comparisons between plans of one model are made with them.
_FLOPS_A_MS = 100e6
_BYTES_A_MS = 20e6
_BLOCK_MS = 0.002


def roofline_ms(block: Block) -> float:
    """Milliseconds: the larger of arithmetic and memory, and a constant for handing a block to the threads."""
    return max(block.cost.flops / _FLOPS_A_MS, block.cost.bytes_moved / _BYTES_A_MS) + _BLOCK_MS
