"""Whole searches on this machine with a small teacher: profiled, distilled, compiled, confirmed; killed and resumed."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import sqlite3
import subprocess
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from data.store import MeasurementStore
from tests.small_world import write_reviews, write_teacher
from tests.support import Completed, assert_one_error_line, command_line, environment, new_home, run_in

# Generous limits: on a busy machine all of this takes several times as long as alone.
pytestmark = [pytest.mark.end_to_end, pytest.mark.timeout(1500)]

SEQ_LEN = 32
BUDGET_MS = 20.0  # far above what the small models take, so that a busy machine cannot miss it
BLOCKS = 40  # the fewest that profile-device accepts
PROFILE = ["--device", "host", "--threads", "1", "--blocks", str(BLOCKS), "--seq-len", str(SEQ_LEN)]
PROFILE += ["--agreement", "0.1"]  # on a busy machine halves hardly agree
TRIALS = 2
MOST_BYTES = 1_200_000  # the teacher has more, so that a student wins


@dataclass(frozen=True)
class World:
    """A data set, a teacher, and a state home in which the host is profiled."""

    folder: Path

    @property
    def home(self) -> Path:
        return self.folder / "home"

    def search(self, out: str, *more: str) -> list[str]:
        """The command line of a small search into ``folder/out``."""
        return [
            *command_line("search"),
            *("--device", "host", "--threads", "1", "--budget", f"{BUDGET_MS}ms", "--seq-len", str(SEQ_LEN)),
            *("--task", "sst2", "--data-dir", "glue", "--teacher", "./teacher", "--effort", "brief"),
            *("--trials", str(TRIALS), "--max-size", f"{MOST_BYTES}B", "--seed", "1", "--out", out, *more),
        ]

    def run(self, argv: list[str], timeout: float = 900) -> Completed:
        return run_in(self.folder, argv, environment(self.home), timeout)

    def kill_when(self, argv: list[str], ready: Callable[[], bool], limit_s: float = 600) -> bool:
        """Starts a command and kills it, and all that it started, as soon as ``ready``; False where it ended before."""
        process = subprocess.Popen(
            argv,
            cwd=self.folder,
            env=environment(self.home),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        try:
            deadline = time.monotonic() + limit_s
            while process.poll() is None and not ready() and time.monotonic() < deadline:
                time.sleep(0.02)
            killed = process.poll() is None
            if killed:
                os.killpg(process.pid, signal.SIGKILL)
            _, messages = process.communicate(timeout=60)
            assert killed or process.returncode == 0, messages
            return killed
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)

    def rows(self) -> list[tuple[str, str, str, str]]:
        """Identity and samples of every stored measurement, in the order in which they were made."""
        path = self.home / "measurements.sqlite"
        if not path.exists():
            return []
        connection = sqlite3.connect(path, timeout=30)
        try:
            query = "SELECT subject, subject_hash, session, samples_ms FROM measurements ORDER BY id"
            return connection.execute(query).fetchall()
        except sqlite3.OperationalError:  # the table is just being made
            return []
        finally:
            connection.close()


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    folder = tmp_path_factory.mktemp("world")
    write_reviews(folder / "glue")
    write_teacher(folder / "teacher")
    new_home(folder / "home")
    return World(folder)


@pytest.fixture(scope="module")
def profiled(world: World) -> World:
    """The world after a profile that was killed once and then finished."""
    argv = [*command_line("profile-device"), *PROFILE]
    assert world.kill_when(argv, lambda: len(world.rows()) >= 8), "the profile ended before it could be killed"
    before = world.rows()
    finished = world.run(argv)
    assert finished.returncode == 0, finished.stderr
    assert world.rows()[: len(before)] == before, "finished measurements are kept"
    return world


@pytest.fixture(scope="module")
def result(profiled: World) -> dict:
    """``result.json`` of an undisturbed search."""
    done = profiled.run([*profiled.search("out"), "--json"])
    assert done.returncode == 0, done.stderr
    printed = json.loads(done.stdout)
    saved = json.loads((profiled.folder / "out" / "result.json").read_text())
    assert printed == saved
    return saved


def test_a_killed_profile_measures_nothing_twice(profiled: World) -> None:
    with MeasurementStore.open(profiled.home / "measurements.sqlite") as store:
        rows = store.measurements()
    # Rounds are over all models, whatever was killed in between.
    visits = Counter(row.subject_hash for row in rows).values()
    assert len(visits) >= 20 and max(visits) - min(visits) <= 1
    assert len({(row.session, row.position) for row in rows}) == len(rows)


def test_a_second_profile_reuses_the_first(profiled: World) -> None:
    before = len(profiled.rows())
    again = profiled.run([*command_line("profile-device"), *PROFILE])
    assert again.returncode == 0, again.stderr
    assert len(profiled.rows()) == before


def test_the_winner_is_measured_within_the_budget(result: dict) -> None:
    assert result["confirmation"] == {"status": "confirmed", "command": None}
    winner = result["winner"]
    assert winner["meets_budget"]
    assert winner["timing"]["provenance"] == result["device"]["provenance"] == "measured"
    assert 0 < winner["timing"]["median_ms"] <= BUDGET_MS
    assert winner["timing"]["n"] == len(winner["timing"]["samples_ms"]) >= 20
    assert winner["score"] == max(
        finalist["score"] or 0 for finalist in result["finalists"] if finalist["meets_budget"]
    )
    for scores, majority in ((winner, "held_out_majority"), (winner["dev"], "majority")):
        assert scores["score"] > result["task"][majority] + 0.2, "reviews are easy"
        assert 0.0 <= scores["standard_error"] < 0.1
    assert winner["max_logit_difference"] < 1e-4
    # Timed at another moment, on a machine that may be three times as busy.
    assert 0.1 < sum(block["total_ms"] for block in winner["blocks"]) / winner["timing"]["median_ms"] < 10


def test_every_trial_was_timed_within_the_budget_before(result: dict) -> None:
    assert len(result["trials"]) == TRIALS
    assert {trial["status"] for trial in result["trials"]} == {"finished"}
    admission = result["admission"]
    assert admission["timed"] == admission["admitted"] + admission["missed"] == len(admission["models"])
    admitted = {model["name"]: model["timing"] for model in admission["models"] if model["admitted"]}
    for trial in result["trials"]:
        timing = admitted[trial["name"]]
        assert timing["provenance"] == "measured"
        assert trial["timed_ms"] == timing["median_ms"] <= BUDGET_MS
    assert len({trial["name"] for trial in result["trials"]}) == TRIALS, "no architecture is tried twice"
    teacher = admission["models"][0]
    assert (teacher["proposer"], teacher["admitted"]) == ("teacher", False), "it is larger than --max-size"
    assert teacher["timing"]["median_ms"] == result["teacher"]["timing"]["median_ms"] > 0


def test_what_is_predicted_comes_with_its_error(result: dict) -> None:
    quality = result["predictor"]
    assert quality["n"] >= 5
    assert quality["mape"] >= 0
    assert 0 <= quality["within_10"] <= 1
    assert -1 <= quality["spearman"] <= 1


@pytest.mark.usefixtures("result")
def test_the_report_needs_nothing_else(profiled: World) -> None:
    page = (profiled.folder / "out" / "report.html").read_text()
    assert page.count("<svg") + page.count("data:image/png") >= 3
    assert not re.search(r"""(?:src|href)=["']?(?:https?:)?//""", page)
    assert "measured" in page


