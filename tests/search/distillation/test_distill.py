"""Cut and distillation, on a BERT small enough to train in a second."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file
from transformers import AutoTokenizer

from data.architecture import Precision
from data.errors import InputError, StoreError
from data.progress import ProgressEvent
from data.tasks import Kind
from fusion import compile_model
from search.distillation.cuts import cut_divergences
from search.distillation.distillation import distill
from search.distillation.recipe import Recipe, default_recipe
from search.learning.encoding import encode
from search.learning.evaluation import dev_predictions
from search.learning.objectives import predict
from search.learning.task_models import load_model
from search.students.basis import principal_basis
from search.students.student import cut_student, mapped_layers
from search.teachers.fine_tuning import FineTuning
from search.teachers.teacher import Teacher, prepare_teacher
from tests.search.small_tasks import make_task, small_architecture, write_source

BRIEF = 800  # tokens, some three batches
ALL_PARTS: Recipe = replace(
    default_recipe(),
    averaged=0.5,
    layers_first=0.4,
    quantised=0.6,
    rate_decay=0.9,
    losses=replace(default_recipe().losses, labels=0.3, logits=0.7, hidden=1.0, queries=0.1, keys=0.1, values=0.1),
    changes=replace(default_recipe().changes, swapped=0.2, repaired=0.2, replaced=0.5, corpus=0.2),
)
CORPUS = ("the cat is the dog", "a red hen", "is the cow pink", "the the green is a cat")


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_source(tmp_path_factory.mktemp("source"))


@pytest.fixture(scope="module")
def teachers(source: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[Kind, Teacher]:
    """A teacher of each kind of task."""
    folder, settings = tmp_path_factory.mktemp("teachers"), FineTuning(passes=10, learning_rate=3e-3)
    kinds: tuple[Kind, ...] = ("classification", "regression", "tokens", "similarity")
    return {
        kind: prepare_teacher(make_task(400, kind), str(source), 24, folder, fine_tuning=settings) for kind in kinds
    }


@pytest.fixture
def teacher(teachers: dict[Kind, Teacher]) -> Teacher:
    return teachers["classification"]


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
    task = make_task(800)
    model = load_model(teacher.directory, "classification")
    encoded = encode(AutoTokenizer.from_pretrained(teacher.directory), task.train, task.kind, 24)
    student = cut_student(model, encoded, principal_basis(model, encoded), small_architecture(4, 48, 4, 96), 0)
    error = np.abs(predict(student, encoded) - predict(model, encoded))
    assert error.mean() < 0.2 * predict(model, encoded).std()


@pytest.mark.parametrize("sizes", [(2, 48, 4, 96), (6, 24, 3, 128), (1, 36, 2, 8)])
@pytest.mark.parametrize("kind", ["classification", "regression", "tokens", "similarity"])
def test_students_of_all_sizes_and_kinds_are_ordinary_checkpoints(
    sizes: tuple[int, ...], kind: Kind, teachers: dict[Kind, Teacher], tmp_path: Path
) -> None:
    task = make_task(96, kind)
    architecture = small_architecture(*sizes, task=task)
    done = distill(teachers[kind], task, architecture, tokens=BRIEF, out_dir=tmp_path / "model")
    model = load_model(done.directory, kind)
    config = model.config
    assert sizes == (config.num_hidden_layers, config.hidden_size, config.num_attention_heads, config.intermediate_size)
    assert [config.id2label[number] for number in range(len(task.label_names))] == list(task.label_names)
    held = encode(AutoTokenizer.from_pretrained(done.directory), task.dev, kind, 24)
    assert task.score(predict(model, held)) == done.scores


@pytest.mark.parametrize(("kind", "layers"), [("classification", 1), ("tokens", 2), ("similarity", 7)])
def test_students_compile_to_what_they_computed(
    kind: Kind, layers: int, teachers: dict[Kind, Teacher], tmp_path: Path
) -> None:
    """Of any depth, whatever the teacher's, which is 4."""
    task = make_task(96, kind)
    architecture = small_architecture(layers, 32, 2, 64, task=task)
    done = distill(teachers[kind], task, architecture, tokens=BRIEF, out_dir=tmp_path / "model")
    held = encode(AutoTokenizer.from_pretrained(done.directory), task.dev[:1], kind, 24)
    model = load_model(done.directory, kind)
    span = held.span(0)
    length = span.stop
    inputs = {name: np.zeros((1, 24), np.int64) for name in ("input_ids", "attention_mask", "token_type_ids")}
    inputs["input_ids"][0, :length] = held.tokens[span]
    inputs["attention_mask"][0, :length] = 1
    inputs["token_type_ids"][0, :length] = held.types[span]
    import torch

    with torch.no_grad():
        expected = model(**{name: torch.from_numpy(values) for name, values in inputs.items()}).logits.numpy()
    found = compile_model(done.directory, seq_len=24, threads=1).run(inputs)[0]
    rows = (slice(None), slice(0, length)) if kind == "tokens" else (slice(None),)
    np.testing.assert_allclose(found[rows], expected[rows], atol=1e-4)


