"""Profilings that are killed at random moments, and two of one device at once: no row is lost, none comes twice."""

from __future__ import annotations

import multiprocessing
import os
import random
import signal
import sqlite3
import time
from collections import Counter
from contextlib import closing
from dataclasses import replace
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest

from data.device_spec import load_device
from data.errors import DeviceError
from data.home import home
from data.progress import ProgressEvent
from data.store import MeasurementStore
from profiling import open_device
from profiling.device import RawSamples, Round
from profiling.sampling import SamplingRange
from profiling.session import Care
from profiling.simulated import SimulatedDevice
from search.profiles import device_lock, profile_pipeline
from search.profiles.device_lock import alone
from search.profiles.profile_pipeline import plan_profile, profile

pytestmark = pytest.mark.usefixtures("state_home")

KILLS = 50
# More visits than all that are killed make together: none of them comes to training, since XGBoost's threads do not
# survive the fork of a process that has trained before.
VISITS, FIT_MODELS, HELD_OUT = 90, 8, 6
CARE = Care(agreement=10.0, least_visits=VISITS, most_visits=VISITS)
# Children are forked from a process that has loaded everything, since each start of an interpreter takes seconds.
FORK = multiprocessing.get_context("fork")


class SlowPhone(SimulatedDevice):
    """A simulated phone that takes a moment for each visit, as real ones do, so that kills hit every stage."""

    def go_round(self, work: Round) -> tuple[RawSamples, ...]:
        time.sleep(0.001 * len(work.visits))
        return super().go_round(work)


def profile_phone() -> None:
    with MeasurementStore.open() as store:
        profile(SlowPhone(load_device("s20")), store, threads=8, care=CARE)


def identities() -> list[tuple[str, int]]:
    """Session and position of each row, in order; read past the store, which would parse every sample."""
    with closing(sqlite3.connect(home() / "measurements.sqlite")) as connection:
        return list(connection.execute("SELECT session, position FROM measurements ORDER BY id"))


def killed_after(rows: int, seconds: float) -> bool:
    """Start a profiling and kill it some time after it has stored so many rows; whether it was still running."""
    before = len(identities())
    child = FORK.Process(target=profile_phone)
    child.start()
    while child.is_alive() and len(identities()) < before + rows:
        time.sleep(0.005)
    child.join(seconds)
    running = child.is_alive()
    if running and child.pid is not None:
        os.kill(child.pid, signal.SIGKILL)
    child.join(60)
    assert running or child.exitcode == 0
    return running


def test_fifty_kills_lose_no_row_and_repeat_none(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = plan_profile(SamplingRange(), None, 0)
    plan = replace(whole, fit_models=whole.fit_models[:FIT_MODELS], held_out=whole.held_out[:HELD_OUT])
    MeasurementStore.open().close()
    # The children find the plan made, so that they are killed while they measure.
    monkeypatch.setattr(profile_pipeline, "plan_profile", lambda *arguments: plan)
    chance = random.Random(4)
    kept: list[tuple[str, int]] = []
    kills, grown = 0, 0
    while kills < KILLS:
        assert killed_after(chance.choice((0, 0, 0, 1, 2)), chance.uniform(0.0, 0.03)), f"finished after {kills} kills"
        kills += 1
        now = identities()
        assert now[: len(kept)] == kept and len(set(now)) == len(now)
        grown += len(now) > len(kept)
        kept = now
    profile_phone()
    assert identities()[: len(kept)] == kept
    with MeasurementStore.open() as store:
        rows = store.measurements()
    assert set(Counter(row.subject_hash for row in rows).values()) == {VISITS}
    # A round is there as a whole or not at all.
    sizes = Counter((row.session, row.round) for row in rows)
    assert set(sizes.values()) == {len(plan.models)}
    assert grown >= KILLS // 5, f"{grown} of {kills} kills came after new rows"
    assert {row.provenance for row in rows} == {"simulated"}


def hold(ready: str, done: str) -> None:
    with alone(open_device(load_device("s20"), simulated=True), lambda event: None):
        Path(ready).touch()
        while not Path(done).exists():
            time.sleep(0.01)


def holder(ready: Path, done: Path) -> BaseProcess:
    """Another process that holds the phone until there is a file ``done``."""
    child = FORK.Process(target=hold, args=(str(ready), str(done)))
    child.start()
    while not ready.exists():
        assert child.is_alive(), "it ended before it held the phone"
        time.sleep(0.01)
    return child


def test_second_profiling_says_who_holds_the_device_and_waits(tmp_path: Path) -> None:
    other = holder(tmp_path / "ready", tmp_path / "done")
    events: list[ProgressEvent] = []

    def told(event: ProgressEvent) -> None:
        events.append(event)
        assert other.is_alive()
        (tmp_path / "done").touch()

    with alone(open_device(load_device("s20"), simulated=True), told):
        other.join(60)
        assert other.exitcode == 0
    assert f"process {other.pid} (" in events[0].message and "is profiling s20: waiting for it" in events[0].message


def test_waiting_has_an_end_and_a_killed_holder_frees_the_device(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = holder(tmp_path / "ready", tmp_path / "never")
    monkeypatch.setattr(device_lock, "WAIT_S", 0.1)
    device = open_device(load_device("s20"), simulated=True)
    with (
        pytest.raises(DeviceError, match=rf"process {other.pid} .* still profiles s20 after 0.1 s"),
        alone(device, lambda event: None),
    ):
        pass
    other.kill()
    other.join(10)
    with alone(device, lambda event: None):
        pass


def test_another_device_is_not_waited_for(tmp_path: Path) -> None:
    other = holder(tmp_path / "ready", tmp_path / "never")
    events: list[ProgressEvent] = []
    with alone(open_device(load_device("s10"), simulated=True), events.append):
        assert events == []
    other.kill()
    other.join(10)
