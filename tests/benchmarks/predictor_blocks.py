"""The device predictor, which sums blocks, judged by whole models of a later session; and how fast it predicts many."""

from __future__ import annotations

from collections.abc import Sequence
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
from profiling.sampling import SamplingRange, sample_architectures
from profiling.session import measure_models
from surrogate import DevicePredictor
from surrogate.blocks.training_data import model_latencies
from tests.benchmarks.predictor_methods import COVERAGE, OURS, Figures, Prediction, judge
from tests.benchmarks.predictor_splits import Held

_MANY = 1_000_000


@dataclass(frozen=True)
class Plan:
    """How much is measured: models to fit to, to calibrate by, and to judge by, and visits to each."""

    fit_models: int = 40
    calibration_models: int = 40
    judged_models: int = 100
    visits: int = 24
    seed: int = 0


@dataclass(frozen=True)
class Sessions:
    """Rows of the profiling session, and of two later sessions with models that it knows nothing of."""

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

    def session(name: str, subjects: Sequence[Architecture]) -> list[Measurement]:
        with MeasurementStore.open(folder / f"{name}.sqlite") as store:
            return measure_models(
                device,
                subjects,
                threads=threads,
                store=store,
                visits=plan.visits,
                seed=plan.seed,
                progress=progress,
            )

    profiled = session("profile", (*fitting, *calibrating))
    fitted = {model.to_json() for model in fitting}
    return Sessions(
        fitting=[row for row in profiled if row.signature in fitted],
        calibrating=[row for row in profiled if row.signature not in fitted],
        judging=session("judge", judged),
        again=session("again", judged),
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
    predictor = DevicePredictor.fit(sessions.fitting, sessions.calibrating, target=target)
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
