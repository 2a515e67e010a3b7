"""Latency of whole models on one device: the sum of the predicted blocks plus a fitted remainder, with its error."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

from data.architecture import Architecture
from data.errors import DataFileError, InputError
from data.measurement import Measurement, Provenance
from data.statistic import Statistic, choose_statistic, figures_ms, median_drift, medians_ms, steps_ms
from fusion.block import Block
from fusion.target import Target
from surrogate.arguments import check_seed
from surrogate.blocks.block_predictor import BlockPredictor
from surrogate.blocks.features import SCHEMA_HASH, Setting, kind_of, loops_of
from surrogate.blocks.plans import count_blocks
from surrogate.blocks.remainder import Remainder, fit_remainder, predict_left_out, remainder_terms
from surrogate.blocks.spread import Spread, residuals_beside_level, shared_level
from surrogate.blocks.training_data import Origin, architectures_of, block_targets, check_same_origin, origin_of
from surrogate.boosting import Residual
from surrogate.metrics import PredictionErrors, prediction_errors
from surrogate.saved import read_document, write_document

_DOCUMENT, _TREES = "predictor.json", "block_residual.json"
# Fields that JSON holds as they are.
_PLAIN = (
    "usual",
    "later",
    "level",
    "held_out_residuals",
    "learned_residuals",
    "held_out",
    "sum_mape",
    "measured_blocks",
    "ranges",
    "fused",
)
_FEWEST_HELD_OUT = 2
# Of the features, and of what is saved beside them.
_SCHEMA = f"{SCHEMA_HASH} with judged models and speeds of cores"


@dataclass(frozen=True)
class FittedModel:
    """A whole model that the remainder is fitted to: its blocks' sum and number, and what it took, ms.

    ``learned`` ones were timed after the profile: ``latency_ms`` is then the median that was seen.
    """

    name: str
    sum_ms: float
    length: float
    latency_ms: float
    learned: bool = False


@dataclass(frozen=True)
class DevicePredictor:
    """The latency predictor of one device, unit and number of threads.

    Of models as the compiler fuses them, unless it is not ``fused``: then of the same ones operator by operator.

    What it predicts is what a user sees: the median latency that a later measurement shows. Blocks and remainder are
    fitted to the ``statistic`` that was steadiest in the profile's session; ``usual`` is what medians were over it, and
    ``level`` what timings after the profile were over its predictions, both factors.

    ``held_out_residuals`` are the logarithms of seen medians over predicted ones of the held-out models, and
    ``learned_residuals`` those of models timed later, each as predicted without its own timing; ``later`` is the
    standard deviation that another session adds to them, as this one's halves show. ``held_out`` keeps (name, measured
    ms, predicted ms) of each held-out model for the report, by the statistic times ``usual``, and ``judged`` are these
    models; they are judged by blocks fitted without them, ``blocks`` are then fitted to all. ``sum_mape`` is the error
    of the plain sum of blocks there. ``ranges`` are the (least, largest) rows, inner, columns and heads of the measured
    blocks by kind.
    """

    blocks: BlockPredictor
    remainder: Remainder
    origin: Origin
    statistic: Statistic
    usual: float
    later: float
    errors: PredictionErrors
    held_out_residuals: tuple[float, ...]
    held_out: tuple[tuple[str, float, float], ...]
    judged: tuple[Architecture, ...]
    sum_mape: float
    measured_blocks: int
    ranges: dict[str, tuple[tuple[int, int], ...]]
    models: tuple[FittedModel, ...]
    level: float = 1.0
    learned_residuals: tuple[float, ...] = ()
    fused: bool = True

    @property
    def log_residuals(self) -> tuple[float, ...]:
        """Of all models that the prediction had not seen, in order of size."""
        return tuple(sorted((*self.held_out_residuals, *self.learned_residuals)))

    @property
    def spread(self) -> Spread:
        """How far later medians lie from predictions."""
        return Spread(self.log_residuals, self.later)

    @property
    def provenance(self) -> Provenance:
        """Provenance of the measurements behind it: ``simulated`` for a phone that was not attached."""
        return self.origin.provenance

    @classmethod
    def fit(
        cls,
        models: Sequence[Measurement],
        held_out: Sequence[Measurement] | None = None,
        *,
        target: Target,
        seed: int = 0,
        fuse: bool = True,
        speeds: tuple[float, ...] = (),
    ) -> DevicePredictor:
        """Fit blocks to the steps of whole models, then the remainder, then judge on held-out whole models.

        Args:
            models: rows of whole models.
            held_out: rows of whole models for the errors and intervals; None holds out every other one of ``models``.
            target: what the blocks were compiled for.
            seed: seed of cross-validation and trees.
            fuse: whether the models were compiled with fusion.
            speeds: how fast the cores are that ran them, the fastest one at 1, where they are not all alike.

        Raises:
            InputError: too few rows, or rows of different devices, or rows that do not tell their blocks.
        """
        seed = check_seed(seed)
        rows = [*models, *(held_out or ())]
        origin, statistic, architectures = origin_of(rows), choose_statistic(rows, seed), architectures_of(rows)
        steps, figures, medians = steps_ms(rows, statistic), figures_ms(rows, statistic), medians_ms(rows)
        fitting, judging = _split(models, held_out)
        setting = Setting(target, origin.threads, speeds)
        judged = BlockPredictor.fit(*_targets(architectures, steps, fitting, fuse), setting, seed=seed)
        subjects = [*fitting, *judging]
        terms = remainder_terms(judged, [architectures[key] for key in subjects], fuse)
        latencies = np.array([figures[key] for key in subjects])
        seen = np.array([medians[key] for key in subjects])
        usual = float(np.exp(np.median(np.log(seen / latencies))))
        first = len(fitting)
        predicted = usual * predict_left_out(terms, latencies, first)
        truth = usual * latencies[first:]
        blocks, times_ms = _targets(architectures, steps, subjects, fuse)
        return cls(
            blocks=BlockPredictor.fit(blocks, times_ms, setting, seed=seed, like=judged),
            remainder=fit_remainder(terms, latencies),
            origin=origin,
            statistic=statistic,
            usual=usual,
            later=median_drift(rows) or 0.0,
            errors=prediction_errors(truth, predicted),
            held_out_residuals=tuple(np.log(seen[first:] / predicted).tolist()),
            held_out=tuple(
                (architectures[key].name, float(time_ms), float(guess))
                for key, time_ms, guess in zip(judging, truth, predicted, strict=True)
            ),
            judged=tuple(architectures[key] for key in judging),
            fused=fuse,
            sum_mape=prediction_errors(truth, terms[first:, 0]).mape,
            measured_blocks=len(blocks),
            ranges=_ranges(blocks),
            models=tuple(
                FittedModel(architectures[key].name, sum_ms, length, latency_ms)
                for key, (sum_ms, length, _), latency_ms in zip(
                    subjects, terms.tolist(), latencies.tolist(), strict=True
                )
            ),
        )

    def learned(self, rows: Sequence[Measurement]) -> DevicePredictor:
        """The predictor after more rows of whole models on the same device, such as a search's own timings.

        The level of the day is learned at once, as far as the timings agree in it; the remainder is fitted to all
        models, and the timed ones' residuals, each by what it had not seen, join those of the held-out models. A model
        that was learned before counts once, as timed last.

        Raises:
            InputError: rows of another device, number of threads or compiler.
        """
        if not rows:
            return self
        check_same_origin(rows, self.origin)
        medians, architectures = medians_ms(rows), architectures_of(rows)
        terms = remainder_terms(self.blocks, [architectures[key] for key in medians], self.fused)
        timed = {model.name: model for model in self.models if model.learned}
        for key, (sum_ms, length, _) in zip(medians, terms.tolist(), strict=True):
            name = architectures[key].name
            timed[name] = FittedModel(name, sum_ms, length, medians[key], learned=True)
        profiled = [model for model in self.models if not model.learned]
        old_terms, old_ms = _arrays(profiled)
        new_terms, seen_ms = _arrays(list(timed.values()))
        usual_ms = seen_ms / self.usual
        shifts = np.log(usual_ms / fit_remainder(old_terms, old_ms).apply(new_terms))
        level = float(np.exp(shared_level(shifts)))
        return replace(
            self,
            remainder=fit_remainder(np.vstack([old_terms, new_terms]), np.concatenate([old_ms, usual_ms / level])),
            level=level,
            models=(*profiled, *timed.values()),
            learned_residuals=residuals_beside_level(shifts),
        )

    def predict(self, architectures: Sequence[Architecture]) -> np.ndarray:
        """(n,) predicted medians of whole models, ms; each distinct block is predicted once."""
        return self.usual * self.level * self.remainder.apply(remainder_terms(self.blocks, architectures, self.fused))

    def interval(self, architectures: Sequence[Architecture], coverage: float = 0.9) -> tuple[np.ndarray, np.ndarray]:
        """(lower, upper), each (n,) ms, that hold a later session's median with the probability ``coverage``."""
        return self.spread.interval(self.predict(architectures), coverage)

    def relative_interval(self, coverage: float = 0.9) -> tuple[float, float]:
        """How far below and above a prediction a later median lies: (-0.05, 0.06) is from 5% less to 6% more."""
        return self.spread.relative_interval(coverage)

    def probability_within(self, architectures: Sequence[Architecture], budget_ms: float) -> np.ndarray:
        """(n,) probability that a model's median, measured later, is at most ``budget_ms``; as :meth:`interval`."""
        return self.spread.probability_within(self.predict(architectures), budget_ms)

    def outside(self, architectures: Sequence[Architecture]) -> np.ndarray:
        """(n,) whether a model holds a block beyond what was measured: of another kind, or of a size smaller or larger
        than all measured blocks of its kind. The intervals then promise nothing."""
        if not architectures:
            return np.zeros(0, dtype=bool)
        counted = count_blocks(architectures, self.fused)
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
            **{name: getattr(self, name) for name in _PLAIN},
            "remainder": asdict(self.remainder),
            "origin": asdict(self.origin),
            "statistic": asdict(self.statistic),
            "errors": self.errors.to_dict(),
            "models": [asdict(model) for model in self.models],
            "judged": [model.to_dict() for model in self.judged],
        }
        write_document(directory / _DOCUMENT, _SCHEMA, document, directory / _TREES)

    @classmethod
    def load(cls, directory: Path) -> DevicePredictor:
        """Inverse of :meth:`save`.

        Raises:
            DataFileError: the files are missing, damaged, or of another feature schema.
        """
        path = directory / _DOCUMENT
        document = read_document(path, _SCHEMA, directory / _TREES)
        try:
            residual = Residual.load(directory / _TREES, document["trees"], document["cross_validated"])
            return cls(
                blocks=BlockPredictor.from_dict(document["blocks"], residual),
                remainder=Remainder(**document["remainder"]),
                origin=Origin(**document["origin"]),
                statistic=Statistic(**document["statistic"]),
                usual=float(document["usual"]),
                later=float(document["later"]),
                level=float(document["level"]),
                errors=PredictionErrors(**document["errors"]),
                held_out_residuals=tuple(document["held_out_residuals"]),
                learned_residuals=tuple(document["learned_residuals"]),
                held_out=tuple((name, truth, guess) for name, truth, guess in document["held_out"]),
                judged=tuple(Architecture.from_dict(model) for model in document["judged"]),
                fused=bool(document["fused"]),
                sum_mape=float(document["sum_mape"]),
                measured_blocks=document["measured_blocks"],
                models=tuple(FittedModel(**model) for model in document["models"]),
                ranges={
                    str(kind): tuple((int(low), int(high)) for low, high in sizes)
                    for kind, sizes in document["ranges"].items()
                },
            )
        except (KeyError, TypeError, ValueError, InputError) as error:
            raise DataFileError(path, f"the saved predictor is damaged ({error}): train it again") from error


