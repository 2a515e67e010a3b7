"""The measuring session: warm-up, temperature gate, a reference block for drift, one committed row per measurement.

The statistic is the median of a row's samples. Nothing is thrown away: runs before the program was steady count as
warm-up, outliers stay and are marked, and so is a row that heat, a falling clock or an uncertain median speaks against.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from datetime import UTC, datetime
from statistics import median
from time import monotonic
from typing import TYPE_CHECKING

from data.disturbance import PREEMPTIONS, is_slowed
from data.errors import DeviceError, InputError
from data.measurement import Mark, Measurement
from data.order_statistics import outlying, relative_width
from data.store import MeasurementStore
from profiling.adb import cpus_of
from profiling.device import Device, DeviceState, RawSamples, Round, Visit
from profiling.heat import TemperatureGate
from profiling.items import REFERENCE_BLOCK, Item, block_item, compiler_of
from profiling.steadiness import steady_from, without_warmup

if TYPE_CHECKING:
    from fusion import Runner

REFERENCE_EVERY = 12
_TRIES, _REFERENCE_TRIES = 2, 3
# How long a session waits for quiet after disturbed rows: in all, and at a time, in seconds.
_PATIENCE_S, _SETTLE_S = 30.0, 3.0
# Below this share of the session's usual clock a phone has been slowed down, by heat or by a governor; from this
# thermal status on, Android says so itself.
_DROPPED, _THROTTLED = 0.85, 2.0


@dataclass(frozen=True)
class Care:
    """How carefully is measured.

    ``runs`` of each program (None: the device's own default); a row is taken again, with more runs, while the 95%
    interval of its median is wider than ``interval_width`` times the median, for a limited number of rounds. What is
    measured several times is measured further, ``most_repeats`` times in all, until the second lowest
    undisturbed time lies within ``agreement`` of the lowest: only then the machine has shown twice how fast it is.

    Raises:
        InputError: a figure is not positive.
    """

    runs: int | None = None
    interval_width: float = 0.05
    agreement: float = 0.02
    most_repeats: int = 10

    def __post_init__(self) -> None:
        if min(self.interval_width, self.agreement) <= 0 or (self.runs is not None and self.runs < 1):
            raise InputError("runs, agreement and the width of the interval must be positive")


CARE = Care()


class Session:
    """One unbroken series of measurements on one device at one number of threads.

    ``reference`` is the runner of :func:`reference_runner`; None for devices that execute no code.
    """

    def __init__(
        self,
        device: Device,
        store: MeasurementStore,
        threads: int,
        reference: Runner | None,
        affinity: str = "",
        care: Care = CARE,
    ) -> None:
        self.device = device
        self.store = store
        self.threads = threads
        self.id = f"{datetime.now(UTC):%Y%m%dT%H%M%S}-{uuid.uuid4().hex[:8]}"
        self._reference = reference
        self._affinity = affinity
        self._care = care
        self._gate = TemperatureGate(device)
        self._clocks_mhz: list[float] = []
        self._position = 0
        self._since_reference = REFERENCE_EVERY
        self._reference_ms: float | None = None
        self._slowed = True
        self._patience_s = _PATIENCE_S

    def measure(self, item: Item, runner: Runner | None) -> Measurement:
        """Measure one item, after the reference block where that is due, and store it."""
        if self._since_reference >= REFERENCE_EVERY:
            self._measure_reference()
        self._since_reference += 1
        return self._record(item, runner)

    @property
    def patient(self) -> bool:
        """Whether waiting for quiet still makes sense: not on a machine that never calmed down."""
        return self._patience_s > 0

    def _measure_reference(self) -> None:
        self._reference_ms = None
        times = []
        for _ in range(_REFERENCE_TRIES):
            runs = self._care.runs or self.device.spec.default_runs
            row = self._record(block_item(REFERENCE_BLOCK, runs), self._reference)
            times.append(row.median_ms)
            if not is_slowed(row):
                times = times[-1:]
                break
        self._reference_ms = min(times)
        self._since_reference = 0

    def _record(self, item: Item, runner: Runner | None) -> Measurement:
        """Measure an item now and commit the row."""
        self._settle()
        before = self._gate.state_when_cool()
        raw = self._visit(item, runner)
        after = self.device.state()
        row = self._row(item, runner, raw, before, after)
        self.store.add(row)
        self._slowed = is_slowed(row)
        self._position += 1
        return row

    def _visit(self, item: Item, runner: Runner | None) -> RawSamples:
        visit = Visit(item.program, item.blocks, item.warmup, item.runs, item.rotate_bytes)
        fill = runner is not None and runner.weights is None
        (raw,) = self._go_round(Round((visit,), self.threads, runner, self._affinity, fill, item.time_limit_s))
        return raw

    def _row(
        self, item: Item, runner: Runner | None, raw: RawSamples, before: DeviceState, after: DeviceState
    ) -> Measurement:
        steady = without_warmup(raw)
        preempted = {} if raw.preemptions_per_s is None else {PREEMPTIONS: raw.preemptions_per_s}
        return Measurement(
            subject=item.kind,
            subject_hash=item.hash,
            signature=item.signature,
            device=self.device.spec.name,
            fingerprint=self.device.describe().fingerprint,
            unit=self.device.unit,
            threads=self.threads,
            affinity=self._affinity,
            session=self.id,
            position=self._position,
            warmups_ms=steady.warmups_ms,
            samples_ms=steady.samples_ms,
            reference_ms=self._reference_ms,
            binary_hash=runner.binary_hash if runner else "",
            compiler=compiler_of(self._reference),
            provenance=self.device.provenance,
            created_at=datetime.now(UTC).isoformat(timespec="milliseconds"),
            state_before=before.to_dict(),
            state_after=after.to_dict() | preempted,
            serial=self.device.describe().details.get("serial", ""),
            cpus=raw.cpus,
            outliers=outlying(steady.samples_ms),
            marks=self._marks(raw, steady, after),
            steps_ms=steady.steps_ms,
        )

    def _marks(self, raw: RawSamples, steady: RawSamples, after: DeviceState) -> tuple[Mark, ...]:
        """What speaks against a row."""
        cores = set(raw.cpus)
        found: dict[Mark, bool] = {
            "clock dropped": self._clock_dropped(after.clock_mhz),
            "hot": self._gate.too_warm(after) or (after.thermal_status or 0.0) >= _THROTTLED,
            "unsteady": steady_from(raw.samples_ms) is None,
            "wide interval": relative_width(steady.samples_ms) > self._care.interval_width,
            "few cores": bool(cores) and len(cores) < self.threads,
            "other cores": bool(cores and self._affinity) and cores != cpus_of(self._affinity),
        }
        return tuple(mark for mark, holds in found.items() if holds)

    def _clock_dropped(self, clock_mhz: float | None) -> bool:
        """Whether a phone's mean clock during a row (from time_in_state) lies well below the session's so far.

        Other machines tell their clock at one moment only, which says nothing about the row.
        """
        if clock_mhz is None or self.device.spec.kind != "android":
            return False
        dropped = bool(self._clocks_mhz) and clock_mhz < _DROPPED * median(self._clocks_mhz)
        if not dropped:
            self._clocks_mhz.append(clock_mhz)
        return dropped

    def _settle(self) -> None:
        """After a slowed row wait for quiet, as long as the session's patience lasts."""
        if not self._slowed or self._patience_s <= 0:
            return
        began = monotonic()
        self.device.settle(self.threads, min(_SETTLE_S, self._patience_s))
        self._patience_s -= monotonic() - began

    def _go_round(self, work: Round) -> tuple[RawSamples, ...]:
        """Make a round; a device that fails once gets a second chance."""
        for _ in range(_TRIES - 1):
            try:
                return self.device.go_round(work)
            except DeviceError:
                continue
        return self.device.go_round(work)
