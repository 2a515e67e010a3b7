"""Whole searches on this machine for every kind of task, from users' files to a model that is used.

All is real but the latency predictor: a profile takes minutes, and what is timed here is timed anyway.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from click.testing import CliRunner
from transformers import AutoModel, AutoModelForSequenceClassification, AutoModelForTokenClassification, AutoTokenizer

from search.commands.search import main
from search.distillation.levels import Effort
from search.optimization.space import model_bytes
from search.real_stages import real_stages
from search.result import PredictorQuality
from search.teachers.fine_tuning import FineTuning
from search.teachers.teacher import prepare_teacher
from tests.search.doubles import FakePredictor
from tests.search.small_tasks import ANIMALS, COLOURS, SEQ_LEN, TAGS, make_task, small_architecture, write_source
from tests.support import new_home

pytestmark = pytest.mark.end_to_end
HIDDEN = 96
# A search that goes all the way in seconds.
EFFORT = Effort("brief", FineTuning(passes=3, least_tokens=0, consistency=0.0), 1, 20_000, 20_000)
Found = dict[str, Any]
Search = Callable[..., Found]


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint that knows animals from colours."""
    folder = tmp_path_factory.mktemp("teacher")
    source = write_source(folder / "source", 3, HIDDEN)
    settings = FineTuning(passes=8, least_tokens=0, learning_rate=2e-3)
    return prepare_teacher(make_task(600, "tokens"), str(source), SEQ_LEN, folder, fine_tuning=settings).directory


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A state home in which blocks that tasks have in common are compiled once."""
    return new_home(tmp_path_factory.mktemp("home"))


@pytest.fixture
def search(teacher: Path, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Search:
    """Runs the command on a task's options; gives ``result.json`` and what was said."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("POCKETBERT_HOME", str(home))
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setattr("search.distillation.levels.EFFORTS", {"brief": EFFORT, "full": EFFORT})
    stages = replace(
        real_stages(),
        predictor=lambda *given: FakePredictor(0.19),
        latency_sources=lambda predictor, *given: {"fused": predictor},
        quality=lambda predictor: PredictorQuality(1, 0.0, 1.0, 1.0),
        learned=lambda predictor, *given: predictor,
    )
    monkeypatch.setattr("search.real_stages.real_stages", lambda: stages)
    smallest = small_architecture(3, HIDDEN, 4, 2 * HIDDEN, task=make_task(kind="similarity"))
    too_large = model_bytes(smallest) - 1  # for the teacher, whatever its head

    def run(*arguments: str) -> Found:
        common = ["--device", "host", "--threads", "1", "--budget", "50ms", "--seq-len", str(SEQ_LEN)]
        common += ["--trials", "1", "--teacher", str(teacher), "--max-size", f"{too_large}B", "--out", "out"]
        done = CliRunner().invoke(main, [*common, *arguments, "--json"])
        assert done.exit_code == 0, done.stderr
        return json.loads(done.stdout) | {"said": done.stderr}

    return run


def inputs_of(encoded: Any) -> dict[str, np.ndarray]:
    """One text as models take it, padded."""
    found = {name: np.zeros((1, SEQ_LEN), np.int64) for name in ("input_ids", "attention_mask", "token_type_ids")}
    for name, row in found.items():
        values = encoded[name]
        row[0, : len(values)] = values
    return found


def check_forms(inputs: dict[str, np.ndarray], expected: np.ndarray) -> None:
    """ONNX Runtime and the runner, which needs no Python, give what transformers gave, as far as that goes."""
    session = onnxruntime.InferenceSession("out/best/model.onnx")
    names = [port.name for port in session.get_inputs()]
    (found,) = session.run(None, {name: inputs[name] for name in names})
    rows = (slice(None), *(slice(0, size) for size in expected.shape[1:]))
    np.testing.assert_allclose(found[rows], expected, atol=1e-4)
    given = [word for name in names for word in ("--input", f"{name}={','.join(map(str, inputs[name][0]))}")]
    argv = ["./runner", "model", "--weights", "weights.bin", "--threads", "1", *given]
    done = subprocess.run(argv, cwd="out/best/compiled", capture_output=True, text=True, check=True, timeout=60)
    (values,) = json.loads(done.stdout)["outputs"].values()
    np.testing.assert_allclose(np.reshape(values, found.shape), found, atol=1e-4)


def check_record(result: Found, kind: str, above: float) -> None:
    """The winner is a confirmed student that learnt something, scored on dev once and with its standard error."""
    winner = result["winner"]
    assert result["task"]["kind"] == kind
    assert result["confirmation"]["status"] == "confirmed"
    assert winner["trial"] == 0 and winner["meets_budget"] and winner["max_logit_difference"] < 1e-4
    assert winner["dev"]["score"] > above, winner
    assert winner["dev"]["standard_error"] >= 0.0
    assert {"score", "scores", "standard_error"} <= result["teacher"]["dev"].keys()
    assert f"on dev ({result['task']['measures'][1]}, standard error)" in result["said"]


