"""The trials: candidates proposed by the optimiser and distilled briefly, to learn which of them are worth more."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from data.errors import InputError
from data.progress import Progress, ProgressEvent
from search.optimization.optimizer import propose, untried
from search.optimization.space import SearchSpace
from search.passes.bench import Bench, now, timed
from search.records import Candidate, Trial

if TYPE_CHECKING:
    from data.tasks import Task
    from search.distillation.teacher import Teacher


def run_trials(
    bench: Bench, space: SearchSpace, feasible: Sequence[Candidate], total: int, task: Task, teacher: Teacher
) -> list[Trial]:
    """Proposes and briefly distils candidates until there are ``total`` trials, or none left to propose."""
    trials = bench.study.trials()
    total = min(total, len(trials) + len(untried(feasible, trials)))
    pending = [trial for trial in trials if trial.status == "proposed"]
    while pending or len(trials) < total:
        if not pending:
            proposal = propose(
                space, feasible, trials, total_trials=bench.study.options.trials, seed=bench.study.options.seed
            )
            if proposal is None:
                break
            pending = [Trial(len(trials), *proposal)]
            bench.study.save_trial(pending[0])
            trials.append(pending[0])
        trial = pending.pop(0)
        report_trial(bench.progress, trials, trial.index, total, trial.candidate.architecture.name)
        trials[trial.index] = run_trial(bench, trial, task, teacher)
        bench.study.save_trial(trials[trial.index])
        report_trial(bench.progress, trials, trial.index + 1, total, "")
    return trials


def run_trial(bench: Bench, trial: Trial, task: Task, teacher: Teacher) -> Trial:
    """The trial after its short distillation: finished, or failed where the teacher cannot have that student.

    Any other error (a full disk, a defect) says nothing about the candidate: it ends the search, and the trial stays
    proposed until the search is resumed.
    """
    folder = bench.study.models(f"trial-{trial.index:03d}")
    architecture = trial.candidate.architecture
    started = time.monotonic()
    try:
        with timed(bench.study, "trials"):
            student = bench.stages.distil_short(
                teacher, task, architecture, bench.study.options.seed, folder, bench.progress
            )
    except InputError as error:
        bench.note(f"trial {trial.index} ({architecture.name}) failed: {error}")
        return replace(trial, status="failed", error=str(error), seconds=time.monotonic() - started, finished_at=now())
    if not math.isfinite(student.score):
        bench.note(f"trial {trial.index} ({architecture.name}) failed: its score is {student.score}")
        return replace(trial, status="failed", error=f"score {student.score}", finished_at=now())
    return replace(
        trial,
        status="finished",
        score=student.score,
        scores=dict(student.scores),
        seconds=student.seconds,
        directory=bench.study.relative(student.directory),
        finished_at=now(),
    )


def report_trial(progress: Progress, trials: Sequence[Trial], done: int, total: int, message: str) -> None:
    """Tells how many trials are done, and the best of them."""
    scored = [trial for trial in trials if trial.score is not None]
    best = max(scored, key=lambda trial: trial.score or 0.0, default=None)
    shown = f"{best.score:.3f} ({best.candidate.architecture.name})" if best else ""
    progress(ProgressEvent("trials", done, max(total, done), message, shown))


def rank(trial: Trial) -> tuple[float, float]:
    """Sorting key: best score first, and the faster one among equals."""
    return -(trial.score if trial.score is not None else -math.inf), trial.candidate.predicted_ms
