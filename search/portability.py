"""The portability study's inputs and outputs: measured or simulated tables in, terminal tables and a page out."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from data.architecture import Architecture
from data.errors import DataFileError, InputError, StoreError
from data.progress import Progress, ProgressEvent

if TYPE_CHECKING:
    import pandas as pd

    from data.store import MeasurementStore
    from surrogate.portability import Study


@dataclass(frozen=True)
class StudyDevice:
    """A device as named on the command line: ``name`` or ``name:threads``."""

    label: str
    name: str
    threads: int | None

    @classmethod
    def parse(cls, text: str) -> StudyDevice:
        """Read ``host``, ``host:2`` or ``my-phone.toml:4``.

        Raises:
            InputError: the number of threads is none.
        """
        name, colon, threads = text.rpartition(":")
        if not colon:
            return cls(text, text, None)
        if not threads.isdigit() or int(threads) < 1:
            raise InputError(f"device {text!r}: after the colon stands a number of threads, as in host:2")
        return cls(text, name, int(threads))


def measured_table(
    device: StudyDevice, store: MeasurementStore, models: int, seed: int, progress: Progress
) -> tuple[pd.DataFrame, str]:
    """(rows, provenance) of the same sample of whole models on a device; a phone not attached is simulated.

    Raises:
        UnknownNameError: no such device.
        DeviceError: it is neither attached nor can it be simulated.
    """
    import pandas as pd

    from data.device_spec import load_device
    from data.errors import DeviceError
    from profiling import open_device
    from profiling.sampling import SamplingRange, sample_architectures
    from profiling.session import measure_models
    from surrogate.training_data import corrected_ms

    spec = load_device(device.name)
    try:
        opened = open_device(spec)
    except DeviceError as error:
        progress(ProgressEvent("devices", 0, None, f"{error}: taking its analytic model, marked simulated"))
        opened = open_device(spec, simulated=True)
    try:
        rows = measure_models(
            opened,
            sample_architectures(SamplingRange(), models, seed),
            threads=device.threads or spec.default_threads,
            store=store,
            seed=seed,
            progress=progress,
        )
    finally:
        opened.close()
    times = corrected_ms(rows)
    signatures = {row.subject_hash: row.signature for row in rows}
    documents = [
        {**Architecture.from_dict(json.loads(signatures[key])).to_dict(), "batch": 1, "latency_ms": latency}
        for key, latency in times.items()
    ]
    return pd.DataFrame(documents), opened.provenance


def read_table(path: Path) -> dict[str, pd.DataFrame]:
    """A CSV table with a column ``device``, as one table for each device.

    Raises:
        DataFileError: the file cannot be read or has no such column.
    """
    import pandas as pd

    try:
        table = pd.read_csv(path)
    except OSError as error:
        raise DataFileError(path, f"the table cannot be read: {error.strerror}") from error
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
        raise DataFileError(path, f"not a CSV table: {error}") from error
    missing = [name for name in ("device", "latency_ms") if name not in table.columns]
    if missing:
        raise DataFileError(path, f"the table has no column {missing[0]!r}", 1)
    return {str(device): rows.reset_index(drop=True) for device, rows in table.groupby("device", sort=True)}


def write_outputs(study: Study, folder: Path) -> tuple[Path, Path]:
    """``study.json`` and the self-contained ``study.html`` in a folder; returns both paths."""
    page, document = folder / "study.html", folder / "study.json"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        document.write_text(json.dumps(study.to_dict(), indent=1), encoding="utf-8")
        page.write_text(render(study), encoding="utf-8")
    except OSError as error:
        raise StoreError(f"the study cannot be written into {folder}: {error.strerror}") from error
    return document, page


def render(study: Study) -> str:
    """The study as one HTML page with its heat map and curves inside."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(loader=PackageLoader("search"), autoescape=True, undefined=StrictUndefined)
    heat = [[(value, _shade(value)) for value in row] for row in study.rank_correlation]
    return environment.get_template("portability.html").render(study=study, heat=heat, curves=_curves(study))


def _shade(correlation: float) -> str:
    """A CSS colour from white (0.8 and less) to green (1)."""
    share = min(max((correlation - 0.8) / 0.2, 0.0), 1.0)
    return f"rgb({255 - round(110 * share)}, {255 - round(40 * share)}, {255 - round(110 * share)})"


def _curves(study: Study) -> Sequence[str]:
    """One SVG picture for each target: the median error over sources against the number of samples."""
    from matplotlib.figure import Figure

    pictures = []
    for target in study.devices:
        figure = Figure(figsize=(4.2, 3.0), layout="constrained")
        axes = figure.add_subplot()
        for method, label in (("scale", "scale factor"), ("adapt", "adapted"), ("scratch", "from scratch")):
            axes.plot(*_medians(study, target, method), marker="o", label=label)
        axes.set(title=f"to {target}", xlabel="rows of this device", ylabel="MAPE, %", ylim=(0, None))
        axes.legend()
        text = io.StringIO()
        figure.savefig(text, format="svg")
        pictures.append(text.getvalue()[text.getvalue().index("<svg") :])
    return pictures


def _medians(study: Study, target: str, method: str) -> tuple[list[int], list[float]]:
    """(samples, median error over the source devices in per cent) of one method."""
    from statistics import median

    points: dict[int, list[float]] = {}
    for transfer in study.transfers:
        value = getattr(transfer, method)
        if transfer.target == target and value is not None:
            points.setdefault(transfer.samples, []).append(100 * value)
    return sorted(points), [median(points[count]) for count in sorted(points)]
