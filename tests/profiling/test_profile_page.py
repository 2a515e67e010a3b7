"""What a profiling leaves: the page with the parity plot, and the rows as a table, marked with where they come from."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from data.device_spec import load_device
from data.store import MeasurementStore
from profiling import open_device
from profiling.device import RawSamples
from profiling.session import Care
from search.profiles.profile_pipeline import profile
from tests.profiling.doubles import ScriptedDevice
from tests.support import Completed

pytestmark = pytest.mark.usefixtures("state_home")


def test_page_is_self_contained_and_says_that_it_is_simulated(store: MeasurementStore) -> None:
    outcome = profile(open_device(load_device("s20"), simulated=True), store, threads=8, blocks=50)
    page = outcome.page.read_text()
    assert page.count("<svg") == 1 and "<script" not in page and "src=" not in page and "<link" not in page
    assert "Every latency on this page is <b>simulated</b>" in page and "simulated latency, ms" in page
    assert "measured ms" not in page and "distinct blocks\n(simulated)" in page
    for name, _, _ in outcome.predictor.held_out:
        assert name in page
    assert {row.provenance for row in store.measurements()} == {"simulated"}


def test_page_of_a_measured_device_warns_beside_the_figures(store: MeasurementStore) -> None:
    def restless(number: int, raw: RawSamples) -> RawSamples:
        factor = float(np.exp(0.3 * np.random.default_rng(number).standard_normal()))
        samples = tuple(factor * time for time in raw.samples_ms)
        return replace(raw, samples_ms=samples, preemptions_per_s=500.0 if number % 2 else 0.0)

    care = Care(most_visits=8)
    page = profile(ScriptedDevice(restless), store, threads=8, blocks=50, care=care).page.read_text()
    assert "Warning: this machine allows no better than" in page and "measured latency, ms" in page
    assert "simulated" not in page and "noise of a later session" in page and "random halves" in page


def test_command_prints_the_page_and_exports(run_command: Callable[..., Completed], tmp_path: Path) -> None:
    table = tmp_path / "rows.csv"
    options = ("--device", "s20", "--simulated", "--blocks", "50", "--runs", "20", "--json", "--export", table)
    done = run_command("profile-device", *options, timeout=120)
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert Path(document["report"]).exists() and f"report: {document['report']}" in done.stderr
    rows = pd.read_csv(table)
    assert set(rows.provenance) == {"simulated"} and set(rows.fingerprint) == {document["fingerprint"]}
    assert {len(json.loads(samples)) for samples in rows.samples_ms} == {20}
    everything = run_command("profile-device", "--export", tmp_path / "all.csv")
    assert everything.returncode == 0 and len(pd.read_csv(tmp_path / "all.csv")) == len(rows)
    for arguments, problem in (
        (("--export", "rows.xlsx"), ".parquet or .csv"),
        (("--export", "rows.csv", "--json"), "--device"),
        (("--device", "s20", "--simulated", "--agreement", "0"), "--agreement"),
    ):
        bad = run_command("profile-device", *arguments)
        assert bad.returncode == 2 and problem in bad.stderr and len(bad.stderr.strip().splitlines()) == 1
