"""Latency in proportion to a measure that knows nothing of fusion: what a search believes that is blind to it.

The measure is the latency of the same architectures without fusion, or their floating-point operations; one model, the
teacher, says how many milliseconds of fused code a unit of it stands for.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from data.architecture import Architecture
from data.measurement import Measurement, Provenance
from data.statistic import medians_ms
from surrogate.blocks.device_predictor import DevicePredictor
from surrogate.blocks.plans import count_blocks
from surrogate.blocks.spread import Spread, residuals_beside_level, shared_level
from surrogate.blocks.training_data import Origin, architectures_of, check_same_origin
from surrogate.metrics import PredictionErrors, prediction_errors

# (n,) of n architectures, in any unit.
Measure = Callable[[Sequence[Architecture]], np.ndarray]


def flops(architectures: Sequence[Architecture]) -> np.ndarray:
    """(n,) floating-point operations of whole models, which are the same however they are fused."""
    counted = count_blocks(architectures)
    return counted.totals(np.array([block.cost.flops for block in counted.blocks], dtype=np.float64))


@dataclass(frozen=True)
class ProportionalPredictor:
    """Predicts ``anchor_ms`` of the ``anchor``, and of any other model as much more or less as its ``measure`` is; and
    once other models were timed, ``level`` times that of all.

    ``errors`` and ``held_out`` (name, measured ms, predicted ms) are of the models that the device's profile held out;
    ``held_out_residuals`` are the logarithms of measured over predicted ones, ``learned_residuals`` those of models
    timed later, and ``level`` what these have in common over predictions. Origin and ``later`` are the profile's of
    fused models.
    """

    measure: Measure
    anchor: Architecture
    anchor_ms: float
    origin: Origin
    later: float
    errors: PredictionErrors
    held_out: tuple[tuple[str, float, float], ...]
    held_out_residuals: tuple[float, ...]
    level: float = 1.0
    learned_residuals: tuple[float, ...] = ()

    @classmethod
    def of(cls, fused: DevicePredictor, measure: Measure, anchor: Architecture) -> ProportionalPredictor:
        """One that agrees with the device's predictor in the ``anchor``, until that is timed, and nowhere else."""
        anchor_ms = float(fused.predict([anchor])[0])
        measured = np.array([latency_ms for _, latency_ms, _ in fused.held_out])
        predicted = anchor_ms * _relative(measure, fused.judged, anchor)
        return cls(
            measure=measure,
            anchor=anchor,
            anchor_ms=anchor_ms,
            origin=fused.origin,
            later=fused.later,
            errors=prediction_errors(measured, predicted),
            held_out=tuple(
                (name, latency_ms, float(guess))
                for (name, latency_ms, _), guess in zip(fused.held_out, predicted, strict=True)
            ),
            held_out_residuals=tuple(np.log(measured / predicted).tolist()),
        )

    @property
    def provenance(self) -> Provenance:
        """Provenance of the device's measurements."""
        return self.origin.provenance

    @property
    def spread(self) -> Spread:
        """How far later medians lie from predictions; those of the held-out models from what is predicted now."""
        held_out = (residual - math.log(self.level) for residual in self.held_out_residuals)
        return Spread((*held_out, *self.learned_residuals), self.later)

    def learned(self, rows: Sequence[Measurement]) -> ProportionalPredictor:
        """The predictor after rows of whole fused models on the same device, such as a search's own timings.

        The anchor gets its own median; of all others only the level is learned, and how far they are from it: what is
        believed of one architecture beside another stays the measure's.

        Raises:
            InputError: rows of another device, number of threads or compiler.
        """
        if not rows:
            return self
        check_same_origin(rows, self.origin)
        architectures = architectures_of(rows)
        seen = {architectures[key]: median_ms for key, median_ms in medians_ms(rows).items()}
        anchored = replace(self, anchor_ms=seen.pop(self.anchor, self.anchor_ms), level=1.0)
        if not seen:
            return replace(anchored, learned_residuals=())
        shifts = np.log(np.array(list(seen.values())) / anchored.predict(list(seen)))
        return replace(
            anchored, level=float(np.exp(shared_level(shifts))), learned_residuals=residuals_beside_level(shifts)
        )

    def predict(self, architectures: Sequence[Architecture]) -> np.ndarray:
        """(n,) believed medians of whole models, ms."""
        return self.level * self.anchor_ms * _relative(self.measure, architectures, self.anchor)

    def interval(self, architectures: Sequence[Architecture], coverage: float = 0.9) -> tuple[np.ndarray, np.ndarray]:
        """(lower, upper), each (n,) ms, that hold a later session's median with the probability ``coverage``."""
        return self.spread.interval(self.predict(architectures), coverage)

    def probability_within(self, architectures: Sequence[Architecture], budget_ms: float) -> np.ndarray:
        """(n,) probability that a model's median, measured later, is at most ``budget_ms``; as :meth:`interval`."""
        return self.spread.probability_within(self.predict(architectures), budget_ms)


def _relative(measure: Measure, architectures: Sequence[Architecture], anchor: Architecture) -> np.ndarray:
    """(n,) times the anchor's measure."""
    *others, whole = measure([*architectures, anchor])
    return np.array(others) / whole
