"""The device protocol: what the measuring session needs of a device, whatever its kind."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, runtime_checkable

from data.device_spec import DeviceSpec
from data.errors import DeviceError
from data.measurement import Provenance
from data.progress import Progress, no_progress

if TYPE_CHECKING:
    from fusion import Machine, Runner, Target
    from fusion.block import Block

RUNNER_SCHEMA = 1
Number = TypeVar("Number", int, float)


@dataclass(frozen=True)
class DeviceDescription:
    """What a device says about itself. ``fingerprint`` is equal only where timings may be merged."""

    name: str
    fingerprint: str
    processor: str
    cores: int
    details: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class DeviceState:
    """Clocks (mean over readable cores), temperature and load at one moment; None where unreadable.

    ``thermal_status`` is Android's, 0 to 6: from 2 on the system slows the processor.
    """

    clock_mhz: float | None = None
    temperature_c: float | None = None
    battery_percent: float | None = None
    load: float | None = None
    thermal_status: float | None = None

    def to_dict(self) -> dict[str, float]:
        """Only what could be read."""
        return {name: value for name, value in vars(self).items() if value is not None}


@dataclass(frozen=True)
class Visit:
    """One program's turn in a round: ``blocks`` are what it executes in order. Successive runs read copies of its
    weights that are spread over ``rotate_bytes``."""

    program: str
    blocks: tuple[Block, ...]
    warmup: int
    runs: int
    rotate_bytes: int = 0


@dataclass(frozen=True)
class Round:
    """What one process of the ``runner`` does, visit by visit in this order, within ``time_limit_s`` seconds in all.

    ``affinity`` is a hexadecimal mask of processors, empty for all; ``fill_weights`` makes weights up although there
    is a file of them.
    """

    visits: tuple[Visit, ...]
    threads: int
    runner: Runner | None = None
    affinity: str = ""
    fill_weights: bool = False
    time_limit_s: float = 60.0

    @property
    def lines(self) -> str:
        """The visits as the runner reads them.

        Raises:
            DeviceError: there is none, or a program's name cannot stand in a line.
        """
        from fusion.build.runner import visit_line

        if not self.visits:
            raise DeviceError("a round without visits")
        if bad := [visit.program for visit in self.visits if "\n" in visit.program or "\0" in visit.program]:
            raise DeviceError(f"the name of a program holds a line break: {bad[0]!r}")
        return "".join(visit_line(visit.program, visit.warmup, visit.runs, visit.rotate_bytes) for visit in self.visits)

    def command(self, file: str) -> list[str]:
        """The runner's argument list on this machine, its visits in a file, or in standard input for ``-``.

        Raises:
            DeviceError: the round carries no runner.
        """
        if self.runner is None:
            raise DeviceError(f"{self.at(0)}: nothing was compiled for this device")
        return self.runner.round_command(
            file, threads=self.threads, affinity=self.affinity, fill_weights=self.fill_weights
        )

    def at(self, done: int) -> str:
        """What errors call the visit that follows ``done`` others."""
        count = len(self.visits)
        program = self.visits[min(done, count - 1)].program if count else "a round"
        return program if count < 2 else f"{program} (visit {min(done + 1, count)} of {count})"


@dataclass(frozen=True)
class RawSamples:
    """Raw wall-clock times of one visit in milliseconds, and the medians of its blocks by block hash, in order.

    ``began_ms`` is when the visit began, in milliseconds since its round did. ``preemptions_per_s`` counts how often
    other programs took a core away during the whole round, where the device can tell; runners tell
    ``cpu_utilisation`` (processor time over wall time x threads), the ``model_bytes`` that the program needs, and the
    process's largest resident memory so far.
    """

    warmups_ms: tuple[float, ...]
    samples_ms: tuple[float, ...]
    block_ms: tuple[tuple[str, float], ...] = ()
    cpus: tuple[int, ...] = ()
    preemptions_per_s: float | None = None
    cpu_utilisation: float | None = None
    model_bytes: int | None = None
    process_peak_bytes: int | None = None
    began_ms: float | None = None


@runtime_checkable
class Device(Protocol):
    """Something that makes rounds: this machine, a phone over adb, or an analytic model of one."""

    @property
    def spec(self) -> DeviceSpec:
        """The device's specification."""

    @property
    def unit(self) -> str:
        """``cpu`` or ``gpu``."""

    @property
    def provenance(self) -> Provenance:
        """Where this device's figures come from."""

    @property
    def needs_runner(self) -> bool:
        """Whether rounds must carry a compiled runner."""

    @property
    def target(self) -> Target:
        """The instruction set of its processor."""

    @property
    def machine(self) -> Machine:
        """What its runners are compiled for: the processor, or the GPU.

        Raises:
            DeviceError: there is no driver for the GPU.
        """

    def describe(self) -> DeviceDescription:
        """What the device is."""

    def prepare(self, runner: Runner, progress: Progress = no_progress) -> None:
        """Bring a runner to the device, where a GPU builds its kernels; cheap when that is done already."""

    def go_round(self, work: Round) -> tuple[RawSamples, ...]:
        """Make a round's visits in their order, in one process; the raw times of each, in that order.

        Raises:
            DeviceError: the device was lost, a program failed, hung or printed garbage: nothing of the round counts.
        """

    def state(self) -> DeviceState:
        """Clocks, temperature and load now."""

    def close(self) -> None:
        """Leave nothing behind on the device."""


