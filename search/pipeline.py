"""The whole search as one function of named passes; each leaves its result in the study before the next begins."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from data.errors import InfeasibleBudgetError, PocketBertError
from data.progress import Progress, ProgressEvent
from search.execution.executor import Executor, LocalExecutor
from search.latencies import TimedOnEach, listed, on_each, timings_told
from search.learning.judgement import nothing_learnt
from search.passes.admission import Prospects
from search.passes.bench import Bench, Place, required, timed
from search.passes.confirmation import confirm, confirm_teacher, name_of
from search.passes.cuts import cuts_of, look_at_cuts
from search.passes.publish import publish
from search.passes.setting import (
    check_students,
    find_devices,
    hold_out,
    label_by_teacher,
    load_task,
    prepare_teacher,
    search_space,
    summarise_device,
)
from search.passes.trials import look_first, run_trials
from search.records import NOTHING_KNOWN, DevScore, Finalist, Known, Trial
from search.result import Outlook, SearchResult, TaskSummary, TeacherSummary
from search.stages import Stages
from search.study import Study

if TYPE_CHECKING:
    from data.architecture import Precision
    from data.tasks import Task
    from search.teachers.teacher import Teacher


def run_search(
    study: Study,
    stages: Stages,
    progress: Progress,
    note: Callable[[str], None],
    known: Known = NOTHING_KNOWN,
    executor: Executor | None = None,
) -> SearchResult:
    """Finds the most accurate model whose latency on every device is within its budget; goes on where the study is.

    Args:
        study: holds the options and the records; every finished piece of work is in it before the next begins.
        stages: the functions of the other rooms.
        progress: told of each step of a long stage.
        note: told what the user should know, one line each.
        known: what other budgets' searches have shown, from which this one learns too.
        executor: runs the trials; None runs them here, one after another.

    Returns:
        The result; ``result.json``, ``report.html`` and ``best/`` are written as well.

    Raises:
        InfeasibleBudgetError: nothing that could be within the budget was measured within it.
        DeviceError: a device is not attached and the options require it, or it was lost.
        PocketBertError: whatever else the stages raise; the study keeps what was finished.
    """
    with find_devices(study, stages, note) as places:
        bench = Bench(study, stages, places, progress, note, executor or LocalExecutor(), known)
        finished = finished_result(bench)
        if finished is not None:
            publish(bench, finished)
            return finished
        task = load_task(bench)
        choosing = hold_out(bench, task)
        space = search_space(bench, task)
        check_students(bench, choosing, space)
        prospects = Prospects(bench, space)
        look_first(bench, prospects)
        teacher = prepare_teacher(bench, choosing, space)
        choosing = label_by_teacher(bench, choosing, teacher, "held-out-cosines")
        look_at_cuts(bench, prospects, choosing, teacher)
        trials = run_trials(bench, prospects, choosing, teacher)
        finalists = run_final(bench, prospects, trials, choosing, teacher)
        winner = choose(bench, prospects, finalists)
        judged = label_by_teacher(bench, task, teacher, "dev-cosines")
        finalists = tuple(replace(each, dev=score_finalist(bench, each, judged)) for each in finalists)
        teacher_dev = score_on_dev(bench, name_of(None), teacher.directory, judged)
        result = conclude(bench, prospects, trials, finalists, winner, teacher_dev)
        tell_of_winner(bench, judged, result)
        publish(bench, result)
        return result


def finished_result(bench: Bench) -> SearchResult | None:
    """The result of a study that is finished, unless a device is attached now and was not then."""
    result = bench.study.load("result", SearchResult)
    if result is None:
        return None
    pairs = list(zip(bench.places, result.devices, strict=True))
    found = [place.budget.name for place, then in pairs if _is_attached(place) and not then.attached]
    lost = [place.budget.name for place, then in pairs if not _is_attached(place) and then.attached]
    if found and lost:
        bench.note(
            f"{listed(found)} can be measured now, but {listed(lost)} no more: the result stays as it is; attach all "
            "devices at once to complete it"
        )
    return result if lost or not found else None


def _is_attached(place: Place) -> bool:
    return place.device.provenance == "measured"


def run_final(
    bench: Bench, prospects: Prospects, trials: Sequence[Trial], task: Task, teacher: Teacher
) -> tuple[Finalist, ...]:
    """Distils the best trials fully, and compiles, checks and measures what came out; so too a teacher that fits."""
    admission = prospects.teacher
    finalists = (confirm_teacher(bench, admission, task, teacher),) if admission else ()
    scored = [trial for trial in trials if trial.score is not None]
    if not (scored or finalists):
        errors = "; ".join(dict.fromkeys(trial.error for trial in trials))
        raise PocketBertError(f"all {len(trials)} trials failed: {errors}")
    ranking = ranked(bench, prospects, scored)
    return (*finalists, *confirm(bench, ranking, task, teacher))


def ranked(bench: Bench, prospects: Prospects, trials: Sequence[Trial]) -> list[Trial]:
    """The trials within the budgets on these devices, in the order in which they go into the final.

    The nearest to the teacher first, and the faster one among equals. Beside a teacher that fits, the fastest of those
    whose score is within a standard error of the first's comes second: what is faster at equal accuracy is of use
    there.
    """

    def slowness(trial: Trial) -> float:
        timed = prospects.admission(trial.candidate.architecture) or trial.candidate
        return timed.share_of(bench.budgets_ms)

    def score(trial: Trial) -> float:
        return trial.score or 0.0

    def distance(trial: Trial) -> float:
        return trial.divergence.mean if trial.divergence else math.inf

    order = sorted(filter(prospects.stands, trials), key=lambda trial: (distance(trial), slowness(trial)))
    if not order or not prospects.teacher:
        return order
    least = score(order[0]) - order[0].standard_error
    fastest = min((trial for trial in order if score(trial) >= least), key=slowness)
    return [order[0], *([fastest] if fastest != order[0] else []), *(each for each in order[1:] if each != fastest)]


def choose(bench: Bench, prospects: Prospects, finalists: Sequence[Finalist]) -> int | None:
    """The trial of the most accurate finalist within the budgets, by the held-out tenth of train; None is the teacher.

    Raises:
        InfeasibleBudgetError: no finalist met the budgets.
    """
    budgets_ms = bench.budgets_ms
    eligible = [finalist for finalist in finalists if finalist.meets(*budgets_ms)]
    if not eligible:
        measured: Sequence[TimedOnEach] = finalists or prospects.admissions
        nearest = min(measured, key=lambda each: each.share_of(budgets_ms))
        problem = (
            f"none of the {len(measured)} models that were measured met {on_each(bench.budgets)} in the end: the "
            f"{'nearest' if len(budgets_ms) > 1 else 'fastest'} took {timings_told(nearest.timings, bench.budgets)}"
        )
        bench.study.save_ending(problem)
        raise InfeasibleBudgetError(problem)
    return min(eligible, key=lambda finalist: standing(finalist, budgets_ms)).trial


def score_finalist(bench: Bench, finalist: Finalist, task: Task) -> DevScore:
    """What a finalist reaches on dev."""
    trained, name = finalist.trained, name_of(finalist.trial)
    checkpoint, precision = bench.study.out / trained.directory, trained.precision
    return score_on_dev(bench, name, checkpoint, task, precision, trained.fp32_modules)


def score_on_dev(
    bench: Bench, name: str, checkpoint: Path, task: Task, precision: Precision = "fp32", fp32: Sequence[str] = ()
) -> DevScore:
    """What a model reaches on dev in a precision, kept in the study, so that dev is read once for each."""
    record = f"dev-{name}" if precision == "fp32" else f"dev-{name}-{precision}"
    found = bench.study.load(record, DevScore)
    if found is None:
        bench.progress(ProgressEvent("dev", 0, None, f"scoring {name} on {len(task.dev)} dev examples"))
        with timed(bench.study, "dev"):
            seq_len = bench.study.options.seq_len
            found = bench.stages.score_on_dev(checkpoint, task, seq_len, precision, fp32, bench.devices)
        bench.study.save(record, found)
    return found


def conclude(
    bench: Bench,
    prospects: Prospects,
    trials: Sequence[Trial],
    finalists: Sequence[Finalist],
    winner: int | None,
    teacher_dev: DevScore,
) -> SearchResult:
    """The result, kept in the study."""
    result = SearchResult(
        options=bench.study.options,
        device=summarise_device(bench.places[0]),
        task=required(bench.study, "task", TaskSummary),
        teacher=replace(required(bench.study, "teacher", TeacherSummary), dev=teacher_dev),
        outlook=required(bench.study, "outlook", Outlook),
        admissions=prospects.admissions,
        cuts=cuts_of(bench.study),
        trials=tuple(trials),
        finalists=tuple(finalists),
        winner=winner,
        seconds=bench.study.load("seconds", dict[str, float]) or {},
        also=tuple(summarise_device(place) for place in bench.places[1:]),
    )
    bench.study.save("result", result)
    return result


def standing(finalist: Finalist, budgets_ms: Sequence[float]) -> tuple[float, float]:
    """Sorting key of finalists: most accurate first, and the faster one among equals."""
    return -finalist.trained.score, finalist.share_of(budgets_ms)


def tell_of_winner(bench: Bench, task: Task, result: SearchResult) -> None:
    """Says what the winner reaches on dev, what is as accurate and faster, and where it has learnt nothing."""
    winner = result.winning_finalist
    for finalist in result.equals:
        name = result.admission_of(finalist.trial).candidate.architecture.name
        bench.note(
            f"{name} is as accurate as the winner within the standard error ({finalist.trained.score:.3f} and "
            f"{winner.trained.score:.3f}), and faster: {timings_told(finalist.timings, bench.budgets)}"
        )
    found = winner.dev
    if found is None:
        return
    bench.note(
        f"{result.winning_candidate.architecture.name}, chosen by {winner.trained.score:.3f} on the held-out tenth of "
        f"train, has {found.score:.3f} ± {found.standard_error:.3f} on dev ({result.task.measures[1]}, standard error)"
    )
    problem = nothing_learnt(task, found.scores, found.standard_error)
    if problem:
        bench.note(f"the winner has learnt nothing of {task.name}: {problem}; try a larger --budget or more --trials")
