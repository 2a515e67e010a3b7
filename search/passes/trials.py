"""The trials: admitted candidates distilled briefly, to learn which of them are worth more."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from data.progress import ProgressEvent
from search.execution.executor import Outcome, Training
from search.optimization.optimizer import propose
from search.passes.admission import Prospects
from search.passes.bench import Bench, now, timed
from search.passes.cuts import cuts_of, look_at, pool_of
from search.records import Admission, Candidate, Proposer, Trial

if TYPE_CHECKING:
    from data.tasks import Task
    from search.teachers.teacher import Teacher

# At most so many candidates are compiled and timed together, and fewer where the chance that none of them is admitted
# is small enough; so many times at most before one must be trained, or given up where nothing at all is admitted.
_BATCH, _PATIENCE, _MOST_BATCHES, _CHANCE_OF_NONE = 3, 3, 6, 0.1
# With fewer trials none is spent on the baseline.
FEWEST_FOR_BASELINE = 3

# Cuts candidates, the best first, and says whether that told something new of it.
Look = Callable[[Sequence[Candidate]], bool]


def look_first(bench: Bench, prospects: Prospects) -> None:
    """Times the teacher, then candidates until one can be trained, before anything is.

    Raises:
        InfeasibleBudgetError: nothing is within the budget.
    """
    prospects.time_teacher()
    if cuts_of(bench.study) or bench.study.trials():
        return
    if next_candidate(bench, prospects, []) is None and not prospects.teacher:
        prospects.time_fastest()


def run_trials(bench: Bench, prospects: Prospects, task: Task, teacher: Teacher) -> list[Trial]:
    """Proposes, times and briefly distils candidates until there are as many trials as wanted, or none left to try.

    As many are trained at once as the executor has room for; what is proposed meanwhile allows for those. Where
    candidates are timed on this machine, all that run end first. A trial whose architecture misses the budget on the
    device does not count: that happens where trials ran on the analytic model and the device is attached now.

    Raises:
        InfeasibleBudgetError: nothing is within the budget, not even the fastest.
    """
    trials = bench.study.trials()
    prospects.time_trials(trials)
    waiting = [trial for trial in trials if trial.status == "proposed"]
    running = 0
    while True:
        if not (running and bench.times_here):
            room = bench.executor.at_once - running - len(waiting)
            waiting += _proposed(bench, prospects, trials, room, partial(look_at, bench, task, teacher))
        while waiting and running < bench.executor.at_once:
            bench.executor.begin(_training(bench, waiting.pop(0), task, teacher))
            running += 1
        report_trials(bench, prospects, trials)
        if not running:
            return trials
        with timed(bench.study, "trials"):
            outcome = bench.executor.next_outcome(bench.progress)
        running -= 1
        trials[outcome.number] = ended(bench, trials[outcome.number], outcome, task)
        bench.study.save_trial(trials[outcome.number])


def _proposed(bench: Bench, prospects: Prospects, trials: list[Trial], most: int, look: Look) -> list[Trial]:
    """Up to so many further trials, kept in the study, and added to ``trials``."""
    found: list[Trial] = []
    while len(found) < most and _missing(bench, prospects, trials) > 0:
        admission = next_candidate(bench, prospects, trials, look)
        if admission is None and not any(each.admitted for each in prospects.admissions):
            prospects.time_fastest()
            continue
        if admission is None:
            if all(trial.status != "proposed" for trial in trials):
                bench.note(f"nothing more is admitted: {len(trials)} of --trials {bench.study.options.trials}")
            break
        found.append(Trial(len(trials), admission.candidate, admission.proposer))
        bench.study.save_trial(found[-1])
        trials.append(found[-1])
    return found


def _training(bench: Bench, trial: Trial, task: Task, teacher: Teacher) -> Training:
    folder, architecture = bench.study.models(f"trial-{trial.index:03d}"), trial.candidate.architecture
    distil, options = bench.stages.distil_short, bench.study.options
    return Training(trial.index, distil, teacher, task, architecture, options, folder)


def _missing(bench: Bench, prospects: Prospects, trials: Sequence[Trial]) -> int:
    """How many trials there are still to be."""
    return bench.study.options.trials - sum(trial.status == "failed" or prospects.stands(trial) for trial in trials)


def next_candidate(
    bench: Bench, prospects: Prospects, trials: Sequence[Trial], look: Look | None = None
) -> Admission | None:
    """The admitted candidate to train next, after timing what is proposed; None where none is admitted.

    With ``look`` what is proposed first is one that was cut itself, so that no trial rests on what others promise.

    What it does depends on the study's records alone, so that a search that was killed goes on alike.
    """
    options = bench.study.options
    baseline_wanted = not trials and not prospects.teacher
    # What was timed before the cuts was chosen without them.
    first_by_cuts = not trials and bool(bench.known.cuts or cuts_of(bench.study))
    proposals = partial(_proposals, bench, prospects, trials, look)

    for batch in range(prospects.batches_since(len(trials)), _MOST_BATCHES):
        if baseline_wanted and prospects.baseline and options.trials >= FEWEST_FOR_BASELINE:
            return prospects.baseline
        pool = pool_of(bench, prospects, trials)
        ready = [each for each in pool if prospects.admission(each.architecture)]
        if ready and batch and not first_by_cuts:
            return prospects.admission(proposals(ready, 1)[0][0].architecture)
        if batch >= _PATIENCE and _admitted(prospects, trials):
            break
        wanted, proposer = proposals(pool, _BATCH)
        if wanted and prospects.admission(wanted[0].architecture):
            return prospects.admission(wanted[0].architecture)
        unknown = [each for each in wanted if prospects.admission(each.architecture) is None]
        together: list[tuple[Candidate, Proposer]] = [(each, proposer) for each in enough(unknown)]
        if baseline_wanted and prospects.baseline is None:
            scaled = prospects.uniform()
            together = [(each, "uniform") for each in scaled] + [pair for pair in together if pair[0] not in scaled]
        if not together:
            break
        prospects.time(together, len(trials))
    left = _admitted(prospects, trials)
    return prospects.admission(proposals(left, 1)[0][0].architecture) if left else None


def _proposals(
    bench: Bench,
    prospects: Prospects,
    trials: Sequence[Trial],
    look: Look | None,
    candidates: Sequence[Candidate],
    count: int,
) -> tuple[list[Candidate], Proposer]:
    """What the optimiser proposes of the candidates.

    With ``look``, and unless the first was cut before, the first few are cut; what is then proposed was cut itself.
    """
    known, seed = [*bench.known.trials, *trials], bench.study.options.seed

    def propose_of(offered: Sequence[Candidate]) -> tuple[list[Candidate], Proposer]:
        cuts = [*bench.known.cuts, *cuts_of(bench.study)]
        return propose(prospects.space, offered, known, cuts=cuts, count=count, seed=seed)

    found = propose_of(candidates)
    if look is None or not look(found[0]):
        return found
    cut = {each.architecture for each in (*bench.known.cuts, *cuts_of(bench.study))}
    return propose_of([each for each in candidates if each.architecture in cut])


def _admitted(prospects: Prospects, trials: Sequence[Trial]) -> list[Candidate]:
    """What is admitted and was not tried yet, however little of the budget it uses."""
    return [each for each in prospects.untried(trials) if prospects.admission(each.architecture) is not None]


def enough(candidates: Sequence[Candidate]) -> list[Candidate]:
    """The first of the candidates, until some of them is admitted with high probability."""
    taken: list[Candidate] = []
    none = 1.0
    for candidate in candidates:
        if none <= _CHANCE_OF_NONE:
            break
        taken.append(candidate)
        none *= 1 - candidate.probability_within
    return taken


def ended(bench: Bench, trial: Trial, outcome: Outcome, task: Task) -> Trial:
    """The trial after its short distillation: finished, or failed where the teacher cannot have that student.

    Any other error (a full disk, a defect) says nothing about the candidate: it ends the search, and the trial stays
    proposed until the search is resumed.
    """
    architecture, student = trial.candidate.architecture, outcome.student
    if student is None:
        bench.note(f"trial {trial.index} ({architecture.name}) failed: {outcome.error}")
        return replace(trial, status="failed", error=outcome.error, seconds=outcome.seconds, finished_at=now())
    if not math.isfinite(student.score):
        bench.note(f"trial {trial.index} ({architecture.name}) failed: its score is {student.score}")
        return replace(trial, status="failed", error=f"score {student.score}", finished_at=now())
    return replace(
        trial,
        status="finished",
        score=student.score,
        scores=dict(student.scores),
        standard_error=student.standard_error,
        divergence=student.divergence,
        cut_score=student.scores_before[task.metric],
        cut_divergence=student.divergence_before,
        seconds=student.seconds,
        directory=bench.study.relative(student.directory),
        finished_at=now(),
    )


def report_trials(bench: Bench, prospects: Prospects, trials: Sequence[Trial]) -> None:
    """Tells how many trials are done, which of them run, and the best so far."""
    scored = [trial for trial in trials if trial.score is not None]
    best = max(scored, key=lambda trial: trial.score or 0.0, default=None)
    shown = f"{best.score:.3f} ({best.candidate.architecture.name})" if best else ""
    running = [trial.candidate.architecture.name for trial in trials if trial.status == "proposed"]
    done = len(trials) - len(running)
    total = max(done, len(trials) + max(0, _missing(bench, prospects, trials)) if running else done)
    if total:
        bench.progress(ProgressEvent("trials", done, total, ", ".join(running), shown))