def _arrays(models: Sequence[FittedModel]) -> tuple[np.ndarray, np.ndarray]:
    """(n, 3) terms of the remainder, and (n,) ms."""
    terms = np.array([(model.sum_ms, model.length, 1.0) for model in models])
    return terms.reshape(-1, 3), np.array([model.latency_ms for model in models])


def _targets(
    architectures: Mapping[str, Architecture], steps: Mapping[str, np.ndarray], subjects: Sequence[str], fuse: bool
) -> tuple[list[Block], np.ndarray]:
    """Blocks and their ms (n,) as steps of some of the models.

    Raises:
        InputError: these models do not tell their blocks.
    """
    known = {key: steps[key] for key in subjects if key in steps}
    if not known:
        raise InputError("a device predictor needs whole models that were timed block by block")
    return block_targets(architectures, known, fuse)


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


def _split(models: Sequence[Measurement], held_out: Sequence[Measurement] | None) -> tuple[list[str], list[str]]:
    """(subjects to fit, subjects to judge); without rows kept aside, every other model is.

    Raises:
        InputError: too few to judge by.
    """
    names = sorted({row.subject_hash for row in models})
    judging = names[1::2] if held_out is None else sorted({row.subject_hash for row in held_out})
    kept = set(judging)
    if len(judging) < _FEWEST_HELD_OUT:
        raise InputError("a device predictor needs at least two held-out whole models")
    return [name for name in names if name not in kept], judging
