"""``report.html``: one self-contained page with plots and tables, made of a search's result alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from search.latencies import budgets_told
from search.reports.admissions import admission_line, admission_rule
from search.reports.depth import depth_answers, plot_depths
from search.reports.devices import where_pending
from search.reports.figures import ACCENT, INK, QUIET, WARM, PointNames, figure, wrapped
from search.reports.latency_source import source_errors, source_told
from search.reports.pages import render_page
from search.reports.summary import baseline_trial
from search.result import SearchResult

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_BUDGET_IN_SIGHT = 2.5  # times the slowest model shown
_BLOCKS_WIDTH, _LABEL_ROOM, _BAR = 4.6, 1.7, 0.34  # inches: the blocks' figure, their names, and a bar
_LETTERS = 8  # points, of their names
# Series of figures, as their legends call them.
_SHORT, _FULL = "short distillation", "in the final: trained fully"
_ON_DEV = "the same on dev (± standard error)"
_HELD_OUT, _ADMITTED, _MISSED = "held out from the predictor", "admitted to training", "missed, never trained"


def render_report(result: SearchResult, document: dict[str, Any]) -> str:
    """The page as text.

    Args:
        result: what is plotted.
        document: the content of ``result.json``, from which the tables are filled, so that both say the same.
    """
    shares = result.winning_finalist.shares
    depths = depth_answers(result)
    plots = {
        "accuracy": figure("accuracy", lambda axes: _plot_accuracy(axes, result)),
        "prediction": figure("prediction", lambda axes: _plot_prediction(axes, result)),
        "blocks": figure("blocks", lambda axes: _plot_blocks(axes, result), (_BLOCKS_WIDTH, 0.7 + _BAR * len(shares)))
        if shares
        else "",
        "depth": figure("depth", lambda axes: plot_depths(axes, depths)),
    }
    told = {
        "admission_line": admission_line(result),
        "admission_rule": admission_rule(result),
        "budgets": budgets_told(result.options.budgets),
        "pending": where_pending(result),
        "believed_from": source_told(result.options.latency_from),
        "source_errors": source_errors(result),
    }
    return render_page("report.html", result=document, plots=plots, **told)


def pareto_front(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """The (latency, score) points that no other point beats in both, by rising latency."""
    front: list[tuple[float, float]] = []
    for latency, score in sorted(points, key=lambda point: (point[0], -point[1])):
        if not front or score > front[-1][1]:
            front.append((latency, score))
    return front


def _plot_accuracy(axes: Axes, result: SearchResult) -> PointNames:
    """Score on the held-out tenth against measured latency: trials, finalists, the baseline, and the teacher, within
    the budget or beyond; what finalists reach on dev stands beside them with its standard error."""
    scored = [trial for trial in result.trials if trial.score is not None]
    short = {trial.index: (_timed_ms(result, trial.index), trial.score or 0.0) for trial in scored}
    full = [(finalist.timing.median_ms, finalist.trained.score) for finalist in result.finalists]
    teacher = [(_timed_ms(result, None), result.teacher.score)] if result.teacher_admission else []
    if short:
        axes.scatter(*zip(*short.values(), strict=True), color=QUIET, label=_SHORT)
    axes.scatter(*zip(*full, strict=True), color=ACCENT, label=_FULL, zorder=3)
    _plot_dev(axes, result)
    if teacher:
        axes.scatter(*zip(*teacher, strict=True), color=INK, marker="s", label="teacher", zorder=3)
    baseline = baseline_trial(result)
    if baseline is not None and baseline.index in short:
        axes.scatter(*short[baseline.index], color=WARM, marker="D", label="uniformly scaled teacher, short", zorder=3)
    points = [*short.values(), *full, *teacher]
    front = pareto_front(points)
    axes.step(*zip(*front, strict=True), where="post", color=INK, linewidth=1, label="Pareto front")
    winner = result.winning_finalist
    place = (winner.timing.median_ms, winner.trained.score)
    axes.scatter(*place, s=160, facecolors="none", edgecolors=INK, zorder=4)
    name = result.winning_candidate.architecture.name
    highest_ms = max(latency for latency, _ in points)
    # Towards the middle, where there is room for it.
    aside, alignment = (-10, "right") if place[0] > highest_ms / 2 else (10, "left")
    axes.annotate(name, place, xytext=(aside, 6), textcoords="offset points", ha=alignment)
    _draw_budget(axes, result, highest_ms)
    axes.axhline(result.teacher.score, color=INK, linestyle=":", label=f"teacher {result.teacher.score:.3f}")
    majority = result.task.held_out_majority
    axes.axhline(majority, color=QUIET, linestyle=":", label=f"majority {majority:.3f}")
    axes.set_xlim(left=0)
    axes.set_xlabel(f"{result.device.provenance} latency on {result.device.name}, ms")
    axes.set_ylabel(f"{result.task.measures[0]}, held-out tenth of train")
    finalists = [(_name(result, finalist.trial), finalist.dev) for finalist in result.finalists]
    return {
        _SHORT: [trial.candidate.architecture.name for trial in scored],
        _FULL: [name for name, _ in finalists],
        _ON_DEV: [name for name, dev in finalists if dev],
    }


def _name(result: SearchResult, trial: int | None) -> str:
    return result.admission_of(trial).candidate.architecture.name


def _plot_dev(axes: Axes, result: SearchResult) -> None:
    """What finalists reach on dev, with one standard error to either side."""
    judged = [(finalist.timing.median_ms, finalist.dev) for finalist in result.finalists if finalist.dev]
    latencies = [latency for latency, _ in judged]
    scores, errors = [dev.score for _, dev in judged], [dev.standard_error for _, dev in judged]
    axes.errorbar(latencies, scores, yerr=errors, fmt="x", color=ACCENT, alpha=0.6, capsize=3, label=_ON_DEV)


def _timed_ms(result: SearchResult, trial: int | None) -> float:
    """Latency before any training of a trial, or of the teacher."""
    return result.admission_of(trial).timing.median_ms


def _draw_budget(axes: Axes, result: SearchResult, highest_ms: float) -> None:
    """The budget as a line, or only in the legend where it is so far off that it would squeeze all else."""
    label = f"budget {result.options.budget_ms:g} ms"
    if result.options.budget_ms <= _BUDGET_IN_SIGHT * highest_ms:
        axes.axvline(result.options.budget_ms, color=WARM, label=label)
    else:
        axes.plot([], [], color=WARM, label=f"{label}, off to the right")


def _plot_prediction(axes: Axes, result: SearchResult) -> PointNames:
    """Predicted latency with its interval against the measured one, of all that was timed before any training.

    The teacher is left out where it would squeeze all else into a corner.
    """
    highest = 0.0
    names: dict[str, list[str]] = {_HELD_OUT: [], _ADMITTED: [], _MISSED: []}
    for name, latency, predicted in result.outlook.quality.held_out:
        axes.scatter(latency, predicted, color=QUIET, s=12, label=_HELD_OUT)
        names[_HELD_OUT].append(name)
        highest = max(highest, latency, predicted)
    for admission in result.admissions:
        candidate, x = admission.candidate, admission.timing.median_ms
        if admission.proposer == "teacher" and x > _BUDGET_IN_SIGHT * result.options.budget_ms:
            continue
        errors = [[candidate.predicted_ms - candidate.lower_ms], [candidate.upper_ms - candidate.predicted_ms]]
        color, label = (ACCENT, _ADMITTED) if admission.admitted else (WARM, _MISSED)
        axes.errorbar(x, candidate.predicted_ms, yerr=errors, fmt="o", capsize=3, color=color, label=label)
        names[label].append(candidate.architecture.name)
        highest = max(highest, x, candidate.upper_ms)
    axes.plot([0, highest], [0, highest], color=QUIET, linewidth=1)
    _draw_budget(axes, result, highest)
    axes.set_xlim(left=0)
    axes.set_ylim(bottom=0)
    axes.set_xlabel(f"{result.device.provenance} median, ms")
    axes.set_ylabel("predicted, ms (bars: 90% interval)")
    return names


def _plot_blocks(axes: Axes, result: SearchResult) -> PointNames:
    """Time of each block of the winner in one run, the longest on top."""
    shares = sorted(result.winning_finalist.shares, key=lambda share: share.total_ms)
    names = [f"{share.count} × {share.name}" for share in shares]
    bars = axes.barh(range(len(shares)), [share.total_ms for share in shares], color=ACCENT)
    axes.bar_label(bars, fmt="%.2f", padding=3, fontsize=_LETTERS)
    axes.set_yticks(range(len(shares)), [wrapped(name, _LABEL_ROOM, _LETTERS) for name in names], fontsize=_LETTERS)
    axes.set_xlabel(f"ms of one run, {result.device.provenance}")
    return {"": names[::-1]}
