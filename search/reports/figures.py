"""Figures as inline SVG, so that a page needs no other file."""

from __future__ import annotations

import re
from collections.abc import Callable
from io import StringIO
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes

INK, ACCENT, WARM, QUIET = "#1d3557", "#2a9d8f", "#e76f51", "#8d99ae"
_SIZE = (7.2, 4.2)  # inches


def svg(name: str, draw: Callable[[Axes], None], size: tuple[float, float] = _SIZE) -> str:
    """A figure as an ``<svg>`` element; the name keeps the identifiers of several on one page apart."""
    import matplotlib
    from matplotlib.figure import Figure

    settings = {"svg.hashsalt": name, "svg.fonttype": "none", "font.family": "sans-serif", "font.size": 10}
    with matplotlib.rc_context(settings):
        figure = Figure(figsize=size, layout="constrained")
        axes = figure.add_subplot()
        axes.spines[["top", "right"]].set_visible(False)
        draw(axes)
        text = StringIO()
        figure.savefig(text, format="svg", transparent=True, metadata={"Date": None})
    markup = text.getvalue()
    return re.sub(r"<metadata>.*?</metadata>", "", markup[markup.index("<svg") :], flags=re.DOTALL)
