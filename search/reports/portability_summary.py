"""A portability study in the terminal: its tables, and one plain line for each pair of devices."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from surrogate.tables.portability import Study

# Text of a cell by pair and choice of rows, then by number of rows.
_Cells = dict[tuple[str, str, str], dict[int, str]]


def show_study(study: Study, screen: Console) -> None:
    """Print the tables, then what they come to."""
    for table in (_ranks(study), _transfers(study), _safety(study), _overshoots(study)):
        screen.print(table)
    for line in (*notes(study), *(entry.text for entry in study.safe_samples)):
        screen.print(line, markup=False, soft_wrap=True)


def notes(study: Study) -> list[str]:
    """What has to be known beside the figures."""
    lines = []
    if study.left_out:
        counts = ", ".join(map(str, study.left_out))
        lines.append(
            f"left out: {counts} samples, as {study.judged} of the {study.models} models are kept aside to judge by"
        )
    if study.judged_by == "latency":
        lines.append("neither accuracy nor size is known: the slowest model within a budget is taken for the best")
    silent = [
        study.names[device]
        for device, floor in study.noise_floor.items()
        if floor is None and study.provenance[device] == "measured"
    ]
    if silent:
        lines.append(f"measured in one session only, so that its noise is not known: {', '.join(silent)}")
    return lines


def lacking(study: Study, value: float | None) -> str:
    """``12% of the size`` or ``1.2 points``; a dash where there is nothing to compare."""
    if value is None:
        return "–"
    return f"{100 * value:.1f} points" if study.judged_by == "accuracy" else f"{value:.0%}"


def share(value: float | None) -> str:
    """``12.3%``, a dash for None."""
    return "–" if value is None else f"{value:.1%}"


def _ranks(study: Study) -> Table:
    from rich.table import Table

    names = [study.names[device] for device in study.devices]
    table = Table("", *names, title=f"Rank correlation of {study.models} models' latency (Spearman)")
    for name, row in zip(names, study.rank_correlation, strict=True):
        table.add_row(name, *(f"{value:.3f}" for value in row))
    return table


def _transfers(study: Study) -> Table:
    """A row a pair: scale factor / adapted / from scratch at each number of rows."""
    title = "Error (MAPE, %) by rows of the second device: scale factor / adapted / from scratch"
    table = _by_samples(study, title, "noise floor")
    cells: _Cells = defaultdict(dict)
    for entry in study.transfers:
        errors = (entry.scale, entry.adapt, entry.scratch)
        cells[entry.source, entry.target, entry.choice][entry.samples] = " / ".join(map(_percent, errors))
    for (source, target, choice), row in cells.items():
        names = (study.names[source], study.names[target], choice)
        table.add_row(*names, *row.values(), _percent(study.noise_floor[target]))
    return table


def _safety(study: Study) -> Table:
    """A row a pair: share within the budget / worst miss / what is given up at each number of rows."""
    unit = "points" if study.judged_by == "accuracy" else "%"
    given_up = f"{study.judged_by} given up ({unit})"
    title = f"Models picked by rows of the second device: within the budget (%) / worst miss (%) / {given_up}"
    table = _by_samples(study, title)
    cells: _Cells = defaultdict(dict)
    for entry in study.safety:
        shown = (entry.within, entry.worst_overshoot or None, entry.given_up)
        cells[entry.source, entry.target, entry.choice][entry.samples] = " / ".join(map(_percent, shown))
    for (source, target, choice), row in cells.items():
        table.add_row(study.names[source], study.names[target], choice, *row.values())
    return table


def _by_samples(study: Study, title: str, *more: str) -> Table:
    from rich.table import Table

    counts = dict.fromkeys(str(entry.samples) for entry in study.transfers)
    return Table("from", "to", "rows", *counts, *more, title=title)


def _percent(value: float | None) -> str:
    """``12`` or ``4.5``: whole numbers from ten on."""
    if value is None:
        return "–"
    return f"{100 * value:.0f}" if 100 * abs(value) >= 9.95 else f"{100 * value:.1f}"


def _overshoots(study: Study) -> Table:
    from rich.table import Table

    columns = ("chosen on", "run on", "budget", "latency there", "against budget", f"{study.judged_by} given up")
    table = Table(*columns, title="Each other's best model")
    for entry in study.overshoots:
        table.add_row(
            study.names[entry.source],
            study.names[entry.target],
            f"{entry.budget_ms:.3g} ms",
            f"{entry.latency_ms:.3g} ms",
            f"{entry.overshoot:+.0%}",
            lacking(study, entry.given_up),
        )
    return table
