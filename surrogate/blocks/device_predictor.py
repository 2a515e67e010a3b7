"""Latency of whole models on one device: the sum of the predicted blocks plus a fitted remainder, with its error."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from data.architecture import Architecture
from data.errors import DataFileError, InputError
from data.measurement import Measurement, Provenance
from fusion.block import Block
from fusion.target import Target
from surrogate.arguments import check_coverage, check_seed, positive_number
from surrogate.blocks.block_predictor import BlockPredictor
from surrogate.blocks.features import SCHEMA_HASH, Setting, kind_of, loops_of
from surrogate.blocks.plans import count_blocks
from surrogate.blocks.training_data import Origin, corrected_ms, disturbance, model_latencies, origin_of
from surrogate.boosting import Residual
from surrogate.metrics import PredictionErrors, prediction_errors
from surrogate.saved import read_document, write_document

_DOCUMENT, _TREES = "predictor.json", "block_residual.json"
# How strongly the factor on the sum of the blocks is held at one, in units of one model's squared relative error.
_FACTOR_PRIOR = 0.3
_FACTOR_RANGE = (0.5, 2.0)
_FEWEST_MODELS = 3
_SMALLEST_DEVIATION = 0.003


@dataclass(frozen=True)
class Remainder:
    """A model's time = ``factor`` x sum of its blocks + ``per_block_ms`` x number of blocks + ``constant_ms``."""

    factor: float = 1.0
    per_block_ms: float = 0.0
    constant_ms: float = 0.0

    def apply(self, terms: np.ndarray) -> np.ndarray:
        """(n,) ms of models with :func:`remainder_terms` (n, 3)."""
        return np.asarray(terms @ np.array([self.factor, self.per_block_ms, self.constant_ms]))


