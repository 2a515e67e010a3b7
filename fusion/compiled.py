"""Compiled models: from an ONNX file or a Hugging Face directory to code that runs on this machine or a phone."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from data.errors import InputError
from data.home import home
from data.usable_processors import MOST_THREADS
from fusion.block import Block
from fusion.build.execution import Execution, execution_of
from fusion.build.library import NativeModel
from fusion.build.model_inputs import complete_inputs, under_our_names, whole_number
from fusion.build.opened import OpenedModel
from fusion.build.runner import Runner, link_runner
from fusion.build.toolchain import toolchain
from fusion.emit.program import Program, build_program, emit_table
from fusion.emit.weights import are_whole, write_weights
from fusion.frontend.source import Source
from fusion.planning.cost import roofline_ms
from fusion.planning.plan import BlockCost, Plan, plan_graph
from fusion.target import Target, host_target

_LONGEST = 1 << 16
_MOST_RUNS = 1_000_000


@dataclass(frozen=True)
class Summary:
    """What fusion did: operators before, blocks after, work and memory.

    ``block_ms`` (medians, one a block) and ``execution`` are there after :meth:`CompiledModel.time`.
    """

    operators: int
    blocks: int
    flops: int
    bytes_moved: int
    saved_bytes: int
    weight_bytes: int
    activation_bytes: int
    target: str
    threads: int
    block_names: tuple[str, ...]
    block_flops: tuple[int, ...]
    block_ms: tuple[float, ...] = ()
    execution: Execution | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain dictionary, ready for JSON."""
        return asdict(self)


class CompiledModel:
    """A model compiled for a target; on the host's own targets it runs in this process."""

    def __init__(self, source: Source, threads: int, fuse: bool, target: Target, cost: BlockCost) -> None:
        self.seq_len, self.threads, self.target = source.seq_len, threads, target
        self._source, self._graph = source, source.graph()
        self.plan: Plan = plan_graph(self._graph, fuse=fuse, cost=cost)
        self.program: Program = build_program(self.plan, target)
        self._opened = OpenedModel()
        self._block_ms: tuple[float, ...] = ()
        self._execution: Execution | None = None

    @property
    def blocks(self) -> tuple[Block, ...]:
        """The blocks in execution order."""
        return tuple(fused.block for fused in self.plan.blocks)

    @property
    def labels(self) -> tuple[str, ...]:
        """The names of the logits, in order: those of a checkpoint's ``id2label``. Empty where it has none."""
        return self._graph.labels

    @property
    def summary(self) -> Summary:
        """Operators before, blocks after, flops, bytes, and per-block medians once timed."""
        costs = [block.cost for block in self.blocks]
        return Summary(
            operators=self._graph.source_operators,
            blocks=len(self.blocks),
            flops=sum(cost.flops for cost in costs),
            bytes_moved=sum(cost.bytes_moved for cost in costs),
            saved_bytes=self.plan.saved_bytes,
            weight_bytes=self.program.weight_bytes,
            activation_bytes=self.program.arena_bytes,
            target=self.target.name,
            threads=self.threads,
            block_names=tuple(block.name for block in self.blocks),
            block_flops=tuple(cost.flops for cost in costs),
            block_ms=self._block_ms,
            execution=self._execution,
        )

    def run(self, inputs: Mapping[str, Any]) -> list[np.ndarray]:
        """Outputs in the ONNX order and shape, of whole numbers [1, seq_len] (or [seq_len]) by input name.

        Arrays and CPU tensors of integers or truth values are taken, and lists of them. A mask that is left out is all
        ones, token types are all zeros; masks hold 0 and 1 only.

        Threads may call it at once, and forked children: runs of one model take turns.

        Raises:
            InputError: an input is missing, unknown, of another shape, no whole numbers, or outside its table.
        """
        complete = self._complete(inputs)
        outputs = self._opened.call(self._open, lambda native: native.run(complete))
        graph = self.plan.graph
        shapes = graph.output_shapes or [graph.types[name].shape for name in graph.outputs]
        dtypes = graph.output_dtypes or ["float32"] * len(outputs)
        return [
            output.reshape(shape).astype(dtype, copy=False)
            for output, shape, dtype in zip(outputs, shapes, dtypes, strict=True)
        ]

    def time(self, warmup: int = 5, runs: int = 50) -> np.ndarray:
        """Seconds of each run [runs], token ids in to outputs out, with every position in use.

        Raises:
            InputError: ``warmup`` is negative, ``runs`` not positive, or one of them no whole number.
        """
        warmup, runs = whole_number("warmup", warmup, 0, _MOST_RUNS), whole_number("runs", runs, 1, _MOST_RUNS)
        ids = np.random.default_rng(0).integers(0, self._vocabulary, (1, self.seq_len))
        complete = self._complete({"input_ids": ids})
        timing, memory_bytes = self._opened.call(
            self._open, lambda native: (native.time(complete, warmup, runs), native.memory_bytes)
        )
        self._block_ms = tuple(float(value) for value in np.median(timing.step_ms, axis=0))
        flops = sum(block.cost.flops for block in self.blocks)
        self._execution = execution_of(timing.run_ms / 1e3, flops, timing.utilisation, memory_bytes)
        return timing.run_ms / 1e3

    def runner(self, target: Target | None = None) -> Runner:
        """A static runner with its weights, for this target or another; its program is called ``model``."""
        target = target or self.target
        program = self.program if target == self.target else build_program(self.plan, target)
        weights = self._weights(program, target)
        return link_runner([program], target, weights=weights)

    def library(self) -> Path:
        """The compiled shared library in the cache."""
        sources = [*(unit.source for unit in self.program.units), emit_table([self.program])]
        return toolchain(self.target).library(sources)

    def weights(self) -> Path:
        """The packed weights file in the cache."""
        return self._weights(self.program, self.target)

    @property
    def source_names(self) -> dict[str, str]:
        """Our name of each input that the source calls otherwise, by the source's name."""
        return dict(self._graph.renamed_inputs)

    def close(self) -> None:
        """Waits for the run in progress and ends the model's threads; it opens again when it is run again."""
        self._opened.close()

    def _open(self) -> NativeModel:
        return NativeModel(self.library(), self.weights(), self.program, self.threads)

    @property
    def _vocabulary(self) -> int:
        return next((port.limit for port in self.program.inputs if port.name == "input_ids"), 1)

    def _weights(self, program: Program, target: Target) -> Path:
        path = home() / "weights" / f"{program.id}-{self._source.key}.bin"
        if are_whole(program, path):
            return path
        return write_weights(program, self._source.weighted_graph().constants, target, path)

    def _complete(self, inputs: Mapping[str, Any]) -> dict[str, np.ndarray]:
        graph = self._graph
        named = under_our_names(inputs, self.source_names, graph.inputs)
        return complete_inputs(named, self.program.inputs, self.seq_len, graph.unread_inputs)