@pytest.mark.parametrize("kind", ["classification", "regression", "tokens", "similarity"])
def test_every_part_of_a_recipe_repeats_and_survives_a_kill(
    kind: Kind, teachers: dict[Kind, Teacher], tmp_path: Path
) -> None:
    task = make_task(96, kind)
    settings = {"tokens": 4 * BRIEF, "recipe": ALL_PARTS, "seed": 3, "corpus": CORPUS, "checkpoint_steps": 2}
    precision: Precision = "int8" if kind in ("regression", "tokens") else "fp32"
    architecture = replace(small_architecture(2, 32, 2, 64, task=task), precision=precision)
    last = 0

    def kill(event: ProgressEvent) -> None:
        nonlocal last
        last = event.done
        if event.stage == "distillation" and event.done == 5:
            raise KillError

    whole = distill(teachers[kind], task, architecture, out_dir=tmp_path / "whole", **settings)  # type: ignore[arg-type]
    with pytest.raises(KillError):
        distill(teachers[kind], task, architecture, out_dir=tmp_path / "a", progress=kill, **settings)  # type: ignore[arg-type]
    steps: list[int] = []

    def note(event: ProgressEvent) -> None:
        if event.stage == "distillation" and event.total:
            steps.append(event.done)

    resumed = distill(teachers[kind], task, architecture, out_dir=tmp_path / "a", progress=note, **settings)  # type: ignore[arg-type]
    assert steps[0] == 5
    weights = [(model.directory / "model.safetensors").read_bytes() for model in (whole, resumed)]
    assert weights[0] == weights[1]
    assert resumed.scores == whole.scores
    assert not (tmp_path / "a.partial").exists()


def test_what_a_killed_distillation_of_something_else_left_is_not_gone_on_with(
    teacher: Teacher, tmp_path: Path
) -> None:
    task, sizes = make_task(96), small_architecture(2, 32, 2, 64)

    def kill(event: ProgressEvent) -> None:
        if event.stage == "distillation" and event.done == 3:
            raise KillError

    settings = {"tokens": 4 * BRIEF, "checkpoint_steps": 2}
    with pytest.raises(KillError):
        distill(teacher, task, sizes, out_dir=tmp_path / "a", progress=kill, **settings)  # type: ignore[arg-type]
    other = [distill(teacher, task, sizes, seed=1, out_dir=tmp_path / name, **settings) for name in ("a", "b")]  # type: ignore[arg-type]
    weights = [(model.directory / "model.safetensors").read_bytes() for model in other]
    assert weights[0] == weights[1]


def test_finished_distillation_is_never_done_twice(teacher: Teacher, tmp_path: Path) -> None:
    task, sizes = make_task(), small_architecture(2, 32, 2, 64)
    first = distill(teacher, task, sizes, tokens=BRIEF, out_dir=tmp_path / "a")
    events: list[ProgressEvent] = []
    assert distill(teacher, task, sizes, tokens=BRIEF, out_dir=tmp_path / "a", progress=events.append) == first
    assert not events
    with pytest.raises(StoreError, match="another model"):
        distill(teacher, task, sizes, tokens=BRIEF, seed=4, out_dir=tmp_path / "a")
    (tmp_path / "a" / "distilled.json").write_text("{")
    with pytest.raises(StoreError, match="damaged"):
        distill(teacher, task, sizes, tokens=BRIEF, out_dir=tmp_path / "a")


def test_fp32_students_are_the_same_whatever_a_recipe_says_of_int8(teacher: Teacher, tmp_path: Path) -> None:
    """Also those that were distilled before there was anything else."""
    task, sizes, out = make_task(), small_architecture(2, 32, 2, 64), tmp_path / "a"
    first = distill(teacher, task, sizes, tokens=BRIEF, out_dir=out)
    other = replace(default_recipe(), quantised=0.7)
    assert distill(teacher, task, sizes, tokens=BRIEF, recipe=other, out_dir=out) == first
    with pytest.raises(StoreError, match="another model"):
        distill(teacher, task, replace(sizes, precision="int8"), tokens=BRIEF, out_dir=out)