@dataclass(frozen=True)
class DevicePredictor:
    """The latency predictor of one device, unit and number of threads.

    ``log_residuals`` are the logarithms of measured over predicted latency of the held-out models: the intervals and
    probabilities come from them, since their blocks were not used for fitting, and each is predicted with a remainder
    fitted to all other models. ``held_out`` keeps (name, measured ms, predicted ms) of each for the report, and
    ``sum_mape`` is the error of the plain sum of blocks there: what the remainder has to make up for. ``ranges`` are
    the (least, largest) rows, inner, columns and heads of the measured blocks by kind. ``disturbance`` is what whole
    runs usually took over the undisturbed time that is predicted, 1 on a machine that is left alone.
    """

    blocks: BlockPredictor
    remainder: Remainder
    origin: Origin
    errors: PredictionErrors
    log_residuals: tuple[float, ...]
    held_out: tuple[tuple[str, float, float], ...]
    sum_mape: float
    measured_blocks: int
    ranges: dict[str, tuple[tuple[int, int], ...]]
    disturbance: float

    @property
    def provenance(self) -> Provenance:
        """Provenance of the measurements behind it: ``simulated`` for a phone that was not attached."""
        return self.origin.provenance

    @classmethod
    def fit(
        cls,
        block_measurements: Sequence[Measurement],
        model_measurements: Sequence[Measurement],
        held_out: Sequence[Measurement] | None = None,
        *,
        target: Target,
        seed: int = 0,
    ) -> DevicePredictor:
        """Fit blocks, then the remainder on whole models, then judge on held-out whole models.

        Args:
            block_measurements: rows of blocks.
            model_measurements: rows of whole models for the remainder.
            held_out: rows of whole models for the errors and intervals; None holds out every other one of
                ``model_measurements``.
            target: what the blocks were compiled for.
            seed: seed of cross-validation and trees.

        Raises:
            InputError: too few rows, or rows of different devices.
        """
        seed = check_seed(seed)
        origin = origin_of([*block_measurements, *model_measurements, *(held_out or ())])
        times = corrected_ms(block_measurements)
        signatures = {row.subject_hash: row.signature for row in block_measurements}
        distinct = [Block.from_signature(signatures[key]) for key in sorted(times)]
        measured = np.array([times[key] for key in sorted(times)])
        blocks = BlockPredictor.fit(distinct, measured, Setting(target, origin.threads), seed=seed)
        fitting, judging = (_model_targets(rows) for rows in _split(model_measurements, held_out))
        terms = remainder_terms(blocks, [*fitting[0], *judging[0]])
        latencies = np.concatenate([fitting[1], judging[1]])
        predicted = _predict_left_out(terms, latencies, len(fitting[0]))
        architectures, truth = judging
        return cls(
            blocks=blocks,
            remainder=fit_remainder(terms, latencies),
            origin=origin,
            errors=prediction_errors(truth, predicted),
            log_residuals=tuple(float(value) for value in np.sort(np.log(truth / predicted))),
            held_out=tuple(
                (architecture.name, float(time_ms), float(guess))
                for architecture, time_ms, guess in zip(architectures, truth, predicted, strict=True)
            ),
            sum_mape=prediction_errors(truth, terms[len(fitting[0]) :, 0]).mape,
            measured_blocks=len(distinct),
            ranges=_ranges(distinct),
            disturbance=disturbance([*model_measurements, *(held_out or ())]),
        )

    def predict(self, architectures: Sequence[Architecture]) -> np.ndarray:
        """(n,) predicted milliseconds of whole models; each distinct block is predicted once."""
        return self.remainder.apply(remainder_terms(self.blocks, architectures))

    def interval(self, architectures: Sequence[Architecture], coverage: float = 0.9) -> tuple[np.ndarray, np.ndarray]:
        """(lower, upper), each (n,) ms: split-conformal on the relative error of the held-out models.

        Where the held-out models are too few for the coverage, Student's t takes the place of the order statistic.

        Source: Lei et al., Distribution-free predictive inference for regression, 2018.
        """
        half = _half_width(np.array(self.log_residuals), coverage)
        predicted = self.predict(architectures)
        return predicted * np.exp(-half), predicted * np.exp(half)

    def probability_within(self, architectures: Sequence[Architecture], budget_ms: float) -> np.ndarray:
        """(n,) probability that a model's measured latency is at most ``budget_ms``.

        Student's t on the logarithm, with the centre and spread of the held-out models' errors.
        """
        from scipy.stats import t

        budget_ms = positive_number("a budget is a positive number of milliseconds", budget_ms)
        residuals = np.array(self.log_residuals)
        spread = _deviation(residuals) * np.sqrt(1 + 1 / len(residuals))
        distance = np.log(budget_ms / self.predict(architectures)) - residuals.mean()
        return np.asarray(t.cdf(distance / spread, df=max(len(residuals) - 1, 1)))

    def outside(self, architectures: Sequence[Architecture]) -> np.ndarray:
        """(n,) whether a model holds a block beyond what was measured: of another kind, or of a size smaller or larger
        than all measured blocks of its kind. The intervals then promise nothing."""
        if not architectures:
            return np.zeros(0, dtype=bool)
        counted = count_blocks(architectures)
        beyond = [float(not _within(self.ranges.get(kind_of(block)), block)) for block in counted.blocks]
        return counted.totals(np.array(beyond)) > 0

    def save(self, directory: Path) -> None:
        """Write ``predictor.json`` and XGBoost's own JSON into a directory, the former last and at once."""
        directory.mkdir(parents=True, exist_ok=True)
        self.blocks.residual.save(directory / _TREES)
        document = {
            "blocks": self.blocks.to_dict(),
            "trees": self.blocks.residual.trees is not None,
            "cross_validated": self.blocks.residual.cross_validated,
            "remainder": asdict(self.remainder),
            "origin": asdict(self.origin),
            "errors": self.errors.to_dict(),
            "log_residuals": self.log_residuals,
            "held_out": self.held_out,
            "sum_mape": self.sum_mape,
            "measured_blocks": self.measured_blocks,
            "ranges": self.ranges,
            "disturbance": self.disturbance,
        }
        write_document(directory / _DOCUMENT, SCHEMA_HASH, document, directory / _TREES)

    @classmethod
    def load(cls, directory: Path) -> DevicePredictor:
        """Inverse of :meth:`save`.

        Raises:
            DataFileError: the files are missing, damaged, or of another feature schema.
        """
        path = directory / _DOCUMENT
        document = read_document(path, SCHEMA_HASH, directory / _TREES)
        try:
            residual = Residual.load(directory / _TREES, document["trees"], document["cross_validated"])
            return cls(
                blocks=BlockPredictor.from_dict(document["blocks"], residual),
                remainder=Remainder(**document["remainder"]),
                origin=Origin(**document["origin"]),
                errors=PredictionErrors(**document["errors"]),
                log_residuals=tuple(document["log_residuals"]),
                held_out=tuple((name, truth, guess) for name, truth, guess in document["held_out"]),
                sum_mape=float(document["sum_mape"]),
                measured_blocks=document["measured_blocks"],
                disturbance=float(document["disturbance"]),
                ranges={
                    str(kind): tuple((int(low), int(high)) for low, high in sizes)
                    for kind, sizes in document["ranges"].items()
                },
            )
        except (KeyError, TypeError, ValueError) as error:
            raise DataFileError(path, f"the saved predictor is damaged ({error}): train it again") from error


