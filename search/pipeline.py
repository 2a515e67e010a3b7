"""The whole search as one function of named passes; each leaves its result in the study before the next begins."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from data.architecture import Architecture
from data.errors import DeviceError, InfeasibleBudgetError, InputError, PocketBertError
from data.progress import Progress, ProgressEvent
from search.distillation.learning import nothing_learnt
from search.optimization.feasibility import expected_within, small_enough, worth_measuring
from search.optimization.optimizer import tighten, untried
from search.optimization.space import SearchSpace
from search.passes.bench import Bench, required, timed
from search.passes.confirmation import compile_checked, confirm
from search.passes.publish import publish
from search.passes.trials import rank, run_trials
from search.records import (
    Candidate,
    DeviceSummary,
    FeasibleSet,
    Finalist,
    SearchResult,
    TaskSummary,
    TeacherSummary,
    Trial,
)
from search.stages import Predictor, Stages
from search.study import Study

if TYPE_CHECKING:
    from data.tasks import Task
    from profiling import Device
    from search.distillation.teacher import Teacher

COVERAGE = 0.9
# When no finalist meets the budget, so many faster candidates are tried before giving up.
_MOST_EXTRA_TRIALS = 3


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
        feasible = feasible_set(bench, space)
        teacher = prepare_teacher(bench, task)
        trials = run_trials(bench, space, feasible.candidates, study.options.trials, task, teacher)
        finalists = run_final(bench, trials, task, teacher)
        while missed(bench, finalists) and len(trials) < study.options.trials + _MOST_EXTRA_TRIALS:
            faster = tighten(feasible.candidates, study.options.budget_ms, misjudgements(trials, finalists))
            if untried(faster, trials):
                note(f"no finalist met the budget: trying one of the {len(faster)} faster candidates")
            more = run_trials(bench, space, faster, len(trials) + 1, task, teacher)
            if len(more) == len(trials):
                break
            trials, finalists = more, run_final(bench, more, task, teacher)
        result = conclude(bench, feasible, trials, finalists)
        warn_of_winner(bench, task, result)
        publish(bench, result)
        return result


@contextmanager
def find_device(study: Study, stages: Stages, note: Callable[[str], None]) -> Iterator[Device]:
    """The device, or the analytic model of it where it is not attached and need not be."""
    try:
        device = stages.open_device(study.options, False)
    except DeviceError as error:
        if study.options.require_device:
            raise
        device = stages.open_device(study.options, True)
        note(f"{error}: working from the bundled analytic model, so every latency is simulated")
    try:
        yield device
    finally:
        device.close()


def finished_result(bench: Bench) -> SearchResult | None:
    """The result of a study that is finished, unless the device is attached now and was not then."""
    result = bench.study.load("result", SearchResult)
    if result is None or (bench.device.provenance == "measured" and result.confirmation == "pending"):
        return None
    return result


def load_task(bench: Bench) -> Task:
    """The labelled texts."""
    options = bench.study.options
    bench.progress(ProgressEvent("task", 0, 1, options.task))
    with timed(bench.study, "task"):
        task = bench.stages.load_task(options.task, Path(options.data_dir) if options.data_dir else None, options.seed)
    summary = TaskSummary(task.name, task.metric, task.majority, len(task.train), len(task.dev))
    bench.study.save("task", summary)
    size = f"{summary.train_examples} training and {summary.dev_examples} dev examples"
    bench.progress(ProgressEvent("task", 1, 1, f"{task.name}: {size}"))
    if options.seq_len < task.max_tokens:
        bench.note(f"texts of {task.name} have up to {task.max_tokens} tokens: --seq-len {options.seq_len} cuts them")
    elif options.seq_len > task.max_tokens:
        bench.note(f"texts of {task.name} are cut to {task.max_tokens} tokens; what --seq-len has beyond is padding")
    return task


def search_space(bench: Bench, task: Task) -> SearchSpace:
    """The architectures which the teacher can have for students, of which one at least must be small enough."""
    options = bench.study.options
    sizes = bench.stages.teacher_sizes(options.teacher)
    space = SearchSpace.from_teacher(sizes, seq_len=options.seq_len, labels=task.labels)
    small_enough(space.architectures(), options.max_bytes)
    return space


def check_students(bench: Bench, task: Task, space: SearchSpace) -> None:
    """Finds out before any measuring and training whether the teacher can be trained and its students be compiled.

    Raises:
        InputError: the teacher's files are damaged or do not suit the task.
        PocketBertError: an untrained student of the smallest size does not compile, or compiles wrongly.
    """
    if bench.study.load("teacher", TeacherSummary) is not None:
        return
    bench.progress(ProgressEvent("check", 0, 1, "teacher and compiler"))
    bench.stages.check_teacher(task, bench.study.options)
    smallest = space.architectures()[0]
    with timed(bench.study, "compile"), TemporaryDirectory() as folder:
        checkpoint = bench.stages.untrained_student(bench.study.options, smallest, Path(folder) / "student")
        compile_checked(bench, checkpoint, smallest)
    bench.progress(ProgressEvent("check", 1, 1, "a student compiles"))


def feasible_set(bench: Bench, space: SearchSpace) -> FeasibleSet:
    """The candidates that are expected within the budget or were measured within it, and which are small enough.

    Where fewer are expected than there are to be trials, the fastest others that could be within it are measured.
    Profiles the device where that was not done yet. Kept in the study, so that a resumed search chooses among the same.

    Raises:
        InfeasibleBudgetError: there are none.
    """
    kept = bench.study.load("feasible", FeasibleSet)
    if kept is not None:
        return kept
    options = bench.study.options
    with timed(bench.study, "profile"):
        predictor: Predictor = bench.stages.predictor(bench.device, options, bench.threads, bench.progress)
        candidates = predicted_candidates(predictor, space, options.budget_ms)
    small = set(small_enough([candidate.architecture for candidate in candidates], options.max_bytes))
    possible = [candidate for candidate in candidates if candidate.architecture in small]
    within = expected_within(possible, options.budget_ms)
    if len(within) < options.trials:
        within += measured_within(bench, worth_measuring(possible, options.budget_ms), needed=not within)
    feasible = FeasibleSet(
        candidates=within,
        space_size=len(candidates),
        fastest=min(candidates, key=lambda candidate: candidate.predicted_ms),
        quality=bench.stages.quality(predictor),
        provenance=predictor.provenance,
    )
    bench.study.save("feasible", feasible)
    count = len(feasible.candidates)
    fewer = f": fewer than --trials {options.trials}, so that all are tried" if count < options.trials else ""
    bench.note(f"{count} of {len(candidates)} architectures fit {options.budget_ms:g} ms{fewer}")
    return feasible


def predicted_candidates(predictor: Predictor, space: SearchSpace, budget_ms: float) -> list[Candidate]:
    """Every candidate of the space with its predicted latency.

    Latencies are those that the device usually shows, as the confirmation will: of a machine that is left alone, times
    the predictor's disturbance.
    """
    architectures = space.architectures()
    usual = predictor.disturbance
    predicted = usual * predictor.predict(architectures)
    lower, upper = (usual * bound for bound in predictor.interval(architectures, COVERAGE))
    within = predictor.probability_within(architectures, budget_ms / usual)
    return [
        Candidate(architecture, *(float(value) for value in values))
        for architecture, *values in zip(architectures, predicted, lower, upper, within, strict=True)
    ]


def measured_within(bench: Bench, candidates: Sequence[Candidate], needed: bool) -> tuple[Candidate, ...]:
    """Of candidates that are not expected within the budget, those that were measured within it.

    Raises:
        InfeasibleBudgetError: there are none, though one is needed; the message names the fastest.
    """
    if not candidates:
        return ()
    options = bench.study.options
    few = "nothing is" if needed else f"fewer than --trials {options.trials} are"
    bench.note(f"{few} surely within {options.budget_ms:g} ms: measuring the fastest others ({len(candidates)})")
    architectures = [candidate.architecture for candidate in candidates]
    with timed(bench.study, "measure"):
        timings = bench.stages.time_architectures(bench.device, architectures, bench.threads, bench.progress)
    medians = [timing.median_ms for timing in timings]
    within = tuple(each for each, median in zip(candidates, medians, strict=True) if median <= options.budget_ms)
    if needed and not within:
        median, best = min(zip(medians, candidates, strict=True), key=lambda pair: pair[0])
        raise InfeasibleBudgetError(
            f"no model of the search space fits {options.budget_ms:g} ms on {options.device}: the fastest, "
            f"{best.architecture.name}, took {median:.3g} ms {timings[0].provenance} "
            f"(predicted {best.predicted_ms:.3g} ms, 90% interval {best.lower_ms:.3g} to {best.upper_ms:.3g} ms)"
        )
    return within


def prepare_teacher(bench: Bench, task: Task) -> Teacher:
    """The teacher, fine-tuned on the task; made once for all searches.

    Raises:
        InputError: it has learnt nothing, so that its students would learn nothing either.
    """
    options = bench.study.options
    with timed(bench.study, "teacher"):
        teacher = bench.stages.prepare_teacher(task, options, bench.progress)
    name = options.teacher or "default"
    problem = nothing_learnt(task, teacher.scores)
    if problem:
        raise InputError(
            f"the {name} teacher has learnt nothing of {task.name}: {problem}; students would learn nothing from it. "
            "Try another --teacher or --seed, more training examples, or look whether the labels belong to their texts"
        )
    architecture = Architecture(
        layers=teacher.layers,
        hidden=teacher.hidden,
        heads=teacher.heads,
        intermediate=teacher.intermediate,
        vocab_size=teacher.vocab_size,
        max_positions=teacher.max_positions,
        labels=task.labels,
        seq_len=options.seq_len,
    )
    bench.study.save("teacher", TeacherSummary(name, architecture, teacher.score, dict(teacher.scores)))
    return teacher


def run_final(bench: Bench, trials: Sequence[Trial], task: Task, teacher: Teacher) -> tuple[Finalist, ...]:
    """Distils the best trials fully, and compiles, checks and measures what came out."""
    ranking = sorted((trial for trial in trials if trial.score is not None), key=rank)
    if not ranking:
        errors = "; ".join(dict.fromkeys(trial.error for trial in trials))
        raise PocketBertError(f"all {len(trials)} trials failed: {errors}")
    return confirm(bench, ranking, task, teacher)


def missed(bench: Bench, finalists: Sequence[Finalist]) -> bool:
    """Whether no finalist meets the budget."""
    return not any(finalist.meets(bench.study.options.budget_ms) for finalist in finalists)


def misjudgements(trials: Sequence[Trial], finalists: Sequence[Finalist]) -> list[float]:
    """Measured over predicted latency of each finalist."""
    return [
        max(timing.median_ms for timing in (finalist.screening, finalist.timing) if timing is not None)
        / trials[finalist.trial].candidate.predicted_ms
        for finalist in finalists
    ]


def conclude(
    bench: Bench, feasible: FeasibleSet, trials: Sequence[Trial], finalists: Sequence[Finalist]
) -> SearchResult:
    """The result, with the most accurate finalist within the budget as winner, kept in the study.

    Raises:
        InfeasibleBudgetError: no finalist met the budget.
    """
    options = bench.study.options
    eligible = [finalist for finalist in finalists if finalist.meets(options.budget_ms)]
    if not eligible:
        fastest = min(finalist.screening.median_ms for finalist in finalists)
        problem = (
            f"none of the {len(finalists)} candidates that were distilled and measured on {options.device} met "
            f"{options.budget_ms:g} ms: the fastest took {fastest:.3g} ms"
        )
        bench.study.save_ending(problem)
        raise InfeasibleBudgetError(problem)
    result = SearchResult(
        options=options,
        device=summarise_device(bench),
        task=required(bench.study, "task", TaskSummary),
        teacher=required(bench.study, "teacher", TeacherSummary),
        feasible=feasible,
        trials=tuple(trials),
        finalists=tuple(finalists),
        winner=min(eligible, key=standing).trial,
        seconds=bench.study.load("seconds", dict[str, float]) or {},
    )
    bench.study.save("result", result)
    return result


def warn_of_winner(bench: Bench, task: Task, result: SearchResult) -> None:
    """Says so where the winner has learnt nothing, though its teacher had."""
    trained = result.winning_finalist.trained
    problem = nothing_learnt(task, trained.scores) if trained else ""
    if problem:
        bench.note(f"the winner has learnt nothing of {task.name}: {problem}; try a larger --budget or more --trials")


def standing(finalist: Finalist) -> tuple[float, float]:
    """Sorting key of complete finalists: most accurate first, and the faster one among equals."""
    if finalist.trained is None or finalist.timing is None:
        raise ValueError(f"finalist {finalist.trial} is not complete")
    return -finalist.trained.score, finalist.timing.median_ms


def summarise_device(bench: Bench) -> DeviceSummary:
    """What the report says of the device."""
    description = bench.device.describe()
    return DeviceSummary(
        name=bench.device.spec.name,
        title=bench.device.spec.title,
        unit=bench.device.unit,
        fingerprint=description.fingerprint,
        processor=description.processor,
        target=bench.device.target.name,
        threads=bench.threads,
        provenance=bench.device.provenance,
    )
