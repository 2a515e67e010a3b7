"""Figures without a browser: the numbers beneath them, names with any letters, labels in lines, axes with numbers."""

from __future__ import annotations

import html
import re

import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from search.reports.figure_numbers import numbers_of
from search.reports.figures import ACCENT, figure, plain_log_scale, wrapped


@pytest.fixture
def axes() -> Axes:
    found: Axes = Figure().add_subplot()
    found.set(xlabel="ms", ylabel="score")
    return found


def test_all_that_has_a_label_is_in_the_numbers(axes: Axes) -> None:
    axes.scatter([1, 2], [0.5, 0.61234], label="points")
    axes.plot([1, 3], [4, 5], label="curve")
    axes.errorbar([7], [0.8], yerr=[0.1], fmt="x", label="judged")
    axes.axhline(0.9, label="teacher")
    axes.axvline(8, label="budget")
    axes.plot([0, 9], [0, 9])
    axes.fill_between([0, 9], [0, 8], [0, 10], label="band")
    found = numbers_of(axes, {"points": ["a", "b"]})
    assert found.headings == ("series", "name", "ms", "score")
    assert found.rows == (
        ("points", "a", "1", "0.5"),
        ("points", "b", "2", "0.6123"),
        ("judged", "", "7", "0.8 (0.7 to 0.9)"),
        ("curve", "", "1", "4"),
        ("curve", "", "3", "5"),
        ("teacher", "", "all", "0.9"),
        ("budget", "", "8", "all"),
    )


def test_bars_have_a_name_and_a_number(axes: Axes) -> None:
    axes.barh([0, 1], [2.5, 3.5])
    axes.set_ylabel("")
    found = numbers_of(axes, {"": ["upper", "lower"]})
    assert (found.headings, found.rows) == (("name", "ms"), (("upper", "3.5"), ("lower", "2.5")))


def test_names_are_no_formulas_and_no_markup() -> None:
    name = "$x^{$ </svg><b>"

    def draw(axes: Axes) -> None:
        axes.plot([1, 2], [1, 2], label=name, color=ACCENT)
        axes.set(title=name, xlabel=name)

    page = figure("any", draw)
    assert "<b>" not in page and page.count("</svg>") == 1
    texts = [html.unescape(text) for text in re.findall("<text[^>]*>([^<]*)</text>", page)]
    assert texts.count(name) == 3
    assert f"stroke: var(--accent, {ACCENT})" in page


def test_long_labels_are_broken_and_longer_ones_cut() -> None:
    assert wrapped("short", 2.0, 10) == "short"
    assert wrapped("", 2.0, 10) == ""
    lines = wrapped("a name of some words that fits in two lines", 2.2, 10).split("\n")
    assert len(lines) == 2 and not lines[-1].endswith("…")
    lines = wrapped("a-word-without-end" * 20, 2.0, 10).split("\n")
    assert len(lines) == 3 and lines[-1].endswith("…")
    assert wrapped("WWWW", 0.01, 10)


@pytest.mark.parametrize(("low", "high"), [(2.1, 4.9), (5.1, 9.9), (1.0, 1.6), (0.01, 300.0)])
def test_a_logarithmic_axis_has_numbers(low: float, high: float, axes: Axes) -> None:
    axes.set(yscale="log", ylim=(low, high))
    plain_log_scale(axes.yaxis)
    shown = [tick for tick in axes.get_yticks() if low <= tick <= high]
    assert 1 <= len(shown) <= 15
    assert all(re.fullmatch(r"[0-9.]+", axes.yaxis.get_major_formatter()(tick)) for tick in shown)
