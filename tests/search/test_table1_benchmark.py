"""Table 1 replayed at toy size: all rows, a killed run, data that is missing, and the recipes of others."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result
from safetensors.numpy import load_file

from data.errors import DataFileError
from data.progress import ProgressEvent
from data.tasks import Example, Task
from fusion import compile_model
from fusion.compare.comparison import example_inputs
from search.learning.encoding import encode, pad
from search.learning.task_models import load_model
from search.learning.units import Units
from search.teachers.fine_tuning import FineTuning
from search.teachers.teacher import Teacher, prepare_teacher
from tests.benchmarks import table1_learning
from tests.benchmarks.table1 import main, searched_sizes
from tests.benchmarks.table1_learning import Lesson, learn
from tests.benchmarks.table1_published import PUBLISHED
from tests.benchmarks.table1_records import ROWS
from tests.benchmarks.table1_replays import Batch, Replay, bottleneck, half_depth, kept_layers
from tests.search.small_tasks import SEQ_LEN, make_task, write_source
from tests.support import ROOT, environment, new_home

pytestmark = pytest.mark.end_to_end
DEEP = "28x24-h4-f32"


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_source(tmp_path_factory.mktemp("source"))


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """MRPC, STS-B and CoLA in GLUE's own layouts; RTE and SST-2 are missing."""
    folder = tmp_path_factory.mktemp("glue")
    task = make_task(240)
    for name, part in (("train", task.train), ("dev", task.dev)):
        pairs = [each for each in part if isinstance(each, Example)]
        head = ["Quality\t#1 ID\t#2 ID\t#1 String\t#2 String"]
        write(
            folder / f"MRPC/{name}.tsv",
            head + [f"{each.label:.0f}\t1\t2\t{each.first}\t{each.second}" for each in pairs],
        )
        head = ["sentence1\tsentence2\tscore"]
        write(
            folder / f"STS-B/{name}.tsv",
            head + [f"{each.first}\t{each.second}\t{4 * each.label + 0.5}" for each in pairs],
        )
        write(folder / f"CoLA/{name}.tsv", [f"x\t{each.label:.0f}\t*\t{each.first} {each.second}" for each in pairs])
    return folder


def write(path: Path, lines: Sequence[str]) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text("\n".join(lines) + "\n")


def options(data: Path, source: Path, out: Path, *more: str, tokens: str = "900") -> list[str]:
    lengths = ("--seq-len", str(SEQ_LEN), "--tokens", tokens, "--passes", "2")
    return ["--data", str(data), "--out", str(out), "--teacher", str(source), *lengths, *more]


def replayed(home: Path, arguments: Sequence[str]) -> Result:
    """The command, in this process."""
    return CliRunner(env=environment(home)).invoke(main, list(arguments))


