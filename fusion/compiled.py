"""Compiled models: from an ONNX file or a Hugging Face directory to code that runs on this machine or a phone."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from data.errors import InputError
from data.home import home
from data.usable_processors import MOST_THREADS
from fusion.block import Block
from fusion.build.execution import Execution, execution_of
from fusion.build.library import NativeModel
from fusion.build.machine import Machine, Processor, host_gpu
from fusion.build.model_inputs import complete_inputs, under_our_names, whole_number
from fusion.build.opened import OpenedModel
from fusion.build.runner import Runner, link_runner
from fusion.build.tile_timing import timed_tiles
from fusion.build.toolchain import NOTHING, Addition
from fusion.emit.opencl.program import launches
from fusion.emit.program import Program
from fusion.emit.weights import are_whole, write_weights
from fusion.frontend.source import Source
from fusion.planning.cost import gpu_roofline_ms, roofline_ms
from fusion.planning.narrow_products import left_in_fp32, with_narrow_products
from fusion.planning.plan import BlockCost, Plan, plan_graph, with_precision
from fusion.target import Target, check_half, host_target

_LONGEST = 1 << 16
_MOST_RUNS = 1_000_000
# Units and precisions that code is generated for, and which of them have products that may stay fp32.
_NARROW_PRODUCTS = (("cpu", "int8"), ("cpu", "fp16"))
PRECISIONS = (("cpu", "fp32"), ("cpu", "int8"), ("cpu", "fp16"), ("gpu", "fp32"), ("gpu", "fp16"))
# Of a file's quantised activations: what was given more of them lost too much with fewer.
_MOST_BITS = 8
# Names that a note lists.
_NAMED = 3
# What becomes of a file's quantised activations, by the precision that a model is compiled in.
_QUANTISED_NOTES: Mapping[str, str] = MappingProxyType(
    {
        "fp32": "the file quantises its activations, which are fp32 here; its weights keep the values it gives them",
        "fp16": "the file quantises its activations, which are fp16 here, as are its weights",
        "int8": "the file quantises its activations; here each token has its own scale, found while the model runs, "
        "and weights that are no whole numbers from -128 to 127 by a scale a column are rounded to such",
    }
)


@dataclass(frozen=True)
class Summary:
    """What fusion did: operators before, blocks after, work and memory.

    ``block_ms`` (medians, one a block) and ``execution`` are there after :meth:`CompiledModel.time`. ``notes`` say what
    is computed otherwise than in the source, in plain sentences.
    """

    operators: int
    blocks: int
    flops: int
    bytes_moved: int
    saved_bytes: int
    weight_bytes: int
    activation_bytes: int
    unit: str
    precision: str
    target: str
    threads: int
    launches: int | None
    block_names: tuple[str, ...]
    block_flops: tuple[int, ...]
    block_ms: tuple[float, ...] = ()
    execution: Execution | None = None
    notes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Plain dictionary, ready for JSON."""
        return asdict(self)


