"""Measuring sets of blocks or models in rounds: random order, what is stored counts, what was disturbed comes again.

Whatever interrupts a session (Ctrl-C, SIGKILL, a lost phone), what was measured stays, and the next call measures only
what is missing. A row whose median is not certain enough, or that was disturbed, is kept, marked, and taken again.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Generator, Sequence
from functools import partial
from time import monotonic
from typing import TYPE_CHECKING

import numpy as np

from data.architecture import Architecture
from data.disturbance import is_disturbed, most_trusted
from data.errors import DeviceError
from data.measurement import Measurement
from data.progress import Progress, ProgressEvent, no_progress
from data.store import MeasurementStore
from fusion.block import Block
from profiling.device import Device
from profiling.fleet import Fleet
from profiling.items import REFERENCE_BLOCK, Item, block_item, compiler_of, model_item, reference_runner
from profiling.recording import CARE, REFERENCE_EVERY, Care, Session
from profiling.shared_work import hand_out

if TYPE_CHECKING:
    from fusion import Runner

__all__ = [
    "CARE",
    "REFERENCE_BLOCK",
    "REFERENCE_EVERY",
    "Care",
    "Session",
    "measure_blocks",
    "measure_model",
    "measure_models",
    "stored",
]

# Extra rounds, with more runs, for what was never measured well, while patience lasts.
_MODEL_TRIES, _EXTRA_ROUNDS = 3, 2


def measure_blocks(
    device: Device,
    blocks: Sequence[Block],
    *,
    threads: int,
    store: MeasurementStore,
    repeats: int = 3,
    seed: int = 0,
    time_limit_s: float | None = None,
    care: Care = CARE,
    progress: Progress = no_progress,
) -> list[Measurement]:
    """Measure each block ``repeats`` times, spread over the session, and return all rows of these blocks.

    Rows already in the store (same device, unit, threads and compiler) count. After ``time_limit_s`` seconds nothing
    more is begun, so that every block has been measured once before any is measured twice.

    Raises:
        DeviceError: the device was lost; what was measured is stored.
        StoreError: a row could not be written.
        ToolchainError: a block could not be compiled.
    """
    runner = None
    if device.needs_runner:
        from fusion import build_suite

        runner = build_suite(tuple(blocks), device.target)
    items = [block_item(block, care.runs or device.spec.default_runs) for block in blocks]
    rounds = _Rounds(device, items, runner, threads, store, care)
    return rounds.measure(repeats, seed, time_limit_s, progress, "measure blocks")


def measure_models(
    device: Device,
    architectures: Sequence[Architecture],
    *,
    threads: int,
    store: MeasurementStore,
    repeats: int = 3,
    seed: int = 0,
    time_limit_s: float | None = None,
    care: Care = CARE,
    progress: Progress = no_progress,
) -> list[Measurement]:
    """Measure whole models with random weights ``repeats`` times each; otherwise as :func:`measure_blocks`."""
    runner = None
    if device.needs_runner:
        from fusion import build_model_suite

        runner = build_model_suite(tuple(architectures), device.target)
    runs = care.runs or device.spec.default_runs
    items = [model_item(architecture, runs=runs) for architecture in architectures]
    rounds = _Rounds(device, items, runner, threads, store, care)
    return rounds.measure(repeats, seed, time_limit_s, progress, "measure models")


def measure_model(
    device: Device,
    model_runner: Runner | None,
    architecture: Architecture,
    *,
    threads: int,
    store: MeasurementStore,
    runs: int = 100,
    warmup: int = 10,
    program: str = "model",
) -> Measurement:
    """Measure one whole compiled model now, whatever the store holds, and store the row.

    A row that other programs disturbed is taken again, after waiting for quiet, up to three times; the first
    undisturbed row is returned, or else the one of the lowest median. All are stored.

    Raises:
        DeviceError: the device was lost or the program failed.
    """
    session = Session(device, store, threads, reference_runner(device))
    rows: list[Measurement] = []
    while len(rows) < _MODEL_TRIES and (not rows or is_disturbed(rows[-1])):
        rows.append(session.measure(model_item(architecture, program, runs, warmup), model_runner))
    return most_trusted(rows)


class _Rounds:
    """Measures what is missing of some items, round by round, each round in a random order."""

    def __init__(
        self,
        device: Device,
        items: Sequence[Item],
        runner: Runner | None,
        threads: int,
        store: MeasurementStore,
        care: Care,
    ) -> None:
        reference = reference_runner(device)
        self._items = {item.hash: item for item in items}
        self._runner = runner
        self._rows = stored(device, store, threads, compiler_of(reference), self._items)
        self._device, self._care = device, care
        members = device.members if isinstance(device, Fleet) else (device,)
        self._sessions = [Session(member, store, threads, reference, care=care) for member in members]

    def measure(
        self, repeats: int, seed: int, time_limit_s: float | None, progress: Progress, stage: str
    ) -> list[Measurement]:
        """All rows of the items, once each has ``repeats`` of them, or the time has run out."""
        deadline = monotonic() + time_limit_s if time_limit_s is not None else float("inf")
        for extra in range(max(_EXTRA_ROUNDS, self._care.most_repeats - repeats) + 1):
            due = self._due(repeats, extra, seed)
            if not due:
                continue
            measured = self._measured(due, progress, stage)
            for done in range(len(due)):
                if monotonic() > deadline:
                    progress(ProgressEvent(stage, done, len(due), "stopped at the time limit"))
                    measured.close()
                    return self._rows
                self._rows.append(next(measured))
                item = self._items[self._rows[-1].subject_hash]
                note = f"{'again: ' if extra else ''}{item.title}: {self._rows[-1].median_ms:.3g} ms"
                progress(ProgressEvent(stage, done + 1, len(due), note))
        return self._rows

    def _measured(self, due: Sequence[Item], progress: Progress, stage: str) -> Generator[Measurement, None, None]:
        """Rows of the items as they are made, one after another; several phones share them."""
        sessions, fleet = list(self._sessions), self._device
        measures = [partial(session.measure, runner=self._runner) for session in sessions]
        if len(measures) == 1 or not isinstance(fleet, Fleet):
            yield from map(measures[0], due)
            return

        def lost(number: int, error: DeviceError) -> None:
            if len(self._sessions) > 1:
                progress(ProgressEvent(stage, 0, None, f"the other phones go on without one: {error}"))
                self._sessions.remove(sessions[number])
                fleet.lose(sessions[number].device)

        yield from hand_out(due, measures, lost)

    def _due(self, repeats: int, extra: int, seed: int) -> list[Item]:
        """What the round measures: an extra one, what is not certain yet."""
        if not extra:
            return _missing(self._items, Counter(row.subject_hash for row in self._rows), repeats, seed)
        due = self._never_good(extra) | (self._unconfirmed() if repeats > 1 else {})
        return _missing(due, Counter(), 1, seed + extra)

    def _never_good(self, extra: int) -> dict[str, Item]:
        """What was measured often enough but never well, to be run longer; nothing once no session is patient."""
        if extra > _EXTRA_ROUNDS or not any(session.patient for session in self._sessions):
            return {}
        good = {row.subject_hash for row in self._rows if not is_disturbed(row)}
        return {key: item.longer(1 + extra) for key, item in self._items.items() if key not in good}

    def _unconfirmed(self) -> dict[str, Item]:
        """What has not been measured twice at its lowest."""
        lowest: dict[str, list[float]] = {key: [] for key in self._items}
        for row in self._rows:
            lowest[row.subject_hash].append(row.undisturbed_ms)
        limit, most = 1 + self._care.agreement, self._care.most_repeats
        return {
            key: self._items[key]
            for key, times in lowest.items()
            if len(times) < most and (len(times) < 2 or sorted(times)[1] > limit * min(times))
        }


def stored(
    device: Device, store: MeasurementStore, threads: int, compiler: str, items: Container[str]
) -> list[Measurement]:
    """Rows of these items that may be used again: same device, unit, threads and compiler."""
    fingerprint = device.describe().fingerprint
    rows = store.measurements(fingerprint=fingerprint, unit=device.unit, threads=threads, compiler=compiler)
    return [row for row in rows if row.subject_hash in items]


def _missing(items: dict[str, Item], counts: Counter[str], repeats: int, seed: int) -> list[Item]:
    """Items still to be measured: first those with the fewest rows, in random order within a round."""
    random = np.random.default_rng(seed)
    order: list[Item] = []
    for round_number in range(repeats):
        due = [items[key] for key in sorted(items) if counts[key] <= round_number]
        order.extend(due[index] for index in random.permutation(len(due)))
    return order
