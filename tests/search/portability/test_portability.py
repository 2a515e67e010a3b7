"""The portability study's devices, tables, page and terminal, through the command where that is quick."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner, Result

from data.errors import DataFileError, InputError
from data.progress import ProgressEvent, no_progress
from data.store import MeasurementStore
from search.commands.portability_study import main
from search.portability.portability import PASSES, StudyDevice, measured_tables
from search.portability.portability_table import read_table
from search.reports.portability_page import render_study
from search.reports.portability_summary import notes
from surrogate.tables.portability import Study, study
from surrogate.tables.table import HYPERPARAMETERS
from tests.support import Completed, assert_one_error_line, environment

RunCommand = Callable[..., Completed]
PHONES = [StudyDevice.parse("s20"), StudyDevice.parse("s10:4")]


def rows(device: str, factor: float, **more: object) -> pd.DataFrame:
    table = pd.DataFrame(
        [(layers, width, 4, 4 * width, 128, 1) for layers in range(1, 7) for width in (64, 128, 192, 256)],
        columns=list(HYPERPARAMETERS),
    )
    latency = factor * table["layers"] * table["hidden"] ** 1.5 / 1000
    return table.assign(device=device, latency_ms=latency, **more)


@pytest.fixture(scope="module", autouse=True)
def two_splits() -> Iterator[None]:
    """Enough for tables, pages and messages; what ten of them find is told in tests/surrogate."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("surrogate.tables.portability.SPLITS", 2)
        patch.setattr("surrogate.tables.transfer_trials.SPLITS", 2)
        yield


@pytest.fixture
def command(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """Runs the command in this process, where there are two splits."""
    monkeypatch.chdir(tmp_path)
    return lambda *words: CliRunner(env=environment(home)).invoke(main, list(map(str, words)))


@pytest.fixture
def csv(tmp_path: Path) -> Callable[..., Path]:
    """Writes tables of devices into one file."""

    def write(*tables: pd.DataFrame) -> Path:
        path = tmp_path / "table.csv"
        pd.concat(tables).to_csv(path, index=False)
        return path

    return write


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("host", (None, None)),
        ("host:2", (2, None)),
        ("host:2:avx2", (2, "avx2")),
        ("host:sse", (None, "sse")),
    ],
)
def test_a_device_is_a_name_threads_and_instructions(text: str, expected: tuple[int | None, str | None]) -> None:
    device = StudyDevice.parse(text)
    assert (device.label, device.name, (device.threads, device.instructions)) == (text, "host", expected)