def dev_inputs(folder: Path, count: int) -> list[dict[str, list[int]]]:
    """Token ids and masks of the first dev sentences, as the winner's own tokenizer makes them."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder / "out" / "best")
    lines = (folder / "glue" / "SST-2" / "dev.tsv").read_text().splitlines()[1 : count + 1]
    encoded = tokenizer([line.split("\t")[0] for line in lines], padding="max_length", max_length=SEQ_LEN)
    return [{name: encoded[name][row] for name in ("input_ids", "attention_mask")} for row in range(count)]


@pytest.mark.usefixtures("result")
def test_the_compiled_model_runs_without_python_and_agrees_with_onnxruntime(profiled: World) -> None:
    import onnxruntime

    best = profiled.folder / "out" / "best"
    session = onnxruntime.InferenceSession(str(best / "model.onnx"), providers=["CPUExecutionProvider"])
    elsewhere = profiled.folder / "elsewhere"
    shutil.copytree(best / "compiled", elsewhere)
    for inputs in dev_inputs(profiled.folder, 8):
        feed = {port.name: np.zeros((1, SEQ_LEN), dtype=np.int64) for port in session.get_inputs()}
        feed |= {name: np.array([values], dtype=np.int64) for name, values in inputs.items()}
        (expected,) = session.run(None, feed)
        given = [word for name, ids in inputs.items() for word in ("--input", f"{name}={','.join(map(str, ids))}")]
        argv = ["./runner", "model", "--weights", "weights.bin", "--threads", "2", *given]
        # An empty environment and a static executable: neither Python nor a library can be found.
        done = run_in(elsewhere, argv, {"PATH": "/nonexistent"})
        assert done.returncode == 0, done.stderr
        (logits,) = json.loads(done.stdout)["outputs"].values()
        np.testing.assert_allclose(logits, expected.ravel(), atol=1e-4)


@pytest.mark.usefixtures("result")
def test_the_checkpoint_predicts_what_the_onnx_model_does(profiled: World) -> None:
    import onnxruntime
    import torch
    from transformers import AutoModelForSequenceClassification

    best = profiled.folder / "out" / "best"
    model = AutoModelForSequenceClassification.from_pretrained(best).eval()
    session = onnxruntime.InferenceSession(str(best / "model.onnx"), providers=["CPUExecutionProvider"])
    names = {port.name for port in session.get_inputs()}
    for inputs in dev_inputs(profiled.folder, 4):
        tensors = {name: torch.tensor([values]) for name, values in inputs.items()}
        with torch.no_grad():
            expected = model(**tensors).logits.numpy()
        feed = {name: np.zeros((1, SEQ_LEN), dtype=np.int64) for name in names}
        feed |= {name: tensor.numpy() for name, tensor in tensors.items()}
        (logits,) = session.run(None, feed)
        np.testing.assert_allclose(logits, expected, atol=1e-4)


@pytest.mark.usefixtures("result")
def test_a_killed_search_goes_on_where_it_was(profiled: World) -> None:
    """What it tries depends on the timings, so that no two searches on a machine need be alike; on doubles they are
    (tests/search/test_pipeline.py)."""
    study = profiled.folder / "killed" / "study"
    argv = profiled.search("killed", "--resume")
    kept: dict[Path, bytes] = {}
    rows: list[tuple[str, str, str, str]] = profiled.rows()
    for wanted in ("trial-000", "trained-*"):
        profiled.kill_when(argv, lambda wanted=wanted: any(finished(path) for path in study.glob(f"{wanted}.json")))
        assert rows == profiled.rows()[: len(rows)], "finished measurements are kept"
        for path, content in kept.items():
            assert path.read_bytes() == content, f"{path.name} was done twice"
        rows = profiled.rows()
        kept = {path: path.read_bytes() for path in study.glob("tr*.json") if finished(path)}
        assert kept
    done = profiled.run(argv)
    assert done.returncode == 0, done.stderr
    resumed = json.loads((profiled.folder / "killed" / "result.json").read_text())
    assert resumed["confirmation"]["status"] == "confirmed"
    assert all(path.read_bytes() == content for path, content in kept.items())
    first = json.loads(kept[study / "trial-000.json"])["record"]["candidate"]["architecture"]
    tried = resumed["trials"][0]["architecture"]
    assert tried.items() <= first.items(), "what was tried before it was killed is what is reported"


def finished(path: Path) -> bool:
    """Whether a record of the study is of work that is done, not only begun."""
    return json.loads(path.read_text())["record"].get("status", "finished") != "proposed"


@pytest.mark.usefixtures("result")
def test_a_folder_in_use_is_not_overwritten(profiled: World) -> None:
    assert_one_error_line(profiled.run(profiled.search("out")), 2, "out", "--resume")


def test_a_finished_search_answers_at_once(result: dict, profiled: World) -> None:
    before = len(profiled.rows())
    again = profiled.run([*profiled.search("out", "--resume"), "--json"])
    assert again.returncode == 0, again.stderr
    assert json.loads(again.stdout) == result
    assert len(profiled.rows()) == before
