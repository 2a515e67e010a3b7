"""What a search does on its device: models are compiled for it, timed on it, and exported for it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from data.architecture import Architecture
from data.measurement import Measurement
from data.progress import Progress
from search.latencies import Timing
from search.records import BlockShare

if TYPE_CHECKING:
    from fusion import Machine, Runner
    from profiling import Device

# Enough for the shares of blocks, which are not compared with the budget.
_SHARE_WARMUP, _SHARE_RUNS = 10, 30


def compile_model(
    device: Device, source: Path, architecture: Architecture, threads: int, fp32_modules: Collection[str]
) -> Any:
    """For this machine, on the device's unit where the device is this machine: what is compared with ONNX Runtime.

    ``fp32_modules`` are named as in :mod:`search.learning.task_models`, whose encoder is ``bert`` for every kind; a
    checkpoint of sentence embeddings is the encoder alone.
    """
    from fusion import compile_model

    return compile_model(
        source,
        seq_len=architecture.seq_len,
        threads=threads,
        unit=device.unit if device.spec.kind == "host" else "cpu",
        precision=architecture.precision,
        fp32_modules=[name.removeprefix("bert.") for name in fp32_modules],
    )


def time_architectures(
    device: Device, architectures: Sequence[Architecture], threads: int, since: str, progress: Progress
) -> tuple[Timing, ...]:
    """Times each architecture with random weights; visits after ``since`` that the store has are not made again."""
    from data.store import MeasurementStore
    from profiling.session import measure_models

    with MeasurementStore.open() as store:
        rows = measure_models(device, architectures, threads=threads, store=store, since=since, progress=progress)
    signatures = [architecture.to_json() for architecture in architectures]
    return tuple(Timing.of([row for row in rows if row.signature == signature]) for signature in signatures)


def time_model(device: Device, compiled: Any, architecture: Architecture, threads: int, since: str) -> Timing:
    """Times the model now, unless the store has a timing of the very same binary taken after ``since``.

    That is the case when an earlier run was killed between the measurement and its record in the study.
    """
    from data.store import MeasurementStore
    from profiling.session import CONFIRMING_ROUNDS, measure_model

    runner = _runner(device, compiled)
    with MeasurementStore.open() as store:
        rows = store.measurements(fingerprint=device.describe().fingerprint, subject="model", threads=threads)
        known = _known(rows, runner, architecture.to_json(), since)
        if len(known) >= CONFIRMING_ROUNDS:
            return Timing.of(known[-CONFIRMING_ROUNDS:])
        if runner is not None:
            device.prepare(runner)
        return Timing.of(measure_model(device, runner, architecture, threads=threads, store=store))


def _known(rows: list[Measurement], runner: Runner | None, signature: str, since: str) -> list[Measurement]:
    """The rows of this very binary and architecture that were taken after ``since``."""
    if runner is None:
        return []
    from profiling.session import is_since

    same = [row for row in rows if row.binary_hash == runner.binary_hash and row.signature == signature]
    return [row for row in same if is_since(row, since)]


def block_shares(device: Device, compiled: Any, threads: int) -> tuple[BlockShare, ...]:
    """Where the latency goes, from a run of its own; equal blocks are taken together, the longest first."""
    from profiling import Round, Visit

    runner = _runner(device, compiled)
    visit = Visit("model", tuple(compiled.blocks), _SHARE_WARMUP, _SHARE_RUNS)
    (raw,) = device.go_round(Round((visit,), threads, runner))
    times: Counter[str] = Counter()
    counts: Counter[str] = Counter()
    for block_hash, milliseconds in raw.block_ms:
        times[block_hash] += milliseconds  # type: ignore[assignment]  # a Counter adds floats as well
        counts[block_hash] += 1
    blocks = {block.hash: block for block in compiled.blocks}
    return tuple(
        BlockShare(blocks[name].name, blocks[name].anchor, counts[name], total) for name, total in times.most_common()
    )


def export_compiled(device: Device, compiled: Any, checkpoint: Path, folder: Path, app: Path) -> str:
    """Files that run without Python, and in ``app`` what goes into an app for Android where the device is a phone: on
    its GPU with the fastest tiles. With a tokenizer that C knows both take texts; else the reason why not."""
    from fusion import export_android
    from fusion import export_compiled as export
    from fusion.texts import texts_or_reason

    texts = texts_or_reason(compiled, checkpoint)
    known = None if isinstance(texts, str) else texts
    export(compiled, folder, _machine(device, compiled), known)
    if device.spec.kind == "android":
        export_android(compiled, app, machine=_apps_machine(device, compiled), texts=known)
    return texts if isinstance(texts, str) else ""


def _apps_machine(device: Device, compiled: Any) -> Machine:
    """What an app's library is made for: any processor, or GPUs of the phone's family."""
    from fusion.build.android import GPU_FAMILIES, phones_gpu, phones_processor
    from fusion.build.machine import Gpu
    from fusion.emit.opencl.family import family_of

    if device.unit == "cpu":
        return phones_processor(compiled.precision)
    machine, gpu = _machine(device, compiled), device.spec.gpu
    timed = machine if isinstance(machine, Gpu) else None
    family = timed.family if timed else family_of(gpu.name if gpu else "")
    app = phones_gpu(family.name if family.name in GPU_FAMILIES else "other")
    return replace(app, tiles=timed.tiles) if timed else app


def _runner(device: Device, compiled: Any) -> Runner | None:
    return compiled.runner(_machine(device, compiled)) if device.needs_runner else None


def _machine(device: Device, compiled: Any) -> Machine:
    """What a model of a search's own is compiled for: a phone's GPU with the tiles that are the fastest there."""
    from profiling.tiles import tuned

    return tuned(device, compiled.blocks) if device.needs_runner else device.machine
