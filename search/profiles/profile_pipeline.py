"""Profiling as one pipeline: choose blocks and models, compile, measure what is missing, train, save."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING

from data.errors import DataFileError, InputError, StoreError
from data.home import home
from data.progress import Progress, ProgressEvent, no_progress
from data.store import MeasurementStore
from fusion.block import Block
from profiling.device import Device
from profiling.items import compiler_for
from profiling.processor_latency import core_speeds
from profiling.quality import SessionQuality, session_quality
from profiling.sampling import SamplingRange, distinct_blocks, sample_architectures
from profiling.session import CARE, Care, measure_until_steady
from search.profiles.device_lock import alone
from search.reports.profile_report import PAGE, write_profile_page

if TYPE_CHECKING:
    from data.architecture import Architecture, Precision
    from data.measurement import Measurement
    from surrogate import DevicePredictor

# Models whose blocks are learned from, and models kept aside to judge by.
FIT_MODELS, HELD_OUT_MODELS = 40, 20
_FEWEST_FIT_MODELS = 8
# Measuring ends after so many seconds where the machine does not become steady before.
MEASURING_S = 150.0
# Of a time limit, what compiling and training may take: two slow cores need about so many seconds a model, and in all.
_COMPILING_S, _TRAINING_S = 0.8, 20.0
# No model can be learned from fewer visits; a visit takes about so long.
_FEWEST_VISITS, _SECONDS_PER_VISIT = 2, 0.2
# Each further precision asks for so many times the models of the first.
_FURTHER_PRECISION = 0.5
# Predictors of models without fusion are kept beside those of fused ones.
UNFUSED_SUFFIX = "-unfused"
# In what products are computed where nothing else is asked for.
_FP32: tuple[Precision, ...] = ("fp32",)
# Above this error on held-out models, whoever reuses a profile is told how to get a better one.
_POOR_ERROR = 0.15


@dataclass(frozen=True)
class ProfilePlan:
    """What a profiling measures: models whose blocks are learned from, and models kept aside to judge by."""

    fit_models: tuple[Architecture, ...]
    held_out: tuple[Architecture, ...]

    @property
    def models(self) -> tuple[Architecture, ...]:
        """All of them."""
        return (*self.fit_models, *self.held_out)


@dataclass(frozen=True)
class _Effort:
    """How much is measured: threads, seed of choice and order, seconds, care, and whether beside what is stored; of
    models as they are fused, or operator by operator."""

    threads: int
    seed: int
    time_limit_s: float | None
    care: Care
    again: bool
    fuse: bool


@dataclass(frozen=True)
class Profile:
    """The outcome: the predictor, whether it was there already, how stable the machine was, and the page about it.

    Of a reused profile's ``quality`` its statistic is known only.
    """

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
    fuse: bool = True,
    precisions: tuple[Precision, ...] = _FP32,
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
        fuse=fuse,
        precisions=precisions,
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
    fuse: bool = True,
    precisions: tuple[Precision, ...] = _FP32,
    progress: Progress | None = None,
) -> Profile:
    """Measure what is missing, train the latency predictor, and save it in the state directory.

    A predictor saved earlier is reused while device, compiler and number of threads are the same and it rests on at
    least as many blocks; measurements in the store are never repeated.

    Args:
        blocks: number of distinct blocks to measure; as many models are timed as hold them. None takes sixty models.
        time_limit_s: seconds for the whole, roughly; what is compiling is not interrupted. Without it, measuring ends
            once the figures are steady, or after two and a half minutes.
        seq_len: sequence length of the models that will be predicted.
        again: visit all models as often once more, beside what is stored, and train anew.
        care: how often each model is visited, and how well the halves of the rounds must agree.
        fuse: False compiles the models operator by operator: a predictor of its own, beside the other.
        precisions: in which models' products are computed, by turns: a predictor of its own for each set of them.

    Raises:
        InputError: the time limit left too few measurements for a predictor; what was measured is stored. Or there are
            not so many ``blocks``.
        DeviceError: the device is not available or was lost; what was measured is stored.
        StoreError: the store or the state directory cannot be written.
        ToolchainError: a block could not be compiled.
    """
    report = progress or no_progress
    begin = monotonic()
    directory = predictor_directory(device, threads, seq_len, fuse, precisions)
    with alone(device, report):
        known = None if again else _reusable(directory, device, blocks, report, fuse)
        if known is not None:
            return Profile(known, directory, True, SessionQuality(known.statistic), monotonic() - begin)
        plan = plan_profile(SamplingRange(seq_len=seq_len, precisions=precisions), blocks, seed)
        rows = _measure(device, store, plan, _Effort(threads, seed, time_limit_s, care, again, fuse), report)
        _check_enough(plan, rows, time_limit_s, monotonic() - begin)
        report(ProgressEvent("train predictor", 0, 1, f"{len(plan.models)} models"))
        predictor = _train(device, plan, rows, seed, fuse)
        _save(predictor, directory)
        limited = device.spec.temperature_limit_c is not None and device.provenance == "measured"
        quality = session_quality(rows, limited)
        write_profile_page(directory, device, predictor, rows, quality, precisions)
    report(ProgressEvent("train predictor", 1, 1, str(predictor.errors)))
    if quality.notice:
        report(ProgressEvent("train predictor", 1, 1, f"warning: {quality.notice}"))
    return Profile(predictor, directory, False, quality, monotonic() - begin)


def load_predictor(
    device: Device,
    threads: int,
    seq_len: int = 128,
    blocks: int | None = None,
    fuse: bool = True,
    precisions: tuple[Precision, ...] = _FP32,
) -> DevicePredictor | None:
    """The predictor saved for this device, threads and compiler that rests on at least as many ``blocks``; None where
    it must be profiled (again). Without ``fuse``, that of models compiled operator by operator."""
    directory = predictor_directory(device, threads, seq_len, fuse, precisions)
    return _reusable(directory, device, blocks, no_progress, fuse)


def predictor_directory(
    device: Device, threads: int, seq_len: int, fuse: bool = True, precisions: tuple[Precision, ...] = _FP32
) -> Path:
    """Where the predictor of a device is kept, of fused models or of the same ones without fusion, and of each set of
    precisions."""
    name = f"{device.unit}-{threads}threads-{seq_len}tokens"
    name += "" if fuse else UNFUSED_SUFFIX
    name += "" if precisions == _FP32 else f"-{'-'.join(precisions)}"
    return home() / "predictors" / device.describe().fingerprint / name


def plan_profile(space: SamplingRange, blocks: int | None, seed: int) -> ProfilePlan:
    """Models spread over the space that hold at least so many distinct ``blocks``, those kept aside among them; equal
    arguments give equal plans.

    Raises:
        InputError: the space does not hold so many blocks.
    """
    scale = 1 + _FURTHER_PRECISION * (len(space.precisions) - 1)
    kept, fitted = (round(scale * count) for count in (HELD_OUT_MODELS, FIT_MODELS))
    architectures = sample_architectures(space, kept + fitted, seed)
    if blocks is None:
        return ProfilePlan(architectures[kept:], architectures[:kept])
    if len(distinct_blocks(architectures)) < blocks:
        # Every model beyond brings some blocks of its own.
        architectures = sample_architectures(space, len(architectures) + blocks, seed)
    fewest, known = kept + _FEWEST_FIT_MODELS, set[Block]()
    for count, architecture in enumerate(architectures, 1):
        known |= set(distinct_blocks([architecture]))
        if count >= fewest and len(known) >= blocks:
            return ProfilePlan(architectures[kept:count], architectures[:kept])
    raise InputError(f"{len(architectures)} models hold {len(known)} distinct blocks, and not {blocks}: ask for fewer")


def _reusable(
    directory: Path, device: Device, blocks: int | None, report: Progress, fuse: bool = True
) -> DevicePredictor | None:
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
    if predictor.origin.compiler != compiler_for(device, fuse):
        report(ProgressEvent(stage, 0, None, "the compiler has changed since this device was profiled: profiling"))
        return None
    if blocks is not None and predictor.measured_blocks < blocks:
        report(ProgressEvent(stage, 0, None, f"{predictor.measured_blocks} blocks measured so far: measuring more"))
        return None
    report(ProgressEvent(stage, 1, 1, f"reusing the profile of {device.describe().fingerprint}{_told(fuse)}"))
    if predictor.errors.mape > _POOR_ERROR:
        again = f": profile-device --device {device.spec.name} --again measures anew what was disturbed"
        advice = again if fuse else f": remove {directory} and search again, on a quieter machine, for a better one"
        report(ProgressEvent(stage, 1, 1, f"its held-out error is {predictor.errors.mape:.0%}{advice}"))
    return predictor


def _measure(
    device: Device,
    store: MeasurementStore,
    plan: ProfilePlan,
    effort: _Effort,
    report: Progress,
) -> list[Measurement]:
    """Rows of all models of the plan."""
    limit_s = effort.time_limit_s
    left_s = None if limit_s is None else max(0.0, limit_s - _TRAINING_S - _COMPILING_S * len(plan.models))
    report(ProgressEvent("compile models", 0, None, f"{len(plan.models)} whole models{_told(effort.fuse)}"))
    return measure_until_steady(
        device,
        plan.models,
        threads=effort.threads,
        store=store,
        usual_s=MEASURING_S if left_s is None else left_s,
        time_limit_s=left_s,
        again=effort.again,
        seed=effort.seed,
        care=effort.care,
        fuse=effort.fuse,
        progress=report,
    )


def _train(device: Device, plan: ProfilePlan, rows: Sequence[Measurement], seed: int, fuse: bool) -> DevicePredictor:
    from surrogate import DevicePredictor

    kept = {architecture.to_json() for architecture in plan.held_out}
    fitting = [row for row in rows if row.signature not in kept]
    judging = [row for row in rows if row.signature in kept]
    threads = rows[0].threads
    speeds = core_speeds(device.spec, device.target, threads) if device.unit == "cpu" and device.spec.clusters else ()
    return DevicePredictor.fit(fitting, judging, target=device.target, seed=seed, fuse=fuse, speeds=speeds)


def _told(fuse: bool) -> str:
    return "" if fuse else ", without fusion"


def _check_enough(plan: ProfilePlan, rows: Sequence[Measurement], time_limit_s: float | None, took_s: float) -> None:
    """Refuses to learn from too little: every model needs two visits.

    Raises:
        InputError: some have fewer; it says what is kept, and how long is needed.
    """
    counts = Counter(row.signature for row in rows)
    visits = [min(counts[model.to_json()], _FEWEST_VISITS) for model in plan.models]
    if min(visits) >= _FEWEST_VISITS or time_limit_s is None:
        return
    measured = sum(count > 0 for count in visits)
    missing_s = _TRAINING_S + _SECONDS_PER_VISIT * (_FEWEST_VISITS * len(visits) - sum(visits))
    needed_s = 10 * math.ceil((took_s + missing_s + _COMPILING_S * len(visits)) / 10)
    raise InputError(
        f"a time limit of {time_limit_s:g} s is too short: {measured} of {len(visits)} whole models were visited, "
        f"{sum(count >= _FEWEST_VISITS for count in visits)} of them twice; that is kept, the same command goes on "
        f"from there, and --time-limit {needed_s}s should do"
    )


def _save(predictor: DevicePredictor, directory: Path) -> None:
    try:
        predictor.save(directory)
    except OSError as error:
        raise StoreError(f"the predictor cannot be saved in {directory}: {error.strerror}") from error
