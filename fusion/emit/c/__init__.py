"""From a block to C: one translation unit a block, every shape a constant."""

from __future__ import annotations

from fusion.block import Block
from fusion.emit.c.attention import emit_attention
from fusion.emit.c.attention_parts import emit_context, emit_scores, emit_softmax
from fusion.emit.c.gemm import emit_gemm
from fusion.emit.c.pooling import emit_mask_rows, emit_pool
from fusion.emit.c.reshaping import emit_concat, emit_top, emit_view
from fusion.emit.c.rows import emit_embeddings, emit_position_ids, emit_rowwise
from fusion.emit.c.unit import Unit
from fusion.target import Target

__all__ = ["Unit", "emit_block"]

_EMITTERS = {
    "gemm": emit_gemm,
    "attention": emit_attention,
    "embeddings": emit_embeddings,
    "rowwise": emit_rowwise,
    "scores": emit_scores,
    "softmax": emit_softmax,
    "context": emit_context,
    "position_ids": emit_position_ids,
    "view": emit_view,
    "concat": emit_concat,
    "top": emit_top,
    "pool": emit_pool,
    "mask_rows": emit_mask_rows,
}


def emit_block(block: Block, target: Target) -> Unit:
    """The C of a block for a target, with what the program must know of it."""
    return _EMITTERS[block.anchor](block, target)