def scores(document: dict[str, Any]) -> list[Any]:
    """All that does not depend on the time of day."""
    timed = ("seconds", "rate_seconds", "date")
    return [{name: value for name, value in each.items() if name not in timed} for each in document["records"]]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One for all, so that blocks are compiled once."""
    return new_home(tmp_path_factory.mktemp("home"))


@pytest.fixture(scope="module")
def whole(data: Path, source: Path, home: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Result]:
    """A run of all rows, with its folder."""
    out = tmp_path_factory.mktemp("whole")
    rows = ("--searched", "2x24-h2-f32", "--deep-narrow", DEEP, "--rates", "3e-4,1e-3")
    chosen = ("--tasks", "mrpc,rte", "--seeds", "0", *rows, "--rounds", "1")
    return out, replayed(home, options(data, source, out / "out", *chosen))


def test_all_rows_are_trained_timed_and_printed(whole: tuple[Path, Result]) -> None:
    out, done = whole
    assert done.exit_code == 0, done.stderr
    text = (out / "out" / "table1.md").read_text()
    assert text in done.stdout
    document = json.loads((out / "out" / "table1.json").read_text())
    rows = document["tasks"]["mrpc"]["rows"]
    assert list(rows) == list(ROWS)
    for name, row in rows.items():
        assert f"| {ROWS[name]} | {row['shape']} | {100 * row['score']:.2f} |" in text
        assert 0 <= row["score"] <= 1
        assert 0 < row["standard_error"] < 0.3
        assert row["megabytes"] == pytest.approx(4e-6 * row["parameters"])
        assert row["median_speed_up"] == pytest.approx(rows["teacher"]["median_ms"] / row["median_ms"])
        assert row["seconds"] > 0
    assert [rows[name]["shape"] for name in ("teacher", "half-depth", "bottleneck", "distilled", "searched")] == [
        "4x48-h4-f96",
        "2x48-h4-f96",
        "4x48-h4-f48-b12x4",
        DEEP,
        "2x24-h2-f32",
    ]
    assert rows["undistilled"]["shape"] == rows["random"]["shape"] == DEEP
    assert document["origin"]["cpu"] in text
    assert "torch" in document["origin"]["versions"]


def test_rates_are_chosen_where_a_row_has_one_of_its_own(whole: tuple[Path, Result]) -> None:
    rows = json.loads((whole[0] / "out" / "table1.json").read_text())["tasks"]["mrpc"]["rows"]
    for name, row in rows.items():
        tried = {float(rate): score for rate, score in row["tried"].items() if score is not None}
        assert len(row["tried"]) == (2 if name in ("half-depth", "bottleneck", "random", "undistilled") else 0)
        if tried:
            assert tried[row["rate"]] == max(tried.values())
            assert row["rate_seconds"] > 0


def test_published_figures_and_differences_stand_beside(whole: tuple[Path, Result]) -> None:
    text = (whole[0] / "out" / "table1.md").read_text()
    document = json.loads((whole[0] / "out" / "table1.json").read_text())
    line = next(line for line in text.splitlines() if line.startswith(f"| {ROWS['distilled']}"))
    assert line.endswith("| 88.5 | 60 / 54 |")
    rows, gains = document["tasks"]["mrpc"]["rows"], document["differences"][0]
    assert gains["tasks"]["mrpc"]["mean"] == pytest.approx(
        100 * (rows["distilled"]["score"] - rows["undistilled"]["score"])
    )
    assert gains["published"] == {"mrpc": 3.6, "stsb": 2.2, "rte": 2.0, "cola": 4.0}
    assert PUBLISHED["bottleneck"].points["mrpc"] == 88.8


def test_missing_data_is_named(whole: tuple[Path, Result], data: Path) -> None:
    text = (whole[0] / "out" / "table1.md").read_text()
    assert f"- rte: no folder {data / 'RTE'}" in text


def test_compiled_models_give_what_torch_gives(whole: tuple[Path, Result]) -> None:
    shapes = json.loads((whole[0] / "out" / "table1.json").read_text())["latencies"]["shapes"]
    assert len(shapes) == 5
    assert max(shape["max_abs_difference"] for shape in shapes.values()) < 1e-4
    deep = next((whole[0] / "out" / "models").glob("mrpc-distilled-0-*"))
    compiled = compile_model(deep, seq_len=SEQ_LEN)
    inputs = example_inputs(compiled)
    with torch.inference_mode():
        expected = load_model(deep, "classification")(**{name: torch.from_numpy(each) for name, each in inputs.items()})
    assert compiled.run(inputs)[0] == pytest.approx(expected.logits.numpy(), abs=1e-4)


def test_an_interrupted_and_killed_run_goes_on_to_the_same_table(
    data: Path, source: Path, home: Path, tmp_path: Path
) -> None:
    rows = ("--rows", "teacher,bottleneck,undistilled", "--deep-narrow", "3x24-h2-f32", "--rates", "1e-3")
    # Long enough for the run to be stopped on its way, however busy the machine is.
    chosen = ("--tasks", "stsb", "--seeds", "3,1", *rows, "--rounds", "0", "--json")
    own = partial(options, tokens="4000")
    out = tmp_path / "stopped"
    told = stop_after(own(data, source, out, *chosen), out, home, 1, signal.SIGINT)
    assert "error: interrupted: what was finished is kept; the same command goes on" in told
    text = (out / "table1.md").read_text()
    assert "| teacher, fine-tuned | 4x48-h4-f96 |" in text
    assert "- stsb undistilled, seed 1: not finished; the same command goes on" in text
    assert f"`python -m tests.benchmarks.table1 --data {data} --out {out} " in text
    stop_after(own(data, source, out, *chosen), out, home, 4, signal.SIGKILL)
    documents = []
    for folder in (out, tmp_path / "whole"):
        done = replayed(home, own(data, source, folder, *chosen))
        assert done.exit_code == 0, done.stderr
        documents.append(json.loads(done.stdout))
    assert [each["seeds"] for each in documents[0]["tasks"]["stsb"]["rows"].values()] == [[3, 1]] * 3
    assert scores(documents[0]) == scores(documents[1])
    assert documents[0]["missing"] == ["times: --rounds 0; the same command without it takes them"]
    difference = documents[0]["differences"][0]
    assert difference["mean"]["lower"] < difference["mean"]["mean"]


def stop_after(arguments: Sequence[str], out: Path, home: Path, finished: int, how: signal.Signals) -> str:
    """Stops a run once so many of its rows are finished; returns what it wrote to standard error."""
    argv = [sys.executable, "-m", "tests.benchmarks.table1", *arguments]
    with (out.parent / "told").open("w") as told:
        process = subprocess.Popen(argv, cwd=ROOT, env=environment(home), stdout=subprocess.DEVNULL, stderr=told)
        try:
            while len(list((out / "records").glob("*.json"))) < finished and process.poll() is None:
                time.sleep(0.02)
            assert process.poll() is None, "it ended before it could be stopped"
            process.send_signal(how)
            process.wait(60)
        finally:
            process.kill()
            process.wait()
    return (out.parent / "told").read_text()


@pytest.mark.parametrize(
    ("wrong", "parts"),
    [
        (("--tasks", "mrcp"), ("mrcp", "mrpc")),
        (("--rows", "teachers"), ("teachers", "teacher")),
        (("--tasks", "rte"), ("rte: no folder",)),
        (("--searched", "nowhere.json"), ("nowhere.json", "6x192-h6-f768")),
        (("--seeds", "one"), ("--seeds one",)),
        (("--deep-narrow", "28x128"), ("28x128", "28x128-h4-f512")),
    ],
)
def test_wrong_options_are_one_line(
    data: Path, source: Path, home: Path, tmp_path: Path, wrong: tuple[str, ...], parts: tuple[str, ...]
) -> None:
    done = replayed(home, options(data, source, tmp_path / "out", *wrong))
    assert done.exit_code == 2
    assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1
    assert all(part in done.stderr for part in parts)


def test_a_row_that_cannot_be_made_is_named_and_the_others_are(
    data: Path, source: Path, home: Path, tmp_path: Path
) -> None:
    rows = ("--rows", "teacher,searched", "--searched", "2x96-h2-f32")
    done = replayed(
        home, options(data, source, tmp_path / "out", "--tasks", "cola", "--seeds", "0", *rows, "--rounds", "0")
    )
    assert done.exit_code == 1
    last = done.stderr.splitlines()[-1]
    assert last.startswith("error: 1 rows could not be made") and "wider than the teacher" in last
    text = (tmp_path / "out" / "table1.md").read_text()
    assert "| teacher, fine-tuned | 4x48-h4-f96 |" in text
    assert "- cola searched, seed 0: student 2x96-h2-f32 is wider" in text


def test_sizes_are_taken_from_a_searchs_result(tmp_path: Path) -> None:
    winner = {"layers": 5, "hidden": 192, "heads": 6, "intermediate": 768, "vocab_size": 30522}
    (tmp_path / "result.json").write_text(json.dumps({"winner": {"name": "trial 3", "architecture": winner}}))
    assert searched_sizes(str(tmp_path)) == searched_sizes(str(tmp_path / "result.json")) == (5, 192, 6, 768)
    (tmp_path / "result.json").write_text("[]")
    with pytest.raises(DataFileError, match=r"result\.json: no result"):
        searched_sizes(str(tmp_path))


def test_every_second_layer_is_distilberts() -> None:
    assert kept_layers(12) == [0, 2, 4, 7, 9, 11]
    assert kept_layers(6) == [0, 2, 5]
    assert kept_layers(2) == [1]


@pytest.fixture(scope="module")
def taught(source: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Task, Teacher]:
    task = replace(make_task(200), name="animals")
    settings = FineTuning(passes=6, learning_rate=3e-3)
    return task, prepare_teacher(task, str(source), SEQ_LEN, tmp_path_factory.mktemp("t"), fine_tuning=settings)


def begun(replay: Replay, taught: tuple[Task, Teacher], share: float) -> tuple[Any, Any, Batch]:
    """Student, teacher and a batch."""
    from transformers import AutoTokenizer

    task, found = taught
    teacher = load_model(found.directory, task.kind)
    encoded = encode(AutoTokenizer.from_pretrained(found.directory), task.train, task.kind, SEQ_LEN)
    values = pad(encoded, range(8)) | {"labels": torch.from_numpy(encoded.labels[:8])}
    return replay.begin(teacher, encoded, 0), teacher, Batch(values, share, task.kind, Units())


def test_the_half_depth_student_is_every_second_layer(taught: tuple[Task, Teacher]) -> None:
    student, teacher, batch = begun(half_depth(), taught, 0.0)
    for layer, source_layer in zip(student.bert.encoder.layer, (0, 3), strict=True):
        for name, value in layer.state_dict().items():
            assert torch.equal(value, teacher.bert.encoder.layer[source_layer].state_dict()[name])
    whole = teacher.eval()
    # Of the teacher itself nothing is left but the labels' part.
    own, other = (float(half_depth().loss(model, whole, batch).detach()) for model in (whole, student))
    logits = whole(**batch.inputs).logits
    labels = torch.nn.functional.cross_entropy(logits, batch.values["labels"].long())
    assert own == pytest.approx(2.0 * float(labels.detach()), abs=1e-4)
    assert other > own


def test_the_bottleneck_student_begins_with_the_teachers_embeddings_and_head(taught: tuple[Task, Teacher]) -> None:
    student, teacher, batch = begun(bottleneck(), taught, 0.0)
    used = batch.values["attention_mask"].bool()
    given = {name: batch.values[name] for name in ("input_ids", "token_type_ids")}
    with torch.inference_mode():
        own, wanted = (each.embeddings(**given)[used] for each in (student.mobilebert, teacher.bert))
    assert np.corrcoef(own.numpy().ravel(), wanted.numpy().ravel())[0, 1] > 0.8
    assert torch.equal(student.classifier.weight, teacher.classifier.weight)
    assert torch.equal(student.mobilebert.pooler.dense.weight, teacher.bert.pooler.dense.weight)


def test_knowledge_transfer_brings_the_bottlenecks_layers_to_the_teachers(taught: tuple[Task, Teacher]) -> None:
    replay = bottleneck()
    student, teacher, batch = begun(replay, taught, 0.2)
    optimiser = torch.optim.AdamW(student.parameters(), lr=3e-3)
    losses = []
    for _ in range(30):
        loss = replay.loss(student, teacher, batch)
        losses.append(float(loss.detach()))
        optimiser.zero_grad()
        loss.backward()
        assert all(parameter.grad is not None for parameter in student.parameters()), "as checkpoints want it"
        optimiser.step()
    assert losses[-1] < 0.7 * losses[0]


@pytest.mark.parametrize("made", [half_depth, bottleneck])
def test_training_that_was_cut_off_goes_on_to_the_same_weights(
    made: Callable[[], Replay], taught: tuple[Task, Teacher], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(table1_learning, "_CHECKPOINT_STEPS", 2)
    task, teacher = taught
    lesson = Lesson(teacher, task, 2500, 0, 1e-3)

    def cut_off(event: ProgressEvent) -> None:
        if event.done == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        learn(made(), lesson, tmp_path / "cut", cut_off)
    seen: list[ProgressEvent] = []
    scores = [learn(made(), lesson, tmp_path / name, seen.append) for name in ("cut", "whole")]
    assert seen[0].done == 5
    assert scores[0] == scores[1]
    weights = [load_file(tmp_path / name / "model.safetensors") for name in ("cut", "whole")]
    assert all(np.array_equal(values, weights[1][name]) for name, values in weights[0].items())
