"""Programs in OpenCL: how plans are laid out for a GPU, and the C tables that describe them to its runtime."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

import numpy as np

from fusion.block import Block, number_bytes
from fusion.emit.c_text import c_string
from fusion.emit.opencl.attention import emit_attention, emit_context, emit_scores, emit_softmax
from fusion.emit.opencl.family import Family, Tile
from fusion.emit.opencl.kernel import Kernel, OpenClUnit
from fusion.emit.opencl.packing import matrix_numbers, pack_weights, weight_bytes
from fusion.emit.opencl.product import emit_product, fitted, tiles_of
from fusion.emit.opencl.reshaping import emit_concat, emit_mask_rows, emit_pool, emit_top, emit_view
from fusion.emit.opencl.rows import emit_embeddings, emit_position_ids, emit_rowwise
from fusion.emit.program import Program, port_rows

_EMITTERS = MappingProxyType(
    {
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
)


@dataclass(frozen=True)
class OpenClEmitter:
    """Emits OpenCL for a family of GPUs whose images hold ``texels``; ``tiles`` are those that were chosen by
    measuring, by the hash of the product's block."""

    family: Family
    texels: int
    tiles: Mapping[str, Tile] = field(default_factory=lambda: MappingProxyType({}))

    def unit(self, block: Block) -> OpenClUnit:
        """The kernels of a block."""
        tile = self._tile(block)
        if tile is not None:
            return emit_product(block, self.family, tile)
        return _EMITTERS[block.anchor](block, self.family)

    def weight_bytes(self, block: Block) -> int:
        """Bytes of a block's weights in the file."""
        return weight_bytes(block, self._tile(block))

    def pack(self, block: Block, weights: Sequence[np.ndarray]) -> np.ndarray:
        """bytes [weight_bytes]."""
        return pack_weights(block, weights, self._tile(block))

    def _tile(self, block: Block) -> Tile | None:
        if block.anchor != "gemm":
            return None
        if block.hash in self.tiles:
            return fitted(self.tiles[block.hash], block)
        return tiles_of(block, self.family, self.texels)[0]


def launches(program: Program[OpenClUnit]) -> int:
    """How many kernels one run launches."""
    return sum(len(step.unit.kernels) for step in program.steps)


def emit_gpu_table(programs: Sequence[Program[OpenClUnit]], family: Family) -> str:
    """The C unit that lists the programs of a library for GPUs, with the sources of their kernels."""
    text, rows, gpu_rows = '#include "opencl/gpu.h"\n', "", ""
    for index, program in enumerate(programs):
        kernels = list({kernel.name: kernel for unit in program.units for kernel in unit.kernels}.values())
        places = {kernel.name: place for place, kernel in enumerate(kernels)}
        text += f"\nstatic const pb_kernel kernels_{index}[] = {{\n{''.join(map(_kernel, kernels))}}};\n"
        text += f"static const pb_launch launches_{index}[] = {{\n{_launches(program, places)}}};\n"
        text += f"static const struct pb_step steps_{index}[] = {{\n{_steps(program)}}};\n"
        for kind, ports in (("inputs", program.inputs), ("outputs", program.outputs)):
            text += f"static const pb_port {kind}_{index}[] = {{\n{port_rows(ports)}}};\n"
        rows += (
            f'  {{{c_string(program.name)}, "{program.id}", steps_{index}, {len(program.steps)}, inputs_{index}, '
            f"{len(program.inputs)}, outputs_{index}, {len(program.outputs)}, {program.arena_bytes}L, "
            f"{program.weight_bytes}L, 0L, 0}},\n"
        )
        gpu_rows += (
            f"  {{kernels_{index}, {len(kernels)}, launches_{index}, {launches(program)}, {program.number_bytes}, "
            f"{family.flush_every}}},\n"
        )
    return (
        f"{text}\nconst pb_program pb_programs[] = {{\n{rows}}};\n"
        f"const pb_gpu_program pb_gpu_programs[] = {{\n{gpu_rows}}};\nconst int pb_program_count = {len(programs)};\n"
    )


def _kernel(kernel: Kernel) -> str:
    return f'  {{"{kernel.name}", {c_string(kernel.source)}, {int(kernel.image)}}},\n'


def _launches(program: Program[OpenClUnit], places: Mapping[str, int]) -> str:
    return "".join(
        f"  {{{places[kernel.name]}, {{{_pair(kernel.items)}}}, {{{_pair(kernel.group)}}}}},\n"
        for step in program.steps
        for kernel in step.unit.kernels
    )


def _pair(sizes: tuple[int, int]) -> str:
    return ", ".join(map(str, sizes))


def _steps(program: Program[OpenClUnit]) -> str:
    text, first = "", 0
    for step in program.steps:
        block, count = step.unit.block, len(step.unit.kernels)
        matrix = matrix_numbers(block, step.unit.tile) * number_bytes(block)
        inputs = ", ".join(f"{offset}L" for offset in step.inputs)
        text += (
            f'  {{"{block.hash}", {first}, {count}, {len(step.inputs)}, {{{inputs}}}, {step.output}L, '
            f"{step.weights}L, {step.weight_bytes}L, {matrix}L}},\n"
        )
        first += count
    return text