def parse_round(text: str, work: Round) -> tuple[RawSamples, ...]:
    """The JSON objects that a runner prints, one in a line for each visit.

    Raises:
        DeviceError: there are more or fewer, or :func:`parse_visit` refuses one.
    """
    lines = text.strip().splitlines()
    if len(lines) > len(work.visits):
        raise DeviceError(f"{work.at(len(lines))}: the runner printed no valid result: {lines[-1].strip()[:120]!r}")
    lines += [""] * (len(work.visits) - len(lines))
    return tuple(parse_visit(line, visit.program) for line, visit in zip(lines, work.visits, strict=True))


def parse_visit(text: str, program: str) -> RawSamples:
    """The JSON object that a runner prints about one visit.

    Raises:
        DeviceError: the text is not that object, is of another schema or program, or holds impossible times.
    """
    try:
        document = json.loads(text)
        blocks = document.get("blocks", ())
        samples = RawSamples(
            warmups_ms=_times(document["warmups_ms"]),
            samples_ms=_times(document["samples_ms"]),
            block_ms=tuple((str(entry["hash"]), float(entry["median_ms"])) for entry in blocks),
            cpus=tuple(int(cpu) for cpu in document.get("cpus", ())),
            cpu_utilisation=_optional(float, document, "utilisation"),
            model_bytes=_optional(int, document, "model_bytes"),
            process_peak_bytes=_optional(int, document, "peak_memory_bytes"),
            began_ms=_optional(float, document, "began_ms"),
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DeviceError(f"the runner of {program} printed no valid result: {text.strip()[:120]!r}") from error
    if document.get("schema") != RUNNER_SCHEMA or not samples.samples_ms:
        raise DeviceError(f"the runner of {program} printed a result of another schema: {text.strip()[:120]!r}")
    if document.get("program") != program:
        raise DeviceError(f"the runner of {program} printed the result of another program: {text.strip()[:120]!r}")
    return samples


def _optional(type_: Callable[[Any], Number], document: Mapping[str, Any], name: str) -> Number | None:
    """A number that older runners do not print."""
    return type_(document[name]) if name in document else None


def _times(values: Any) -> tuple[float, ...]:
    """Finite, positive milliseconds, or ValueError."""
    times = tuple(float(value) for value in values)
    if not all(0 < value < float("inf") for value in times):
        raise ValueError("times must be positive")
    return times
