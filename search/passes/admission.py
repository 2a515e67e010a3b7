"""Admission: candidates are timed on the device, with random weights, before any of them is trained.

Timing takes seconds and training a minute, so that the device and not its predictor decides what is trained. Every
timing goes back to the predictor, after which all predictions are renewed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING

from data.architecture import Architecture
from data.errors import InfeasibleBudgetError
from data.progress import ProgressEvent
from search.optimization.feasibility import admission_limit_ms, admits, small_enough, upper_ms, worth_timing
from search.optimization.space import SearchSpace
from search.passes.bench import Bench, size_limits, timed
from search.records import Admission, Batch, Candidate, Outlook, Proposer, Trial
from search.result import baseline_of

if TYPE_CHECKING:
    from search.stages import Predictor

COVERAGE = 0.9
# Where nothing is admitted, so many of the fastest are timed before the budget is called infeasible.
_FASTEST = 3


class Prospects:
    """The candidates of a search as they are known now: predicted, or timed.

    The predictor is asked for, and the device profiled, only when something is to be proposed. What was timed is in the
    study, batch by batch; timings of the analytic model and of the device itself are kept apart.
    """

    def __init__(self, bench: Bench, space: SearchSpace) -> None:
        self.space = space
        self._bench = bench
        self._limits = size_limits(bench)
        self._architectures = small_enough(space.architectures(), self._limits)
        self._batches = bench.study.batches(bench.device.provenance)
        self._predicted: tuple[int, dict[Architecture, Candidate]] | None = None

    @property
    def admissions(self) -> tuple[Admission, ...]:
        """All that was timed on this device, in order."""
        return tuple(admission for batch in self._batches for admission in batch.admissions)

    @property
    def teacher(self) -> Admission | None:
        """The teacher as it is, where it fits: timed like all others by :meth:`time_teacher`."""
        return next((each for each in self.admissions if each.proposer == "teacher" and each.admitted), None)

    def admission(self, architecture: Architecture) -> Admission | None:
        """What the timing of an architecture said, where it was timed."""
        return next((each for each in self.admissions if each.candidate.architecture == architecture), None)

    def stands(self, trial: Trial) -> bool:
        """Whether a trial's architecture is within the budget on this device."""
        admission = self.admission(trial.candidate.architecture)
        return admission is not None and admission.admitted

    def batches_since(self, trials: int) -> int:
        """How many batches of candidates were timed since there were so many trials."""
        candidates: set[Proposer] = {"uniform", "largest", "cut", "bayesian", "fastest"}
        return sum(
            batch.trials == trials and any(each.proposer in candidates for each in batch.admissions)
            for batch in self._batches
        )

    def untried(self, trials: Sequence[Trial]) -> list[Candidate]:
        """The candidates that are admitted, with their measured latency, or worth timing, and that no trial has had."""
        seen = {each.candidate.architecture: each for each in self.admissions}
        passed = {trial.candidate.architecture for trial in trials}
        if self.teacher:
            passed.add(self.teacher.candidate.architecture)
        found = []
        for architecture, candidate in self._candidates().items():
            admission = seen.get(architecture)
            if architecture in passed or (admission is not None and not admission.admitted):
                continue
            if admission is not None:
                measured = admission.timing.median_ms
                found.append(replace(candidate, predicted_ms=measured, probability_within=1.0))
            elif worth_timing(candidate):
                found.append(candidate)
        return found

    def uniform(self) -> list[Candidate]:
        """The uniformly scaled teachers that may be the largest that fits, not timed yet: around an even chance."""
        known = self._candidates()
        scaled = [known[each] for each in self.space.uniformly_scaled() if each in known]
        scaled.sort(key=lambda candidate: candidate.predicted_ms)
        fitting = sum(candidate.probability_within >= 0.5 for candidate in scaled)
        around = scaled[max(0, fitting - 2) : fitting + 1]
        return [each for each in around if worth_timing(each) and self.admission(each.architecture) is None]

    @property
    def baseline(self) -> Admission | None:
        """See :func:`~search.records.baseline_of`."""
        return baseline_of(self.admissions)

    def time(self, proposals: Sequence[tuple[Candidate, Proposer]], trials: int) -> None:
        """Times candidates together, and notes which of them are admitted; ``trials`` is how many there are so far."""
        bench, budget_ms = self._bench, self._bench.study.options.budget_ms
        architectures = [candidate.architecture for candidate, _ in proposals]

        def told(event: ProgressEvent) -> None:
            bench.progress(replace(event, stage="admission"))

        with timed(bench.study, "measure"):
            timings = bench.stages.time_architectures(
                bench.device, architectures, bench.threads, bench.study.created_at, told
            )
        later = self._later
        batch = Batch(
            trials,
            tuple(
                Admission(
                    candidate, proposer, timing, not self._excluding(candidate) and admits(timing, budget_ms, later)
                )
                for (candidate, proposer), timing in zip(proposals, timings, strict=True)
            ),
        )
        bench.study.save(f"batch-{bench.device.provenance}-{len(self._batches):03d}", batch)
        self._batches.append(batch)
        admitted = sum(each.admitted for each in batch.admissions)
        done = len(self.admissions)
        bench.progress(ProgressEvent("admission", done, None, f"{admitted} of {len(proposals)} admitted"))

    def time_teacher(self) -> None:
        """Times the teacher itself, where that was not done yet, and says whether it fits; or why it takes no part."""
        if any(each.proposer == "teacher" for each in self.admissions):
            return
        architecture, options = self.space.template, self._bench.study.options
        if not self.space.teacher_compiles:
            self._bench.note(
                f"the teacher itself, {architecture.name}, is not compiled, for its embeddings are narrower than its "
                "encoder: its students are the candidates"
            )
            return
        # What was predicted of the analytic model stays the prediction when the device is attached later.
        before = [each for batch in self._bench.study.batches() for each in batch.admissions]
        known = next((each.candidate for each in before if each.proposer == "teacher"), None)
        self.time([(known or self._predict(self._predictor, [architecture])[0], "teacher")], 0)
        teacher = self.admissions[-1]
        latency = f"{teacher.timing.median_ms:.3g} ms {teacher.timing.provenance}"
        if teacher.admitted:
            told = f"fits {options.budget_ms:g} ms: {latency}; it is the model to beat, and what is tried is faster"
        elif excluding := self._excluding(teacher.candidate):
            told = f"is larger than {excluding} allows: {latency}"
        else:
            told = f"does not fit {options.budget_ms:g} ms: {latency}"
        self._bench.note(f"the teacher itself, {architecture.name}, {told}")

    def time_trials(self, trials: Sequence[Trial]) -> None:
        """Times what was tried on the analytic model of a device that is attached now."""
        unknown = [trial for trial in trials if self.admission(trial.candidate.architecture) is None]
        if unknown:
            self.time([(trial.candidate, trial.proposer) for trial in unknown], len(trials))

    def time_fastest(self) -> None:
        """Times the fastest few, the last resort before a budget is called infeasible.

        Raises:
            InfeasibleBudgetError: none of all that was timed is admitted; the message names the fastest.
        """
        options = self._bench.study.options
        unknown = [each for each in self._candidates().values() if self.admission(each.architecture) is None]
        fastest = sorted(unknown, key=lambda candidate: candidate.predicted_ms)[:_FASTEST]
        if fastest and not any(each.proposer == "fastest" for each in self.admissions):
            self._bench.note(f"nothing timed so far fits {options.budget_ms:g} ms: timing the fastest ({len(fastest)})")
            self.time([(candidate, "fastest") for candidate in fastest], 0)
        if any(each.admitted for each in self.admissions):
            return
        students = [each for each in self.admissions if each.proposer != "teacher"]
        best = min(students, key=lambda each: each.timing.median_ms)
        candidate, timing = best.candidate, best.timing
        raise InfeasibleBudgetError(
            f"no model of the search space fits {options.budget_ms:g} ms on {options.device}: of {len(students)} timed "
            f"the fastest, {candidate.architecture.name}, took {timing.median_ms:.3g} ms {timing.provenance}, "
            f"{upper_ms(timing, self._later):.3g} ms with its uncertainty (predicted {candidate.predicted_ms:.3g} ms)"
        )

    @property
    def _later(self) -> float:
        """What the profile said of later measurements; nothing where no profile was needed so far."""
        outlook = self._bench.study.load("outlook", Outlook)
        return outlook.later if outlook else 0.0

    def _excluding(self, candidate: Candidate) -> str:
        """The options for which a candidate is too large; empty where it is not."""
        return " and ".join(limit.option for limit in self._limits if limit.excludes(candidate.architecture))

    def _candidates(self) -> dict[Architecture, Candidate]:
        """Every candidate with its prediction after all timings so far."""
        bench, seen = self._bench, [each.candidate.architecture for each in self.admissions]
        if self._predicted is None or self._predicted[0] != len(seen):
            predictor = self._predictor
            if seen:
                predictor = bench.stages.learned(predictor, bench.device, seen, bench.threads, bench.study.created_at)
            found = self._predict(predictor, self._architectures)
            self._predicted = len(seen), {candidate.architecture: candidate for candidate in found}
        return self._predicted[1]

    @cached_property
    def _predictor(self) -> Predictor:
        """The predictor as profiling left it; notes in the study what it says of the space."""
        bench, options = self._bench, self._bench.study.options
        with timed(bench.study, "profile"):
            predictor: Predictor = bench.stages.predictor(bench.device, options, bench.threads, bench.progress)
            candidates = self._predict(predictor, self._architectures)
        possible = sum(worth_timing(candidate) for candidate in candidates)
        bench.study.save(
            "outlook",
            Outlook(
                space_size=len(candidates),
                possible=possible,
                fastest=min(candidates, key=lambda candidate: candidate.predicted_ms),
                quality=bench.stages.quality(predictor),
                provenance=predictor.provenance,
                later=predictor.later,
                values=self.space.values,
            ),
        )
        bench.note(
            f"{possible} of {len(candidates)} architectures may fit {options.budget_ms:g} ms: timed before training"
        )
        return predictor

    def _predict(self, predictor: Predictor, architectures: Sequence[Architecture]) -> list[Candidate]:
        limit_ms = admission_limit_ms(self._bench.study.options.budget_ms, predictor.later)
        figures = zip(
            predictor.predict(architectures).tolist(),
            *(bound.tolist() for bound in predictor.interval(architectures, COVERAGE)),
            predictor.probability_within(architectures, limit_ms).tolist(),
            strict=True,
        )
        return [
            Candidate(architecture, predicted, lower, upper, within, predictor.provenance)
            for architecture, (predicted, lower, upper, within) in zip(architectures, figures, strict=True)
        ]
