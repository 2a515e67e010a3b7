"""The numbers of a figure, read off what was drawn: a table that cannot say anything else than its picture."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes


@dataclass(frozen=True)
class Numbers:
    """A table as text; the last headings are those of the axes that have one, the horizontal one first."""

    headings: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class _Point:
    """None where a line runs through all values of an axis; ``bar`` is the ends of an error bar, upwards."""

    series: str
    x: float | None
    y: float | None
    bar: tuple[float, float] | None = None


def numbers_of(axes: Axes, names: Mapping[str, Sequence[str]]) -> Numbers:
    """Every point, bar and line with a label; ``names`` are those of a series' points, in their order.

    Raises:
        ValueError: a series has other than as many points as names.
    """
    points = [*_scattered(axes), *_with_error_bars(axes), *_lines(axes), *_bars(axes)]
    counted = Counter(point.series for point in points)
    for series, found in names.items():
        if counted[series] != len(found):
            raise ValueError(f"series {series!r} has {counted[series]} points, and {len(found)} names for them")
    unused = {series: iter(found) for series, found in names.items()}
    in_series = any(point.series for point in points)
    headings = [*(["series"] if in_series else []), *(["name"] if unused else [])]
    headings += filter(None, (axes.get_xlabel(), axes.get_ylabel()))
    rows = []
    for point in points:
        told = [point.series] if in_series else []
        told += [next(unused.get(point.series, iter(())), "")] if unused else []
        ends = f" ({_text(point.bar[0])} to {_text(point.bar[1])})" if point.bar else ""
        told += [_text(point.x)] if axes.get_xlabel() else []
        told += [_text(point.y) + ends] if axes.get_ylabel() else []
        rows.append(tuple(told))
    return Numbers(tuple(headings), tuple(rows))


def _text(value: float | None) -> str:
    return "all" if value is None else f"{value:.4g}"


def _shown(artist: Any) -> bool:
    """Whether the artist has a label of its own; matplotlib's own ones begin with an underscore."""
    return not str(artist.get_label()).startswith("_")


def _scattered(axes: Axes) -> Iterator[_Point]:
    from matplotlib.collections import PathCollection

    for collection in axes.collections:
        if isinstance(collection, PathCollection) and _shown(collection):
            offsets: Any = collection.get_offsets()
            for x, y in offsets:
                yield _Point(str(collection.get_label()), float(x), float(y))


def _with_error_bars(axes: Axes) -> Iterator[_Point]:
    from matplotlib.container import ErrorbarContainer

    for container in axes.containers:
        if isinstance(container, ErrorbarContainer):
            lines: Any = container.lines
            data, _, (bars, *_) = lines
            for x, y, segment in zip(*data.get_data(), bars.get_segments(), strict=True):
                yield _Point(str(container.get_label()), float(x), float(y), (segment[0][1], segment[1][1]))


def _lines(axes: Axes) -> Iterator[_Point]:
    """Curves point by point; lines across the whole figure once."""
    for line in axes.lines:
        label = str(line.get_label())
        if not _shown(line):
            continue
        data: Any = line.get_data()
        if line.get_transform() == axes.get_yaxis_transform(which="grid"):
            yield _Point(label, None, float(data[1][0]))
        elif line.get_transform() == axes.get_xaxis_transform(which="grid"):
            yield _Point(label, float(data[0][0]), None)
        else:
            for x, y in zip(*data, strict=True):
                yield _Point(label, float(x), float(y))


def _bars(axes: Axes) -> Iterator[_Point]:
    """Horizontal bars, the uppermost first; they are no series, but may have names."""
    from matplotlib.container import BarContainer

    for container in axes.containers:
        if isinstance(container, BarContainer):
            for patch in reversed(container.patches):
                yield _Point("", float(patch.get_width()), None)
