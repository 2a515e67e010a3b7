"""``portability-study``: what carries over from one device to another, and at what cost."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from search.commands._options import (
    DURATION_MS,
    SEED,
    Command,
    ProgressPrinter,
    console,
    emit_json,
    given_options,
    run_command,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from surrogate.tables.portability import Study

EXAMPLES = """\b
Examples:
  portability-study --devices host:1,host:2               this machine with one and with two threads, measured
  portability-study --devices host:1,host:2,host:2:avx2,host:1:sse     and with fewer instructions, compiled for each
  portability-study --devices host,host:int8            the same models with their products in int8
  portability-study --devices host,host:gpu             its GPU as well, by the OpenCL driver that it has
  portability-study --devices host,s20,s10,mali --budget 50ms    phones that are not attached are simulated
  portability-study --table latencies.csv --json          rows of any source: device, layers, hidden, heads,
                                                          intermediate, seq_len, batch, latency_ms

A device is NAME[:THREADS][:INSTRUCTIONS][:int8], or NAME:gpu. Instructions (avx512, avx2, sse, neon) restrict the
compiled code of this machine to less than it has; with int8 models' products are computed so. Every model is measured
in two sessions on each device; an interrupted study goes on where it stopped, and a second one measures only what is
missing.

A table may also have the columns accuracy (of the model: then the most accurate model within a budget is the best, not
the largest), session (rows of several sessions give the noise floor) and provenance (measured, simulated, published).
"""


@click.command(
    cls=Command,
    epilog=EXAMPLES,
    help="Compare devices: ranks, transfer of predictors with a few samples, each other's best models, and how many "
    "samples of a new device make it safe to choose models for it.",
    context_settings={"max_content_width": 110},
)
@click.option("--devices", help="Comma-separated devices, each NAME[:THREADS][:INSTRUCTIONS][:int8] or NAME:gpu.")
@click.option("--table", type=click.Path(path_type=Path), help="CSV table with a column device, instead of measuring.")
@click.option("--features", help="Comma-separated feature columns of --table.  [default: the six hyperparameters]")
@click.option("--budget", type=DURATION_MS, help="Latency budget, such as 50ms.  [default: quantiles of each device]")
@click.option("--samples", default="0,5,10,20,50", show_default=True, help="Rows of the other device that may be seen.")
@click.option(
    "--models", type=click.IntRange(min=12), default=80, show_default=True, help="Whole models to measure on each."
)
@click.option("--out", type=click.Path(path_type=Path), default=Path("portability"), show_default=True, help="Folder.")
@click.option("--seed", type=SEED, default=0, show_default=True, help="Seed of models and splits.")
@click.option("--json", "as_json", is_flag=True, help="Print the content of study.json on standard output.")
@run_command
def main(
    devices: str | None,
    table: Path | None,
    features: str | None,
    budget: float | None,
    samples: str,
    models: int,
    out: Path,
    seed: int,
    as_json: bool,
) -> None:
    if (devices is None) == (table is None):
        raise click.UsageError("Give either --devices or --table.")
    if features is not None and table is None:
        raise click.UsageError("--features belongs to --table.")
    if table is not None and "--models" in given_options():
        raise click.UsageError("--models belongs to --devices: a table holds the models that it holds.")
    counts = parse_samples(samples)
    names = [name.strip() for name in features.split(",")] if features else None
    if table is not None:
        outcome = study_table(table, counts, budget, names, seed)
    else:
        outcome = study_devices(str(devices).split(","), counts, budget, models, seed)

    from search.reports.portability_page import write_study
    from search.reports.portability_summary import show_study

    document, page = write_study(outcome, out)
    show_study(outcome, console())
    console().print(f"written: {document}, {page}", markup=False, soft_wrap=True)
    if as_json:
        emit_json(outcome.to_dict())


def parse_samples(text: str) -> tuple[int, ...]:
    """Numbers of samples, each once and in order.

    Raises:
        InputError: not a list of whole numbers.
    """
    from data.errors import InputError

    words = [word.strip() for word in text.split(",")]
    if not all(word.isdecimal() for word in words):
        raise InputError(f"--samples {text!r}: write whole numbers separated by commas, like 0,5,10")
    return tuple(sorted({int(word) for word in words}))


def study_table(
    path: Path, samples: Sequence[int], budget: float | None, features: Sequence[str] | None, seed: int
) -> Study:
    """The study of a table of the user's own."""
    from search.portability.portability_table import read_table
    from surrogate.tables.portability import study
    from surrogate.tables.table import HYPERPARAMETERS

    devices = read_table(path, HYPERPARAMETERS if features is None else features)
    with ProgressPrinter() as progress:
        return study(
            {device: entry.rows for device, entry in devices.items()},
            samples=samples,
            budget_ms=budget,
            provenance={device: entry.provenance for device, entry in devices.items()},
            features=features,
            seed=seed,
            progress=progress,
        )


def study_devices(names: Sequence[str], samples: Sequence[int], budget: float | None, models: int, seed: int) -> Study:
    """The study of devices, measuring what is missing."""
    from data.errors import InputError
    from data.store import MeasurementStore
    from search.commands.jobs import study_job
    from search.portability.portability import StudyDevice, measured_tables
    from surrogate.tables.portability import study

    devices = [StudyDevice.parse(name.strip()) for name in names]
    if len({device.label for device in devices}) < max(len(devices), 2):
        raise InputError("--devices needs at least two different devices, such as host:1,host:2")
    job = study_job(len(devices), models)
    with MeasurementStore.open() as store, ProgressPrinter(job) as progress:
        tables = measured_tables(devices, store, models, seed, progress)
        return study(
            {label: table.rows for label, table in tables.items()},
            samples=samples,
            budget_ms=budget,
            provenance={label: table.provenance for label, table in tables.items()},
            noise_floor={label: table.noise_floor for label, table in tables.items()},
            seed=seed,
            progress=progress,
        )
