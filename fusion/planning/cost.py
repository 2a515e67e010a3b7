"""What a block costs on a machine that nobody has measured: a roofline with the price of one more block."""

from __future__ import annotations

from fusion.block import ROW_FUNCTIONS, Block

# A laptop's or big phone's order of magnitude: only comparisons between plans of one model are made with them.
_FLOPS_A_MS = 100e6
_BYTES_A_MS = 20e6
_BLOCK_MS = 0.002
# A phone's GPU: what Adreno 640 and Mali-G76 reach lies around these, and a launch costs 5 to 40 microseconds.
_GPU_FLOPS_A_MS, _GPU_BYTES_A_MS, _LAUNCH_MS = 300e6, 20e6, 0.02


def roofline_ms(block: Block) -> float:
    """Milliseconds: the larger of arithmetic and memory, and a constant for handing a block to the threads."""
    return max(block.cost.flops / _FLOPS_A_MS, block.cost.bytes_moved / _BYTES_A_MS) + _BLOCK_MS


def gpu_roofline_ms(block: Block) -> float:
    """Milliseconds on a GPU: arithmetic or memory, and the launches.

    Functions of whole rows take a launch of their own behind a product, and read and write its result once more.
    """
    launches, moved = 1, block.cost.bytes_moved
    if block.anchor == "gemm" and set(block.epilogue) & ROW_FUNCTIONS:
        launches, moved = 2, moved + 2 * block.cost.bytes_written
    return max(block.cost.flops / _GPU_FLOPS_A_MS, moved / _GPU_BYTES_A_MS) + launches * _LAUNCH_MS
