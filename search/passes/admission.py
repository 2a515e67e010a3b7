"""Admission: candidates are timed on every device, with random weights, before any of them is trained.

Timing takes seconds and training a minute, so that the devices and not their predictors decide what is trained. Every
timing goes back to the predictor, after which all predictions are renewed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from data.architecture import Architecture
from data.errors import InfeasibleBudgetError
from data.progress import ProgressEvent
from search.latencies import Timing, budgets_told, on_each, timings_told
from search.optimization.feasibility import admits, small_enough, upper_ms, worth_timing
from search.optimization.space import SearchSpace
from search.passes.bench import Bench, size_limits, timed
from search.passes.predictions import Predictions
from search.records import Admission, Batch, Candidate, Proposer, Trial
from search.result import baseline_of

# Where nothing is admitted, so many of the fastest are timed before the budget is called infeasible.
_FASTEST = 3


class Prospects:
    """The candidates of a search as they are known now: predicted, or timed.

    What was timed is in the study, batch by batch; timings of the analytic model of a device and of the device itself
    are kept apart.
    """

    def __init__(self, bench: Bench, space: SearchSpace) -> None:
        self.space = space
        self._bench = bench
        self._limits = size_limits(bench)
        self._predictions = Predictions(bench, space, small_enough(space.architectures(), self._limits))
        self._batches = bench.study.batches(bench.provenance)

    @property
    def admissions(self) -> tuple[Admission, ...]:
        """All that was timed on these devices, in order."""
        return tuple(admission for batch in self._batches for admission in batch.admissions)

    @property
    def teacher(self) -> Admission | None:
        """The teacher as it is, where it fits, in the first of the precisions: timed like all others by
        :meth:`time_teacher`."""
        return next((each for each in self.admissions if each.proposer == "teacher" and each.admitted), None)

    def admission(self, architecture: Architecture) -> Admission | None:
        """What the timing of an architecture said, where it was timed."""
        return next((each for each in self.admissions if each.candidate.architecture == architecture), None)

    def stands(self, trial: Trial) -> bool:
        """Whether a trial's architecture is within the budgets on these devices."""
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
                found.append(candidate.measured(admission.timings))
            elif worth_timing(candidate):
                found.append(candidate)
        return found

    def uniform(self) -> list[Candidate]:
        """The uniformly scaled teachers that may be the largest that fits, not timed yet: around an even chance."""
        known = self._candidates()
        scaled = [known[each] for each in self.space.uniformly_scaled() if each in known]
        scaled.sort(key=lambda candidate: candidate.share_of(self._bench.budgets_ms))
        fitting = sum(candidate.probability_within >= 0.5 for candidate in scaled)
        around = scaled[max(0, fitting - 2) : fitting + 1]
        return [each for each in around if worth_timing(each) and self.admission(each.architecture) is None]

    @property
    def baseline(self) -> Admission | None:
        """See :func:`~search.records.baseline_of`."""
        return baseline_of(self.admissions)

    def time(self, proposals: Sequence[tuple[Candidate, Proposer]], trials: int) -> None:
        """Times candidates together on every device, and notes which of them are admitted; ``trials`` is how many there
        are so far."""
        bench = self._bench
        architectures = [candidate.architecture for candidate, _ in proposals]

        def told(event: ProgressEvent) -> None:
            bench.progress(replace(event, stage="admission"))

        with timed(bench.study, "measure"):
            on_devices = [
                bench.stages.time_architectures(
                    place.device, architectures, place.threads, bench.study.created_at, told
                )
                for place in bench.places
            ]
        batch = Batch(
            trials,
            tuple(
                Admission(candidate, proposer, timing, self._admits(candidate, [timing, *also]), tuple(also))
                for (candidate, proposer), timing, *also in zip(proposals, *on_devices, strict=True)
            ),
        )
        bench.study.save(f"batch-{bench.provenance}-{len(self._batches):03d}", batch)
        self._batches.append(batch)
        admitted = sum(each.admitted for each in batch.admissions)
        done = len(self.admissions)
        bench.progress(ProgressEvent("admission", done, None, f"{admitted} of {len(proposals)} admitted"))

    def _admits(self, candidate: Candidate, timings: Sequence[Timing]) -> bool:
        """Whether it is small enough, and within the budget of every device, also when it is confirmed."""
        known = zip(timings, self._bench.budgets_ms, self._predictions.laters, strict=True)
        return not self._excluding(candidate) and all(admits(*each) for each in known)

    def time_teacher(self) -> None:
        """Times the teacher itself, in each precision, where that was not done yet, and says whether it fits; or why it
        takes no part."""
        if any(each.proposer == "teacher" for each in self.admissions):
            return
        if not self.space.teacher_compiles:
            self._bench.note(
                f"the teacher itself, {self.space.template.name}, is not compiled, for its embeddings are narrower "
                "than its encoder: its students are the candidates"
            )
            return
        # What was predicted of the analytic model stays the prediction when the device is attached later.
        before = [each for batch in self._bench.study.batches() for each in batch.admissions]
        known = {each.candidate.architecture: each.candidate for each in before if each.proposer == "teacher"}
        teachers = self.space.teachers
        self.time([(known.get(each) or self._predictions.before_timing(each), "teacher") for each in teachers], 0)
        for teacher in self.admissions[-len(teachers) :]:
            self._tell_of_teacher(teacher)

    def _tell_of_teacher(self, teacher: Admission) -> None:
        budgets = self._bench.budgets
        latency = timings_told(teacher.timings, budgets)
        if teacher.admitted:
            told = f"fits {budgets_told(budgets)}: {latency}; it is the model to beat, and what is tried is faster"
        elif excluding := self._excluding(teacher.candidate):
            told = f"is larger than {excluding} allows: {latency}"
        elif teacher.share_of(self._bench.budgets_ms) <= 1.0:
            told = f"fits {budgets_told(budgets)} too narrowly to be sure of it when it is confirmed: {latency}"
        else:
            told = f"does not fit {budgets_told(budgets)}: {latency}"
        self._bench.note(f"the teacher itself, {teacher.candidate.architecture.name}, {told}")

    def time_trials(self, trials: Sequence[Trial]) -> None:
        """Times what was tried on the analytic model of a device that is attached now."""
        unknown = [trial for trial in trials if self.admission(trial.candidate.architecture) is None]
        if unknown:
            self.time([(trial.candidate, trial.proposer) for trial in unknown], len(trials))

    def time_fastest(self) -> None:
        """Times the fastest few, the last resort before a budget is called infeasible.

        Raises:
            InfeasibleBudgetError: none of all that was timed is admitted; the message names the fastest, and the device
                whose budget it misses by most.
        """
        budgets, budgets_ms = self._bench.budgets, self._bench.budgets_ms
        unknown = [each for each in self._candidates().values() if self.admission(each.architecture) is None]
        fastest = sorted(unknown, key=lambda candidate: candidate.share_of(budgets_ms))[:_FASTEST]
        if fastest and not any(each.proposer == "fastest" for each in self.admissions):
            told = budgets_told(budgets)
            self._bench.note(f"nothing timed so far fits {told}: timing the fastest ({len(fastest)})")
            self.time([(candidate, "fastest") for candidate in fastest], 0)
        if any(each.admitted for each in self.admissions):
            return
        students = [each for each in self.admissions if each.proposer != "teacher"]
        best = min(students, key=lambda each: each.share_of(budgets_ms))
        raise InfeasibleBudgetError(
            f"no model of the search space fits {on_each(budgets)}: of {len(students)} timed the "
            f"{'nearest' if len(budgets) > 1 else 'fastest'}, {best.candidate.architecture.name}, {self._worst(best)}"
        )

    def _worst(self, admission: Admission) -> str:
        """What a model took on the device whose budget it misses by most."""
        predicted_ms = admission.candidate.latencies_ms
        uppers_ms = [upper_ms(*each) for each in zip(admission.timings, self._predictions.laters, strict=True)]
        shares = [upper / most for upper, most in zip(uppers_ms, self._bench.budgets_ms, strict=True)]
        worst = shares.index(max(shares))
        timing, budget = admission.timings[worst], self._bench.budgets[worst]
        where = f" on {budget.name}, where {budget.budget_ms:g} ms are allowed" if len(shares) > 1 else ""
        return (
            f"took {timing.median_ms:.3g} ms {timing.provenance}{where}, {uppers_ms[worst]:.3g} ms with its "
            f"uncertainty (predicted {predicted_ms[worst]:.3g} ms)"
        )

    def _excluding(self, candidate: Candidate) -> str:
        """The options for which a candidate is too large; empty where it is not."""
        return " and ".join(limit.option for limit in self._limits if limit.excludes(candidate.architecture))

    def _candidates(self) -> dict[Architecture, Candidate]:
        """Every candidate with its prediction after all timings so far."""
        return self._predictions.after([each.candidate.architecture for each in self.admissions])
