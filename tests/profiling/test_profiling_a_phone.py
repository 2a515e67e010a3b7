"""``profile-device`` as a whole on phones: real adb, real aarch64 runners under qemu, killed and resumed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
from time import monotonic, sleep

from data.measurement import Measurement
from data.store import MeasurementStore
from profiling.session import CARE
from tests.profiling.test_phones import Attach
from tests.support import Completed, environment, new_home, run_in

# The command itself, on a small part of the search space and a small reference block: qemu is slow.
SMALL_COMMAND = """
import sys
from dataclasses import replace
from functools import partial
from fusion.block import make_block
from profiling import items, session
from search.profiles import profile_pipeline
from search.commands.profile_device import main

session.Care = partial(session.Care, spread_s=0.0)
items.REFERENCE_BLOCK = make_block("gemm", {"rows": 8, "inner": 64, "columns": 128}, ("bias", "gelu"))
whole = profile_pipeline.SamplingRange
profile_pipeline.SamplingRange = partial(
    whole, layers=(1, 2), hidden=(32, 64), sparse_hidden=(), intermediate_ratio=(1.0, 2.0), vocab_size=64
)
profile_pipeline.FIT_MODELS = profile_pipeline._FEWEST_FIT_MODELS = profile_pipeline.HELD_OUT_MODELS = 3
sys.argv[0] = "profile-device"
sys.exit(main())
"""
FIRST = ("--device", "s20")
OPTIONS = ("--runs", "2", "--agreement", "100", "--threads", "2", "--seq-len", "8", "--json")


def small_command(*words: str) -> list[str]:
    return [sys.executable, "-c", SMALL_COMMAND, *words, *OPTIONS]


def run_small(folder: Path, *words: str) -> Completed:
    return run_in(folder, small_command(*words), environment(new_home(folder / "home")), timeout=240)


def test_killed_resumed_by_two_phones_and_reused(attach: Attach, qemu: str, tmp_path: Path) -> None:
    phone = attach()
    killed = subprocess.Popen(small_command(*FIRST), cwd=tmp_path, env=environment(new_home(tmp_path / "home")))
    path = tmp_path / "home" / "measurements.sqlite"
    deadline = monotonic() + 200
    while not path.exists() or len(rows_of(path)) < 6:
        assert killed.poll() is None and monotonic() < deadline
        sleep(0.2)
    killed.kill()
    killed.wait()
    before = rows_of(path)
    second = attach()
    done = run_small(tmp_path, *FIRST, "--serial", phone.serial, "--serial", second.serial)
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    rows = rows_of(path)
    assert rows[: len(before)] == before
    cores = tuple(sorted(os.sched_getaffinity(0)))
    made = {("measured", each.serial, cores) for each in (phone, second)}
    assert {(row.provenance, row.serial, row.cpus) for row in rows} == made
    assert set(Counter(row.subject_hash for row in rows).values()) == {CARE.least_visits}
    assert document["provenance"] == "measured" and document["held_out"] and document["measured_blocks"] >= 10
    assert all("clock_mhz" in row.state_after and row.state_after["temperature_c"] == 31.2 for row in rows)
    assert not any(list(each.storage.iterdir()) or each.running() for each in (phone, second))
    again = run_small(tmp_path, "--device", "s20", "--serial", second.serial)
    assert again.returncode == 0 and json.loads(again.stdout)["reused"], again.stderr
    assert rows_of(path) == rows


def rows_of(path: Path) -> list[Measurement]:
    with MeasurementStore.open(path) as store:
        return store.measurements()
