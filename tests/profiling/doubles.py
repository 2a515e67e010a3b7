"""Doubles of what the session measures on: a scripted device, and a fake runner that prints the runner's JSON."""

from __future__ import annotations

import stat
import sys
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

from data.device_spec import DeviceSpec, load_device
from data.errors import DeviceError
from profiling.device import DeviceDescription, DeviceState, RawSamples, Round, Visit
from profiling.simulated import SimulatedDevice

# What a real runner printed for one block with two threads.
RECORDED = {
    "schema": 1,
    "program": "517158f404800c91",
    "threads": 2,
    "warmups_ms": [2.806593, 0.350912, 0.333916],
    "samples_ms": [0.321488, 0.32956, 0.322209, 0.338133, 0.328668],
    "blocks": [{"hash": "517158f404800c91", "median_ms": 0.328353}],
    "cpus": [0, 1],
}


@dataclass(frozen=True)
class FakeRunner:
    """Has what the session reads of a runner; the executable is any script."""

    executable: Path
    weights: Path | None = None
    binary_hash: str = "b1n"
    compiler: str = "fake cc 1"
    programs: tuple[str, ...] = ()

    def round_command(self, file: str, **options: object) -> list[str]:
        """The script, the round's file, and the options as words."""
        return [str(self.executable), file, *(f"{name}={value}" for name, value in options.items())]


def script(path: Path, body: str) -> FakeRunner:
    """A runner whose executable is a Python script with this body."""
    path.write_text(f"#!{sys.executable}\nimport sys\n{body}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return FakeRunner(path)


def printing(path: Path, document: dict[str, object] = RECORDED) -> FakeRunner:
    """A runner that prints a JSON document about the program of each visit."""
    body = "import json\nfor line in sys.stdin:\n    warmup, runs, rotate, program = line.rstrip().split(' ', 3)\n"
    return script(path, f"{body}    print(json.dumps({document!r} | {{'program': program}}), flush=True)")


@dataclass
class ScriptedDevice:
    """A device whose times come from the analytic model, altered by ``alter`` at each visit; all are recorded."""

    alter: Callable[[int, RawSamples], RawSamples] = lambda number, raw: raw
    spec: DeviceSpec = field(default_factory=lambda: load_device("s20"))
    unit: str = "cpu"
    provenance: str = "measured"
    needs_runner: bool = False
    fingerprint: str = "double-1"
    visits: list[Visit] = field(default_factory=list)

    def __post_init__(self) -> None:
        quiet = replace(self.spec.analytic, noise=0.002) if self.spec.analytic else None
        self._model = SimulatedDevice(replace(self.spec, analytic=quiet))
        self.target = self._model.target

    def describe(self) -> DeviceDescription:
        return DeviceDescription(self.spec.name, self.fingerprint, "double", 8)

    def prepare(self, runner: object) -> None:
        """Nothing to bring."""

    def go_round(self, work: Round) -> tuple[RawSamples, ...]:
        made = []
        for visit, raw in zip(work.visits, self._model.go_round(work), strict=True):
            self.visits.append(visit)
            made.append(self.alter(len(self.visits), raw))
        return tuple(made)

    def state(self) -> DeviceState:
        return DeviceState(clock_mhz=2000.0)

    def close(self) -> None:
        """Nothing was opened."""


def failing_at(*numbers: int) -> Callable[[int, RawSamples], RawSamples]:
    """Lose the device at these visits."""

    def alter(number: int, raw: RawSamples) -> RawSamples:
        if number in numbers:
            raise DeviceError("lost")
        return raw

    return alter
