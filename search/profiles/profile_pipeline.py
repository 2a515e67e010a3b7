"""Profiling as one pipeline: choose blocks and models, compile, measure what is missing, train, save."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING

from data.errors import DataFileError, InputError, StoreError
from data.home import home
from data.progress import Progress, ProgressEvent, no_progress
from data.store import MeasurementStore
from profiling.device import Device
from profiling.items import compiler_for
from profiling.quality import SessionQuality, session_quality
from profiling.sampling import SamplingRange, candidate_blocks, profile_blocks, sample_architectures
from profiling.session import CARE, Care, measure_blocks, measure_models
from search.profiles.device_lock import alone
from search.profiles.growing import measure_growing
from search.reports.profile_report import PAGE, write_profile_page

if TYPE_CHECKING:
    from data.architecture import Architecture
    from data.measurement import Measurement
    from fusion.block import Block
    from surrogate import DevicePredictor

# Without a number asked for, so many blocks are spread over the space; then uncertain ones are added, up to the most.
FIRST_BLOCKS, MOST_BLOCKS = 100, 240
FIT_MODELS = 14
HELD_OUT_MODELS = 16
# Of a time limit, the share for measuring; a block takes about this long to compile and measure on two slow cores.
_MEASURING_SHARE, _SECONDS_PER_BLOCK = 0.4, 0.5
_FEWEST_BLOCKS = 40
# Of what a time limit leaves, the share that blocks may take; whole models take the rest.
_BLOCKS_SHARE = 0.6
# Above this error on held-out models, whoever reuses a profile is told how to get a better one.
_POOR_ERROR = 0.15


@dataclass(frozen=True)
class ProfilePlan:
    """What a profiling measures: blocks and models to fit to, and models kept aside to judge by."""

    blocks: tuple[Block, ...]
    fit_models: tuple[Architecture, ...]
    held_out: tuple[Architecture, ...]


@dataclass(frozen=True)
class _Effort:
    """How much is measured, and how: threads, seed of choice and order, seconds, care with each row, most blocks."""

    threads: int
    seed: int
    time_limit_s: float | None
    care: Care
    most_blocks: int


@dataclass(frozen=True)
class Profile:
    """The outcome: the predictor, whether it was there already, how stable the machine was, and the page about it."""

    predictor: DevicePredictor
    directory: Path
    reused: bool
    quality: SessionQuality
    seconds: float

    @property
    def page(self) -> Path:
        """The self-contained report with the parity plot."""
        return self.directory / PAGE


def profile_and_train(
    device: Device,
    store: MeasurementStore,
    *,
    threads: int,
    blocks: int | None = None,
    time_limit_s: float | None = None,
    seed: int = 0,
    seq_len: int = 128,
    progress: Progress | None = None,
) -> DevicePredictor:
    """The latency predictor of a device, profiling it where that has not been done; see :func:`profile`."""
    return profile(
        device,
        store,
        threads=threads,
        blocks=blocks,
        time_limit_s=time_limit_s,
        seed=seed,
        seq_len=seq_len,
        progress=progress,
    ).predictor


def profile(
    device: Device,
    store: MeasurementStore,
    *,
    threads: int,
    blocks: int | None = None,
    time_limit_s: float | None = None,
    seed: int = 0,
    seq_len: int = 128,
    again: bool = False,
    care: Care = CARE,
    progress: Progress | None = None,
) -> Profile:
    """Measure what is missing, train the latency predictor, and save it in the state directory.

    A predictor saved earlier is reused while device, compiler and number of threads are the same and it rests on at
    least as many blocks; measurements in the store are never repeated.

    Args:
        blocks: number of blocks to measure, spread over the space; None begins with fewer and adds those of which the
            predictor is most uncertain, until its error no longer falls or a short ``time_limit_s`` allows no more.
        time_limit_s: seconds for the whole, roughly; what is compiling is not interrupted.
        seq_len: sequence length of the models that will be predicted.
        again: train anew, and measure again what was only ever measured while other programs disturbed it.
        care: how often each program runs, and how certain its median must be.

    Raises:
        InputError: the time limit left too few measurements for a predictor; what was measured is stored.
        DeviceError: the device is not available or was lost; what was measured is stored.
        StoreError: the store or the state directory cannot be written.
        ToolchainError: a block could not be compiled.
    """
    report = progress or no_progress
    begin = monotonic()
    directory = predictor_directory(device, threads, seq_len)
    with alone(device, report):
        known = None if again else _reusable(directory, device, blocks, report)
        if known is not None:
            return Profile(known, directory, True, SessionQuality(0.0, 0.0), monotonic() - begin)
        space = SamplingRange(seq_len=seq_len)
        most = _affordable(blocks, time_limit_s)
        plan = plan_profile(space, most if blocks else min(most, FIRST_BLOCKS), seed)
        effort = _Effort(threads, seed, time_limit_s, care, most)
        block_rows, fit_rows, held_rows = _measure(device, store, plan, space, effort, report)
        report(ProgressEvent("train predictor", 0, 1, f"{len({row.subject_hash for row in block_rows})} blocks"))
        rows = [*block_rows, *fit_rows, *held_rows]
        try:
            predictor = _train(device, block_rows, fit_rows, held_rows, seed)
        except InputError as error:
            if time_limit_s is None:
                raise
            raise InputError(_too_short(time_limit_s, plan, rows, monotonic() - begin, error)) from error
        _save(predictor, directory)
        limited = device.spec.temperature_limit_c is not None and device.provenance == "measured"
        quality = session_quality(rows, limited)
        write_profile_page(directory, device, predictor, rows, quality)
    report(ProgressEvent("train predictor", 1, 1, str(predictor.errors)))
    if quality.notice:
        report(ProgressEvent("train predictor", 1, 1, f"warning: {quality.notice}"))
    return Profile(predictor, directory, False, quality, monotonic() - begin)


def load_predictor(device: Device, threads: int, seq_len: int = 128) -> DevicePredictor | None:
    """The predictor saved for this device, threads and compiler; None where it must be profiled (again)."""
    return _reusable(predictor_directory(device, threads, seq_len), device, None, no_progress)


def predictor_directory(device: Device, threads: int, seq_len: int) -> Path:
    """Where the predictor of a device is kept."""
    return home() / "predictors" / device.describe().fingerprint / f"{device.unit}-{threads}threads-{seq_len}tokens"


def plan_profile(space: SamplingRange, blocks: int, seed: int) -> ProfilePlan:
    """Blocks that cover the space, and models at random; equal arguments give equal plans."""
    architectures = sample_architectures(space, FIT_MODELS + HELD_OUT_MODELS, seed)
    fit_models, held_out = architectures[:FIT_MODELS], architectures[FIT_MODELS:]
    return ProfilePlan(profile_blocks(space, fit_models, blocks, seed), fit_models, held_out)


def _affordable(blocks: int | None, time_limit_s: float | None) -> int:
    if blocks is not None:
        return blocks
    if time_limit_s is None:
        return MOST_BLOCKS
    return min(MOST_BLOCKS, max(_FEWEST_BLOCKS, int(time_limit_s * (1 - _MEASURING_SHARE) / _SECONDS_PER_BLOCK)))


def _reusable(directory: Path, device: Device, blocks: int | None, report: Progress) -> DevicePredictor | None:
    """The saved predictor if it still holds; otherwise says why the device is profiled again."""
    from surrogate import DevicePredictor

    stage = "predictor"
    if not directory.exists():
        others = [path for path in directory.parent.parent.glob(f"{device.spec.name}-*") if path != directory.parent]
        if others and device.provenance == "measured":
            report(ProgressEvent(stage, 0, None, f"not the {device.spec.name} that was profiled before: profiling it"))
        return None
    try:
        predictor = DevicePredictor.load(directory)
    except DataFileError as error:
        report(ProgressEvent(stage, 0, None, f"profiling again: {error}"))
        return None
    if predictor.origin.compiler != compiler_for(device):
        report(ProgressEvent(stage, 0, None, "the compiler has changed since this device was profiled: profiling"))
        return None
    if blocks is not None and predictor.measured_blocks < blocks:
        report(ProgressEvent(stage, 0, None, f"{predictor.measured_blocks} blocks measured so far: measuring more"))
        return None
    report(ProgressEvent(stage, 1, 1, f"reusing the profile of {device.describe().fingerprint}"))
    if predictor.errors.mape > _POOR_ERROR:
        advice = f"profile-device --device {device.spec.name} --again measures anew what was disturbed"
        report(ProgressEvent(stage, 1, 1, f"its held-out error is {predictor.errors.mape:.0%}: {advice}"))
    return predictor


def _measure(
    device: Device, store: MeasurementStore, plan: ProfilePlan, space: SamplingRange, effort: _Effort, report: Progress
) -> tuple[list[Measurement], list[Measurement], list[Measurement]]:
    """Rows of the blocks, of the models to fit to, and of the models kept aside."""
    from surrogate.blocks.features import Setting

    begin = monotonic()

    def left(share: float) -> float | None:
        limit_s = effort.time_limit_s
        return None if limit_s is None else max(0.0, limit_s * share - (monotonic() - begin))

    def measure(blocks: Sequence[Block]) -> list[Measurement]:
        report(ProgressEvent("compile blocks", 0, None, f"{len(blocks)} blocks"))
        return measure_blocks(
            device,
            blocks,
            threads=effort.threads,
            store=store,
            seed=effort.seed,
            time_limit_s=left(_BLOCKS_SHARE),
            care=effort.care,
            progress=report,
        )

    block_rows = measure_growing(
        measure,
        plan.blocks,
        () if len(plan.blocks) >= effort.most_blocks else candidate_blocks(space, effort.seed),
        effort.most_blocks,
        setting=Setting(device.target, effort.threads),
        seed=effort.seed,
        out_of_time=lambda: left(_BLOCKS_SHARE) == 0.0,
        report=report,
    )
    models = (*plan.fit_models, *plan.held_out)
    report(ProgressEvent("compile models", 0, None, f"{len(models)} whole models"))
    model_rows = measure_models(
        device,
        models,
        threads=effort.threads,
        store=store,
        seed=effort.seed,
        time_limit_s=left(1.0),
        care=effort.care,
        progress=report,
    )
    fit_texts = {architecture.to_json() for architecture in plan.fit_models}
    fit_rows = [row for row in model_rows if row.signature in fit_texts]
    return block_rows, fit_rows, [row for row in model_rows if row.signature not in fit_texts]


def _train(
    device: Device,
    block_rows: Sequence[Measurement],
    fit_rows: Sequence[Measurement],
    held_rows: Sequence[Measurement],
    seed: int,
) -> DevicePredictor:
    from surrogate import DevicePredictor

    return DevicePredictor.fit(block_rows, fit_rows, held_rows, target=device.target, seed=seed)


def _too_short(
    time_limit_s: float, plan: ProfilePlan, rows: Sequence[Measurement], took_s: float, error: InputError
) -> str:
    """What to say where a time limit left too few measurements to fit to: what is kept, and how long is needed."""
    planned = {"block": len(plan.blocks), "model": len(plan.fit_models) + len(plan.held_out)}
    measured = {kind: len({row.subject_hash for row in rows if row.subject == kind}) for kind in planned}
    missing = sum(planned.values()) - sum(measured.values())
    needed_s = 10 * math.ceil((took_s + missing * _SECONDS_PER_BLOCK) / 10)
    return (
        f"a time limit of {time_limit_s:g} s is too short ({error}): {measured['block']} of {planned['block']} blocks "
        f"and {measured['model']} of {planned['model']} whole models are measured, and kept; the same command goes on "
        f"from there, and --time-limit {needed_s}s should do"
    )


def _save(predictor: DevicePredictor, directory: Path) -> None:
    try:
        predictor.save(directory)
    except OSError as error:
        raise StoreError(f"the predictor cannot be saved in {directory}: {error.strerror}") from error