def remainder_terms(blocks: BlockPredictor, architectures: Sequence[Architecture]) -> np.ndarray:
    """(n, 3) sum of the predicted blocks in ms, number of blocks, and one, of each model."""
    if not architectures:
        return np.zeros((0, 3))
    counted = count_blocks(architectures)
    sums_ms = counted.totals(blocks.predict(counted.blocks))
    return np.column_stack([sums_ms, counted.lengths, np.ones(len(architectures))])


def fit_remainder(terms: np.ndarray, latencies_ms: np.ndarray) -> Remainder:
    """Non-negative remainder that minimises the relative error of models with :func:`remainder_terms` (n, 3); the
    factor on the sum is held near one.

    Raises:
        InputError: fewer than three models.
    """
    from scipy.optimize import lsq_linear

    if len(terms) < _FEWEST_MODELS:
        raise InputError(f"a device predictor needs at least {_FEWEST_MODELS} whole models, not {len(terms)}")
    prior = np.sqrt(_FACTOR_PRIOR) * np.array([[1.0, 0.0, 0.0]])
    matrix = np.vstack([terms / latencies_ms[:, None], prior])
    goal = np.append(np.ones(len(latencies_ms)), prior[0, 0])
    bounds = ([_FACTOR_RANGE[0], 0.0, 0.0], [_FACTOR_RANGE[1], np.inf, np.inf])
    solution = lsq_linear(matrix, goal, bounds).x
    return Remainder(*(float(value) for value in solution))


def _predict_left_out(terms: np.ndarray, latencies_ms: np.ndarray, first: int) -> np.ndarray:
    """(n - first,) ms of the models from ``first`` on, each by a remainder fitted to all models but itself."""
    predicted = []
    for index in range(first, len(terms)):
        others = np.arange(len(terms)) != index
        predicted.append(float(fit_remainder(terms[others], latencies_ms[others]).apply(terms[index])))
    return np.array(predicted)


def _sizes(block: Block) -> tuple[int, int, int, int]:
    loops = loops_of(block)
    return loops.rows, loops.inner, loops.columns, loops.heads


def _ranges(blocks: Sequence[Block]) -> dict[str, tuple[tuple[int, int], ...]]:
    """(least, largest) of each size by kind of block."""
    sizes: dict[str, list[tuple[int, int, int, int]]] = defaultdict(list)
    for block in blocks:
        sizes[kind_of(block)].append(_sizes(block))
    return {
        kind: tuple((min(values), max(values)) for values in zip(*rows, strict=True))
        for kind, rows in sorted(sizes.items())
    }


def _within(ranges: tuple[tuple[int, int], ...] | None, block: Block) -> bool:
    return ranges is not None and all(
        low <= size <= high for size, (low, high) in zip(_sizes(block), ranges, strict=True)
    )


def _split(
    models: Sequence[Measurement], held_out: Sequence[Measurement] | None
) -> tuple[Sequence[Measurement], Sequence[Measurement]]:
    """(rows to fit, rows to judge); without rows kept aside, every other model is."""
    if held_out is not None:
        return models, held_out
    names = sorted({row.subject_hash for row in models})
    kept = set(names[1::2])
    return [row for row in models if row.subject_hash not in kept], [row for row in models if row.subject_hash in kept]


def _model_targets(rows: Sequence[Measurement]) -> tuple[list[Architecture], np.ndarray]:
    """As :func:`model_latencies`, refused where there are too few."""
    architectures, latencies = model_latencies(rows)
    if len(architectures) < 2:
        raise InputError("a device predictor needs at least two held-out whole models")
    return architectures, latencies


def _half_width(residuals: np.ndarray, coverage: float) -> float:
    """Half width of the interval on the logarithm."""
    from scipy.stats import t

    coverage = check_coverage(coverage)
    n = len(residuals)
    rank = int(np.ceil((n + 1) * coverage))
    if rank <= n:
        return float(np.sort(np.abs(residuals))[rank - 1])
    quantile = t.ppf((1 + coverage) / 2, df=max(n - 1, 1))
    return float(abs(residuals.mean()) + quantile * _deviation(residuals) * np.sqrt(1 + 1 / n))


def _deviation(residuals: np.ndarray) -> float:
    """Standard deviation, never taken for less than the clock's own noise."""
    spread = float(residuals.std(ddof=1)) if len(residuals) > 1 else 0.0
    return max(spread, _SMALLEST_DEVIATION)
