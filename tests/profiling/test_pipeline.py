"""Profiling as a whole, and the two commands, on analytic phones and on scripted devices."""

from __future__ import annotations

import json
import subprocess
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from data.device_spec import load_device
from data.errors import DeviceError, InputError, StoreError
from data.progress import ProgressEvent
from data.store import MeasurementStore
from profiling import open_device
from profiling.sampling import distinct_blocks
from profiling.session import CARE
from search.profiles import profile_pipeline
from search.profiles.profile_pipeline import (
    load_predictor,
    plan_profile,
    predictor_directory,
    profile,
    profile_and_train,
)
from tests.profiling.doubles import ScriptedDevice, failing_at
from tests.support import Completed, command_line, environment, run_in

pytestmark = pytest.mark.usefixtures("state_home")


def test_profile_then_reuse(store: MeasurementStore) -> None:
    device = ScriptedDevice()
    first = profile(device, store, threads=8, blocks=100)
    assert not first.reused and first.predictor.errors.mape < 0.05 and first.predictor.provenance == "measured"
    assert first.predictor.errors.n == profile_pipeline.HELD_OUT_MODELS and first.predictor.measured_blocks >= 100
    visits = len(device.visits)
    events: list[ProgressEvent] = []
    again = profile(device, store, threads=8, blocks=100, progress=events.append)
    assert again.reused and len(device.visits) == visits and "reusing" in events[-1].message
    assert again.quality.statistic == first.quality.statistic
    assert load_predictor(device, 8) is not None and load_predictor(device, 4) is None


def test_interrupted_profile_goes_on(store: MeasurementStore) -> None:
    plan = plan_profile(profile_pipeline.SamplingRange(), 60, 0)
    lost_at = 3 * len(plan.models) + 5
    with pytest.raises(DeviceError):
        profile_and_train(ScriptedDevice(failing_at(lost_at, lost_at + 1)), store, threads=8, blocks=60)
    kept = store.measurements()
    assert len(kept) == 3 * len(plan.models)
    profile_and_train(ScriptedDevice(), store, threads=8, blocks=60)
    rows = store.measurements()
    assert rows[: len(kept)] == kept
    assert set(Counter(row.subject_hash for row in rows).values()) == {CARE.least_visits}


def test_more_blocks_measure_only_the_new_models(store: MeasurementStore) -> None:
    device = ScriptedDevice()
    few = profile(device, store, threads=8, blocks=50)
    visits = len(device.visits)
    more = profile(device, store, threads=8, blocks=400)
    assert not more.reused and more.predictor.measured_blocks > few.predictor.measured_blocks
    added = len(more.predictor.models) - len(few.predictor.models)
    assert added > 0 and len(device.visits) - visits == CARE.least_visits * added


def test_more_blocks_than_there_are_are_refused() -> None:
    narrow = profile_pipeline.SamplingRange(layers=(2, 2), hidden=(64,), sparse_hidden=())
    with pytest.raises(InputError, match="ask for fewer"):
        plan_profile(narrow, 200, 0)


def test_changed_compiler_and_machine_are_said(store: MeasurementStore, monkeypatch: pytest.MonkeyPatch) -> None:
    profile_and_train(ScriptedDevice(), store, threads=8, blocks=50)
    events: list[ProgressEvent] = []
    monkeypatch.setattr(profile_pipeline, "compiler_for", lambda device, fuse: "another compiler")
    assert load_predictor(ScriptedDevice(), 8) is None
    profile(ScriptedDevice(), store, threads=8, blocks=50, progress=events.append)
    assert "compiler has changed" in events[0].message
    other = ScriptedDevice(fingerprint="s20-other")
    profile(replace(other, fingerprint="s20-first"), store, threads=8, blocks=50)
    profile(other, store, threads=8, blocks=50, progress=events.append)
    assert any("not the s20 that was profiled before" in event.message for event in events)


def test_again_measures_as_much_once_more(store: MeasurementStore) -> None:
    device = ScriptedDevice()
    profile(device, store, threads=8, blocks=50)
    visits = len(device.visits)
    outcome = profile(device, store, threads=8, blocks=50, again=True)
    assert not outcome.reused and outcome.predictor.errors.mape < 0.08 and len(device.visits) == 2 * visits


def test_a_phone_that_hides_its_temperature_is_told(store: MeasurementStore) -> None:
    events: list[ProgressEvent] = []
    outcome = profile(ScriptedDevice(), store, threads=8, blocks=50, progress=events.append)
    assert outcome.quality.blind == 1.0 and outcome.quality.stable
    assert events[-1].message.startswith("warning: the phone told no possible temperature before 100% of the rows")