@pytest.mark.parametrize("kind", ["classification", "similarity"])
def test_an_int8_student_is_scored_and_learns_as_one(kind: Kind, teachers: dict[Kind, Teacher], tmp_path: Path) -> None:
    task = make_task(96, kind)
    sizes = small_architecture(2, 32, 2, 64, task=task)
    recipe = replace(default_recipe(), quantised=0.0)
    settings = {"tokens": 3 * BRIEF, "recipe": recipe}
    plain = distill(teachers[kind], task, sizes, out_dir=tmp_path / "fp32", **settings)  # type: ignore[arg-type]
    sizes = replace(sizes, precision="int8")
    after = distill(teachers[kind], task, sizes, out_dir=tmp_path / "after", **settings)  # type: ignore[arg-type]
    settings["recipe"] = replace(recipe, quantised=0.5)
    aware = distill(teachers[kind], task, sizes, out_dir=tmp_path / "aware", **settings)  # type: ignore[arg-type]
    weights = [load_file(model.directory / "model.safetensors") for model in (plain, after, aware)]
    assert all(np.array_equal(weights[0][name], weights[1][name]) for name in weights[0])
    assert any((weights[0][name] != weights[2][name]).any() for name in weights[0])
    predictions, _ = dev_predictions(after.directory, task, 24, "int8")
    assert task.score(predictions) == after.scores
    assert after.divergence != plain.divergence
    assert after.divergence_before != plain.divergence_before
    in_fp32, _ = dev_predictions(after.directory, task, 24)
    assert task.score(in_fp32) == plain.scores
    assert 0 < np.abs(predictions - in_fp32).mean() < 0.05 * np.abs(in_fp32).mean()


def test_a_student_learns_on(teacher: Teacher, tmp_path: Path) -> None:
    task, sizes = make_task(), small_architecture(2, 32, 2, 64)
    brief = distill(teacher, task, sizes, tokens=BRIEF, out_dir=tmp_path / "brief")
    stages: list[str] = []
    on = distill(
        teacher,
        task,
        sizes,
        tokens=BRIEF,
        recipe=replace(default_recipe(), learning_rate=1e-9),
        begin=brief.directory,
        out_dir=tmp_path / "on",
        progress=lambda event: stages.append(event.message),
    )
    # With next to no learning it is the student that it began with, not one cut anew.
    assert on.scores_before == brief.scores
    weights = [load_file(model.directory / "model.safetensors") for model in (brief, on)]
    assert all(np.allclose(weights[0][name], weights[1][name], atol=1e-5) for name in weights[0])
    assert not any(message.startswith("cutting") for message in stages)
    with pytest.raises(StoreError, match="no distilled student"):
        distill(teacher, task, sizes, tokens=BRIEF, begin=tmp_path, out_dir=tmp_path / "other")


@pytest.mark.parametrize("kind", ["classification", "tokens", "similarity"])
def test_a_student_is_cut_in_two_steps(kind: Kind, teachers: dict[Kind, Teacher], tmp_path: Path) -> None:
    task = make_task(400, kind)
    large, small = (small_architecture(*sizes, task=task) for sizes in ((3, 36, 4, 72), (2, 16, 4, 32)))
    first = distill(teachers[kind], task, large, tokens=8_000, out_dir=tmp_path / "first")
    settings = {"tokens": 16_000, "begin": first.directory}
    second = distill(teachers[kind], task, small, out_dir=tmp_path / "second", **settings)  # type: ignore[arg-type]
    assert load_model(second.directory, kind).config.hidden_size == 16
    assert second.score > task.majority + 0.1
    with pytest.raises(InputError, match="wider than"):
        distill(teachers[kind], task, large, tokens=BRIEF, begin=second.directory, out_dir=tmp_path / "third")


class KillError(Exception):
    """Stands for SIGKILL."""


@pytest.mark.parametrize("kind", ["classification", "regression", "tokens", "similarity"])
def test_students_learn_what_their_teacher_knows(kind: Kind, teachers: dict[Kind, Teacher], tmp_path: Path) -> None:
    task = make_task(400, kind)
    sizes = small_architecture(2, 24, 4, 48, task=task)
    cut = distill(teachers[kind], task, sizes, tokens=0, out_dir=tmp_path / "cut")
    learnt = distill(teachers[kind], task, sizes, tokens=20_000, out_dir=tmp_path / "learnt")
    assert cut.scores == pytest.approx(cut.scores_before)
    assert learnt.scores_before == cut.scores_before
    assert learnt.score > task.majority + 0.1
    assert learnt.score > cut.score or learnt.score > 0.95 * teachers[kind].score
    assert cut.divergence.mean == pytest.approx(cut.divergence_before.mean, rel=1e-4)
    # Where the cut is the teacher all but in name, there is nothing to gain.
    assert 0 < learnt.divergence.mean < max(cut.divergence.mean, 0.01)
    assert learnt.divergence.standard_error > 0


