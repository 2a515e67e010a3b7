"""What the passes of a search share."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, TypeVar

from data.architecture import Architecture
from data.errors import DataFileError
from data.progress import Progress
from search.execution.executor import Executor
from search.latencies import DeviceBudget
from search.optimization.feasibility import SizeLimit
from search.optimization.space import model_bytes
from search.records import NOTHING_KNOWN, Known
from search.result import UnitTiming
from search.stages import Stages
from search.study import Study

if TYPE_CHECKING:
    from profiling import Device

Record = TypeVar("Record")


@dataclass(frozen=True)
class Place:
    """Where the model has to run: a device, open, the number of threads it gets there, and its budget there; ``units``
    is what its unit was chosen by, where several were asked for."""

    device: Device
    threads: int
    budget: DeviceBudget
    units: tuple[UnitTiming, ...] = ()


@dataclass(frozen=True)
class Bench:
    """The study, the other rooms' functions, the devices, and who listens.

    ``places`` are all devices in the order of the options' budgets: for the first one models are checked and compiled,
    and its latencies are those of the plots. ``executor`` runs the trials; ``known`` is what searches for other budgets
    have shown in the same run.
    """

    study: Study
    stages: Stages
    places: tuple[Place, ...]
    progress: Progress
    note: Callable[[str], None]
    executor: Executor
    known: Known = NOTHING_KNOWN

    @property
    def device(self) -> Device:
        """The first device."""
        return self.places[0].device

    @property
    def devices(self) -> tuple[Device, ...]:
        """All devices."""
        return tuple(place.device for place in self.places)

    @property
    def threads(self) -> int:
        """The number of threads on the first device."""
        return self.places[0].threads

    @property
    def times_here(self) -> bool:
        """Whether candidates are timed on this machine, where a trial beside them would be felt."""
        return any(place.device.spec.kind == "host" and place.device.provenance == "measured" for place in self.places)

    @property
    def provenance(self) -> str:
        """How records are kept apart that rest on other devices, or on models of them: ``measured-simulated``."""
        return "-".join(place.device.provenance for place in self.places)

    @property
    def budgets(self) -> tuple[DeviceBudget, ...]:
        """Every device with its budget."""
        return self.study.options.budgets

    @property
    def budgets_ms(self) -> tuple[float, ...]:
        """The budget on every device, ms."""
        return self.study.options.budgets_ms


@contextmanager
def timed(study: Study, stage: str) -> Iterator[None]:
    """Adds the wall clock of its body to the seconds that the study counts for a stage, also when it fails."""
    started = time.monotonic()
    try:
        yield
    finally:
        seconds = study.load("seconds", dict[str, float]) or {}
        seconds[stage] = seconds.get(stage, 0.0) + time.monotonic() - started
        study.save("seconds", seconds)


def size_limits(bench: Bench) -> tuple[SizeLimit, ...]:
    """What bounds the candidates, and the teacher where it takes part, beside the budgets; on every device."""
    options = bench.study.options

    def weights(architectures: Sequence[Architecture]) -> list[int]:
        return [model_bytes(architecture) for architecture in architectures]

    def memory(architectures: Sequence[Architecture]) -> Sequence[int]:
        counted = [bench.stages.memory_bytes(each.device, architectures, each.threads) for each in bench.places]
        return [max(sizes) for sizes in zip(*counted, strict=True)]

    given = (
        ("--max-size", options.max_bytes, "has {} of weights", weights),
        ("--max-memory", options.max_memory, "needs {} of memory", memory),
    )
    return tuple(SizeLimit(option, most, told, count) for option, most, told, count in given if most is not None)


def required(study: Study, name: str, kind: type[Record]) -> Record:
    """A record that an earlier pass has written.

    Raises:
        DataFileError: it is not there, so somebody removed it meanwhile.
    """
    record = study.load(name, kind)
    if record is None:
        raise DataFileError(study.folder / f"{name}.json", "the record was removed while the search ran")
    return record


def now() -> str:
    """The time in UTC, ISO 8601 with microseconds."""
    return datetime.now(UTC).isoformat(timespec="microseconds")
