"""Predictions: what the latency predictors of all devices say of candidates, before any timing and after each."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING

from data.architecture import Architecture
from search.latencies import Prediction, budgets_told
from search.optimization.feasibility import admission_limit_ms, worth_timing
from search.optimization.space import SearchSpace
from search.options import LatencySource
from search.passes.bench import Bench, Place, timed
from search.records import Candidate
from search.reports.latency_source import source_notes
from search.result import FurtherOutlook, Outlook

if TYPE_CHECKING:
    from search.stages import Predictor

COVERAGE = 0.9


class Predictions:
    """The candidates of a search as they are predicted on every device.

    The predictors are asked for, and the devices profiled, only when something is to be proposed.
    """

    def __init__(self, bench: Bench, space: SearchSpace, architectures: Sequence[Architecture]) -> None:
        self._bench = bench
        self._space = space
        self._architectures = architectures
        self._renewed: tuple[int, dict[Architecture, Candidate]] | None = None

    @property
    def laters(self) -> tuple[float, ...]:
        """What the profile of each device said of later measurements; nothing where none was needed so far."""
        outlook = self._bench.study.load("outlook", Outlook)
        return outlook.laters if outlook else (0.0,) * len(self._bench.places)

    def before_timing(self, architecture: Architecture) -> Candidate:
        """One architecture as the profiles alone predict it."""
        return self._predict(self._predictors, [architecture])[0]

    def after(self, seen: Sequence[Architecture]) -> dict[Architecture, Candidate]:
        """Every candidate as it is predicted after the timings of these architectures."""
        if self._renewed is None or self._renewed[0] != len(seen):
            predictors = self._predictors
            if seen:
                pairs = zip(predictors, self._bench.places, strict=True)
                predictors = tuple(self._learned(predictor, place, seen) for predictor, place in pairs)
            found = self._predict(predictors, self._architectures)
            self._renewed = len(seen), {candidate.architecture: candidate for candidate in found}
        return self._renewed[1]

    @cached_property
    def _predictors(self) -> tuple[Predictor, ...]:
        """The predictors as profiling left them; notes in the study what they say of the space."""
        bench, options = self._bench, self._bench.study.options
        with timed(bench.study, "profile"):
            sources = [self._sources(place) for place in bench.places]
            predictors = tuple(each[options.latency_from] for each in sources)
            source_qualities = [{name: bench.stages.quality(each) for name, each in found.items()} for found in sources]
            candidates = self._predict(predictors, self._architectures)
        possible = sum(worth_timing(candidate) for candidate in candidates)
        first, *further = predictors
        bench.study.save(
            "outlook",
            Outlook(
                space_size=len(candidates),
                possible=possible,
                fastest=min(candidates, key=lambda candidate: candidate.share_of(bench.budgets_ms)),
                quality=bench.stages.quality(first),
                provenance=first.provenance,
                later=first.later,
                values=self._space.values,
                also=tuple(
                    FurtherOutlook(bench.stages.quality(each), each.provenance, each.later, qualities)
                    for each, qualities in zip(further, source_qualities[1:], strict=True)
                ),
                source_quality=source_qualities[0],
            ),
        )
        for line in source_notes(options.latency_from, self._space.teacher_compiles):
            bench.note(line)
        bench.note(
            f"{possible} of {len(candidates)} architectures may fit {budgets_told(options.budgets)}; each that is "
            "proposed is timed before it is trained"
        )
        return predictors

    def _sources(self, place: Place) -> Mapping[LatencySource, Predictor]:
        """What may be believed of latency on a device, by its name."""
        bench, options = self._bench, self._bench.study.options
        if options.also:
            bench.note(f"{place.budget.name}: its latency profile, made now where there is none")
        profiled = bench.stages.predictor(place.device, options, place.threads, bench.progress)
        return bench.stages.latency_sources(
            profiled, place.device, options, self._space.template, place.threads, bench.progress
        )

    def _learned(self, predictor: Predictor, place: Place, seen: Sequence[Architecture]) -> Predictor:
        bench, since = self._bench, self._bench.study.created_at
        found: Predictor = bench.stages.learned(predictor, place.device, seen, place.threads, since)
        return found

    def _predict(self, predictors: Sequence[Predictor], architectures: Sequence[Architecture]) -> list[Candidate]:
        places = self._bench.places
        on_each = [predict_on(*pair, architectures) for pair in zip(places, predictors, strict=True)]
        return [
            taken_together(architecture, found) for architecture, *found in zip(architectures, *on_each, strict=True)
        ]


def predict_on(place: Place, predictor: Predictor, architectures: Sequence[Architecture]) -> list[Prediction]:
    """What is predicted of each architecture on one device."""
    limit_ms = admission_limit_ms(place.budget.budget_ms, predictor.later)
    figures = zip(
        predictor.predict(architectures).tolist(),
        *(bound.tolist() for bound in predictor.interval(architectures, COVERAGE)),
        predictor.probability_within(architectures, limit_ms).tolist(),
        strict=True,
    )
    return [
        Prediction(predicted, lower, upper, within, predictor.provenance) for predicted, lower, upper, within in figures
    ]


def taken_together(architecture: Architecture, predictions: Sequence[Prediction]) -> Candidate:
    """The candidate with the probability to be admitted on all devices: the product, as if predictors erred
    independently (docs/decisions/several-devices.md)."""
    first = predictions[0]
    within = math.prod(each.probability_within for each in predictions)
    return Candidate(
        architecture,
        first.predicted_ms,
        first.lower_ms,
        first.upper_ms,
        within,
        first.provenance,
        also=tuple(predictions[1:]),
    )
