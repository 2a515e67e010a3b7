"""Compiled models: from an ONNX file or a Hugging Face directory to code that runs on this machine or a phone."""

from __future__ import annotations

import weakref
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from data.errors import InputError
from data.home import home
from fusion.block import Block
from fusion.build.execution import Execution, execution_of
from fusion.build.library import NativeModel
from fusion.build.runner import Runner, link_runner
from fusion.build.toolchain import toolchain
from fusion.emit.program import Program, build_program, emit_table
from fusion.emit.weights import write_weights
from fusion.frontend.source import Source
from fusion.planning.cost import roofline_ms
from fusion.planning.plan import BlockCost, Plan, plan_graph
from fusion.target import Target, host_target

_OPTIONAL_INPUTS = {"attention_mask": 1, "token_type_ids": 0}


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
        self._block_ms: tuple[float, ...] = ()
        self._execution: Execution | None = None

    @property
    def blocks(self) -> tuple[Block, ...]:
        """The blocks in execution order."""
        return tuple(fused.block for fused in self.plan.blocks)

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

    def run(self, inputs: Mapping[str, np.ndarray]) -> list[np.ndarray]:
        """Outputs in the ONNX order and shape, of int64 ids [1, seq_len]; a missing mask is all ones.

        Raises:
            InputError: an input is missing, unknown, of another length, or holds an id outside the vocabulary.
        """
        outputs = self._native.run(self._complete(inputs))
        graph = self.plan.graph
        shapes = graph.output_shapes or [graph.types[name].shape for name in graph.outputs]
        return [output.reshape(shape) for output, shape in zip(outputs, shapes, strict=True)]

    def time(self, warmup: int = 5, runs: int = 50) -> np.ndarray:
        """Seconds of each run [runs], token ids in to outputs out, with every position in use."""
        ids = np.random.default_rng(0).integers(0, self._vocabulary, (1, self.seq_len))
        run_ms, step_ms = self._native.time(self._complete({"input_ids": ids}), warmup, runs)
        self._block_ms = tuple(float(value) for value in np.median(step_ms, axis=0))
        flops = sum(block.cost.flops for block in self.blocks)
        native = self._native
        self._execution = execution_of(run_ms / 1e3, flops, native.utilisation, native.memory_bytes)
        return run_ms / 1e3

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
        """Ends the model's threads; it opens again when it is run again."""
        if "_native" in self.__dict__:
            self.__dict__.pop("_native").close()

    @cached_property
    def _native(self) -> NativeModel:
        native = NativeModel(self.library(), self.weights(), self.program, self.threads)
        weakref.finalize(self, native.close)
        return native

    @property
    def _vocabulary(self) -> int:
        return min(port.limit for port in self.program.inputs if port.name == "input_ids")

    def _weights(self, program: Program, target: Target) -> Path:
        path = home() / "weights" / f"{program.id}-{self._source.key}.bin"
        if path.exists():
            return path
        return write_weights(program, self._source.weighted_graph().constants, target, path)

    def _named(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """The inputs under our names; those that nothing in the source reads are left out.

        Raises:
            InputError: one is given twice, under our name and the source's.
        """
        ours, named = self.source_names, {}
        for name, value in inputs.items():
            target = name if name in self._graph.inputs else ours.get(name, name)
            if target in named:
                raise InputError(f"input {target!r} is given twice, under its name in the file and ours")
            if target not in self._graph.unread_inputs:
                named[target] = value
        return named

    def _complete(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        inputs = self._named(inputs)
        names = [port.name for port in self.program.inputs]
        unknown = sorted(set(inputs) - set(names) - set(_OPTIONAL_INPUTS))
        if unknown:
            raise InputError(f"the model has no input {unknown[0]!r}; it takes {', '.join(names)}")
        complete = {name: inputs[name] for name in names if name in inputs}
        for name in names:
            if name not in complete and name not in _OPTIONAL_INPUTS:
                raise InputError(f"input {name!r} is missing")
            complete.setdefault(name, np.full((1, self.seq_len), _OPTIONAL_INPUTS.get(name, 0), np.int64))
        return complete


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
        InputError: ``rename`` does not fit the model's inputs.
        DataFileError, ModelError, UnsupportedOperatorError: the model cannot be read, or holds what the compiler
            does not know.
        ToolchainError: the C compiler failed.
    """
    if seq_len < 1 or threads < 1:
        raise InputError(f"seq_len and threads must be positive, not {seq_len} and {threads}")
    return CompiledModel(Source(Path(source), seq_len, rename), threads, fuse, target or host_target(), cost)
