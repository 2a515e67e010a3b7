"""What several budgets found, side by side: the document, the table and the page.

schema, pocketbert          version of this layout, and of the program
budgets[]                   by rising budget: budget_ms, folder (relative to --out), problem (why nothing was found;
                            null), result (the content of the folder's result.json; null)
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from search.latencies import TimedOnEach, on_each
from search.reports.devices import where_pending
from search.reports.figures import ACCENT, INK, QUIET, SERIES, WARM, PointNames, figure, scatter_sizes
from search.reports.findings import findings
from search.reports.pages import render_page
from search.reports.summary import baseline_trial, dev_score, program_version, result_document
from search.result import BudgetOutcome, SearchResult

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from rich.table import Table

SCHEMA = 1
_HELD_OUT, _ON_DEV = "winners, held-out tenth of train", "winners, dev (± standard error)"
_TEACHER_IN_SIGHT = 2.0  # times the largest budget


def front_document(outcomes: Sequence[BudgetOutcome], out: Path) -> dict[str, Any]:
    """The content of ``result.json`` of the searches in ``out``, by rising budget."""
    return {
        "schema": SCHEMA,
        "pocketbert": program_version(),
        "budgets": [
            {
                "budget_ms": outcome.budget_ms,
                "folder": outcome.folder,
                "problem": outcome.problem or None,
                "result": result_document(outcome.result, out / outcome.folder) if outcome.result else None,
            }
            for outcome in outcomes
        ],
    }


def front_table(outcomes: Sequence[BudgetOutcome]) -> Table:
    """A row for each budget's winner, and the teacher."""
    from rich.table import Table

    results = results_of(outcomes)
    first = results[0]
    caption = f"each model also keeps {on_each(first.options.also)}" if first.also else None
    title = f"{first.task.name} on {first.device.title}"
    table = Table(title=title, caption=caption, title_justify="left", caption_justify="left")
    held_out, dev = first.task.measures
    for heading in ("budget ms", "winner", f"held-out tenth of train: {held_out}", f"dev: {dev} (± standard error)"):
        table.add_column(heading, overflow="fold")
    for place, device in enumerate(first.devices):
        where = f" on {device.name}" if first.also else ""
        table.add_column(f"{_provenance(results, place)} ms (p90){where}", justify="right")
    table.add_column("model in", overflow="fold")
    for outcome in outcomes:
        if outcome.result is None:
            table.add_row(f"{outcome.budget_ms:g}", outcome.problem)
            continue
        finalist, name = outcome.result.winning_finalist, outcome.result.winning_candidate.architecture.name
        shown = f"{name} (the teacher)" if finalist.trial is None else name
        scores = f"{finalist.trained.score:.3f}", dev_score(finalist.dev)
        table.add_row(f"{outcome.budget_ms:g}", shown, *scores, *_latencies(finalist), f"{outcome.folder}/best")
    admission = first.teacher_admission
    latencies = _latencies(admission) if admission else ["not compiled" for _ in first.devices]
    teacher = first.teacher
    table.add_row(
        "", f"teacher {teacher.architecture.name}", f"{teacher.score:.3f}", dev_score(teacher.dev), *latencies, ""
    )
    return table


def _latencies(found: TimedOnEach) -> list[str]:
    return [f"{timing.median_ms:.2f} ({timing.p90_ms:.2f})" for timing in found.timings]


def _provenance(results: Sequence[SearchResult], place: int) -> str:
    """Of the latencies on a device; a search may have been confirmed there before or after another one."""
    return " or ".join(dict.fromkeys(result.devices[place].provenance for result in results))


def results_of(outcomes: Sequence[BudgetOutcome]) -> list[SearchResult]:
    """Those that were found, by rising budget."""
    return [outcome.result for outcome in outcomes if outcome.result]


