"""The measuring session: rounds of visits behind the temperature gate, the rows of a round committed together.

Nothing is thrown away: outliers stay and are marked, and so is a row that heat or a falling clock speaks against.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from statistics import median
from typing import TYPE_CHECKING

from data.errors import DeviceError, InputError
from data.measurement import PREEMPTIONS, Mark, Measurement
from data.order_statistics import outlying
from data.store import MeasurementStore
from profiling.device import Device, DeviceState, RawSamples, Round
from profiling.heat import TemperatureGate
from profiling.items import Item

if TYPE_CHECKING:
    from fusion import Runner

_TRIES = 2
# A round's wall-clock limit: at least so many seconds, for the program's start on a slow phone.
_SHORTEST_LIMIT_S = 60.0
# Below this share of the session's usual clock a phone has been slowed down, by heat or by a governor; from this
# thermal status on, Android says so itself.
_DROPPED, _THROTTLED = 0.85, 2.0


@dataclass(frozen=True)
class Care:
    """How carefully is measured.

    A visit is ``runs`` timed runs after ``warmup`` others. Every program gets at least ``least_visits`` and at most
    ``most_visits``; between the two, measuring ends once random halves of the rounds agree within ``agreement``, and
    the rounds of a device that executes code are spread over ``spread_s`` seconds: a machine's moods last for up to a
    minute, and all rounds of a shorter session agree in one of them.

    Raises:
        InputError: a figure is not positive, or the least is more than the most.
    """

    runs: int = 4
    warmup: int = 1
    agreement: float = 0.01
    least_visits: int = 8
    most_visits: int = 96
    spread_s: float = 90.0

    def __post_init__(self) -> None:
        if self.agreement <= 0 or self.spread_s < 0 or min(self.runs, self.warmup, self.least_visits) < 1:
            raise InputError("runs, visits and agreement must be positive, and the spread no less than nothing")
        if self.least_visits > self.most_visits:
            raise InputError("there cannot be fewer visits at most than at least")


CARE = Care()


class Session:
    """One unbroken series of rounds on one device at one number of threads, stored under one ``compiler``."""

    def __init__(self, device: Device, store: MeasurementStore, threads: int, compiler: str, care: Care = CARE) -> None:
        self.device = device
        self.id = f"{datetime.now(UTC):%Y%m%dT%H%M%S}-{uuid.uuid4().hex[:8]}"
        self._store = store
        self._threads = threads
        self._compiler = compiler
        self._care = care
        self._gate = TemperatureGate(device)
        self._clocks_mhz: list[float] = []
        self._round = 0
        self._position = 0

    def go_round(self, items: Sequence[Item], runner: Runner | None) -> list[Measurement]:
        """Visit each item once, in this order, in one process, and commit the rows together.

        Raises:
            DeviceError: the device was lost, or failed twice; nothing of this round is stored.
            StoreError: the rows cannot be written.
        """
        before = self._gate.state_when_cool()
        made = self._make(self._work(items, runner))
        after = self.device.state()
        marks = self._marks(after)
        created_at = datetime.now(UTC).isoformat(timespec="milliseconds")
        rows = [
            self._row(item, place, runner, raw, (before, after), marks, created_at)
            for place, (item, raw) in enumerate(zip(items, made, strict=True))
        ]
        self._store.add_all(rows)
        self._round += 1
        self._position += len(rows)
        return rows

    def _work(self, items: Sequence[Item], runner: Runner | None) -> Round:
        warmup, runs = self._care.warmup, self._care.runs
        return Round(
            visits=tuple(item.visit(warmup, runs) for item in items),
            threads=self._threads,
            runner=runner,
            fill_weights=runner is not None and runner.weights is None,
            time_limit_s=_SHORTEST_LIMIT_S + sum(item.limit_s(warmup + runs) for item in items),
        )

    def _make(self, work: Round) -> tuple[RawSamples, ...]:
        """Make a round; a device that fails once gets a second chance."""
        for _ in range(_TRIES - 1):
            try:
                return self.device.go_round(work)
            except DeviceError:
                continue
        return self.device.go_round(work)

    def _row(
        self,
        item: Item,
        place: int,
        runner: Runner | None,
        raw: RawSamples,
        states: tuple[DeviceState, DeviceState],
        marks: tuple[Mark, ...],
        created_at: str,
    ) -> Measurement:
        before, after = states
        description = self.device.describe()
        preempted = {} if raw.preemptions_per_s is None else {PREEMPTIONS: raw.preemptions_per_s}
        few: tuple[Mark, ...] = ("few cores",) if raw.cpus and len(set(raw.cpus)) < self._threads else ()
        return Measurement(
            subject="model",
            subject_hash=item.hash,
            signature=item.signature,
            device=self.device.spec.name,
            fingerprint=description.fingerprint,
            unit=self.device.unit,
            threads=self._threads,
            affinity="",
            session=self.id,
            position=self._position + place,
            warmups_ms=raw.warmups_ms,
            samples_ms=raw.samples_ms,
            reference_ms=None,
            binary_hash=runner.binary_hash if runner else "",
            compiler=self._compiler,
            provenance=self.device.provenance,
            created_at=created_at,
            state_before=before.to_dict(),
            state_after=after.to_dict() | preempted,
            serial=description.details.get("serial", ""),
            cpus=raw.cpus,
            outliers=outlying(raw.samples_ms),
            marks=marks + few,
            steps_ms=tuple(time for _, time in raw.block_ms),
            round=self._round,
        )

    def _marks(self, after: DeviceState) -> tuple[Mark, ...]:
        """What speaks against all rows of a round."""
        found: dict[Mark, bool] = {
            "clock dropped": self._clock_dropped(after.clock_mhz),
            "hot": self._gate.too_warm(after) or (after.thermal_status or 0.0) >= _THROTTLED,
        }
        return tuple(mark for mark, holds in found.items() if holds)

    def _clock_dropped(self, clock_mhz: float | None) -> bool:
        """Whether a phone's mean clock during a round (from time_in_state) lies well below the session's so far.

        Other machines tell their clock at one moment only, which says nothing about the round.
        """
        if clock_mhz is None or self.device.spec.kind != "android":
            return False
        dropped = bool(self._clocks_mhz) and clock_mhz < _DROPPED * median(self._clocks_mhz)
        if not dropped:
            self._clocks_mhz.append(clock_mhz)
        return dropped
