"""``profile-device``: time fused compiled blocks on a device and train its latency predictor."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from search.commands._options import DURATION_S, Command, ProgressPrinter, console, emit_json, run_command

if TYPE_CHECKING:
    from data.device_spec import DeviceSpec
    from profiling import Device
    from search.profile_pipeline import Profile

EXAMPLES = """\b
Examples:
  profile-device --device host                       profile this machine with all its cores
  profile-device --device host --threads 1 --json    one thread, result as JSON on standard output
  profile-device --device s20 --serial R58M12ABCDE   one of several attached phones
  profile-device --device my-phone.toml --time-limit 5m
  profile-device --list                              what devices there are, and how they can be used

A second call measures only what is missing, and ends at once when nothing is.
"""


@click.command(
    cls=Command,
    epilog=EXAMPLES,
    help="Time fused compiled blocks on DEVICE and train its latency predictor.",
    context_settings={"max_content_width": 110},
)
@click.option("--device", help="Bundled device name (see --list) or a device .toml file.")
@click.option("--unit", type=click.Choice(["cpu", "gpu"]), default="cpu", show_default=True, help="Unit to profile.")
@click.option("--serial", multiple=True, help="Serial number of the phone, where several are attached.")
@click.option("--threads", type=click.IntRange(min=1), help="CPU threads.  [default: the device's own]")
@click.option("--blocks", type=click.IntRange(min=40), help="Distinct blocks to measure.  [default: 160]")
@click.option("--time-limit", type=DURATION_S, help="Roughly how long it may take, such as 10m.")
@click.option("--seq-len", type=click.IntRange(min=8), default=128, show_default=True, help="Sequence length, tokens.")
@click.option("--simulated", is_flag=True, help="Take the analytic model of a phone that is not attached.")
@click.option("--again", is_flag=True, help="Measure again what other programs disturbed, and train anew.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Seed of choice and order.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object on standard output.")
@click.option("--list", "list_only", is_flag=True, help="List the devices and end.")
@run_command
def main(
    device: str | None,
    unit: str,
    serial: tuple[str, ...],
    threads: int | None,
    blocks: int | None,
    time_limit: float | None,
    seq_len: int,
    simulated: bool,
    again: bool,
    seed: int,
    as_json: bool,
    list_only: bool,
) -> None:
    if list_only:
        list_devices(as_json)
        return
    if device is None:
        raise click.UsageError("Missing option '--device'.")
    if len(serial) > 1:
        raise click.UsageError("only one --serial at a time in this version")

    from data.device_spec import load_device
    from data.store import MeasurementStore
    from search.profile_pipeline import profile

    spec = load_device(device)
    opened = open_or_advise(spec, serial[0] if serial else None, simulated, unit)
    threads = check_threads(spec, threads)
    try:
        with MeasurementStore.open() as store, ProgressPrinter() as progress:
            outcome = profile(
                opened,
                store,
                threads=threads,
                blocks=blocks,
                time_limit_s=time_limit,
                seed=seed,
                seq_len=seq_len,
                again=again,
                progress=progress,
            )
    finally:
        opened.close()
    show(opened, threads, outcome, as_json)


def open_or_advise(spec: DeviceSpec, serial: str | None, simulated: bool, unit: str) -> Device:
    """The device; an error about a phone that is not there names the way to do without it."""
    from data.errors import DeviceError
    from profiling import open_device

    try:
        return open_device(spec, serial, simulated, unit)
    except DeviceError as error:
        if simulated or spec.analytic is None:
            raise
        raise DeviceError(f"{error} (or take its analytic model: --simulated)") from error


def check_threads(spec: DeviceSpec, threads: int | None) -> int:
    """The number of threads to use; more than the device's cores would only wait for each other.

    Raises:
        InputError: more threads than cores.
    """
    from data.errors import InputError

    cores = len(spec.cores) or spec.default_threads
    if threads is not None and threads > cores:
        raise InputError(f"--threads {threads}: device {spec.name} has {cores} cores")
    return threads if threads is not None else spec.default_threads


def show(device: Device, threads: int, outcome: Profile, as_json: bool) -> None:
    """The outcome as a table for people, and as JSON where that is asked for."""
    from rich.table import Table

    predictor, description = outcome.predictor, device.describe()
    table = Table(title=f"Latency predictor of {device.spec.title}", show_header=False)
    for name, value in _rows(device, threads, outcome):
        table.add_row(name, value)
    console().print(table)
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
                "provenance": predictor.provenance,
                "compiler": predictor.origin.compiler,
                "measured_blocks": predictor.measured_blocks,
                "errors": predictor.errors.to_dict(),
                "held_out": [
                    {"architecture": name, "measured_ms": measured, "predicted_ms": predicted}
                    for name, measured, predicted in predictor.held_out
                ],
                "reused": outcome.reused,
                "reference_drift": outcome.quality.drift,
                "sample_spread": outcome.quality.spread,
                "stable": outcome.quality.stable,
                "seconds": round(outcome.seconds, 3),
                "predictor": str(outcome.directory),
            }
        )


def _rows(device: Device, threads: int, outcome: Profile) -> Sequence[tuple[str, str]]:
    predictor, errors, remainder = outcome.predictor, outcome.predictor.errors, outcome.predictor.remainder
    marked = "" if predictor.provenance == "measured" else f" ({predictor.provenance})"
    return (
        ("device", f"{device.describe().processor}, {device.unit}, {threads} threads{marked}"),
        ("fingerprint", device.describe().fingerprint),
        ("distinct blocks measured", f"{predictor.measured_blocks}{marked}"),
        ("held-out whole models", str(errors.n)),
        ("mean absolute error", f"{errors.mape:.1%}{marked}"),
        ("within 10%", f"{errors.within_10:.0%}"),
        ("rank correlation (Spearman)", f"{errors.spearman:.3f}"),
        (
            "model = ",
            f"{remainder.factor:.3f} x sum of blocks + {remainder.per_block_ms * 1e3:.1f} µs a block "
            f"+ {remainder.constant_ms:.3f} ms",
        ),
        ("took", f"{outcome.seconds:.1f} s{', reused an earlier profile' if outcome.reused else ''}"),
        ("saved in", str(outcome.directory)),
    )


def list_devices(as_json: bool) -> None:
    """Every bundled device and what can be done with it."""
    from rich.console import Console
    from rich.table import Table

    from data.device_spec import known_devices, load_device

    documents = [_described(load_device(name)) for name in known_devices()]
    if as_json:
        emit_json({"devices": documents})
        return
    table = Table("device", "what", "units", "threads", "can be")
    for document in documents:
        can_be = "measured here" if document["kind"] == "host" else "measured over adb, or simulated"
        units = ", ".join(document["units"])
        table.add_row(document["name"], document["title"], units, str(document["threads"]), can_be)
    # The list is what was asked for, so it goes to standard output.
    Console(highlight=False).print(table)


def _described(spec: DeviceSpec) -> dict[str, Any]:
    return {
        "name": spec.name,
        "title": spec.title,
        "kind": spec.kind,
        "units": list(spec.units),
        "threads": spec.default_threads,
        "simulated": spec.analytic is not None,
    }
