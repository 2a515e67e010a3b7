"""The page that a profiling leaves: the predictor's parity plot and errors, and how far its measurements go."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from data.errors import StoreError
from data.measurement import runs_on
from search.reports.figures import ACCENT, QUIET, WARM, PointNames, figure, plain_log_scale
from search.reports.pages import render_page

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from data.architecture import Precision
    from data.measurement import Measurement
    from profiling import Device
    from profiling.quality import SessionQuality
    from surrogate import DevicePredictor

PAGE = "report.html"
_SQUARE = (4.6, 4.2)  # inches


def write_profile_page(
    folder: Path,
    device: Device,
    predictor: DevicePredictor,
    rows: Sequence[Measurement],
    quality: SessionQuality,
    precisions: Sequence[Precision],
) -> Path:
    """Write ``report.html`` beside the predictor and return its path; ``precisions`` are those of the models' products.

    Raises:
        StoreError: the page cannot be written.
    """
    path = folder / PAGE
    partial = path.with_name(f"{PAGE}.partial")
    try:
        partial.write_text(render_profile(device, predictor, rows, quality, precisions), encoding="utf-8")
        partial.replace(path)
    except OSError as error:
        raise StoreError(f"the report cannot be written to {path}: {error.strerror}") from error
    return path


def render_profile(
    device: Device,
    predictor: DevicePredictor,
    rows: Sequence[Measurement],
    quality: SessionQuality,
    precisions: Sequence[Precision],
) -> str:
    """The page as text; everything that was not measured is marked with where it comes from."""
    held_out = [
        {"name": name, "measured_ms": measured, "predicted_ms": predicted, "error": predicted / measured - 1}
        for name, measured, predicted in sorted(predictor.held_out, key=lambda entry: entry[1])
    ]
    return render_page(
        "profile.html",
        device=device.spec,
        description=device.describe(),
        runs_on=runs_on(device.unit, predictor.origin.threads),
        precisions=" and ".join(precisions),
        predictor=predictor,
        statistic=predictor.statistic,
        interval=predictor.relative_interval(),
        held_out=held_out,
        quality=quality,
        rows=len(rows),
        samples=sum(len(row.samples_ms) for row in rows),
        outliers=sum(len(row.outliers) for row in rows),
        sessions=sorted({row.session for row in rows}),
        parity=figure("parity", lambda axes: _plot_parity(axes, predictor), _SQUARE),
    )


def _plot_parity(axes: Axes, predictor: DevicePredictor) -> PointNames:
    """Predicted against measured latency of the held-out models, with the 10% band."""
    times = [time for _, measured, predicted in predictor.held_out for time in (measured, predicted)]
    ends = [0.8 * min(times), 1.25 * max(times)]
    low, high = [0.9 * end for end in ends], [1.1 * end for end in ends]
    axes.fill_between(ends, low, high, color=QUIET, alpha=0.2, label="±10%")
    axes.plot(ends, ends, color=QUIET, linewidth=1)
    names = {}
    for outside, color, place in ((False, ACCENT, "within 10%"), (True, WARM, "further off")):
        chosen = [entry for entry in predictor.held_out if (abs(entry[2] / entry[1] - 1) > 0.1) is outside]
        if chosen:
            label = f"held-out models {place}"
            found, across, up = zip(*chosen, strict=True)
            axes.scatter(across, up, color=color, s=22, label=label, zorder=3)
            names[label] = found
    axes.set(xscale="log", yscale="log", xlim=ends, ylim=ends)
    plain_log_scale(axes.xaxis)
    plain_log_scale(axes.yaxis)
    axes.set_xlabel(f"{predictor.provenance} latency, ms")
    axes.set_ylabel("predicted latency, ms")
    return names
