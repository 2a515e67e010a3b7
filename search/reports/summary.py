"""The result of a search for programs (``result.json``, ``--json``) and for people (the table in the terminal).

``result.json``, schema 2. Times are ms, sizes bytes, ``provenance`` is ``measured``, ``simulated`` or ``published``:

    schema, pocketbert              version of this layout; version of the program
    options                         what was asked for: device, budget_ms, task, unit, teacher, trials, seq_len, ...
    device                          name, title, processor, target, threads, fingerprint, provenance; of several devices
                                    the first, as are all latencies that do not name another
    devices[]                       every device, as above, with budget_ms, predictor (as below), prediction_error (as
                                    in admission), compiled (relative to --out), and winner: latency (as below), timing,
                                    meets_budget, share_of_budget, memory_bytes there
    also[]                          of models, finalists: device, budget_ms, latency, timing, meets_budget on further
                                    devices; probability_within is the device's own there, elsewhere of all together
    task                            name, kind, metric, examples (train, held out of it, dev), and the best constant
                                    answer's score on dev (majority) and held out (held_out_majority); measures: what
                                    scores held out and on dev are called: the metric, or agreement with the teacher
    score, scores, standard_error   of teacher, trials and finalists: on the held-out tenth of train, by which all is
                                    chosen; score is of the task's metric, scores of all, standard_error of score
    dev                             of teacher and finalists: score, scores and standard_error on dev, which was read
                                    once, when the winner was chosen
    teacher                         name, architecture, scores as above, compiles (whether it is a candidate itself),
                                    fits (size and budget), timing (as below, before any training; null) and the
                                    precision of its products there
    predictor                       source (fused, unfused, flops); provenance; n, mape, within_10, spearman (of 1) on
                                    held-out whole models, held_out[]: name, latency_ms, predicted_ms; sources: of each
    space                           candidates, feasible (worth timing), fastest (as predicted, of all candidates),
                                    values: of layers, hidden, heads or head_size, and intermediate
    admission                       timed, admitted, missed: models timed on the device before any training;
                                    prediction_error: mean |predicted / timed - 1| of them;
                                    models[]: name, architecture, latency (as below), proposer, admitted, timing,
                                    upper_ms: the 95% upper bound of the median that a later run will measure, also of
                                    further devices in also[]: admitted are those whose bounds are within the budgets,
                                    and that are small enough
    baseline                        the uniformly scaled teacher: the largest timed within the budget, as in models[],
                                    with its trial and that trial's score; null where the teacher itself fits
    cuts[]                          name, architecture, latency_ms (timed, or else predicted; null) and divergence of
                                    students as they are cut, before they learn
    depth                           of trials and of cuts of nearly equal latency: n, latency_ms, interval_90 and
                                    correlation of depth and closeness to the teacher, told
    trials[]                        index, name, architecture, proposer, status, scores as above, divergence
                                    {mean, standard_error} from the teacher on the held-out tenth; cut_score and
                                    cut_divergence (before it learnt anything), seconds, timed_ms,
                                    latency: {predicted_ms, interval_ms, probability_within, provenance}
    finalists[]                     trial (null: the teacher itself), name, latency (as above), scores as above, dev,
                                    max_logit_difference, meets_budget, blocks, screening (before any training) and
                                    timing: {median_ms, min_ms, p90_ms, n, samples_ms, visits_ms, provenance, ...}
    winner                          the finalist that won, with its precision (of products with weights), weight_bytes
                                    (of these in it, of others in fp32), memory_bytes (held while it runs: packed
                                    weights, activations, scratch), share_of_budget (fraction of 1, the largest of all
                                    devices'), and
                                    faster_equals: trials of faster finalists within a standard error of its score
    confirmation                    status (confirmed | pending), command that completes it where it is pending
    files                           what was written, relative to --out
    seconds                         wall clock of each stage, over all runs of a resumed search
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from search.latencies import Timing, budgets_told, exact_ms
from search.optimization.space import model_bytes
from search.options import SearchOptions
from search.records import Admission, DevScore, Finalist, Trial
from search.reports.admissions import admission_document, admission_line, admissions_document, candidate_document
from search.reports.depth import depth_answers
from search.reports.devices import (
    also_document,
    devices_document,
    held_bytes,
    predictor_document,
    timing_document,
    with_exports,
)
from search.result import SearchResult

if TYPE_CHECKING:
    from rich.table import Table

SCHEMA = 2


def result_document(result: SearchResult, out: Path) -> dict[str, Any]:
    """The content of ``result.json`` of the search in ``out``."""
    finalists = {finalist.trial: _finalist(result, finalist) for finalist in result.finalists}
    winner = finalists[result.winner] | {
        "precision": result.winning_candidate.architecture.precision,
        "weight_bytes": model_bytes(result.winning_candidate.architecture),
        "memory_bytes": held_bytes(result.winning_candidate, result.device),
        "share_of_budget": result.share_of_budget,
        "faster_equals": [finalist.trial for finalist in result.equals],
    }
    document = {
        "schema": SCHEMA,
        "pocketbert": program_version(),
        "options": asdict(result.options),
        "device": asdict(result.device) | {"runs_on": result.device.runs_on},
        "devices": devices_document(result),
        "task": asdict(result.task),
        "teacher": _teacher(result),
        "predictor": predictor_document(result.options.latency_from, result.outlook),
        "space": {
            "candidates": result.outlook.space_size,
            "feasible": result.outlook.possible,
            "fastest": candidate_document(result.outlook.fastest),
            "values": result.outlook.values,
        },
        "admission": admissions_document(result),
        "baseline": _baseline(result),
        "cuts": [
            {"name": cut.architecture.name, "architecture": cut.architecture.to_dict()}
            | {"latency_ms": cut.latency_ms, "divergence": asdict(cut.divergence)}
            for cut in result.cuts
        ],
        "depth": {name: answer.to_dict() for name, answer in depth_answers(result).items()},
        "trials": [_trial(result, trial) for trial in result.trials],
        "finalists": list(finalists.values()),
        "winner": winner,
        "confirmation": {"status": result.confirmation, "command": pending_command(result, out)},
        "files": {
            "report": "report.html",
            "checkpoint": "best",
            "onnx": "best/model.onnx",
            "compiled": "best/compiled",
        },
        "seconds": {stage: round(seconds, 3) for stage, seconds in result.seconds.items()},
    }
    return with_exports(document, out / "best")


def program_version() -> str:
    """Version of the installed distribution, or ``checkout`` where it runs from source."""
    try:
        return version("pocketbert")
    except PackageNotFoundError:
        return "checkout"


def pending_command(result: SearchResult, out: Path) -> str | None:
    """The command that confirms a search whose device was not attached; None where it is confirmed."""
    return None if result.confirmation == "confirmed" else resume_command(result.options, out)


def resume_command(options: SearchOptions, out: Path, budgets_ms: Sequence[float] = ()) -> str:
    """The command line that goes on with the search of these options in ``out``, or with those for several budgets."""
    arguments: dict[str, Any] = {
        "--device": options.device,
        "--budget": ",".join(map(exact_ms, budgets_ms or (options.budget_ms,))),
        "--also": options.also,
        "--unit": options.unit,
        "--task": None if options.train else options.task,
        "--data-dir": options.data_dir,
        "--train": options.train,
        "--dev": options.dev,
        "--text": options.text,
        "--text-pair": options.text_pair,
        "--label": options.label,
        "--kind": options.kind,
        "--metric": options.metric,
        "--teacher": options.teacher,
        "--trials": options.trials,
        "--finalists": options.finalists,
        "--effort": options.effort,
        "--corpus": options.corpus,
        "--seq-len": options.seq_len,
        "--space": options.space.path if options.space else None,
        "--max-size": f"{options.max_bytes}B" if options.max_bytes else None,
        "--max-memory": f"{options.max_memory}B" if options.max_memory else None,
        "--latency-from": options.latency_from,
        "--precision": options.precision,
        "--threads": options.threads,
        "--seed": options.seed,
        "--out": out,
    }
    given = [
        (name, one)
        for name, value in arguments.items()
        for one in (value if isinstance(value, tuple) else (value,))
        if one is not None
    ]
    words = [word for name, value in given for word in (name, str(value))]
    return shlex.join(["search", *words, "--resume"])


def _teacher(result: SearchResult) -> dict[str, Any]:
    admission = result.teacher_admission
    return asdict(result.teacher) | {
        "provenance": "measured",
        "compiles": admission is not None,
        "fits": admission is not None and admission.admitted,
        "precision": admission.candidate.architecture.precision if admission else None,
        "timing": timing_document(admission.timing) if admission else None,
    }


def _baseline(result: SearchResult) -> dict[str, Any] | None:
    if result.baseline is None:
        return None
    trial = baseline_trial(result)
    found = {"trial": trial.index if trial else None, "score": trial.score if trial else None}
    return admission_document(result, result.baseline) | found


def baseline_trial(result: SearchResult) -> Trial | None:
    """The trial of the uniformly scaled teacher, where it had one."""
    architecture = result.baseline.candidate.architecture if result.baseline else None
    return next((trial for trial in result.trials if trial.candidate.architecture == architecture), None)


def _trial(result: SearchResult, trial: Trial) -> dict[str, Any]:
    return candidate_document(trial.candidate) | {
        "index": trial.index,
        "proposer": trial.proposer,
        "status": trial.status,
        "timed_ms": result.admission_of(trial.index).timing.median_ms,
        "score": trial.score,
        "scores": trial.scores,
        "standard_error": trial.standard_error,
        "divergence": asdict(trial.divergence) if trial.divergence else None,
        "cut_score": trial.cut_score,
        "cut_divergence": asdict(trial.cut_divergence) if trial.cut_divergence else None,
        "seconds": round(trial.seconds, 3),
        "error": trial.error or None,
    }


def _finalist(result: SearchResult, finalist: Finalist) -> dict[str, Any]:
    admission = result.admission_of(finalist.trial)
    return candidate_document(admission.candidate) | {
        "trial": finalist.trial,
        "screening": timing_document(admission.timing),
        "timing": timing_document(finalist.timing),
        "score": finalist.trained.score,
        "scores": finalist.trained.scores,
        "standard_error": finalist.trained.standard_error,
        "dev": asdict(finalist.dev) if finalist.dev else None,
        "seconds": round(finalist.trained.seconds, 3),
        "max_logit_difference": finalist.checked.max_difference,
        "meets_budget": finalist.meets(*result.options.budgets_ms),
        "also": also_document(result, admission.candidate, finalist.also),
        "blocks": [asdict(share) for share in finalist.shares],
    }


def final_table(result: SearchResult) -> Table:
    """The finalists, the baseline, the teacher and the majority, side by side; below, what was timed first."""
    from rich.table import Table

    title = f"{result.task.name} on {result.device.title}, budget {budgets_told(result.options.budgets)}"
    table = Table(title=title, caption=admission_line(result), title_justify="left", caption_justify="left")
    for heading in ("model", "layers × hidden, heads, FFN"):
        table.add_column(heading, overflow="fold")
    held_out, dev = result.task.measures
    headings = [f"held-out tenth of train: {held_out}", f"dev: {dev} (± standard error)", "predicted ms (90%)"]
    where = f" on {result.device.name}" if result.also else ""
    within = "within all budgets" if result.also else "within budget"
    for heading in (*headings, f"{result.device.provenance} ms (p90){where}", within):
        table.add_column(heading, justify="right", overflow="fold")
    for finalist in result.finalists:
        won = finalist.trial == result.winner
        if finalist.trial is None:
            shown = "winner: teacher" if won else "teacher"
        else:
            shown = "winner" if won else f"trial {finalist.trial}"
        scores = f"{finalist.trained.score:.3f}", dev_score(finalist.dev)
        table.add_row(
            shown,
            *_cells(result.admission_of(finalist.trial), scores, finalist.timing),
            _yes(finalist.meets(*result.options.budgets_ms)),
            style="bold" if won else None,
        )
    if result.baseline is not None:
        trial = baseline_trial(result)
        scores = f"{trial.score:.3f} (short)" if trial and trial.score is not None else "", ""
        table.add_row("scaled teacher", *_cells(result.baseline, scores, result.baseline.timing), "yes")
    if all(finalist.trial is not None for finalist in result.finalists):
        table.add_row("teacher", *_teacher_cells(result))
    majority = f"{result.task.held_out_majority:.3f}", f"{result.task.majority:.3f}"
    table.add_row("majority", "", *majority, "", "", "")
    return table


def _teacher_cells(result: SearchResult) -> tuple[str, ...]:
    """The row of a teacher that is no finalist; without latencies where it is not compiled."""
    scores, admission = (f"{result.teacher.score:.3f}", dev_score(result.teacher.dev)), result.teacher_admission
    if admission is None:
        return _sizes(result.teacher.architecture), *scores, "", "not compiled", "no"
    return *_cells(admission, scores, admission.timing), _yes(admission.admitted)


def dev_score(dev: DevScore | None) -> str:
    """A dev score with its standard error, for people; nothing where it was not read."""
    return f"{dev.score:.3f} ± {dev.standard_error:.3f}" if dev else ""


def _yes(within: bool) -> str:
    return "yes" if within else "no"


def _cells(admission: Admission, scores: tuple[str, str], timing: Timing) -> tuple[str, ...]:
    """Sizes, scores, predicted and measured latency of a model."""
    candidate = admission.candidate
    marked = "" if candidate.provenance == timing.provenance else f" {candidate.provenance}"
    return (
        _sizes(candidate.architecture),
        *scores,
        f"{candidate.predicted_ms:.2f} ({candidate.lower_ms:.2f}–{candidate.upper_ms:.2f}){marked}",
        f"{timing.median_ms:.2f} ({timing.p90_ms:.2f})",
    )


def _sizes(architecture: Any) -> str:
    sizes = f"{architecture.layers} × {architecture.hidden}, {architecture.heads}, {architecture.intermediate}"
    return sizes if architecture.precision == "fp32" else f"{sizes}, {architecture.precision}"