def test_int8_is_a_device_of_its_own(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POCKETBERT_HOME", str(home))
    device = StudyDevice.parse("host:2:avx2:int8")
    assert (device.threads, device.instructions, device.precision) == (2, "avx2", "int8")
    both = [StudyDevice.parse("s20"), StudyDevice.parse("s20:int8")]
    with MeasurementStore.open() as store:
        tables = measured_tables(both, store, 12, 0, no_progress)
    exact, narrow = (tables[each.label].rows for each in both)
    same = exact.merge(narrow, on=["layers", "hidden", "heads", "intermediate"])
    assert len(same) == len(exact) == len(narrow) == 12
    assert (same["latency_ms_x"] != same["latency_ms_y"]).all()


def test_the_gpu_is_a_device_of_its_own() -> None:
    device = StudyDevice.parse("s20:gpu")
    assert (device.label, device.name, device.unit, device.threads) == ("s20:gpu", "s20", "gpu", None)


OTHERWISE = ["", "host:", "host:0", "host:2:", "host:2:avx2:x", ":2", ":gpu", "host:2:gpu:x"]


@pytest.mark.parametrize("text", [*OTHERWISE, "host:fp16", "host:2:fp32", "host:gpu:int8", "host:int8:int8"])
def test_other_ways_of_writing_are_refused(text: str) -> None:
    with pytest.raises(InputError, match="as in host:2 or host:2:avx2"):
        StudyDevice.parse(text)


@pytest.mark.parametrize(
    ("devices", "problem"),
    [
        ("host:1:avx3,host:1", "unknown instruction set 'avx3'"),
        ("host:1:neon,host:1:avx2", "this machine cannot run code for"),
        ("host:1,s20:2:avx2", "only be chosen for this machine, not for s20"),
        ("host:9999,host:1", "host has"),
        ("host:1,host:1", "two different devices"),
        ("s20:8,s20", "s20:8 and s20 are one device"),
    ],
)
def test_devices_that_cannot_be_are_one_line(devices: str, problem: str, run_command: RunCommand) -> None:
    assert_one_error_line(run_command("portability-study", "--devices", devices), 2, problem)


def test_simulated_phones_are_marked_everywhere(command: Callable[..., Result], tmp_path: Path) -> None:
    options = ("--models", "15", "--samples", "0,5,10,50", "--json", "--out", "out")
    done = command("--devices", "s20,s10:4", *options)
    assert done.exit_code == 0, done.stderr
    document = json.loads(done.stdout)
    assert document["provenance"] == {"s20": "simulated", "s10:4": "simulated"}
    assert document["noise_floor"] == {"s20": None, "s10:4": None}
    assert document["left_out"] == [50] and "left out: 50 samples" in done.stderr
    for text in (done.stderr, (tmp_path / "out" / "study.html").read_text()):
        assert "s20 (simulated) to s10:4 (simulated): " in text
    assert [entry["samples"] for entry in document["safety"]] == 4 * [0, 5, 10]


def test_an_interrupted_study_goes_on(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POCKETBERT_HOME", str(home))
    seen = 0

    def interrupt(event: ProgressEvent) -> None:
        nonlocal seen
        seen += event.stage == "measure s20"
        if seen == 20:
            raise KeyboardInterrupt

    with MeasurementStore.open() as store:
        with pytest.raises(KeyboardInterrupt):
            measured_tables(PHONES, store, 15, 0, interrupt)
        kept = len(store.measurements(subject="model"))
        tables = measured_tables(PHONES, store, 15, 0, no_progress)
        measured = store.measurements(subject="model")
        again = measured_tables(PHONES, store, 15, 0, no_progress)
        assert len(store.measurements(subject="model")) == len(measured), "nothing is measured twice"
    # All rounds of the first device that were told, and its partner's first pass between them.
    assert kept == 15 * (20 + PASSES[0]) and len(tables) == 2
    assert set(Counter((row.device, row.subject_hash) for row in measured).values()) == {PASSES[-1]}
    assert len({row.session for row in measured if row.device == "s10"}) == len(PASSES)
    pd.testing.assert_frame_equal(again["s20"].rows, tables["s20"].rows)


def test_a_table_as_a_command(csv: Callable[..., Path], command: Callable[..., Result], tmp_path: Path) -> None:
    options = ("--samples", "0,5", "--json", "--out", "out")
    done = command("--table", csv(rows("a", 1.0), rows("b", 2.0)), *options)
    assert done.exit_code == 0, done.stderr
    assert json.loads(done.stdout) == json.loads((tmp_path / "out" / "study.json").read_text())
    assert "b to a: safe without any row of the new device" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (("--devices", "host"), "two different devices"),
        (("--devices", "s20,s10", "--samples", "few"), "whole numbers"),
        (("--devices", "s20,s10", "--features", "layers"), "--features belongs to --table"),
        (("--table", "none.csv"), "cannot be read"),
        ((), "either --devices or --table"),
    ],
)
def test_bad_usage_is_one_line(arguments: tuple[str, ...], problem: str, run_command: RunCommand) -> None:
    assert_one_error_line(run_command("portability-study", *arguments), 2, problem)


def test_a_table_may_say_where_it_comes_from(csv: Callable[..., Path]) -> None:
    path = csv(rows("a", 1.0, provenance="published"), rows("b", 2.0, provenance="measured"))
    found = read_table(path, HYPERPARAMETERS)
    assert {name: entry.provenance for name, entry in found.items()} == {"a": "published", "b": "measured"}
    assert {len(entry.rows) for entry in found.values()} == {24}


