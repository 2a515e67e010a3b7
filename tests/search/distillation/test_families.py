"""Teachers of other families than BERT, through fine-tuning and distillation to a student that anyone can load."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from transformers import AutoModel, AutoTokenizer

from data.architecture import Architecture
from data.tasks import Example, Kind, TaggedWords, Task
from search.distillation.distillation import distill
from search.real_stages import teacher_sizes
from search.teachers.fine_tuning import FineTuning
from search.teachers.source import head_of
from search.teachers.teacher import prepare_teacher
from tests.search.teachers.pretrained import TEXTS, save_pretrained


def make_task(kind: Kind) -> Task:
    random = np.random.default_rng(0)
    texts = [tuple(map(str, random.choice(TEXTS, 2))) for _ in range(60)]
    if kind == "tokens":
        words = tuple(TaggedWords(tuple(a.split()), tuple(int(each == "cat") for each in a.split())) for a, _ in texts)
        return Task("cats", kind, ("O", "B-CAT"), "entity_f1", words[:40], words[40:])
    pairs = tuple(Example(a, b, float(("cat" in a) == ("cat" in b))) for a, b in texts)
    names = ("no", "yes") if kind == "classification" else ()
    return Task("cats", kind, names, "accuracy" if names else "spearman", pairs[:40], pairs[40:])


@pytest.mark.parametrize(
    ("name", "kind"),
    [("roberta", "classification"), ("xlm-roberta", "tokens"), ("distilbert", "similarity"), ("albert", "regression")],
)
def test_a_student_of_another_family_is_distilled(name: str, kind: Kind, tmp_path: Path) -> None:
    task, source = make_task(kind), tmp_path / "source"
    save_pretrained(name, source)
    sizes = teacher_sizes(str(source))
    teacher = prepare_teacher(
        task, str(source), 24, tmp_path / "teachers", fine_tuning=FineTuning(passes=1, least_tokens=0)
    )
    architecture = Architecture(
        2,
        32,
        2,
        64,
        vocab_size=sizes.vocab_size,
        seq_len=24,
        max_positions=sizes.max_positions,
        token_types=sizes.token_types,
        labels=task.labels,
        head=head_of(task),
    )
    student = distill(teacher, task, architecture, tokens=500, out_dir=tmp_path / "student")
    own, kept = (AutoTokenizer.from_pretrained(folder) for folder in (source, student.directory))
    assert (
        kept(list(TEXTS))["input_ids"] == own([f" {text}" if kind == "tokens" else text for text in TEXTS])["input_ids"]
    )
    model = AutoModel.from_pretrained(student.directory)
    assert (type(model).__name__, model.config.hidden_size, model.config.num_hidden_layers) == ("BertModel", 32, 2)
    assert model(**kept(list(TEXTS), padding=True, return_tensors="pt")).last_hidden_state.isfinite().all()