def compile_model(
    source: Path | str,
    seq_len: int = 128,
    threads: int = 2,
    fuse: bool = True,
    target: Target | None = None,
    cost: BlockCost = roofline_ms,
    rename: Mapping[str, str] | None = None,
) -> CompiledModel:
    """Compiles an ONNX file, or a Hugging Face checkpoint directory, at batch 1 and a fixed sequence length.

    What was compiled before is found in the cache, by content. ``cost`` (milliseconds of a block) settles the fusions
    that are legal but not always faster: modelled, or measured with :class:`fusion.compare.measured_cost.MeasuredCost`.
    ``rename`` says which of an ONNX file's inputs are input_ids, attention_mask and token_type_ids, where its names do
    not; runs take both names.

    Raises:
        InputError: an option is not what it should be, ``rename`` does not fit the model's inputs, or the sequence is
            longer than the model's positions.
        DataFileError, ModelError, UnsupportedOperatorError: the model cannot be read, or holds what the compiler
            does not know.
        ToolchainError: the C compiler failed.
    """
    seq_len, threads = whole_number("seq_len", seq_len, 1, _LONGEST), whole_number("threads", threads, 1, MOST_THREADS)
    if not isinstance(fuse, bool):
        raise InputError(f"fuse must be True or False, not {fuse!r}")
    if target is not None and not isinstance(target, Target):
        raise InputError(f"target must be a Target, such as target_named(...) gives, not {target!r}")
    return CompiledModel(Source(_path(source), seq_len, rename), threads, fuse, target or host_target(), cost)


def _path(source: object) -> Path:
    if not isinstance(source, str | os.PathLike) or not str(source) or "\0" in str(source):
        raise InputError(f"source must be the path of an ONNX file or a Hugging Face directory, not {source!r}")
    return Path(source)