@pytest.mark.parametrize(
    ("second", "problem"),
    [
        (rows("b", 2.0, heads=["x", *range(23)]), "row 25: heads is 'x'"),
        (rows("b", -2.0), "row 25: latency_ms is -1.024"),
        (rows("b", 2.0).assign(device=[None] * 24), "row 25: device is empty"),
        (rows("b", 2.0, provenance="guessed"), "row 1: provenance is empty"),
        (rows("a", 2.0), None),
    ],
)
def test_a_bad_row_is_named_by_its_place_in_the_file(
    second: pd.DataFrame, problem: str | None, csv: Callable[..., Path]
) -> None:
    path = csv(rows("a", 1.0), second)
    if problem is None:
        assert len(read_table(path, HYPERPARAMETERS)["a"].rows) == 48
        return
    with pytest.raises(DataFileError, match=re.escape(problem)) as caught:
        read_table(path, HYPERPARAMETERS)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("name", ["NA", "None", "nan", "null", "1"])
def test_a_device_may_be_called_anything(name: str, csv: Callable[..., Path]) -> None:
    assert set(read_table(csv(rows("a", 1.0), rows(name, 2.0)), HYPERPARAMETERS)) == {"a", name}


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("device;layers;latency_ms\na;1;2\n", "separated by semicolons"),
        ("device\tlayers\na\t1\n", "separated by tabs"),
        ("device,layers,layers\na,1,2\n", "'layers' stands 2 times"),
        ("device, layers,layers \na,1,2\n", "'layers' stands 2 times"),
        ("device,layers\na,1\nb,1,2\n", ":3: 3 cells, where the header has 2"),
        ("device,layers\na\n", ":2: 1 cells, where the header has 2"),
        ("device,layers\n", "is empty"),
        ("", "is empty"),
        ("device,layers\na,NA\n", "row 1: layers is 'NA'"),
        ("device,layers\na,\n", "row 1: layers is ''"),
        ("layers,latency_ms\n1,2\n", "no column 'device'"),
        ('device,layers\n"a,1\n', "not a CSV table"),
    ],
)
def test_what_is_wrong_with_a_table_is_said(text: str, problem: str, tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_text(text)
    with pytest.raises(DataFileError, match=re.escape(problem)):
        read_table(path, HYPERPARAMETERS)


def test_a_table_from_a_spreadsheet(csv: Callable[..., Path]) -> None:
    path = csv(rows("a", 1.0))
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b"\n", b"\r\n") + b"\r\n")
    assert len(read_table(path, HYPERPARAMETERS)["a"].rows) == 24
    path.write_text(path.read_text(encoding="utf-8-sig"), encoding="utf-16")
    with pytest.raises(DataFileError, match="UTF-8"):
        read_table(path, HYPERPARAMETERS)


@pytest.mark.parametrize("words", ["guessed", ["measured", "simulated"] * 12])
def test_a_provenance_that_is_none_is_refused(words: object, csv: Callable[..., Path]) -> None:
    path = csv(rows("a", 1.0, provenance=words), rows("b", 2.0, provenance="measured"))
    with pytest.raises(DataFileError, match="device a: "):
        read_table(path, HYPERPARAMETERS)


@pytest.fixture(scope="module")
def noisy() -> Study:
    random = np.random.default_rng(0)
    tables = {}
    for device, factor in (("a", 1.0), ("b & <b>", 2.0)):
        sessions = [rows(device, factor).assign(session=name) for name in ("x", "y")]
        table = pd.concat(sessions, ignore_index=True)
        tables[device] = table.assign(latency_ms=table["latency_ms"] * np.exp(0.03 * random.standard_normal(48)))
    return study(tables, samples=(0, 5), provenance={"a": "measured", "b & <b>": "published"})


def test_the_page_is_self_contained_and_escaped(noisy: Study) -> None:
    page = render_study(noisy)
    assert "<script" not in page and "src=" not in page and "<link" not in page and 'name="viewport"' in page
    assert page.count("<svg") == 4 and "noise floor" in page
    assert "<b>" not in page and "b &amp; &lt;b&gt; (published)" in page
    assert all(entry.text.partition(":")[2] in page for entry in noisy.safe_samples)


def test_what_limits_a_study_is_said(noisy: Study) -> None:
    assert notes(noisy) == []
    once = study({"a": rows("a", 1.0), "b": rows("b", 2.0)}, samples=(0, 99))
    assert [line.split(":")[0] for line in notes(once)] == [
        "left out",
        "measured in one session only, so that its noise is not known",
    ]