def render_front(outcomes: Sequence[BudgetOutcome], document: dict[str, Any]) -> str:
    """The page as text; its sentences and tables are filled from the document."""
    results = results_of(outcomes)
    plots = {
        "front": figure("front", lambda axes: _plot_front(axes, results)),
        "sizes": figure("sizes", lambda axes: _plot_sizes(axes, results)),
    }
    found = [entry for entry in document["budgets"] if entry["result"]]
    told = {
        "findings": findings(document),
        "also": on_each(results[0].options.also),
        "pending": where_pending(*results),
        "precisions": " or ".join(dict.fromkeys(entry["result"]["winner"]["precision"] for entry in found)),
        "provenances": [_provenance(results, place) for place in range(len(results[0].devices))],
    }
    first = found[0]["result"]
    return render_page("front.html", budgets=document["budgets"], found=found, first=first, plots=plots, **told)


def _plot_front(axes: Axes, results: Sequence[SearchResult]) -> PointNames:
    """Score against measured latency: winners on dev and on the held-out tenth, other finalists, the teacher, and the
    uniformly scaled teachers that had a trial; each budget is a line."""
    winners = [result.winning_finalist for result in results]
    latencies = [finalist.timing.median_ms for finalist in winners]
    for result in results:
        axes.axvline(result.options.budget_ms, color=WARM, linewidth=0.8, alpha=0.6, label="budgets")
    held_out = [finalist.trained.score for finalist in winners]
    axes.plot(latencies, held_out, "o-", color=ACCENT, label=_HELD_OUT)
    judged = [(at, finalist.dev) for at, finalist in zip(latencies, winners, strict=True) if finalist.dev]
    axes.errorbar(
        [at for at, _ in judged],
        [dev.score for _, dev in judged],
        yerr=[dev.standard_error for _, dev in judged],
        fmt="x",
        color=INK,
        capsize=3,
        label=_ON_DEV,
    )
    scaled = [found for result in results if (found := _scaled_trial(result))]
    if scaled:
        axes.scatter(*zip(*scaled, strict=True), color=WARM, marker="D", label="scaled teacher, short, held-out")
    teacher, admission = results[0].teacher, results[0].teacher_admission
    if admission and admission.timing.median_ms <= _TEACHER_IN_SIGHT * results[-1].options.budget_ms:
        axes.scatter(admission.timing.median_ms, teacher.score, color=INK, marker="s", label="teacher, held-out")
    axes.axhline(teacher.score, color=QUIET, linestyle=":", label=f"teacher, held-out: {teacher.score:.3f}")
    axes.set_xlim(left=0)
    axes.set_xlabel(f"{_provenance(results, 0)} latency on {results[0].device.name}, ms")
    axes.set_ylabel(results[0].task.measures[0])
    names = [result.winning_candidate.architecture.name for result in results]
    on_dev = [name for name, finalist in zip(names, winners, strict=True) if finalist.dev]
    return {_HELD_OUT: names, _ON_DEV: on_dev}


def _scaled_trial(result: SearchResult) -> tuple[float, float] | None:
    trial = baseline_trial(result)
    if trial is None or trial.score is None:
        return None
    return result.admission_of(trial.index).timing.median_ms, trial.score


def _plot_sizes(axes: Axes, results: Sequence[SearchResult]) -> PointNames:
    """Depth against width of all trials, larger where nearer to the teacher within their budget; winners are marked."""
    names = {}
    for result, colour in zip(results, itertools.cycle(SERIES), strict=False):
        scored = [trial for trial in result.trials if trial.divergence]
        order = sorted(scored, key=lambda trial: trial.divergence.mean if trial.divergence else 0.0, reverse=True)
        label = f"trials for {result.options.budget_ms:g} ms"
        sizes = [trial.candidate.architecture for trial in order]
        names[label] = scatter_sizes(axes, sizes, alpha=0.6, label=label, color=colour)
    for result in results:
        won = result.winning_candidate.architecture
        text = f"{result.options.budget_ms:g} ms"
        axes.annotate(text, (won.hidden, won.layers), xytext=(6, 6), textcoords="offset points", fontsize=8)
    return names
