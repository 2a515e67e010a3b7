"""Figures as inline SVG, so that a page needs no other file; beneath each stand its numbers as a table."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Callable, Mapping, Sequence
from html import escape
from io import StringIO
from typing import TYPE_CHECKING, Any

from data.architecture import Architecture
from search.reports.figure_numbers import numbers_of
from search.reports.pages import render_page

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure

# What the points of a series are called, by the series' label.
PointNames = Mapping[str, Sequence[str]]

INK, ACCENT, WARM, QUIET = "#1d3557", "#2a9d8f", "#e76f51", "#7c889e"
_SAND, _PLUM, _SKY = "#b5851a", "#7b2cbf", "#457b9d"
SERIES = (ACCENT, WARM, INK, QUIET, _SAND, _PLUM, _SKY)
# The style of the pages gives these names other colours where a reader prefers dark pages.
_VARIABLES = {
    INK: "--ink",
    ACCENT: "--accent",
    WARM: "--warm",
    QUIET: "--quiet-mark",
    _SAND: "--sand",
    _PLUM: "--plum",
    _SKY: "--sky",
}
_SIZE = (4.6, 3.6)  # inches, without the legend: as narrow as text needs that can be read where a phone shrinks it
_LETTERS, _LEGEND_LETTERS = 10, 8.5  # points
_LEGEND_LINE = 0.17  # inches
# Of a name that is longer, the table beneath the picture holds the rest.
_MOST_LINES = 3


def figure(name: str, draw: Callable[[Axes], PointNames | None], size: tuple[float, float] = _SIZE) -> str:
    """A ``<figure>``: the picture that ``draw`` makes, and all that it shows as a table.

    Args:
        name: keeps the identifiers of several figures on one page apart.
        draw: draws on the axes, where what has a label is a series; returns what its points are called, if anything.
        size: of the picture without its legend, in inches.
    """
    import matplotlib
    from matplotlib.figure import Figure

    inked = dict.fromkeys(("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color"), INK)
    settings: dict[str, Any] = {
        **inked,
        "svg.hashsalt": name,
        "svg.fonttype": "none",
        "font.family": "sans-serif",
        "font.size": _LETTERS,
        # Names may hold dollar signs, which are no formulas.
        "text.parse_math": False,
    }
    with matplotlib.rc_context(settings):
        drawing = Figure(figsize=size, layout="constrained")
        axes = drawing.add_subplot()
        axes.spines[["top", "right"]].set_visible(False)
        names = draw(axes) or {}
        numbers = numbers_of(axes, names)
        description = " against ".join(filter(None, (axes.get_ylabel(), axes.get_xlabel())))
        _wrap_labels(axes, size)
        _legend_below(drawing, axes, size)
        picture = _svg(drawing, description)
    return render_page("figure.html", picture=picture, numbers=numbers)


def _svg(drawing: Figure, description: str) -> str:
    """The drawing as an ``<svg>`` element, in colours that the page's style names."""
    text = StringIO()
    drawing.savefig(text, format="svg", transparent=True, metadata={"Date": None})
    markup = text.getvalue()
    markup = re.sub(r"<metadata>.*?</metadata>", "", markup[markup.index("<svg") :], flags=re.DOTALL)
    # Nothing refers to the names of groups, which would stand in several figures of a page.
    markup = re.sub(r'<g id="[^"]*"', "<g", markup)
    for colour, variable in _VARIABLES.items():
        markup = re.sub(rf"(fill|stroke): {colour}", rf"\1: var({variable}, {colour})", markup)
    return markup.replace("<svg ", f'<svg role="img" aria-label="{escape(description)}" ', 1)


def scatter_sizes(axes: Axes, architectures: Sequence[Architecture], **look: Any) -> list[str]:
    """Depth against width, each larger than those before it; returns the names of the points."""
    sizes = [30.0 + 120.0 * (rank + 1) / len(architectures) for rank in range(len(architectures))]
    hidden, layers = ([getattr(each, name) for each in architectures] for name in ("hidden", "layers"))
    axes.scatter(hidden, layers, s=sizes, **look)
    axes.set_xlabel("hidden size")
    axes.set_ylabel("layers")
    return [each.name for each in architectures]


def plain_log_scale(axis: Axis) -> None:
    """A logarithmic axis with numbers as people write them: 0.5, 1, 2, 5, 10, and more where it spans little."""
    from matplotlib.ticker import LogLocator, NullFormatter

    low, high = axis.get_view_interval()
    axis.set_major_locator(LogLocator(subs=(1, 2, 5) if high > 10 * low else (1, 1.5, 2, 3, 4, 5, 6, 8)))
    axis.set_major_formatter("{x:g}")
    axis.set_minor_formatter(NullFormatter())


def wrapped(text: str, inches: float, points: float) -> str:
    """The text in lines that are not wider than that in letters of this size."""
    from matplotlib.font_manager import FontProperties
    from matplotlib.textpath import text_to_path

    font = FontProperties(size=points)

    def width(line: str) -> float:
        return text_to_path.get_text_width_height_descent(line, font, ismath=False)[0] / 72

    letters = len(text)
    lines = [text]
    while letters > 1 and (widest := max(map(width, lines), default=0.0)) > inches:
        letters = min(letters - 1, int(1.1 * letters * inches / widest))
        lines = textwrap.wrap(text, max(letters, 1), max_lines=_MOST_LINES, placeholder=" …")
    return "\n".join(lines)


def _wrap_labels(axes: Axes, size: tuple[float, float]) -> None:
    """Breaks long titles and labels, which would otherwise be cut off at the picture's edges."""
    across, up = size
    axes.set_xlabel(wrapped(axes.get_xlabel(), 0.75 * across, _LETTERS))
    axes.set_ylabel(wrapped(axes.get_ylabel(), 0.65 * up, _LETTERS))
    axes.set_title(wrapped(axes.get_title(), 0.8 * across, _LETTERS), fontsize=_LETTERS)


def _legend_below(drawing: Figure, axes: Axes, size: tuple[float, float]) -> None:
    """A legend in two columns below the axes, where it hides no point; the picture grows by it."""
    handles = dict(zip(*reversed(axes.get_legend_handles_labels()), strict=True))
    if not handles:
        return
    columns = min(2, len(handles))
    room = size[0] / columns - 0.6
    labels = [wrapped(label, room, _LEGEND_LETTERS) for label in handles]
    drawing.legend(
        handles.values(),
        labels,
        loc="outside lower center",
        ncols=columns,
        fontsize=_LEGEND_LETTERS,
        columnspacing=1,
        frameon=False,
    )
    rows = -(-len(labels) // columns)
    # Columns are filled one after the other; the taller decides.
    heights = [sum(label.count("\n") + 1 for label in labels[start : start + rows]) for start in (0, rows)]
    drawing.set_figheight(size[1] + _LEGEND_LINE * max(heights) + 0.1)
