"""The final: the best trials go on to learn, are exported, compiled, checked against ONNX Runtime, and measured.

Where the teacher itself fits the budget it takes part as it is. A finalist that misses the budget with its real
weights, though it was admitted without them, gives way to the next best.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from data.errors import PocketBertError
from data.progress import ProgressEvent
from search.latencies import budgets_told, on_each, timings_told
from search.passes.bench import Bench, Place, now, timed
from search.records import Admission, Checked, Finalist, Int8Choice, Trained, Trial

if TYPE_CHECKING:
    from data.architecture import Architecture, Precision
    from data.tasks import Task
    from search.teachers.teacher import Teacher

# So many times the budget, and the slow tenth of a model's runs is worth a word although the median keeps it.
_WORTH_SAYING = 1.2
# fp32 sums in another order; what compiled output may differ from ONNX Runtime in a logit.
TOLERANCE = 1e-4
# With products in int8 a logit of a few units moves by a tenth or two; a layout that is read wrongly moves it by units.
NARROW_TOLERANCE = 0.5


def confirm(bench: Bench, ranking: Sequence[Trial], task: Task, teacher: Teacher) -> tuple[Finalist, ...]:
    """Takes trials in the order of ``ranking`` into the final until as many of them meet the budget as are wanted.

    Returns:
        All that were measured, those included which missed the budget.
    """
    budgets_ms, wanted = bench.budgets_ms, bench.study.options.finalists
    finalists: list[Finalist] = []
    for trial in ranking:
        meeting = sum(finalist.meets(*budgets_ms) for finalist in finalists)
        if meeting == wanted:
            break
        architecture = trial.candidate.architecture
        bench.progress(ProgressEvent("final", meeting, wanted, architecture.name))

        def train(trial: Trial = trial) -> Trained:
            return _distil(bench, trial, task, teacher)

        finalists.append(_finalist(bench, trial.index, architecture, train))
    meeting = sum(finalist.meets(*budgets_ms) for finalist in finalists)
    bench.progress(ProgressEvent("final", meeting, max(meeting, 1), f"{meeting} within the budget"))
    return tuple(finalists)


def confirm_teacher(bench: Bench, admission: Admission, task: Task, teacher: Teacher) -> Finalist:
    """The fine-tuned teacher as it is, compiled, checked and measured like all others."""
    architecture = admission.candidate.architecture
    return _finalist(bench, None, architecture, lambda: _keep(bench, task, teacher, architecture.precision))


def _finalist(bench: Bench, trial: int | None, architecture: Architecture, train: Callable[[], Trained]) -> Finalist:
    name = name_of(trial)
    record = f"finalist-{bench.provenance}-{name}"
    kept = bench.study.load(record, Finalist)
    if kept is not None:
        return kept
    trained = bench.study.load(f"trained-{name}", Trained)
    if trained is None:
        trained = train()
        bench.study.save(f"trained-{name}", trained)
    finalist = _complete(bench, trial, architecture, trained)
    bench.study.save(record, finalist)
    _tell(bench, architecture, finalist)
    return finalist


def name_of(trial: int | None) -> str:
    """What the study calls a finalist: by the number of its trial, None for the teacher itself."""
    return "teacher" if trial is None else f"{trial:03d}"


def _distil(bench: Bench, trial: Trial, task: Task, teacher: Teacher) -> Trained:
    folder = bench.study.models(f"final-{trial.index:03d}")
    with timed(bench.study, "full distillation"):
        student = bench.stages.distil_full(
            teacher,
            task,
            trial.candidate.architecture,
            bench.study.options,
            bench.study.out / trial.directory,
            folder,
            bench.progress,
        )
    directory, scores = bench.study.relative(student.directory), dict(student.scores)
    trained = Trained(student.score, scores, student.standard_error, student.seconds, directory, now())
    return _in_int8(bench, trained, task) if trial.candidate.architecture.precision == "int8" else trained


def _in_int8(bench: Bench, trained: Trained, task: Task) -> Trained:
    """The trained model as an int8 one: what costs too much there stays fp32, and it is scored so."""
    checkpoint, seq_len = bench.study.out / trained.directory, bench.study.options.seq_len
    with timed(bench.study, "int8"):
        choice = bench.stages.int8_choice(checkpoint, task, seq_len, bench.devices)
        found = bench.stages.score_on_dev(checkpoint, task, seq_len, "int8", choice.fp32, bench.devices)
    bench.note(_told_of(choice, trained.directory))
    return replace(
        trained,
        score=found.score,
        scores=dict(found.scores),
        standard_error=found.standard_error,
        precision="int8",
        int8=choice,
    )


def _told_of(choice: Int8Choice, name: str) -> str:
    """One line on what int8 does to a model's answers."""
    told = f"{Path(name).name} in int8: its answers are {choice.divergence:.2g} from those in fp32"
    if choice.fp32:
        told += f", {choice.undivided:.2g} without {len(choice.fp32)} products that stay fp32 ({choice.share:.1%})"
    if choice.divergence > choice.limit:
        told += f", more than the {choice.limit:g} that were wanted; no more may stay fp32"
    return told


