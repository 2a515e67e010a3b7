"""How long the models of table 1 take on this machine: compiled, in turn over rounds, one of each shape."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from data.errors import InputError
from data.progress import Progress, ProgressEvent
from data.tasks import Task
from fusion.compare.benchmark import PAUSE, time_in_turn
from fusion.compare.comparison import example_inputs, largest_difference
from fusion.compiled import CompiledModel, compile_model
from tests.benchmarks.provenance import provenance, result_key
from tests.benchmarks.table1_records import Record, Settings, keep, read_kept, record_path
from tests.benchmarks.table1_training import load_row


@dataclass(frozen=True)
class Timed:
    """One shape's samples in the order in which they were taken, what was timed, and how far its outputs lie from
    PyTorch's at most."""

    model: str
    min_ms: float
    median_ms: float
    max_abs_difference: float
    operators: int
    blocks: int
    samples_ms: tuple[float, ...]


@dataclass(frozen=True)
class Latencies:
    """All shapes by name, timed in one process."""

    shapes: dict[str, Timed]
    threads: int
    seq_len: int
    rounds: int
    pause: str
    target: str
    date: str


def latencies(
    records: list[Record], tasks: Mapping[str, Task], settings: Settings, out: Path, progress: Progress
) -> Latencies:
    """Times one model of each shape among the records: the first's. An earlier run's times of the same shapes, code and
    settings are taken as they are.

    Raises:
        InputError: a model that an earlier run kept is gone.
        PocketBertError: a model cannot be compiled.
        KeyboardInterrupt: before all rounds were finished; nothing is kept.
    """
    first: dict[str, Record] = {}
    for record in records:
        if record.seed == settings.seeds[0]:
            first.setdefault(record.shape, record)
    names = hashlib.sha256(json.dumps(sorted(first)).encode()).hexdigest()
    shared = {"threads": settings.threads, "seq_len": settings.seq_len, "rounds": settings.rounds}
    path = out / "latencies" / f"{result_key(shared | {'shapes': names})}.json"
    found = read_kept(path, Latencies)
    if found is None:
        found = _timed(first, tasks, settings, out, progress)
        keep(path, found)
    return found


def _timed(
    first: Mapping[str, Record], tasks: Mapping[str, Task], settings: Settings, out: Path, progress: Progress
) -> Latencies:
    compiled: dict[str, CompiledModel] = {}
    differences = {}
    for number, (shape, record) in enumerate(first.items()):
        progress(ProgressEvent("compiling", number, len(first), shape))
        if not (out / record.model).is_dir():
            kept = record_path(out / "records", record.task, record.row, record.seed, record.key)
            raise InputError(f"{out / record.model} is gone: remove {kept} to train that model again")
        compiled[shape] = compile_model(out / record.model, settings.seq_len, settings.threads)
        differences[shape] = _difference(compiled[shape], record, tasks[record.task], out)
    progress(ProgressEvent("compiling", len(first), len(first)))
    calls = {shape: bound(model) for shape, model in compiled.items()}
    turns = time_in_turn(
        calls, settings.rounds, progress=lambda done, total: progress(ProgressEvent("timing", done, total))
    )
    if turns.rounds < turns.planned:
        raise KeyboardInterrupt
    shapes = {
        timing.engine: Timed(
            model=first[timing.engine].model,
            min_ms=timing.min_ms,
            median_ms=timing.median_ms,
            max_abs_difference=differences[timing.engine],
            operators=compiled[timing.engine].summary.operators,
            blocks=compiled[timing.engine].summary.blocks,
            samples_ms=timing.samples_ms,
        )
        for timing in turns.timings
    }
    target = next(iter(compiled.values())).target.name
    for model in compiled.values():
        model.close()
    return Latencies(shapes, settings.threads, settings.seq_len, settings.rounds, PAUSE, target, provenance()["date"])


def bound(model: CompiledModel) -> Callable[[], object]:
    """A call of the model on example inputs, to be timed."""
    inputs = example_inputs(model)
    return lambda: model.run(inputs)


def _difference(model: CompiledModel, record: Record, task: Task, out: Path) -> float:
    """The largest of the compiled outputs' from PyTorch's."""
    import torch

    inputs = example_inputs(model)
    module = load_row(record.row, out / record.model, task).cpu()
    with torch.inference_mode():
        logits = module(**{name: torch.from_numpy(values) for name, values in inputs.items()}).logits
    return largest_difference(model.run(inputs), [np.asarray(logits)])
