"""The final: the best trials are distilled fully, exported, compiled, checked against ONNX Runtime, and measured.

A trial's latency is measured with the weights of its short distillation first (they do not matter for it), so that no
long distillation is spent on a model that misses the budget.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from data.errors import PocketBertError
from data.progress import ProgressEvent
from search.passes.bench import Bench, now, timed
from search.records import Checked, Finalist, Timing, Trained, Trial

if TYPE_CHECKING:
    from data.architecture import Architecture
    from data.tasks import Task
    from search.distillation.teacher import Teacher

FINALISTS = 2
# fp32 sums in another order; what compiled output may differ from ONNX Runtime in a logit.
TOLERANCE = 1e-4


def confirm(bench: Bench, ranking: Sequence[Trial], task: Task, teacher: Teacher) -> tuple[Finalist, ...]:
    """Takes trials in the order of ``ranking`` into the final until ``FINALISTS`` of them meet the budget.

    Returns:
        All that were looked at, those included which missed the budget.
    """
    budget_ms = bench.study.options.budget_ms
    finalists: list[Finalist] = []
    for trial in ranking:
        meeting = sum(finalist.meets(budget_ms) for finalist in finalists)
        if meeting == FINALISTS:
            break
        bench.progress(ProgressEvent("final", meeting, FINALISTS, trial.candidate.architecture.name))
        finalists.append(_finalist(bench, trial, task, teacher))
    meeting = sum(finalist.meets(budget_ms) for finalist in finalists)
    bench.progress(ProgressEvent("final", meeting, max(meeting, 1), f"{meeting} within the budget"))
    return tuple(finalists)


def _finalist(bench: Bench, trial: Trial, task: Task, teacher: Teacher) -> Finalist:
    record = f"finalist-{bench.device.provenance}-{trial.index:03d}"
    kept = bench.study.load(record, Finalist)
    if kept is not None:
        return kept
    screening = _screen(bench, trial)
    finalist = Finalist(trial.index, screening)
    if screening.median_ms <= bench.study.options.budget_ms:
        finalist = _complete(bench, trial, screening, _train(bench, trial, task, teacher))
    bench.study.save(record, finalist)
    _tell(bench, trial, finalist)
    return finalist


def _screen(bench: Bench, trial: Trial) -> Timing:
    """The latency of the trial's architecture on the device."""
    record = f"screening-{bench.device.provenance}-{trial.index:03d}"
    kept = bench.study.load(record, Timing)
    if kept is not None:
        return kept
    architecture = trial.candidate.architecture
    with timed(bench.study, "measure"):
        compiled = None
        if bench.device.needs_runner:
            compiled = _compile(bench, bench.study.out / trial.directory)[0]
        timing = bench.stages.time_model(bench.device, compiled, architecture, bench.threads, trial.finished_at)
    bench.study.save(record, timing)
    return timing


def _train(bench: Bench, trial: Trial, task: Task, teacher: Teacher) -> Trained:
    record = f"trained-{trial.index:03d}"
    kept = bench.study.load(record, Trained)
    if kept is not None:
        return kept
    folder = bench.study.models(f"final-{trial.index:03d}")
    with timed(bench.study, "full distillation"):
        student = bench.stages.distil_full(
            teacher, task, trial.candidate.architecture, bench.study.options.seed, folder, bench.progress
        )
    directory = bench.study.relative(student.directory)
    trained = Trained(student.score, dict(student.scores), student.seconds, directory, now())
    bench.study.save(record, trained)
    return trained


def _complete(bench: Bench, trial: Trial, screening: Timing, trained: Trained) -> Finalist:
    """Exports, compiles, checks and measures the fully distilled model."""
    architecture, stages = trial.candidate.architecture, bench.stages
    with timed(bench.study, "compile"):
        compiled, onnx, difference = compile_checked(bench, bench.study.out / trained.directory, architecture)
    with timed(bench.study, "measure"):
        timing = stages.time_model(bench.device, compiled, architecture, bench.threads, trained.finished_at)
        shares = stages.block_shares(bench.device, compiled, bench.threads)
    checked = Checked(bench.study.relative(onnx), difference)
    return Finalist(trial.index, screening, trained, checked, timing, shares)


def compile_checked(bench: Bench, checkpoint: Path, architecture: Architecture) -> tuple[Any, Path, float]:
    """The compiled model of a checkpoint, its ONNX file, and the largest |logit difference| from ONNX Runtime.

    Raises:
        PocketBertError: it does not compile, or the difference is too large.
    """
    compiled, onnx = _compile(bench, checkpoint)
    difference = bench.stages.max_difference(compiled, onnx, architecture, bench.study.options.seed)
    if not difference <= TOLERANCE:
        raise PocketBertError(
            f"{architecture.name} was compiled wrongly: a logit differs from ONNX Runtime's by {difference:.2g}; "
            f"please report it with {onnx}"
        )
    return compiled, onnx, difference


def _compile(bench: Bench, checkpoint: Path) -> tuple[Any, Path]:
    """The compiled model of a checkpoint, and the ONNX file beside the checkpoint that it was made of."""
    seq_len = bench.study.options.seq_len
    onnx = bench.stages.export_onnx(checkpoint, checkpoint.with_name(f"{checkpoint.name}.onnx"), seq_len)
    return bench.stages.compile_model(onnx, seq_len, bench.threads), onnx


def _tell(bench: Bench, trial: Trial, finalist: Finalist) -> None:
    """One line on what became of a finalist."""
    name, budget_ms = trial.candidate.architecture.name, bench.study.options.budget_ms
    timing = finalist.timing or finalist.screening
    latency = f"{timing.median_ms:.3g} ms {timing.provenance}, predicted {trial.candidate.predicted_ms:.3g} ms"
    if finalist.trained is None:
        bench.note(f"{name} misses the budget of {budget_ms:g} ms: {latency}; going on to the next candidate")
    else:
        verdict = "meets" if finalist.meets(budget_ms) else "misses"
        bench.note(f"{name} {verdict} the budget of {budget_ms:g} ms: {latency}, score {finalist.trained.score:.3f}")
