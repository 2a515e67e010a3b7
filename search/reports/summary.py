"""The result of a search for programs (``result.json``, ``--json``) and for people (the table in the terminal).

``result.json``, schema 1. Times are ms, sizes bytes, ``provenance`` is ``measured``, ``simulated`` or ``published``:

    schema, pocketbert              version of this layout; version of the program
    options                         what was asked for: device, budget_ms, task, unit, teacher, trials, seq_len, ...
    device                          name, title, processor, target, threads, fingerprint, provenance
    task                            name, metric, majority (score of the best constant answer), examples
    teacher                         name, architecture, score (of the metric), scores (all)
    predictor                       provenance; n, mape, within_10, spearman (fractions of 1) on held-out whole models;
                                    held_out[]: name, latency_ms, predicted_ms
    space                           candidates, feasible, fastest (of all candidates)
    trials[]                        index, name, architecture, proposer, status, score, scores, seconds,
                                    latency: {predicted_ms, interval_ms, probability_within, provenance}
    finalists[]                     trial, name, latency (as above), score, scores, max_logit_difference, meets_budget,
                                    blocks, screening and timing: {median_ms, min_ms, p90_ms, n, samples_ms, provenance}
    winner                          the finalist that won, with its weight_bytes
    confirmation                    status (confirmed | pending), command that completes it where it is pending
    files                           what was written, relative to --out
    seconds                         wall clock of each stage, over all runs of a resumed search
"""

from __future__ import annotations

import shlex
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from search.optimization.space import model_bytes
from search.records import Candidate, Finalist, SearchOptions, SearchResult, Timing, Trial

if TYPE_CHECKING:
    from rich.table import Table

SCHEMA = 1


def result_document(result: SearchResult, out: Path) -> dict[str, Any]:
    """The content of ``result.json`` of the search in ``out``."""
    provenance = result.feasible.provenance
    trials = {trial.index: trial for trial in result.trials}
    finalists = {f.trial: _finalist(result, f, trials[f.trial]) for f in result.finalists}
    winner = finalists[result.winner] | {"weight_bytes": model_bytes(result.winning_trial.candidate.architecture)}
    return {
        "schema": SCHEMA,
        "pocketbert": program_version(),
        "options": asdict(result.options),
        "device": asdict(result.device),
        "task": asdict(result.task),
        "teacher": asdict(result.teacher) | {"provenance": "measured"},
        "predictor": {"provenance": provenance} | asdict(result.feasible.quality),
        "space": {
            "candidates": result.feasible.space_size,
            "feasible": len(result.feasible.candidates),
            "fastest": _candidate(result.feasible.fastest, provenance),
        },
        "trials": [_trial(trial, provenance) for trial in result.trials],
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


def program_version() -> str:
    """Version of the installed distribution, or ``checkout`` where it runs from source."""
    try:
        return version("pocketbert")
    except PackageNotFoundError:
        return "checkout"


def pending_command(result: SearchResult, out: Path) -> str | None:
    """The command that confirms a search whose device was not attached; None where it is confirmed."""
    return None if result.confirmation == "confirmed" else resume_command(result.options, out)


def resume_command(options: SearchOptions, out: Path) -> str:
    """The command line that goes on with the search of these options in ``out``."""
    arguments: dict[str, Any] = {
        "--device": options.device,
        "--budget": f"{options.budget_ms:g}ms",
        "--unit": options.unit,
        "--task": options.task,
        "--data-dir": options.data_dir,
        "--teacher": options.teacher,
        "--trials": options.trials,
        "--seq-len": options.seq_len,
        "--max-size": f"{options.max_bytes}B" if options.max_bytes else None,
        "--threads": options.threads,
        "--seed": options.seed,
        "--out": out,
    }
    words = [word for name, value in arguments.items() if value is not None for word in (name, str(value))]
    return shlex.join(["search", *words, "--resume"])


def _candidate(candidate: Candidate, provenance: str) -> dict[str, Any]:
    return {
        "name": candidate.architecture.name,
        "architecture": candidate.architecture.to_dict(),
        "latency": {
            "predicted_ms": candidate.predicted_ms,
            "interval_ms": [candidate.lower_ms, candidate.upper_ms],
            "probability_within": candidate.probability_within,
            "provenance": provenance,
        },
    }


def _trial(trial: Trial, provenance: str) -> dict[str, Any]:
    return _candidate(trial.candidate, provenance) | {
        "index": trial.index,
        "proposer": trial.proposer,
        "status": trial.status,
        "score": trial.score,
        "scores": trial.scores,
        "seconds": round(trial.seconds, 3),
        "error": trial.error or None,
    }


def _finalist(result: SearchResult, finalist: Finalist, trial: Trial) -> dict[str, Any]:
    trained, checked = finalist.trained, finalist.checked
    return _candidate(trial.candidate, result.feasible.provenance) | {
        "trial": finalist.trial,
        "screening": _timing(finalist.screening),
        "timing": _timing(finalist.timing) if finalist.timing else None,
        "score": trained.score if trained else None,
        "scores": trained.scores if trained else None,
        "seconds": round(trained.seconds, 3) if trained else None,
        "max_logit_difference": checked.max_difference if checked else None,
        "meets_budget": finalist.meets(result.options.budget_ms),
        "blocks": [asdict(share) for share in finalist.shares],
    }


def _timing(timing: Timing) -> dict[str, Any]:
    return {
        "median_ms": timing.median_ms,
        "min_ms": min(timing.samples_ms),
        "p90_ms": timing.p90_ms,
        "n": len(timing.samples_ms),
        **asdict(timing),
    }


def final_table(result: SearchResult) -> Table:
    """The finalists, the teacher and the majority, side by side."""
    from rich.table import Table

    metric = result.task.metric
    title = f"{result.task.name} on {result.device.title}, budget {result.options.budget_ms:g} ms"
    table = Table(title=title, title_justify="left")
    for heading in ("model", "layers × hidden, heads, FFN"):
        table.add_column(heading)
    for heading in (f"dev {metric}", "predicted ms (90%)", f"{result.device.provenance} ms (p90)", "within budget"):
        table.add_column(heading, justify="right")
    for finalist in result.finalists:
        table.add_row(*_finalist_cells(result, finalist), style="bold" if finalist.trial == result.winner else None)
    table.add_row("teacher", _sizes(result.teacher.architecture), f"{result.teacher.score:.3f}", "", "", "")
    table.add_row("majority", "", f"{result.task.majority:.3f}", "", "", "")
    return table


def _finalist_cells(result: SearchResult, finalist: Finalist) -> tuple[str, ...]:
    trial = result.trials[finalist.trial]
    candidate, timing = trial.candidate, finalist.timing or finalist.screening
    return (
        "winner" if finalist.trial == result.winner else f"trial {finalist.trial}",
        _sizes(candidate.architecture),
        f"{finalist.trained.score:.3f}" if finalist.trained else f"{trial.score:.3f} (short)",
        f"{candidate.predicted_ms:.2f} ({candidate.lower_ms:.2f}–{candidate.upper_ms:.2f})",
        f"{timing.median_ms:.2f} ({timing.p90_ms:.2f})",
        "yes" if finalist.meets(result.options.budget_ms) else "no",
    )


def _sizes(architecture: Any) -> str:
    return f"{architecture.layers} × {architecture.hidden}, {architecture.heads}, {architecture.intermediate}"
