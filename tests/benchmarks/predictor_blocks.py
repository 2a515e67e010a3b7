"""The device predictor, which sums blocks, judged by whole models of a later session; and how fast it predicts many."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

from data.architecture import Architecture
from data.measurement import Measurement
from data.progress import Progress
from data.store import MeasurementStore
from fusion.target import Target
from profiling.device import Device
from profiling.sampling import SamplingRange, profile_blocks, sample_architectures
from profiling.session import measure_blocks, measure_models
from surrogate import DevicePredictor
from surrogate.blocks.training_data import model_latencies
from tests.benchmarks.predictor_methods import COVERAGE, OURS, Figures, Prediction, judge
from tests.benchmarks.predictor_splits import Held

_MANY = 1_000_000
_PROFILE = "profile"


@dataclass(frozen=True)
class Plan:
    """How much is measured: blocks and models to fit to, models to calibrate by, models to judge by; rows of each at
    least, more of those judged, whose noise the predictor is not to answer for."""

    blocks: int = 300
    fit_models: int = 30
    calibration_models: int = 60
    judged_models: int = 150
    repeats: int = 3
    judged_repeats: int = 5
    seed: int = 0


@dataclass(frozen=True)
class Sessions:
    """Rows of the profiling session, and of two later sessions with models that it knows nothing of."""

    blocks: Sequence[Measurement]
    fitting: Sequence[Measurement]
    calibrating: Sequence[Measurement]
    judging: Sequence[Measurement]
    again: Sequence[Measurement]


def measure_sessions(device: Device, threads: int, plan: Plan, folder: Path, progress: Progress) -> Sessions:
    """Three sessions, one after another, each in a store of its own in ``folder``: what is there already counts."""
    space = SamplingRange()
    known = plan.fit_models + plan.calibration_models
    models = sample_architectures(space, known + plan.judged_models, plan.seed)
    fitting, calibrating, judged = models[: plan.fit_models], models[plan.fit_models : known], models[known:]
    blocks = profile_blocks(space, fitting, plan.blocks, plan.seed)

    def session(name: str, measure: Callable[..., list[Measurement]], subjects: Sequence[Any]) -> list[Measurement]:
        repeats = plan.repeats if name == _PROFILE else plan.judged_repeats
        with MeasurementStore.open(folder / f"{name}.sqlite") as store:
            return measure(
                device, subjects, threads=threads, store=store, repeats=repeats, seed=plan.seed, progress=progress
            )

    return Sessions(
        blocks=session(_PROFILE, measure_blocks, blocks),
        fitting=session(_PROFILE, measure_models, fitting),
        calibrating=session(_PROFILE, measure_models, calibrating),
        judging=session("judge", measure_models, judged),
        again=session("again", measure_models, judged),
    )


@dataclass(frozen=True)
class Judged:
    """What a device's predictor is worth: figures on the judged models, and ``floor``, the same figures of the second
    later session against the first; ``sum_mape`` is the error of the plain sum of blocks."""

    held: Held
    floor: Figures
    sum_mape: float


def judge_blocks(label: str, sessions: Sessions, target: Target) -> tuple[Judged, DevicePredictor]:
    """Fit to the profiling session, judge by the first of the later ones."""
    predictor = DevicePredictor.fit(sessions.blocks, sessions.fitting, sessions.calibrating, target=target)
    kept, truth = model_latencies(sessions.judging)
    prediction = Prediction(predictor.predict(kept), *predictor.interval(kept, COVERAGE))
    again = dict(zip(*model_latencies(sessions.again), strict=True))
    figures = judge(truth, prediction)
    held = Held(label, predictor.measured_blocks, OURS, figures, figures.mape, figures.rmse)
    floor = judge(truth, Prediction(np.array([again[model] for model in kept])))
    return Judged(held, floor, predictor.sum_mape), predictor


def time_many(predictor: DevicePredictor) -> dict[str, Any]:
    """``{"architectures": n, "seconds": s}`` for a million draws from a grid of 17,664 architectures of 736 widths,
    none of them planned before."""
    grid = [
        Architecture(layers, 32 * width, heads, 64 * inner)
        for layers in range(1, 25)
        for width in range(2, 25)
        for heads in (1, 2, 4, 8)
        for inner in range(1, 33, 4)
    ]
    drawn = [grid[index] for index in np.random.default_rng(0).integers(len(grid), size=_MANY)]
    began = perf_counter()
    predictor.predict(drawn)
    return {"architectures": len(drawn), "seconds": perf_counter() - began}
