"""Measuring sets of whole models in rounds: many short visits to each, in random order, spread over the session.

Whatever interrupts a session (Ctrl-C, SIGKILL, a lost phone), finished rounds stay, and the next call goes on from what
is stored. Measuring ends when random halves of the rounds agree, or the time is up.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Container, Generator, Sequence
from dataclasses import replace
from datetime import datetime
from functools import partial
from time import monotonic, sleep
from typing import TYPE_CHECKING

import numpy as np

from data.architecture import Architecture
from data.errors import DeviceError
from data.measurement import Measurement
from data.progress import Progress, ProgressEvent, no_progress
from data.statistic import choose_statistic
from data.store import MeasurementStore
from profiling.device import Device
from profiling.fleet import Fleet
from profiling.items import Item, compiler_for, model_item
from profiling.recording import CARE, Care, Session
from profiling.shared_work import hand_out

if TYPE_CHECKING:
    from fusion import Runner

__all__ = ["CARE", "Care", "Session", "measure_model", "measure_models", "measure_until_steady", "stored"]

# How long one process should go round at most, in seconds, as far as it can be told: what it made is then stored.
_ROUND_S = 8.0
# A machine's moods last for seconds: a few visits in a row would all see the same one, so rounds that take less are
# spread over about this time in all.
_SPREAD_S = 4.0
# Rounds between two looks at whether the halves agree.
_LOOK_EVERY = 4
# Visits of a search's timing, and rounds and runs of a confirmation.
VISITS, CONFIRMING_ROUNDS, CONFIRMING_RUNS = 12, 12, 8


def measure_models(
    device: Device,
    architectures: Sequence[Architecture],
    *,
    threads: int,
    store: MeasurementStore,
    visits: int = VISITS,
    since: str = "",
    seed: int = 0,
    time_limit_s: float | None = None,
    care: Care = CARE,
    progress: Progress = no_progress,
) -> list[Measurement]:
    """Visit whole models with random weights until each has so many ``visits``, and return all of their rows.

    Rows already in the store (same device, unit, threads and compiler) count, unless they are older than the ISO time
    ``since``. After ``time_limit_s`` seconds no round is begun.

    Raises:
        DeviceError: the device was lost; finished rounds are stored.
        StoreError: rows could not be written.
        ToolchainError: a block could not be compiled.
    """
    rounds = _Rounds(device, architectures, threads, store, care, seed, since, progress=progress)
    began, made, due_rounds = monotonic(), 0, visits - rounds.fewest
    total = visits * len(rounds.items)
    spread_s = _SPREAD_S if device.needs_runner else 0.0
    for number in range(due_rounds):
        for _ in rounds.go(visits, progress):
            made += 1
            note = f"{len(rounds.items)} models, round {number + 1} of {due_rounds}"
            progress(ProgressEvent("measure models", min(rounds.visits, total), total, note))
            if time_limit_s is not None and monotonic() - began > time_limit_s:
                progress(ProgressEvent("measure models", rounds.visits, total, "stopped at the time limit"))
                return rounds.rows
        # Evenly over the time, and not at all after the last.
        if number + 1 < due_rounds:
            sleep(max(0.0, spread_s * (number + 1) / due_rounds - (monotonic() - began)))
    return rounds.rows


def measure_until_steady(
    device: Device,
    architectures: Sequence[Architecture],
    *,
    threads: int,
    store: MeasurementStore,
    usual_s: float,
    again: bool = False,
    seed: int = 0,
    time_limit_s: float | None = None,
    care: Care = CARE,
    fuse: bool = True,
    progress: Progress = no_progress,
) -> list[Measurement]:
    """Visit whole models until random halves of their rounds agree, and return all of their rows.

    Measuring ends after ``usual_s`` seconds, though not before each model has ``care.least_visits``; after
    ``time_limit_s`` seconds in any case. Visits that are stored count, unless ``again`` asks for as many beside them.
    Without ``fuse`` the models are compiled operator by operator, and their rows are stored as another compiler's.
    Otherwise as :func:`measure_models`.
    """
    rounds = _Rounds(device, architectures, threads, store, care, seed, fuse=fuse, progress=progress)
    if again:
        made = rounds.fewest
        care = replace(care, least_visits=made + care.least_visits, most_visits=made + care.most_visits)
    began, stage = monotonic(), "measure models"
    end_s = usual_s if time_limit_s is None else min(usual_s, time_limit_s)
    while not _enough(rounds, care):
        for _ in rounds.go(rounds.fewest + 1, progress):
            took = monotonic() - began
            total = max(end_s, took * care.least_visits / max(rounds.fewest, 1) if time_limit_s is None else 0.0)
            note = f"round {rounds.fewest + 1}: {len(rounds.items)} models, {rounds.visits} visits"
            progress(ProgressEvent(stage, round(min(took, total)), round(total), note))
            if time_limit_s is not None and took > time_limit_s:
                progress(ProgressEvent(stage, round(took), round(took), "stopped at the time limit"))
                return rounds.rows
            if took > usual_s and rounds.fewest >= care.least_visits:
                return rounds.rows
    return rounds.rows


def measure_model(
    device: Device,
    model_runner: Runner | None,
    architecture: Architecture,
    *,
    threads: int,
    store: MeasurementStore,
    rounds: int = CONFIRMING_ROUNDS,
    runs: int = CONFIRMING_RUNS,
    warmup: int = 2,
    program: str = "model",
) -> list[Measurement]:
    """Visit one whole compiled model now, whatever the store holds, in ``rounds`` processes spread over some seconds.

    All rows are stored and returned; the model's figure is the median over all of their samples.

    Raises:
        DeviceError: the device was lost or the program failed.
    """
    care = Care(runs=runs, warmup=warmup)
    session = Session(device, store, threads, compiler_for(device), care)
    item = model_item(architecture, program)
    began, spread_s = monotonic(), _SPREAD_S if device.needs_runner else 0.0
    rows: list[Measurement] = []
    for number in range(rounds):
        sleep(max(0.0, spread_s * number / rounds - (monotonic() - began)))
        rows += session.go_round([item], model_runner)
    return rows


def stored(
    device: Device, store: MeasurementStore, threads: int, compiler: str, items: Container[str]
) -> list[Measurement]:
    """Rows of these items that may be used again: same device, unit, threads and compiler."""
    fingerprint = device.describe().fingerprint
    rows = store.measurements(fingerprint=fingerprint, unit=device.unit, threads=threads, compiler=compiler)
    return [row for row in rows if row.subject_hash in items]


def is_since(row: Measurement, since: str) -> bool:
    """Whether a row was made at the ISO time ``since`` or later."""
    return datetime.fromisoformat(row.created_at) >= datetime.fromisoformat(since)


class _Rounds:
    """Goes round some models, and knows all of their rows; several phones share the work."""

    def __init__(
        self,
        device: Device,
        architectures: Sequence[Architecture],
        threads: int,
        store: MeasurementStore,
        care: Care,
        seed: int,
        since: str = "",
        fuse: bool = True,
        progress: Progress = no_progress,
    ) -> None:
        self._runner: Runner | None = None
        if device.needs_runner:
            from fusion import build_model_suite

            self._runner = build_model_suite(tuple(architectures), device.machine, fuse=fuse)
            device.prepare(self._runner, progress)
        found = [model_item(architecture, fuse=fuse) for architecture in architectures]
        self.items = {item.hash: item for item in found}
        compiler = compiler_for(device, fuse)
        known = stored(device, store, threads, compiler, self.items)
        self.rows = [row for row in known if not since or is_since(row, since)]
        self._counts = Counter(dict.fromkeys(self.items, 0))
        self._counts.update(row.subject_hash for row in self.rows)
        self._device, self._care = device, care
        self._random = np.random.default_rng([seed, len(self.rows)])
        members = device.members if isinstance(device, Fleet) else (device,)
        self._sessions = [Session(member, store, threads, compiler, care) for member in members]

    @property
    def fewest(self) -> int:
        """Visits that every model has."""
        return min(self._counts.values(), default=0)

    @property
    def spread_s(self) -> float:
        """Seconds from the first round to the last; without end where no code is executed, which has no moods."""
        if not self._device.needs_runner:
            return math.inf
        moments = [datetime.fromisoformat(row.created_at) for row in self.rows]
        return (max(moments) - min(moments)).total_seconds() if moments else 0.0

    @property
    def visits(self) -> int:
        """Visits to all models so far."""
        return self._counts.total()

    def go(self, visits: int, progress: Progress) -> Generator[None, None, None]:
        """Visit once, in random order, every model that has fewer visits than this; yields after each process."""
        due = [self.items[key] for key in sorted(self.items) if self._counts[key] < visits]
        shuffled = [due[index] for index in self._random.permutation(len(due))]
        for rows in self._made(self._parts(shuffled), progress):
            self.rows += rows
            self._counts.update(row.subject_hash for row in rows)
            yield

    def _parts(self, items: Sequence[Item]) -> list[Sequence[Item]]:
        """The items, shared evenly where one process would go round for too long, or where phones wait for work."""
        runs = self._care.warmup + self._care.runs
        processes = sum(item.seconds(runs) for item in items) / _ROUND_S
        count = min(len(self._sessions) * math.ceil(processes / len(self._sessions)), len(items))
        return [items[first::count] for first in range(count)]

    def _made(self, parts: Sequence[Sequence[Item]], progress: Progress) -> Generator[list[Measurement], None, None]:
        """Rows of each part as they are made; several phones share the parts."""
        sessions, fleet = list(self._sessions), self._device
        workers = [partial(session.go_round, runner=self._runner) for session in sessions]
        if len(workers) == 1 or not isinstance(fleet, Fleet):
            yield from map(workers[0], parts)
            return

        def lost(number: int, error: DeviceError) -> None:
            if len(self._sessions) > 1:
                progress(ProgressEvent("measure models", 0, None, f"the other phones go on without one: {error}"))
                self._sessions.remove(sessions[number])
                fleet.lose(sessions[number].device)

        yield from hand_out(parts, workers, lost)


def _enough(rounds: _Rounds, care: Care) -> bool:
    """Whether every model has been visited often enough, or halves of rounds that are spread far enough agree."""
    if rounds.fewest >= care.most_visits or not rounds.items:
        return True
    if rounds.fewest < care.least_visits or rounds.fewest % _LOOK_EVERY or rounds.spread_s < care.spread_s:
        return False
    agreement = choose_statistic(rounds.rows).agreement
    return agreement is not None and agreement <= care.agreement