def _keep(bench: Bench, task: Task, teacher: Teacher, precision: Precision) -> Trained:
    """A copy of the teacher's checkpoint, so that the study needs nothing outside of its folder."""
    folder = bench.study.models("teacher")
    partial = folder.with_name("teacher.partial")
    shutil.rmtree(partial, ignore_errors=True)
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(teacher.directory, partial)
    partial.rename(folder)
    directory, scores = bench.study.relative(folder), dict(teacher.scores)
    trained = Trained(teacher.score, scores, teacher.standard_error, 0.0, directory, now())
    return _in_int8(bench, trained, task) if precision == "int8" else trained


def _complete(bench: Bench, trial: int | None, architecture: Architecture, trained: Trained) -> Finalist:
    """Exports, compiles, checks and measures a fully trained model, on every device."""
    stages = bench.stages
    with timed(bench.study, "compile"):
        compiled, onnx, difference = compile_checked(
            bench, bench.study.out / trained.directory, architecture, trained.fp32_modules
        )
    with timed(bench.study, "measure"):
        timing, *also = [
            stages.time_model(
                place.device,
                compiled_for(bench, place, compiled, onnx, architecture, trained.fp32_modules),
                architecture,
                place.threads,
                trained.finished_at,
            )
            for place in bench.places
        ]
        shares = stages.block_shares(bench.device, compiled, bench.threads)
    checked = Checked(bench.study.relative(onnx), difference)
    return Finalist(trial, trained, checked, timing, shares, also=tuple(also))


def compiled_for(
    bench: Bench, place: Place, compiled: Any, onnx: Path, architecture: Architecture, fp32_modules: Collection[str]
) -> Any:
    """The compiled model with the number of threads that a device gives it; ``compiled`` has that of the first."""
    if place.threads == bench.threads:
        return compiled
    return bench.stages.compile_model(place.device, onnx, architecture, place.threads, fp32_modules)


def compile_checked(
    bench: Bench, checkpoint: Path, architecture: Architecture, fp32_modules: Collection[str] = ()
) -> tuple[Any, Path, float]:
    """The compiled model of a checkpoint, the ONNX file it was made of, and the largest |logit difference| of the two
    in fp32, in which a model with other products is compiled as well.

    Raises:
        PocketBertError: it does not compile, or a difference is too large.
    """
    onnx = bench.stages.export_onnx(checkpoint, checkpoint.with_name(f"{checkpoint.name}.onnx"), architecture.seq_len)
    exact, difference = _compared(bench, onnx, replace(architecture, precision="fp32"), (), TOLERANCE)
    if architecture.precision == "fp32":
        return exact, onnx, difference
    return _compared(bench, onnx, architecture, fp32_modules, NARROW_TOLERANCE)[0], onnx, difference


def _compared(
    bench: Bench, onnx: Path, architecture: Architecture, fp32_modules: Collection[str], tolerance: float
) -> tuple[Any, float]:
    """The compiled model and its largest difference from ONNX Runtime, an error where that is beyond the tolerance."""
    compiled = bench.stages.compile_model(bench.device, onnx, architecture, bench.threads, fp32_modules)
    difference = bench.stages.max_difference(compiled, onnx, architecture, bench.study.options.seed)
    if not difference <= tolerance:
        raise PocketBertError(
            f"{architecture.name} was compiled wrongly: a logit differs from ONNX Runtime's by {difference:.2g}; "
            f"please report it with {onnx}"
        )
    return compiled, difference


def _tell(bench: Bench, architecture: Architecture, finalist: Finalist) -> None:
    """One line on what became of a finalist."""
    budgets, timings = bench.budgets, finalist.timings
    name = f"{'the teacher ' if finalist.trial is None else ''}{architecture.name}"
    latency = timings_told(timings, budgets)
    if finalist.meets(*bench.budgets_ms):
        bench.note(f"{name} meets the budget of {budgets_told(budgets)}: {latency}, score {finalist.trained.score:.3f}")
        _tell_slow_runs(bench, name, finalist)
        return
    pairs = zip(timings, budgets, strict=True)
    missed = [budget for timing, budget in pairs if timing.median_ms > budget.budget_ms]
    told = on_each(missed) if len(budgets) > 1 else budgets_told(budgets)
    bench.note(
        f"{name} misses the budget of {told} with its real weights, though it was admitted before: {latency}; the next "
        "best takes its place"
    )


def _tell_slow_runs(bench: Bench, name: str, finalist: Finalist) -> None:
    """A line for each device on which one run in ten is far beyond the budget that the median keeps."""
    for timing, budget in zip(finalist.timings, bench.budgets, strict=True):
        if timing.p90_ms > _WORTH_SAYING * budget.budget_ms:
            bench.note(
                f"one run in ten of {name} took {timing.p90_ms:.3g} ms or more on {budget.name}: the budget is kept by "
                "the median; the device has slower moments, or had other work"
            )