class CompiledModel:
    """A model compiled for a target, or for this machine's GPU; on the host's own targets it runs in this process."""

    def __init__(self, source: Source, threads: int, plan: Plan, machine: Machine, target: Target) -> None:
        self.seq_len, self.threads, self.target = source.seq_len, threads, target
        self._source, self._graph = source, source.graph()
        self.plan, self.machine = plan, machine
        self.program: Program[Any] = machine.place(plan)
        self._opened = OpenedModel()
        self._block_ms: tuple[float, ...] = ()
        self._execution: Execution | None = None

    @property
    def unit(self) -> str:
        """What it runs on: ``cpu`` or ``gpu``."""
        return "cpu" if isinstance(self.machine, Processor) else "gpu"

    @property
    def precision(self) -> str:
        """In which its matrices are kept, and on a GPU its activations."""
        return next((block.precision for block in self.blocks if block.precision != "fp32"), "fp32")

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
            unit=self.unit,
            precision=self.precision,
            target=self.machine.name,
            launches=launches(self.program) if self.unit == "gpu" else None,
            threads=self.threads,
            block_names=tuple(block.name for block in self.blocks),
            block_flops=tuple(cost.flops for cost in costs),
            block_ms=self._block_ms,
            execution=self._execution,
            notes=tuple(self._notes()),
        )

    def _notes(self) -> Iterator[str]:
        """What is computed otherwise than in the source, and what the source keeps from being so."""
        if self._graph.quantised_bits:
            yield _QUANTISED_NOTES[self.precision]
        left = [fused.operators[0].name for fused in self.plan.blocks if left_in_fp32(self.plan, fused)]
        if left and self.precision == "int8":
            more = f" and {len(left) - _NAMED} more" if len(left) > _NAMED else ""
            yield f"what the file leaves in fp32 stays so, of products with weights: {', '.join(left[:_NAMED])}{more}"

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
        self._execution = execution_of(timing.run_ms / 1e3, flops, timing.utilisation, memory_bytes, self.unit)
        return timing.run_ms / 1e3

    def runner(self, machine: Machine | None = None, addition: Addition = NOTHING) -> Runner:
        """A runner with its weights, for this machine or another; its program is called ``model``."""
        program = self.program_for(machine)
        return link_runner([program], machine or self.machine, weights=self._weights(program), addition=addition)

    def program_for(self, machine: Machine | None = None) -> Program[Any]:
        """The program, called ``model``, as it is laid out for this machine or another."""
        return self.program if machine in (None, self.machine) else machine.place(self.plan)

    def library(self, addition: Addition = NOTHING) -> Path:
        """The compiled shared library in the cache, of the model and what else goes into it."""
        return self.machine.library(self.program, addition)

    def weights(self, machine: Machine | None = None) -> Path:
        """The packed weights file in the cache, for this machine or another."""
        return self._weights(self.program_for(machine))

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

    def _weights(self, program: Program[Any]) -> Path:
        path = home() / "weights" / f"{program.id}-{self._source.key}.bin"
        if are_whole(program, path):
            return path
        return write_weights(program, self._source.weighted_graph().constants, path)

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
    cost: BlockCost | None = None,
    rename: Mapping[str, str] | None = None,
    unit: str = "cpu",
    precision: str | None = None,
    tune: bool = False,
    fp32_modules: Collection[str] = (),
) -> CompiledModel:
    """Compiles an ONNX file, or a Hugging Face checkpoint directory, at batch 1 and a fixed sequence length.

    What was compiled before is found in the cache, by content. ``cost`` (milliseconds of a block) settles the fusions
    that are legal but not always faster: modelled, or measured with :class:`fusion.compare.measured_cost.MeasuredCost`.
    ``rename`` says which of an ONNX file's inputs are input_ids, attention_mask and token_type_ids, where its names do
    not; runs take both names. ``unit`` is ``cpu`` or ``gpu``: there ``threads`` are the driver's own matter, and with
    ``precision`` ``fp16`` activations and matrices are kept as half, while sums stay fp32; ``tune`` times up to twelve
    tiles for each product there, once for a device and its driver. On a processor ``precision`` ``int8`` multiplies
    weights of 8 bits, a scale an output channel, with rows of 8 bits, a scale a token found at run time; ``fp16``, on
    targets that calculate in half (``Target.half``), multiplies half by half, with sums in half over 128 numbers at
    most and in fp32 beyond. All else stays fp32, and so do the products of ``fp32_modules``, by their names in the
    checkpoint, and in int8 those that a quantised file left in fp32. None is :func:`own_precision`.

    Raises:
        InputError: an option is not what it should be, the target has no products in that precision, ``rename`` does
            not fit the model's inputs, or the sequence is longer than the model's positions.
        DataFileError, ModelError, UnsupportedOperatorError: the model cannot be read, or holds what the compiler
            does not know.
        ToolchainError: the C compiler failed.
        DeviceError: there is no GPU, or no driver for it.
    """
    seq_len, threads = whole_number("seq_len", seq_len, 1, _LONGEST), whole_number("threads", threads, 1, MOST_THREADS)
    if not isinstance(fuse, bool):
        raise InputError(f"fuse must be True or False, not {fuse!r}")
    if target is not None and not isinstance(target, Target):
        raise InputError(f"target must be a Target, such as target_named(...) gives, not {target!r}")
    model = Source(_path(source), seq_len, rename)
    precision = precision or _own_precision(model, unit)
    if (unit, precision) not in PRECISIONS:
        raise InputError(f"unit and precision must be one of {_told_precisions()}, not {unit!r} and {precision!r}")
    if unit == "gpu" and target is not None:
        raise InputError("target is a processor's instruction set: unit 'gpu' takes none")
    if fp32_modules and (unit, precision) not in _NARROW_PRODUCTS:
        raise InputError(f"fp32_modules are of products in int8 or fp16: {precision} on the {unit} has none")
    if tune and unit != "gpu":
        raise InputError("tune times tiles on the GPU: it needs unit 'gpu'")
    target = target or host_target()
    if unit == "cpu" and precision == "fp16":
        check_half(target)
    plan = plan_graph(model.graph(), fuse=fuse, cost=cost or (gpu_roofline_ms if unit == "gpu" else roofline_ms))
    if unit == "gpu":
        plan = with_precision(plan, precision)
        return CompiledModel(model, threads, plan, _gpu_for(plan, tune), target)
    if precision != "fp32":
        plan = with_narrow_products(plan, precision, fp32_modules)
    return CompiledModel(model, threads, plan, Processor(target), target)


def own_precision(source: Path | str, seq_len: int, unit: str, rename: Mapping[str, str] | None = None) -> str:
    """In which precision a model is compiled where nobody says: ``int8`` on a processor where its file quantises its
    activations to 8 bits at most, ``fp32`` otherwise; errors as :func:`compile_model` for the model."""
    return _own_precision(Source(_path(source), seq_len, rename), unit)


def _own_precision(source: Source, unit: str) -> str:
    return "int8" if unit == "cpu" and 0 < source.graph().quantised_bits <= _MOST_BITS else "fp32"


def _gpu_for(plan: Plan, tune: bool) -> Machine:
    gpu = host_gpu()
    return replace(gpu, tiles=timed_tiles(gpu, [fused.block for fused in plan.blocks])) if tune else gpu


def _told_precisions() -> str:
    return ", ".join(f"{unit} with {precision}" for unit, precision in PRECISIONS)


def _path(source: object) -> Path:
    if not isinstance(source, str | os.PathLike) or not str(source) or "\0" in str(source):
        raise InputError(f"source must be the path of an ONNX file or a Hugging Face directory, not {source!r}")
    return Path(source)