def test_three_classes_of_a_csv(search: Search) -> None:
    random = np.random.default_rng(0)
    words = {"beast": ANIMALS, "hue": COLOURS, "none": ("the", "a", "is")}
    names = random.choice(list(words), 600)
    rows = [f"{text(random)} {random.choice(words[name])},{name}" for name in names]
    Path("things.csv").write_text("\n".join(["text,label", *rows]))
    result = search("--train", "things.csv")
    check_record(result, "classification", 0.6)
    model = AutoModelForSequenceClassification.from_pretrained("out/best").eval()
    assert model.config.id2label == {0: "beast", 1: "hue", 2: "none"}
    encoded = AutoTokenizer.from_pretrained("out/best")("the a cow")
    inputs = inputs_of(encoded)
    expected = outputs(model, inputs).logits.numpy()
    assert model.config.id2label[int(expected.argmax())] == "beast"
    check_forms(inputs, expected)
    assert '"beast"' in header() and '"none"' in header()


def test_entities_of_a_conll_file(search: Search) -> None:
    task = make_task(600, "tokens")
    for name, part in (("train", task.train), ("dev", task.dev)):
        sentences = [
            "\n".join(f"{word} {TAGS[tag]}" for word, tag in zip(each.words, each.tags, strict=True))
            for each in part  # type: ignore[union-attr]
        ]
        Path(f"{name}.conll").write_text("\n\n".join(sentences) + "\n")
    result = search("--train", "train.conll", "--dev", "dev.conll")
    check_record(result, "tokens", 0.6)
    model = AutoModelForTokenClassification.from_pretrained("out/best").eval()
    tokenizer = AutoTokenizer.from_pretrained("out/best")
    encoded = tokenizer(["the", "cow", "is"], is_split_into_words=True)
    inputs = inputs_of(encoded)
    expected = outputs(model, inputs).logits.numpy()
    found = [model.config.id2label[int(row.argmax())] for row in expected[0][1:4]]
    assert found == ["O", "B-ANIMAL", "O"]
    check_forms(inputs, expected[:, : len(encoded["input_ids"])])
    assert '"B-ANIMAL"' in header()


def test_pairs_with_scores(search: Search) -> None:
    pairs = make_task(600, "similarity").train
    rows = [f"{each.first}\t{each.second}\t{5 * each.label}" for each in pairs]  # type: ignore[union-attr]
    Path("pairs.tsv").write_text("\n".join(["sentence1\tsentence2\tscore", *rows]))
    result = search("--train", "pairs.tsv", "--kind", "similarity")
    check_record(result, "similarity", 0.3)
    check_sentence_encoder()


def test_plain_sentences(search: Search) -> None:
    random = np.random.default_rng(0)
    every = [f"{text(random)} {word} {text(random)}" for word in (*ANIMALS, *COLOURS) for _ in range(50)]
    Path("lines.csv").write_text("\n".join(["text", *every]))
    result = search("--train", "lines.csv", "--kind", "similarity")
    assert result["task"]["measures"] == ["agreement with the teacher (spearman)"] * 2
    assert result["teacher"]["score"] == 1.0
    check_record(result, "similarity", 0.5)
    check_sentence_encoder()


def check_sentence_encoder() -> None:
    """``best/`` is a sentence-transformers folder: mean over tokens, normalised."""
    folders = [module["path"] for module in json.loads(Path("out/best/modules.json").read_text())]
    assert folders == ["", "1_Pooling", "2_Normalize"]
    assert json.loads(Path("out/best/1_Pooling/config.json").read_text())["pooling_mode_mean_tokens"]
    encoded = AutoTokenizer.from_pretrained("out/best")("the cow is pink")
    inputs = inputs_of(encoded)
    states = outputs(AutoModel.from_pretrained("out/best").eval(), inputs).last_hidden_state.numpy()
    mean = states[:, : len(encoded["input_ids"])].mean(axis=1)
    check_forms(inputs, mean / np.linalg.norm(mean, axis=1, keepdims=True))


def text(random: np.random.Generator) -> str:
    return " ".join(random.choice(["the", "a", "is"], random.integers(1, 6)))


def outputs(model: Any, inputs: dict[str, np.ndarray]) -> Any:
    import torch

    with torch.no_grad():
        return model(**{name: torch.from_numpy(values) for name, values in inputs.items()})


def header() -> str:
    """The C headers of the compiled model."""
    return "".join(path.read_text() for path in Path("out/best/compiled").glob("*.h"))
