"""The whole search as one function of named passes; each leaves its result in the study before the next begins."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from data.architecture import Architecture
from data.errors import DeviceError, InfeasibleBudgetError, PocketBertError
from data.progress import Progress, ProgressEvent
from search.bench import Bench, required, timed
from search.confirmation import confirm
from search.optimization.optimizer import tighten
from search.optimization.space import SearchSpace, model_bytes
from search.publish import publish
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
from search.trials import rank, run_trials

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
        InfeasibleBudgetError: nothing in the space is predicted, or nothing that was tried measured, within the budget.
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
        feasible = feasible_set(bench, space)
        teacher = prepare_teacher(bench, task)
        trials = run_trials(bench, space, feasible.candidates, study.options.trials, task, teacher)
        finalists = run_final(bench, trials, task, teacher)
        while missed(bench, finalists) and len(trials) < study.options.trials + _MOST_EXTRA_TRIALS:
            faster = tighten(feasible.candidates, study.options.budget_ms, misjudgements(trials, finalists))
            note(f"no finalist met the budget: trying one of the {len(faster)} faster candidates")
            more = run_trials(bench, space, faster, len(trials) + 1, task, teacher)
            if len(more) == len(trials):
                break
            trials, finalists = more, run_final(bench, more, task, teacher)
        result = conclude(bench, feasible, trials, finalists)
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
    return task


def search_space(bench: Bench, task: Task) -> SearchSpace:
    """The architectures which the teacher can have for students."""
    options = bench.study.options
    return SearchSpace.from_teacher(
        bench.stages.teacher_sizes(options.teacher), seq_len=options.seq_len, labels=task.labels
    )


def feasible_set(bench: Bench, space: SearchSpace) -> FeasibleSet:
    """The candidates whose predicted upper bound is within the budget, and which are small enough.

    Latencies are those that the device usually shows, as the confirmation will: of a machine that is left alone, times
    the predictor's disturbance.

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
        architectures = space.architectures()
        usual = predictor.disturbance
        predicted = usual * predictor.predict(architectures)
        lower, upper = (usual * bound for bound in predictor.interval(architectures, COVERAGE))
        within = predictor.probability_within(architectures, options.budget_ms / usual)
    candidates = [
        Candidate(architecture, *(float(value) for value in values))
        for architecture, *values in zip(architectures, predicted, lower, upper, within, strict=True)
    ]
    feasible = FeasibleSet(
        candidates=select_feasible(candidates, options.budget_ms, options.max_bytes, options.device),
        space_size=len(candidates),
        fastest=min(candidates, key=lambda candidate: candidate.predicted_ms),
        quality=bench.stages.quality(predictor),
        provenance=predictor.provenance,
    )
    bench.study.save("feasible", feasible)
    bench.note(f"{len(feasible.candidates)} of {len(candidates)} architectures fit {options.budget_ms:g} ms")
    return feasible


def select_feasible(
    candidates: Sequence[Candidate], budget_ms: float, max_bytes: int | None, device: str
) -> tuple[Candidate, ...]:
    """The candidates within both limits.

    Raises:
        InfeasibleBudgetError: there are none; the message names the limit that nothing keeps and the nearest candidate.
    """
    quick = [candidate for candidate in candidates if candidate.upper_ms <= budget_ms]
    if not quick:
        best = min(candidates, key=lambda candidate: candidate.upper_ms)
        raise InfeasibleBudgetError(
            f"no model of the search space fits {budget_ms:g} ms on {device}: the fastest, {best.architecture.name}, "
            f"is predicted at {best.predicted_ms:.3g} ms (90% interval {best.lower_ms:.3g} to {best.upper_ms:.3g} ms)"
        )
    small = tuple(c for c in quick if max_bytes is None or model_bytes(c.architecture) <= max_bytes)
    if not small:
        least = min(quick, key=lambda candidate: model_bytes(candidate.architecture)).architecture
        raise InfeasibleBudgetError(
            f"none of the {len(quick)} models that fit {budget_ms:g} ms on {device} is small enough: the smallest, "
            f"{least.name}, has {model_bytes(least) / 1e6:.3g} MB of weights"
        )
    return small


def prepare_teacher(bench: Bench, task: Task) -> Teacher:
    """The teacher, fine-tuned on the task; made once for all searches."""
    options = bench.study.options
    with timed(bench.study, "teacher"):
        teacher = bench.stages.prepare_teacher(task, options, bench.progress)
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
    name = options.teacher or "default"
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
        raise InfeasibleBudgetError(
            f"none of the {len(finalists)} candidates that were distilled and measured on {options.device} met "
            f"{options.budget_ms:g} ms: the fastest took {fastest:.3g} ms"
        )
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
