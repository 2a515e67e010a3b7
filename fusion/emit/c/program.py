"""Programs in C: how plans are laid out for a processor, and the C tables that describe them to the runtime."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fusion.block import Block
from fusion.emit.c import Unit, emit_block
from fusion.emit.c.packing import pack_weights, packed_bytes
from fusion.emit.c_text import c_string
from fusion.emit.layout import ALIGNMENT, round_up
from fusion.emit.program import Program, place, port_rows
from fusion.planning.plan import Plan
from fusion.target import Target


@dataclass(frozen=True)
class CEmitter:
    """Emits C for a target."""

    target: Target

    def unit(self, block: Block) -> Unit:
        """The C of a block."""
        return emit_block(block, self.target)

    def weight_bytes(self, block: Block) -> int:
        """Bytes of a block's weights in the file, whole cache lines."""
        return packed_bytes(block, self.target)

    def pack(self, block: Block, weights: Sequence[np.ndarray]) -> np.ndarray:
        """fp32 [elements]."""
        return pack_weights(block, weights, self.target)


def build_program(plan: Plan, target: Target, name: str = "model") -> Program[Unit]:
    """Lays a plan out in memory, in C."""
    return place(plan, CEmitter(target), name)


def scratch_bytes(program: Program[Unit]) -> int:
    """What each thread needs beside the arena."""
    return round_up(max((step.unit.scratch_bytes for step in program.steps), default=0), ALIGNMENT)


def ready_count(program: Program[Unit]) -> int:
    """How many counters of finished tiles there are."""
    return max((step.unit.ready_count for step in program.steps), default=0)


def _tables(program: Program[Unit]) -> tuple[str, str, str]:
    """C initialisers of a program's steps, inputs and outputs."""
    steps = "".join(
        f'  {{"{step.unit.block.hash}", {step.unit.kernel}, {step.unit.tiles}, {len(step.inputs)}, '
        f"{{{', '.join(f'{offset}L' for offset in step.inputs)}}}, {step.output}L, {step.weights}L, "
        f"{step.weight_bytes}L}},\n"
        for step in program.steps
    )
    return steps, port_rows(program.inputs), port_rows(program.outputs)


def emit_table(programs: Sequence[Program[Unit]]) -> str:
    """The C unit that lists the programs of an executable or library."""
    kernels = sorted({unit.kernel for program in programs for unit in program.units})
    text = '#include "program.h"\n\n'
    text += "".join(f"void {kernel}(const pb_operands *, int);\n" for kernel in kernels)
    rows = ""
    for index, program in enumerate(programs):
        for kind, content in zip(("step", "input", "output"), _tables(program), strict=True):
            type_ = "pb_step" if kind == "step" else "pb_port"
            text += f"\nstatic const {type_} {kind}s_{index}[] = {{\n{content}}};\n"
        rows += (
            f'  {{{c_string(program.name)}, "{program.id}", steps_{index}, {len(program.steps)}, inputs_{index}, '
            f"{len(program.inputs)}, outputs_{index}, {len(program.outputs)}, {program.arena_bytes}L, "
            f"{program.weight_bytes}L, {scratch_bytes(program)}L, {ready_count(program)}}},\n"
        )
    return f"{text}\nconst pb_program pb_programs[] = {{\n{rows}}};\nconst int pb_program_count = {len(programs)};\n"
