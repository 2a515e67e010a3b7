"""A portability study in the terminal: its tables, and one plain line for each pair of devices."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from surrogate.portability import Study


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
    from rich.table import Table

    title = f"Error (MAPE) of transfer, {study.splits} splits; noise floor: one session against the next"
    columns = ("from", "to", "rows", "scale factor", "adapted", "from scratch", "noise floor")
    table = Table(*columns, title=title)
    for entry in study.transfers:
        rows = f"{entry.samples} {entry.choice}" if entry.samples else "0"
        floor = share(study.noise_floor[entry.target])
        table.add_row(
            study.names[entry.source],
            study.names[entry.target],
            rows,
            share(entry.scale),
            share(entry.adapt),
            share(entry.scratch),
            floor,
        )
    return table


def _safety(study: Study) -> Table:
    from rich.table import Table

    columns = ("from", "to", "rows", "picked", "within budget", "mean miss", "worst miss", _given_up(study))
    table = Table(*columns, title="Models picked for the second device with so many of its rows")
    for entry in study.safety:
        rows = f"{entry.samples} {entry.choice}" if entry.samples else "0"
        table.add_row(
            study.names[entry.source],
            study.names[entry.target],
            rows,
            f"{entry.picked:.0%}",
            "–" if entry.within is None else f"{entry.within:.0%}",
            f"{entry.mean_overshoot:+.0%}" if entry.mean_overshoot else "–",
            f"{entry.worst_overshoot:+.0%}" if entry.worst_overshoot else "–",
            lacking(study, entry.given_up),
        )
    return table


def _overshoots(study: Study) -> Table:
    from rich.table import Table

    columns = ("chosen on", "run on", "budget", "latency there", "against budget", _given_up(study))
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


def _given_up(study: Study) -> str:
    return f"{study.judged_by} given up"
