"""The device predictor, which sums blocks, judged by whole models of a later session; and how fast it predicts many."""

from __future__ import annotations

import json
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Any

import numpy as np

from data.architecture import Architecture
from data.device_spec import load_device
from data.store import MeasurementStore
from profiling import open_device
from profiling.sampling import SamplingRange, candidate_blocks, choose_blocks, sample_architectures
from profiling.session import measure_blocks, measure_models
from surrogate import DevicePredictor
from surrogate.training_data import corrected_ms
from tests.benchmarks.predictor_methods import COVERAGE, OURS, Prediction, judge
from tests.benchmarks.predictor_splits import Held, Tick

_BLOCKS, _FIT_MODELS, _JUDGED_MODELS, _THREADS = 300, 30, 150, 8
_MANY = 1_000_000


def judge_blocks(name: str, seed: int, tick: Tick) -> tuple[Held, dict[str, Any]]:
    """A simulated phone's predictor from 300 blocks and 30 models, judged by 150 other models of a later session; and
    what predicting many architectures takes: ``{"architectures": n, "seconds": s}``."""
    space = SamplingRange()
    tick(f"{name} by blocks: sessions")
    device = open_device(load_device(name), simulated=True)
    blocks = choose_blocks(candidate_blocks(space, seed), _BLOCKS, seed)
    models = sample_architectures(space, _FIT_MODELS + _JUDGED_MODELS, seed)
    with TemporaryDirectory() as folder, MeasurementStore.open(Path(folder) / "m.sqlite") as store:
        block_rows = measure_blocks(device, blocks, threads=_THREADS, store=store, repeats=1)
        fitting = measure_models(device, models[:_FIT_MODELS], threads=_THREADS, store=store, repeats=1)
        judging = measure_models(device, models[_FIT_MODELS:], threads=_THREADS, store=store, repeats=1)
    tick(f"{name} by blocks: training")
    predictor = DevicePredictor.fit(block_rows, fitting, vector_bytes=device.target.vector_bytes)
    times = corrected_ms(judging)
    signatures = {row.subject_hash: row.signature for row in judging}
    kept = [Architecture.from_dict(json.loads(signatures[key])) for key in times]
    prediction = Prediction(predictor.predict(kept), *predictor.interval(kept, COVERAGE))
    figures = judge(np.array(list(times.values())), prediction)
    held = Held(f"{name} cpu by blocks", len(blocks), OURS, figures, figures.mape, figures.rmse)
    tick(f"{name} by blocks: many architectures")
    return held, _many(predictor)


def _many(predictor: DevicePredictor) -> dict[str, Any]:
    """A million draws from a grid of 17,664 architectures of 736 widths, none of them planned before."""
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