@pytest.mark.parametrize("kind", ["classification", "regression", "tokens", "similarity"])
def test_students_judged_as_they_are_cut_are_those_that_begin_to_learn(
    kind: Kind, teachers: dict[Kind, Teacher], tmp_path: Path
) -> None:
    task, told = make_task(400, kind), list[str]()
    several = [small_architecture(*sizes, task=task) for sizes in ((2, 24, 4, 48), (1, 16, 4, 32))]
    found = list(
        cut_divergences(
            teachers[kind], task, several, progress=lambda event: told.append(f"{event.done}/{event.total}")
        )
    )
    for number, (architecture, divergence) in enumerate(zip(several, found, strict=True)):
        cut = distill(teachers[kind], task, architecture, tokens=0, out_dir=tmp_path / f"cut-{number}")
        assert divergence.mean == pytest.approx(cut.divergence_before.mean, rel=1e-4)
        assert divergence.standard_error == pytest.approx(cut.divergence_before.standard_error, rel=1e-4)
    assert told == ["0/2", "1/2", "2/2"]
    with pytest.raises(InputError, match="wider than the teacher"):
        list(cut_divergences(teachers[kind], task, [small_architecture(2, 64, 4, 64, task=task)]))


@pytest.mark.parametrize("what", ["answers", "basis"])
def test_what_all_students_need_of_a_teacher_is_kept_beside_it_and_checked(
    what: str, teacher: Teacher, tmp_path: Path
) -> None:
    task, sizes = make_task(200), small_architecture(2, 24, 4, 48)
    first = distill(teacher, task, sizes, tokens=0, out_dir=tmp_path / "first")
    (kept,) = teacher.directory.glob(f"{what}-{task.fingerprint[:16]}.npy")
    before = kept.read_bytes()
    again = distill(teacher, task, sizes, tokens=0, out_dir=tmp_path / "again")
    assert (again.divergence, again.scores) == (first.divergence, first.scores)
    assert kept.read_bytes() == before
    for damaged in (before[:-9], b""):
        kept.write_bytes(damaged)
        with pytest.raises(StoreError, match=f"{what}.*damaged; remove it"):
            distill(teacher, task, sizes, tokens=0, out_dir=tmp_path / "damaged")
    kept.unlink()


def test_the_basis_of_another_teacher_is_refused(teacher: Teacher, tmp_path: Path) -> None:
    task, sizes = make_task(200), small_architecture(2, 24, 4, 48)
    distill(teacher, task, sizes, tokens=0, out_dir=tmp_path / "first")
    (kept,) = teacher.directory.glob(f"basis-{task.fingerprint[:16]}.npy")
    np.save(kept, np.load(kept)[:-1])
    with pytest.raises(StoreError, match="another model's; remove it"):
        distill(teacher, task, sizes, tokens=0, out_dir=tmp_path / "again")
    kept.unlink()


@pytest.mark.parametrize(
    ("error", "raised", "told"),
    [
        (MemoryError(), InputError, "2x24-h4-f48 needs more memory"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: 40 bytes"), InputError, "needs more memory"),
        (RuntimeError("CUDA out of memory. Tried to allocate"), InputError, "needs more memory"),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), RuntimeError, "mat1"),
    ],
)
def test_too_little_memory_is_a_fault_of_the_candidate_and_a_defect_is_not(
    error: Exception,
    raised: type[Exception],
    told: str,
    teacher: Teacher,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def failing(*arguments: object, **options: object) -> None:
        raise error

    monkeypatch.setattr("search.distillation.distillation.train", failing)
    with pytest.raises(raised, match=told):
        distill(teacher, make_task(200), small_architecture(2, 24, 4, 48), tokens=BRIEF, out_dir=tmp_path / "out")


def test_unsuitable_architectures_are_refused(teacher: Teacher, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="wider than the teacher"):
        distill(teacher, make_task(), small_architecture(2, 64, 4, 64), tokens=BRIEF, out_dir=tmp_path / "a")
    wrong = replace(small_architecture(2, 32, 4, 64), labels=3)
    with pytest.raises(InputError, match="3 labels"):
        distill(teacher, make_task(), wrong, tokens=BRIEF, out_dir=tmp_path / "a")
