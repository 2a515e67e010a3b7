"""The whole search as one function of named passes; each leaves its result in the study before the next begins."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from data.errors import InfeasibleBudgetError, PocketBertError
from data.progress import Progress
from search.learning.judgement import nothing_learnt
from search.passes.admission import Prospects
from search.passes.bench import Bench, required
from search.passes.confirmation import confirm, confirm_teacher
from search.passes.publish import publish
from search.passes.setting import (
    check_students,
    find_device,
    load_task,
    prepare_teacher,
    search_space,
    summarise_device,
)
from search.passes.trials import look_first, run_trials
from search.records import Finalist, Outlook, SearchResult, TaskSummary, TeacherSummary, Trial, standard_error
from search.stages import Stages
from search.study import Study

if TYPE_CHECKING:
    from data.tasks import Task
    from search.teachers.teacher import Teacher


def run_search(study: Study, stages: Stages, progress: Progress, note: Callable[[str], None]) -> SearchResult:
    """Finds the most accurate model whose latency on the device is within the budget; goes on where the study is.

    Args:
        study: holds the options and the records; every finished piece of work is in it before the next begins.
        stages: the functions of the other rooms.
        progress: told of each step of a long stage.
        note: told what the user should know, one line each.

    Returns:
        The result; ``result.json``, ``report.html`` and ``best/`` are written as well.

    Raises:
        InfeasibleBudgetError: nothing that could be within the budget was measured within it.
        DeviceError: the device is not attached and the options require it, or it was lost.
        PocketBertError: whatever else the stages raise; the study keeps what was finished.
    """
    with find_device(study, stages, note) as device:
        bench = Bench(study, stages, device, study.options.threads or device.spec.default_threads, progress, note)
        finished = finished_result(bench)
        if finished is not None:
            publish(bench, finished)
            return finished
        task = load_task(bench)
        space = search_space(bench, task)
        check_students(bench, task, space)
        prospects = Prospects(bench, space)
        look_first(bench, prospects)
        teacher = prepare_teacher(bench, task, space)
        trials = run_trials(bench, prospects, task, teacher)
        finalists = run_final(bench, prospects, trials, task, teacher)
        result = conclude(bench, prospects, trials, finalists)
        tell_of_winner(bench, task, result)
        publish(bench, result)
        return result


def finished_result(bench: Bench) -> SearchResult | None:
    """The result of a study that is finished, unless the device is attached now and was not then."""
    result = bench.study.load("result", SearchResult)
    if result is None or (bench.device.provenance == "measured" and result.confirmation == "pending"):
        return None
    return result


def run_final(
    bench: Bench, prospects: Prospects, trials: Sequence[Trial], task: Task, teacher: Teacher
) -> tuple[Finalist, ...]:
    """Distils the best trials fully, and compiles, checks and measures what came out; so too a teacher that fits."""
    admission = prospects.teacher
    finalists = (confirm_teacher(bench, admission, teacher),) if admission.admitted else ()
    scored = [trial for trial in trials if trial.score is not None]
    if not (scored or finalists):
        errors = "; ".join(dict.fromkeys(trial.error for trial in trials))
        raise PocketBertError(f"all {len(trials)} trials failed: {errors}")
    ranking = ranked(bench, prospects, scored)
    return (*finalists, *confirm(bench, ranking, task, teacher))


def ranked(bench: Bench, prospects: Prospects, trials: Sequence[Trial]) -> list[Trial]:
    """The trials within the budget on this device, in the order in which they go into the final.

    The most accurate first, and the faster one among equals. Beside a teacher that fits, the fastest of those within a
    standard error of the best comes second: what is faster at equal accuracy is of use there.
    """

    def latency_ms(trial: Trial) -> float:
        admission = prospects.admission(trial.candidate.architecture)
        return admission.timing.median_ms if admission else trial.candidate.predicted_ms

    def score(trial: Trial) -> float:
        return trial.score or 0.0

    order = sorted(filter(prospects.stands, trials), key=lambda trial: (-score(trial), latency_ms(trial)))
    if not order or not prospects.teacher.admitted:
        return order
    best = score(order[0])
    least = best - standard_error(best, required(bench.study, "task", TaskSummary).dev_examples)
    fastest = min((trial for trial in order if score(trial) >= least), key=latency_ms)
    return [order[0], *([fastest] if fastest != order[0] else []), *(each for each in order[1:] if each != fastest)]


def conclude(
    bench: Bench, prospects: Prospects, trials: Sequence[Trial], finalists: Sequence[Finalist]
) -> SearchResult:
    """The result, with the most accurate finalist within the budget as winner, kept in the study.

    Raises:
        InfeasibleBudgetError: no finalist met the budget.
    """
    options = bench.study.options
    eligible = [finalist for finalist in finalists if finalist.meets(options.budget_ms)]
    if not eligible:
        timings = [finalist.timing for finalist in finalists] or [each.timing for each in prospects.admissions]
        fastest = min(timing.median_ms for timing in timings)
        problem = (
            f"none of the {len(timings)} models that were measured on {options.device} met {options.budget_ms:g} ms in "
            f"the end: the fastest took {fastest:.3g} ms"
        )
        bench.study.save_ending(problem)
        raise InfeasibleBudgetError(problem)
    result = SearchResult(
        options=options,
        device=summarise_device(bench),
        task=required(bench.study, "task", TaskSummary),
        teacher=required(bench.study, "teacher", TeacherSummary),
        outlook=required(bench.study, "outlook", Outlook),
        admissions=prospects.admissions,
        trials=tuple(trials),
        finalists=tuple(finalists),
        winner=min(eligible, key=standing).trial,
        seconds=bench.study.load("seconds", dict[str, float]) or {},
    )
    bench.study.save("result", result)
    return result


def standing(finalist: Finalist) -> tuple[float, float]:
    """Sorting key of finalists: most accurate first, and the faster one among equals."""
    return -finalist.trained.score, finalist.timing.median_ms


def tell_of_winner(bench: Bench, task: Task, result: SearchResult) -> None:
    """Says what is as accurate as the winner and faster, and where the winner has learnt nothing."""
    for finalist in result.equals:
        name = result.admission_of(finalist.trial).candidate.architecture.name
        bench.note(
            f"{name} is as accurate as the winner within the standard error ({finalist.trained.score:.3f} and "
            f"{result.winning_finalist.trained.score:.3f}), and faster: {finalist.timing.median_ms:.3g} ms"
        )
    problem = nothing_learnt(task, result.winning_finalist.trained.scores)
    if problem:
        bench.note(f"the winner has learnt nothing of {task.name}: {problem}; try a larger --budget or more --trials")
