"""``portability-study``: what carries over from one device to another, and at what cost."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from search.commands._options import DURATION_MS, Command, ProgressPrinter, console, emit_json, run_command

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.table import Table

    from surrogate.portability import Study

EXAMPLES = """\b
Examples:
  portability-study --devices host:1,host:2               this machine with one and with two threads, measured
  portability-study --devices host,s20,s10,mali --budget 50ms    phones that are not attached are simulated
  portability-study --table latencies.csv --json          rows of any source: device, layers, hidden, heads,
                                                          intermediate, seq_len, batch, latency_ms
"""


@click.command(
    cls=Command,
    epilog=EXAMPLES,
    help="Compare devices: ranks, transfer of predictors with a few samples, and each other's best models.",
    context_settings={"max_content_width": 110},
)
@click.option("--devices", help="Comma-separated devices, each NAME or NAME:THREADS.")
@click.option("--table", type=click.Path(path_type=Path), help="CSV table with a column device, instead of measuring.")
@click.option("--features", help="Comma-separated feature columns of --table.  [default: the six hyperparameters]")
@click.option("--budget", type=DURATION_MS, help="Latency budget, such as 50ms.  [default: each device's median]")
@click.option("--samples", default="0,5,10,20", show_default=True, help="Rows of the other device that may be seen.")
@click.option(
    "--models", type=click.IntRange(min=12), default=40, show_default=True, help="Whole models to measure on each."
)
@click.option("--out", type=click.Path(path_type=Path), default=Path("portability"), show_default=True, help="Folder.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Seed of models and splits.")
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
    counts = parse_samples(samples)

    from search.portability import write_outputs

    if table is not None:
        outcome = study_table(table, counts, budget, features.split(",") if features else None, seed)
    else:
        outcome = study_devices(str(devices).split(","), counts, budget, models, seed)
    document, page = write_outputs(outcome, out)
    show(outcome)
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
    if not all(word.isdigit() for word in words):
        raise InputError(f"--samples {text!r}: write whole numbers separated by commas, like 0,5,10")
    return tuple(sorted({int(word) for word in words}))


def study_table(
    path: Path, samples: Sequence[int], budget: float | None, features: Sequence[str] | None, seed: int
) -> Study:
    """The study of a table of the user's own."""
    from search.portability import read_table
    from surrogate.portability import study

    return study(read_table(path), samples=samples, budget_ms=budget, features=features, seed=seed)


def study_devices(names: Sequence[str], samples: Sequence[int], budget: float | None, models: int, seed: int) -> Study:
    """The study of devices, measuring what is missing."""
    from data.device_spec import load_device
    from data.errors import InputError
    from data.store import MeasurementStore
    from search.portability import StudyDevice, measured_table
    from surrogate.portability import study

    chosen = [StudyDevice.parse(name.strip()) for name in names]
    for device in chosen:
        load_device(device.name)
    if len(chosen) < 2 or len({device.label for device in chosen}) < len(chosen):
        raise InputError("--devices needs at least two different devices, such as host:1,host:2")
    tables, provenance = {}, {}
    with MeasurementStore.open() as store, ProgressPrinter() as progress:
        for device in chosen:
            tables[device.label], provenance[device.label] = measured_table(device, store, models, seed, progress)
    return study(tables, samples=samples, budget_ms=budget, provenance=provenance, seed=seed)


def show(outcome: Study) -> None:
    """The study's tables for people, on standard error."""
    screen = console()
    for table in (_ranks(outcome), _transfers(outcome), _overshoots(outcome)):
        screen.print(table)


def _marked(outcome: Study, device: str) -> str:
    provenance = outcome.provenance[device]
    return device if provenance == "measured" else f"{device} ({provenance})"


def _ranks(outcome: Study) -> Table:
    from rich.table import Table

    marked = [_marked(outcome, device) for device in outcome.devices]
    table = Table("", *marked, title=f"Rank correlation of {outcome.models} models' latency (Spearman)")
    for name, row in zip(marked, outcome.rank_correlation, strict=True):
        table.add_row(name, *(f"{value:.3f}" for value in row))
    return table


def _transfers(outcome: Study) -> Table:
    from rich.table import Table

    table = Table("from", "to", "samples", "scale factor", "adapted", "from scratch", title="Error (MAPE) of transfer")
    for entry in outcome.transfers:
        scratch = "-" if entry.scratch is None else f"{entry.scratch:.1%}"
        pair = (_marked(outcome, entry.source), _marked(outcome, entry.target), str(entry.samples))
        table.add_row(*pair, f"{entry.scale:.1%}", f"{entry.adapt:.1%}", scratch)
    return table


def _overshoots(outcome: Study) -> Table:
    from rich.table import Table

    table = Table(
        "chosen on", "run on", "budget", "latency there", "over", "of own best's size", title="Each other's best model"
    )
    for entry in outcome.overshoots:
        share = "nothing fits" if entry.size_share is None else f"{entry.size_share:.0%}"
        pair = (_marked(outcome, entry.source), _marked(outcome, entry.target))
        times = (f"{entry.budget_ms:.3g} ms", f"{entry.latency_ms:.3g} ms", f"{entry.overshoot:+.0%}")
        table.add_row(*pair, *times, share)
    return table
