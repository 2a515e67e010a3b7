"""The devices of a portability study: named on the command line, opened, and measured on the same whole models."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from data.architecture import PRECISIONS, Architecture, Precision
from data.errors import DeviceError, InputError
from data.progress import Progress, ProgressEvent
from data.statistic import choose_statistic, usual_ms

if TYPE_CHECKING:
    import pandas as pd

    from data.device_spec import DeviceSpec
    from data.measurement import Measurement
    from data.store import MeasurementStore
    from profiling import Device

# Visits to each model after each pass over all devices: a device's passes are sessions of their own, far enough apart
# in time to show what a latency is worth there.
PASSES = (12, 24)


@dataclass(frozen=True)
class StudyDevice:
    """A device as named on the command line: ``name[:threads][:instructions][:int8]``, or ``name:gpu``; None stands for
    the device's own."""

    label: str
    name: str
    threads: int | None = None
    instructions: str | None = None
    unit: str = "cpu"
    precision: Precision = "fp32"

    @classmethod
    def parse(cls, text: str) -> StudyDevice:
        """Read ``host``, ``host:2``, ``host:2:avx2``, ``host:sse``, ``host:gpu``, ``host:int8`` or
        ``my-phone.toml:4:int8``.

        Raises:
            InputError: after the colons stands something else.
        """
        name, *words = text.split(":")
        if name and words == ["gpu"]:
            return cls(text, name, unit="gpu")
        precision: Precision = "int8" if words and words[-1] == "int8" else "fp32"
        if precision == "int8":
            words.pop()
        threads = int(words.pop(0)) if words and words[0].isdigit() else None
        instructions = words.pop(0) if words else None
        if words or not name or threads == 0 or instructions in ("", "gpu", *PRECISIONS):
            raise InputError(
                f"device {text!r}: after the colon stands a number of threads, then an instruction set, "
                "as in host:2 or host:2:avx2, and perhaps int8 (else it is fp32); or gpu alone"
            )
        return cls(text, name, threads, instructions, precision=precision)


@dataclass(frozen=True)
class OpenedDevice:
    """A device of the study, ready to be measured."""

    label: str
    device: Device
    threads: int
    precision: Precision = "fp32"

    @property
    def identity(self) -> tuple[str, str, int, str]:
        """What the store keeps its rows apart by."""
        return self.device.describe().fingerprint, self.device.unit, self.threads, self.precision


@dataclass(frozen=True)
class MeasuredTable:
    """Rows of one device: hyperparameters and ``latency_ms``, one row a model.

    ``noise_floor`` is the mean absolute percentage error between sessions of the same models, None where there was
    only one or nothing was measured.
    """

    rows: pd.DataFrame
    provenance: str
    noise_floor: float | None


def measured_tables(
    devices: Sequence[StudyDevice], store: MeasurementStore, models: int, seed: int, progress: Progress
) -> dict[str, MeasuredTable]:
    """The same sample of whole models on each device, by label; what the store holds already is not measured again.

    Raises:
        InputError: two names are one device, or a device cannot be what its name asks for.
        DeviceError: a device is neither attached nor can it be simulated.
    """
    from profiling.sampling import SamplingRange, sample_architectures

    architectures = sample_architectures(SamplingRange(), models, seed)
    rows: dict[str, list[Measurement]] = {}
    with _opened(devices, progress) as all_opened:
        for visits in PASSES:
            for opened in all_opened:
                rows[opened.label] = _measure(opened, architectures, visits, store, seed, progress)
        return {opened.label: _table(opened.device, rows[opened.label]) for opened in all_opened}


@contextmanager
def _opened(devices: Sequence[StudyDevice], progress: Progress) -> Iterator[list[OpenedDevice]]:
    """All devices, opened before anything is measured, so that a name that cannot be had is told at once."""
    from data.device_spec import load_device

    specs = [load_device(device.name) for device in devices]
    with ExitStack() as stack:
        found: dict[tuple[str, str, int, str], OpenedDevice] = {}
        for device, spec in zip(devices, specs, strict=True):
            opened = _open(device, spec, progress)
            stack.callback(opened.device.close)
            earlier = found.setdefault(opened.identity, opened)
            if earlier is not opened:
                raise InputError(f"{earlier.label} and {opened.label} are one device: name each once")
        yield list(found.values())


def _open(device: StudyDevice, spec: DeviceSpec, progress: Progress) -> OpenedDevice:
    """The device itself, or the analytic model of a phone that is not attached."""
    from profiling import open_device
    from search.profiles.threads import choose_threads

    threads = choose_threads(spec, device.threads, f"device {device.label}")
    if threads.note:
        progress(ProgressEvent(f"device {device.label}", 0, None, threads.note))
    try:
        opened = open_device(spec, unit=device.unit, instructions=device.instructions)
    except DeviceError as error:
        from profiling.simulated import simulated_note

        told = f"{error}: taking its analytic model, marked simulated ({simulated_note()})"
        progress(ProgressEvent(f"device {device.label}", 0, None, told))
        opened = open_device(spec, simulated=True, unit=device.unit)
    return OpenedDevice(device.label, opened, threads.count, device.precision)


def _measure(
    opened: OpenedDevice,
    architectures: Sequence[Architecture],
    visits: int,
    store: MeasurementStore,
    seed: int,
    progress: Progress,
) -> list[Measurement]:
    """All rows of the models on one device, once each has so many ``visits``."""
    from profiling.session import measure_models
    from search.profiles.device_lock import alone

    stage = f"measure {opened.label}"
    progress(ProgressEvent(f"compile for {opened.label}", 0, None, f"{len(architectures)} whole models"))
    with alone(opened.device, progress):
        return measure_models(
            opened.device,
            [replace(architecture, precision=opened.precision) for architecture in architectures],
            threads=opened.threads,
            store=store,
            visits=visits,
            seed=seed,
            progress=lambda event: progress(replace(event, stage=stage)),
        )


def _table(device: Device, rows: Sequence[Measurement]) -> MeasuredTable:
    """One row a model, its latency combined over all sessions, and how far the sessions are apart."""
    import pandas as pd

    from surrogate.blocks.training_data import model_latencies
    from surrogate.tables.shared_models import session_noise

    # Models of two precisions are the same ones, on two devices.
    documents = [
        {**replace(architecture, precision="fp32").to_dict(), "batch": 1, "latency_ms": latency}
        for architecture, latency in zip(*model_latencies(rows), strict=True)
    ]
    noise = session_noise(_by_session(rows)) if device.provenance == "measured" else None
    return MeasuredTable(pd.DataFrame(documents), device.provenance, noise)


def _by_session(rows: Sequence[Measurement]) -> list[Mapping[str, float]]:
    """Milliseconds by model of each session, in the order in which the sessions began."""
    sessions: dict[str, list[Measurement]] = defaultdict(list)
    for row in rows:
        sessions[row.session].append(row)
    statistic = choose_statistic(rows)
    return [usual_ms(group, statistic) for group in sessions.values()]
