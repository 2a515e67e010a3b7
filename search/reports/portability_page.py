"""``study.html``: a portability study as one self-contained page, with its heat map and curves inside."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from data.errors import StoreError
from search.reports.figures import ACCENT, INK, QUIET, SERIES, WARM, figure, plain_log_scale
from search.reports.pages import render_page
from search.reports.portability_summary import lacking, notes, share

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from surrogate.tables.portability import Study

_SIZE = (4.2, 3.2)  # inches
# Errors below this are drawn at it, since the axis is logarithmic.
_LOWEST_PERCENT = 0.1


def write_study(study: Study, folder: Path) -> tuple[Path, Path]:
    """``study.json`` and ``study.html`` in a folder; returns both paths.

    Raises:
        StoreError: the folder cannot be written.
    """
    document, page = folder / "study.json", folder / "study.html"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for path, text in (
            (document, json.dumps(study.to_dict(), indent=1, allow_nan=False)),
            (page, render_study(study)),
        ):
            partial = path.with_name(f"{path.name}.partial")
            partial.write_text(text, encoding="utf-8")
            partial.replace(path)
    except OSError as error:
        raise StoreError(f"the study cannot be written into {folder}: {error.strerror}") from error
    return document, page


def render_study(study: Study) -> str:
    """The page as text; every device that was not measured is marked with where its figures come from."""
    from surrogate.tables.budget_safety import SAFE
    from surrogate.tables.transfer_trials import SURE

    return render_page(
        "portability.html",
        study=study,
        names=study.names,
        heat=_heat(study.rank_correlation),
        errors=_pictures(study, "error", _plot_errors),
        safety=_pictures(study, "safety", _plot_safety),
        notes=notes(study),
        share=share,
        lacking=lambda value: lacking(study, value),
        sure=SURE,
        safe=SAFE,
    )


def _heat(matrix: Sequence[Sequence[float]]) -> list[list[tuple[float, float]]]:
    """Each value with how deep its cell is coloured, from 0 for the lowest to 1 for a value of 1."""
    lowest = min(min(row) for row in matrix)
    return [[(value, min(max((value - lowest) / max(1 - lowest, 1e-9), 0.0), 1.0)) for value in row] for row in matrix]


def _pictures(study: Study, name: str, draw: Callable[..., None]) -> list[str]:
    """One picture for each target."""
    return [
        figure(f"{name}{number}", partial(draw, study=study, target=target), _SIZE)
        for number, target in enumerate(study.devices)
    ]


def _plot_errors(axes: Axes, study: Study, target: str) -> None:
    """Median error over the sources against the number of rows, and the noise floor."""
    curves = [("scale", "random", "scale factor", QUIET), ("scratch", "random", "from scratch", WARM)]
    choices = dict.fromkeys(entry.choice for entry in study.transfers)
    curves += [
        ("adapt", choice, f"adapted, {choice} rows", colour)
        for choice, colour in zip(choices, (ACCENT, INK), strict=False)
    ]
    for method, choice, label, colour in curves:
        axes.plot(*_medians(study, target, method, choice), marker="o", markersize=4, label=label, color=colour)
    floor = study.noise_floor[target]
    if floor is not None:
        axes.axhline(max(100 * floor, _LOWEST_PERCENT), linestyle="--", color=INK, label="noise floor")
    axes.set(title=f"to {study.names[target]}", xlabel="rows of this device", ylabel="error (MAPE), %", yscale="log")
    plain_log_scale(axes.yaxis)


def _medians(study: Study, target: str, method: str, choice: str) -> tuple[list[int], list[float]]:
    """(samples, median error over the source devices in per cent) of one method."""
    points: dict[int, list[float]] = {}
    for entry in study.transfers:
        value: Any = getattr(entry, method)
        if entry.target == target and entry.choice == choice and value is not None:
            points.setdefault(entry.samples, []).append(max(100 * value, _LOWEST_PERCENT))
    return sorted(points), [median(points[count]) for count in sorted(points)]


def _plot_safety(axes: Axes, study: Study, target: str) -> None:
    """Share of the picks within the budget against the number of rows, a line a source."""
    from surrogate.tables.budget_safety import SAFE

    colours = dict(zip(study.devices, SERIES * len(study.devices), strict=False))
    for source in study.devices:
        for choice, style in zip(dict.fromkeys(entry.choice for entry in study.safety), ("-", ":"), strict=False):
            curve = [
                (entry.samples, 100 * entry.within)
                for entry in study.safety
                if (entry.source, entry.target, entry.choice) == (source, target, choice) and entry.within is not None
            ]
            if curve:
                label = f"from {study.names[source]}" + ("" if choice == "random" else f", {choice} rows")
                axes.plot(
                    *zip(*curve, strict=True), style, marker="o", markersize=4, label=label, color=colours[source]
                )
    axes.axhline(100 * SAFE, linestyle="--", color=INK, label=f"safe from {100 * SAFE:g} % on")
    axes.set(title=f"on {study.names[target]}", xlabel="rows of this device", ylabel="picks within the budget, %")
    axes.set_ylim(-4, 104)
