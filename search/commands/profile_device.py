"""``profile-device``: time fused compiled blocks on a device and train its latency predictor."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from search.commands._options import (
    DURATION_S,
    SEED,
    Command,
    ProgressPrinter,
    check_precision,
    check_threads,
    console,
    emit_json,
    given_options,
    run_command,
)
from search.commands.standard_output import write_out

if TYPE_CHECKING:
    from data.device_spec import DeviceSpec
    from profiling import Device
    from search.profiles.profile_pipeline import Profile

EXAMPLES = """\b
Examples:
  profile-device --device host                       profile this machine with all its cores
  profile-device --device host --threads 1 --json    one thread, result as JSON on standard output
  profile-device --device s20 --serial R58M12ABCDE   one of several attached phones
  profile-device --device s20 --serial A --serial B  two of one model share the work
  profile-device --device attached                   any 64-bit phone: it describes itself
  profile-device --device my-phone.toml --time-limit 5m
  profile-device --list                              what devices there are, and how they can be used
  profile-device --export measurements.parquet       everything measured so far, as a table (or .csv)

A second call measures only what is missing, and ends at once when nothing is.
"""

# What says how is measured, and nothing about which of two profiles is the better.
_OF_MEASURING = ("--runs", "--agreement", "--seed")


@click.command(
    cls=Command,
    epilog=EXAMPLES,
    help="Time fused compiled blocks on DEVICE and train its latency predictor.",
    context_settings={"max_content_width": 110},
)
@click.option("--device", help="Name (see --list), 'attached', or a .toml file.")
@click.option("--unit", type=click.Choice(["cpu", "gpu"]), default="cpu", show_default=True, help="Unit to profile.")
@click.option(
    "--serial",
    multiple=True,
    help="The phone's serial number; several share the work.  [default: ANDROID_SERIAL]",
)
@click.option("--allow-mismatch", is_flag=True, help="Measure a phone of another model than the device's.")
@click.option("--threads", type=click.IntRange(min=1), help="CPU threads.  [default: the device's own]")
@click.option("--blocks", type=click.IntRange(min=40), help="Distinct blocks to measure.  [default: of 60 models]")
@click.option("--time-limit", type=DURATION_S, help="Roughly how long it may take, such as 10m.")
@click.option(
    "--runs", type=click.IntRange(min=1), default=4, show_default=True, help="Timed runs of a model at each visit."
)
@click.option(
    "--agreement",
    type=click.FloatRange(min=0, min_open=True),
    default=0.01,
    show_default=True,
    help="Measure until halves of the rounds agree within this share, or the time is up.",
)
@click.option("--seq-len", type=click.IntRange(min=8), default=128, show_default=True, help="Sequence length, tokens.")
@click.option(
    "--precision",
    type=click.Choice(["fp32", "int8", "auto"]),
    default="fp32",
    show_default=True,
    help="Of the models' products, as a search of that precision needs it; auto measures both by turns.",
)
@click.option("--simulated", is_flag=True, help="Take the analytic model of a phone that is not attached.")
@click.option("--again", is_flag=True, help="Measure as much once more beside what is stored, and train anew.")
@click.option("--seed", type=SEED, default=0, show_default=True, help="Seed of choice and order.")
@click.option("--export", type=click.Path(path_type=Path), help="Write the device's rows (or all) as .parquet or .csv.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object on standard output.")
@click.option("--list", "list_only", is_flag=True, help="List the devices and end.")
@run_command
def main(
    device: str | None,
    unit: str,
    serial: tuple[str, ...],
    allow_mismatch: bool,
    threads: int | None,
    blocks: int | None,
    time_limit: float | None,
    runs: int,
    agreement: float,
    seq_len: int,
    precision: Literal["fp32", "int8", "auto"],
    simulated: bool,
    again: bool,
    seed: int,
    export: Path | None,
    as_json: bool,
    list_only: bool,
) -> None:
    if list_only:
        refuse_ignored(("--list", "--json"), "--list only lists: it cannot go with")
        list_devices(as_json)
        return
    if export is not None:
        check_export(export, device)
    if device is None:
        if export is None:
            raise click.UsageError("Missing option '--device'.")
        export_rows(export)
        return

    from data.store import MeasurementStore
    from profiling.session import Care
    from search.commands.jobs import profile_job
    from search.options import precisions_of
    from search.profiles.profile_pipeline import load_predictor, profile

    spec = specification(device, serial)
    check_phone_options(spec, serial, allow_mismatch, simulated)
    check_precision(precision, (unit,))
    threads = check_threads(spec, threads, unit)
    opened = open_or_advise(spec, serial, simulated, unit, allow_mismatch)
    try:
        precisions = precisions_of(precision)
        reused = not again and load_predictor(opened, threads, seq_len, blocks, precisions=precisions) is not None
        job = profile_job(spec.name, opened.provenance, unit, threads, seq_len, reused, time_limit)
        with MeasurementStore.open() as store, ProgressPrinter(job) as progress:
            outcome = profile(
                opened,
                store,
                threads=threads,
                blocks=blocks,
                time_limit_s=time_limit,
                seed=seed,
                seq_len=seq_len,
                again=again,
                care=Care(runs=runs, agreement=agreement),
                precisions=precisions,
                progress=progress,
            )
    finally:
        opened.close()
    show(opened, threads, outcome, precisions, as_json)
    ignored = [name for name in given_options() if name in _OF_MEASURING] if outcome.reused else []
    if ignored:
        told = f"warning: an earlier profile was reused, without {', '.join(ignored)}; --again measures anew with them"
        console().print(told, markup=False, soft_wrap=True)
    if export is not None:
        export_rows(export, opened.describe().fingerprint)


def refuse_ignored(heeded: Sequence[str], problem: str) -> None:
    """A usage error where the command line names an option that would be passed over."""
    ignored = given_options(but=heeded)
    if ignored:
        raise click.UsageError(f"{problem} {', '.join(ignored)}")


def check_export(path: Path, device: str | None) -> None:
    """Refuse an export that cannot be written, before anything is measured."""
    from data.export import check_export_path

    if device is None:
        refuse_ignored(("--export",), "an export without --device measures nothing: it cannot go with")
    check_export_path(path)


def check_phone_options(spec: DeviceSpec, serials: Sequence[str], allow_mismatch: bool, simulated: bool) -> None:
    """Refuse what speaks of an attached phone where none is used.

    Raises:
        InputError: such an option for this machine, or for an analytic model.
    """
    from data.errors import InputError

    given = [name for name, value in (("--serial", serials), ("--allow-mismatch", allow_mismatch)) if value]
    if given and (simulated or spec.kind == "host"):
        user = "--simulated" if simulated else f"--device {spec.name}, which is this machine"
        raise InputError(f"{given[0]} is of an attached phone: it cannot go with {user}")
    if simulated and spec.kind == "host":
        raise InputError(f"--simulated is of phones: --device {spec.name} is this machine and is measured")


def export_rows(path: Path, fingerprint: str | None = None) -> None:
    """Write the stored rows of one device, or of all, as a table."""
    from data.export import export_measurements
    from data.store import MeasurementStore

    with MeasurementStore.open() as store:
        rows = store.measurements(fingerprint=fingerprint)
    export_measurements(rows, path)
    console().print(
        f"{len(rows)} measurements exported to {path}; columns: data/export.py", markup=False, soft_wrap=True
    )


def specification(device: str, serials: Sequence[str]) -> DeviceSpec:
    """The specification of a named device, or of the attached phone, which is written for reuse.

    Raises:
        DeviceError: no such phone is attached.
        InputError: the name or the file is wrong.
    """
    from data.device_spec import load_device

    if device != "attached":
        return load_device(device)
    from profiling.attached import describe_attached

    spec, path = describe_attached(serials[0] if serials else None)
    console().print(f"{spec.title} is described in {path}: --device {spec.name} from now on", markup=False)
    return spec


def open_or_advise(
    spec: DeviceSpec, serials: Sequence[str], simulated: bool, unit: str, allow_mismatch: bool
) -> Device:
    """The device; an error about a phone that is not there names the way to do without it."""
    from data.errors import DeviceError
    from profiling import open_device

    try:
        return open_device(spec, serials, simulated, unit, allow_mismatch=allow_mismatch)
    except DeviceError as error:
        if simulated or spec.analytic is None:
            raise
        raise DeviceError(f"{error} (or take its analytic model: --simulated)") from error


def show(device: Device, threads: int, outcome: Profile, precisions: Sequence[str], as_json: bool) -> None:
    """The outcome as a table for people, and as JSON where that is asked for."""
    from rich.table import Table

    predictor, quality, description = outcome.predictor, outcome.quality, device.describe()
    statistic = predictor.statistic
    table = Table(title=f"Latency predictor of {device.spec.title}", show_header=False)
    for name, value in _rows(device, threads, outcome, precisions):
        table.add_row(name, value)
    console().print(table)
    if outcome.page.exists():
        console().print(f"report: {outcome.page}", markup=False, soft_wrap=True)
    if outcome.quality.warning:
        console().print(f"warning: {outcome.quality.warning} (--again)", markup=False)
    if as_json:
        emit_json(
            {
                "device": device.spec.name,
                "fingerprint": description.fingerprint,
                "processor": description.processor,
                "unit": device.unit,
                "threads": threads,
                "precisions": list(precisions),
                "provenance": predictor.provenance,
                "compiler": predictor.origin.compiler,
                "measured_blocks": predictor.measured_blocks,
                "errors": predictor.errors.to_dict(),
                "sum_of_blocks_mape": predictor.sum_mape,
                "usual_over_statistic": predictor.usual,
                "interval_90": predictor.relative_interval(0.9),
                "held_out": [
                    {"architecture": name, "measured_ms": measured, "predicted_ms": predicted}
                    for name, measured, predicted in predictor.held_out
                ],
                "reused": outcome.reused,
                "statistic": statistic.name,
                "agreement_of_halves": statistic.agreement,
                "noise_floor": {"same_session": statistic.same_session, "later_session": statistic.later_session},
                "rounds": None if outcome.reused else quality.rounds,
                "visits": None if outcome.reused else quality.visits,
                "stable": quality.stable,
                "preempted": None if outcome.reused else quality.preempted,
                "temperature_unknown": None if outcome.reused else quality.blind,
                "marks": None if outcome.reused else dict(quality.marks),
                "seconds": round(outcome.seconds, 3),
                "predictor": str(outcome.directory),
                "report": str(outcome.page) if outcome.page.exists() else None,
            }
        )


def _rows(device: Device, threads: int, outcome: Profile, precisions: Sequence[str]) -> Sequence[tuple[str, str]]:
    from data.measurement import runs_on
    from profiling.simulated import simulated_note

    predictor, errors, remainder = outcome.predictor, outcome.predictor.errors, outcome.predictor.remainder
    statistic, quality = predictor.statistic, outcome.quality
    marked = "" if predictor.provenance == "measured" else f" ({predictor.provenance})"
    counted = (("simulated", simulated_note()),) if predictor.provenance == "simulated" else ()
    low, high = predictor.relative_interval(0.9)
    visits = (
        f"at least {quality.visits} to each model, in {quality.rounds} rounds" if quality.rounds else "stored earlier"
    )
    return (
        ("device", f"{device.describe().processor}, {runs_on(device.unit, threads)}{marked}"),
        *counted,
        ("products in", " and ".join(precisions)),
        ("fingerprint", device.describe().fingerprint),
        ("distinct blocks measured", f"{predictor.measured_blocks}{marked}, inside of whole models"),
        ("visits", visits),
        ("steadiest figure", f"{statistic.name}: halves agree within {_share(statistic.agreement)}"),
        ("noise, same session", _share(statistic.same_session)),
        ("noise, a later session", f"{_share(statistic.later_session)}, estimated"),
        ("held-out whole models", str(errors.n)),
        ("mean absolute error", f"{errors.mape:.1%}{marked}"),
        ("without the remainder", f"{predictor.sum_mape:.1%} (the plain sum of blocks)"),
        ("within 10%", f"{errors.within_10:.0%}"),
        ("rank correlation (Spearman)", f"{errors.spearman:.3f}"),
        ("predicted is", f"the usual time (median), {predictor.usual:.3f} x the steadiest figure"),
        ("90% interval", f"{low:+.1%} to {high:+.1%} of a later session's median"),
        (
            "model = ",
            f"{remainder.factor:.3f} x sum of blocks + {remainder.per_block_ms * 1e3:.1f} µs a block "
            f"+ {remainder.constant_ms:.3f} ms",
        ),
        ("took", f"{outcome.seconds:.1f} s{', reused an earlier profile' if outcome.reused else ''}"),
        ("saved in", str(outcome.directory)),
    )


def _share(value: float | None) -> str:
    return "unknown (too few rounds)" if value is None else f"{value:.1%}"


def list_devices(as_json: bool) -> None:
    """Every known device and attached phone, and what can be done with it, on standard output."""
    from search.profiles.device_list import device_documents, device_tables

    documents = device_documents()
    if as_json:
        emit_json(documents)
    else:
        write_out(device_tables(documents))