def test_damaged_predictor_is_trained_again(store: MeasurementStore) -> None:
    device = ScriptedDevice()
    profile_and_train(device, store, threads=8, blocks=50)
    path = predictor_directory(device, 8, 128) / "predictor.json"
    path.write_text("{")
    visits = len(device.visits)
    assert not profile(device, store, threads=8, blocks=50).reused
    assert len(device.visits) == visits and json.loads(path.read_text())


def test_held_out_models_are_not_fitted_and_plan_is_stable() -> None:
    plan = plan_profile(profile_pipeline.SamplingRange(), 120, 3)
    assert plan == plan_profile(profile_pipeline.SamplingRange(), 120, 3)
    assert not set(plan.fit_models) & set(plan.held_out)
    assert len(distinct_blocks((*plan.fit_models, *plan.held_out))) >= 120 and len(plan.fit_models) == 8
    many = plan_profile(profile_pipeline.SamplingRange(), 600, 3)
    assert many.held_out == plan.held_out and 600 <= len(distinct_blocks((*many.fit_models, *many.held_out))) < 620


def test_sequence_length_has_its_own_predictor(store: MeasurementStore) -> None:
    device = open_device(load_device("s20"), simulated=True)
    profile_and_train(device, store, threads=8, blocks=50, seq_len=32)
    assert load_predictor(device, 8, seq_len=32) is not None and load_predictor(device, 8) is None


def test_profile_device_command(run_command: Callable[..., Completed]) -> None:
    arguments = ("--device", "s20", "--simulated", "--blocks", "50", "--json")
    first = run_command("profile-device", *arguments, timeout=120)
    again = run_command("profile-device", *arguments, "--runs", "9", timeout=120)
    for done in (first, again):
        assert done.returncode == 0, done.stderr
    document = json.loads(first.stdout)
    assert document["provenance"] == "simulated" and document["errors"]["mape"] < 0.1
    assert "simulated" in first.stderr and "MAPE" in first.stderr
    assert (document["reused"], json.loads(again.stdout)["reused"]) == (False, True)
    assert "reused, without --runs; --again" in again.stderr
    assert json.loads(again.stdout)["visits"] is None and document["visits"] >= CARE.least_visits


@pytest.mark.parametrize(
    ("arguments", "code", "problem"),
    [
        (("--device", "s21"), 2, "Did you mean 's20'"),
        ((), 2, "--device"),
        (("--device", "host", "--threads", "9999"), 2, "cores"),
        (("--device", "host", "--unit", "gpu", "--threads", "1"), 2, "--threads is for --unit cpu"),
        (("--device", "host", "--time-limit", "soon"), 2, "duration"),
        (("--device", "host", "--simulated"), 2, "--simulated is of phones"),
    ],
)
def test_bad_usage_is_one_line(
    run_command: Callable[..., Completed], arguments: tuple[str, ...], code: int, problem: str
) -> None:
    done = run_command("profile-device", *arguments)
    assert done.returncode == code and problem in done.stderr and len(done.stderr.strip().splitlines()) == 1


def test_list(run_command: Callable[..., Completed]) -> None:
    done = run_command("profile-device", "--list", "--json")
    assert {entry["name"] for entry in json.loads(done.stdout)["devices"]} == {"host", "s20", "s10", "mali"}


def test_killed_profiling_goes_on_without_losing_or_repeating(state_home: Path, tmp_path: Path) -> None:
    argv = [*command_line("profile-device"), "--device", "s20", "--simulated", "--blocks", "60"]
    path = state_home / "measurements.sqlite"
    for wanted in (20, 90):
        process = subprocess.Popen(argv, cwd=tmp_path, env=environment(state_home), stderr=subprocess.DEVNULL)
        while process.poll() is None and _rows(path) < wanted:
            time.sleep(0.01)
        process.kill()
        process.wait(timeout=30)
    kept = _rows(path)
    assert run_in(tmp_path, argv, environment(state_home), timeout=120).returncode == 0
    with MeasurementStore.open(path) as store:
        visits = Counter(row.subject_hash for row in store.measurements())
    assert kept >= 90 and len(set(visits.values())) == 1


def _rows(path: Path) -> int:
    """Rows that another process has committed so far."""
    if not path.exists():
        return 0
    try:
        with MeasurementStore.open(path) as store:
            return len(store.measurements())
    except StoreError:  # the other process is just creating the file
        return 0


def test_a_time_limit_that_is_too_short_says_what_is_kept_and_how_long_is_needed(store: MeasurementStore) -> None:
    device, told = ScriptedDevice(), r"too short: 28 of 28 whole models were visited, 0 of them twice; .*limit \d+0s"
    with pytest.raises(InputError, match=told):
        profile(device, store, threads=8, blocks=40, time_limit_s=1e-3)
    kept = len(store.measurements())
    profile(device, store, threads=8, blocks=40)
    assert len(store.measurements()) > kept > 0
