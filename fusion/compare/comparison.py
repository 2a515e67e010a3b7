"""Our model beside other engines: the same inputs and threads, outputs compared, times taken in turn."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from data.errors import EngineUnavailableError, InputError
from fusion.compare.benchmark import PAUSE, EngineTiming, time_in_turn
from fusion.compare.engines import EngineSettings, Inputs, ModelFiles, Run, check_engine, open_engine
from fusion.compiled import CompiledModel

OURS, UNFUSED, IN_FP32 = "pocketbert", "pocketbert unfused", "pocketbert fp32"
# A median this much above the minimum tells of other programs, not of the engine.
_UNSTEADY = 1.25
# Outputs of the same model differ by no more than this share of the largest, or of one. In int8 that is from fp32: each
# product's operands are off by up to half of 127 steps, those of engines that have one scale a matrix by more.
_MOST_DIFFERENCE = {"fp32": 1e-3, "fp16": 1e-2, "int8": 0.3}


@dataclass(frozen=True)
class Comparison:
    """Times of all engines, ours first; why others are missing; the largest absolute difference of their outputs
    from ours (in int8, of all from ours in fp32), and who differs by more than rounding explains. ``rounds`` of
    ``planned`` are finished: fewer after Ctrl-C. ``how`` tells what engines' tools made of the model."""

    timings: tuple[EngineTiming, ...]
    missing: Mapping[str, str]
    max_abs_difference: Mapping[str, float]
    differing: tuple[str, ...]
    threads: int
    rounds: int
    planned: int
    precision: str = "fp32"
    how: Mapping[str, str] = field(default_factory=dict)

    @property
    def interrupted(self) -> bool:
        """Whether Ctrl-C ended it before the planned rounds."""
        return self.rounds < self.planned

    def to_dict(self) -> dict[str, Any]:
        """Plain dictionary, ready for JSON; ratios are times over ours."""
        return {
            "threads": self.threads,
            "precision": self.precision,
            "how": dict(self.how),
            "provenance": "measured",
            "rounds": self.rounds,
            "planned_rounds": self.planned,
            "pause": PAUSE,
            "engines": [timing_row(timing, self.timings[0]) for timing in self.timings],
            "unsteady": [timing.engine for timing in self.timings if timing.median_ms > _UNSTEADY * timing.min_ms],
            "missing": list(self.missing),
            "missing_reasons": dict(self.missing),
            "max_abs_difference": {
                name: value if math.isfinite(value) else None for name, value in self.max_abs_difference.items()
            },
            "differing": list(self.differing),
        }


def compare(
    compiled: CompiledModel,
    files: ModelFiles,
    engines: Sequence[str],
    settings: EngineSettings,
    rounds: int,
    unfused: CompiledModel | None = None,
    fp32: CompiledModel | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Comparison:
    """Times our model, its twins without fusion and in fp32 if given, and each engine that can be had and runs this
    model, in turn. Outputs are compared with those in fp32 if that is given."""
    for name in engines:
        check_engine(name)
    inputs = example_inputs(compiled)
    ours = (compiled if fp32 is None else fp32).run(inputs)
    calls: dict[str, Run] = {OURS: compiled.run}
    differences = {} if fp32 is None else {OURS: largest_difference(ours, compiled.run(inputs))}
    missing: dict[str, str] = {}
    how: dict[str, str] = {}
    if unfused is not None:
        calls[UNFUSED] = unfused.run
        differences[UNFUSED] = largest_difference(ours, unfused.run(inputs))
    if fp32 is not None:
        calls[IN_FP32] = fp32.run
    for name in engines:
        try:
            opened = open_engine(name, files, settings)
            call = _renamed(opened, compiled)
            differences[name] = largest_difference(ours, call(inputs))
            calls[name] = call
            how |= {name: opened.how} if opened.how else {}
        except EngineUnavailableError as error:
            missing[name] = str(error)
        except InputError as error:
            missing[name] = f"{name}: {error}"
    turns = time_in_turn({name: _bound(call, inputs) for name, call in calls.items()}, rounds, progress=progress)
    scale = max(float(np.abs(np.nan_to_num(output)).max()) for output in ours)
    most = _MOST_DIFFERENCE[compiled.precision]
    differing = tuple(name for name, value in differences.items() if not value <= most * max(scale, 1.0))
    rounds_of = (settings.threads, turns.rounds, turns.planned)
    return Comparison(turns.timings, missing, differences, differing, *rounds_of, compiled.precision, how)


def largest_difference(ours: Sequence[np.ndarray], theirs: Sequence[np.ndarray]) -> float:
    """The largest absolute difference over the outputs that both give, at least the first.

    Raises:
        InputError: the outputs' shapes differ.
    """
    pairs = list(zip(ours, theirs, strict=False))
    if not pairs or any(a.shape != b.shape for a, b in pairs):
        shapes = [" and ".join(str(list(output.shape)) for output in outputs) for outputs in (theirs, ours)]
        raise InputError(f"its outputs are of shapes {shapes[0]}, not {shapes[1]}: it does not run the same model")
    return max(_difference(a, b) for a, b in pairs)


def _difference(a: np.ndarray, b: np.ndarray) -> float:
    """The largest absolute difference, with the same infinity, or NaN, in both places as none."""
    same = (a == b) | (np.isnan(a) & np.isnan(b))
    with np.errstate(invalid="ignore"):
        return float(np.abs(np.where(same, 0.0, np.subtract(a, b, dtype=np.float64))).max())


def example_inputs(compiled: CompiledModel) -> dict[str, np.ndarray]:
    """Random ids, every position in use: int64 [1, seq_len] by input name, as far as the model has them."""
    generator = np.random.default_rng(0)
    limits = {port.name: port.limit for port in compiled.program.inputs}
    shape = (1, compiled.seq_len)
    values = {
        "input_ids": generator.integers(0, limits.get("input_ids", 1), shape),
        "attention_mask": np.ones(shape, np.int64),
        "token_type_ids": np.zeros(shape, np.int64),
    }
    return {name: values[name] for name in limits}


def timing_row(timing: EngineTiming, ours: EngineTiming) -> dict[str, Any]:
    """One engine's figures for JSON; ratios are its times over ours."""
    return {
        "engine": timing.engine,
        "median_ms": timing.median_ms,
        "min_ms": timing.min_ms,
        "p90_ms": timing.p90_ms,
        "n": len(timing.samples_ms),
        "median_ratio": timing.median_ms / ours.median_ms,
        "min_ratio": timing.min_ms / ours.min_ms,
        "samples_ms": list(timing.samples_ms),
    }


def _renamed(call: Run, compiled: CompiledModel) -> Run:
    """The call with inputs under the names that the file gives them."""
    theirs = {ours: name for name, ours in compiled.source_names.items()}
    return lambda inputs: call({theirs.get(name, name): value for name, value in inputs.items()})


def _bound(call: Run, inputs: Inputs) -> Callable[[], object]:
    return lambda: call(inputs)
