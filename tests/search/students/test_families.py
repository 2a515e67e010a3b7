"""Students of teachers of every family: ordinary BERTs that begin close to their teacher, with its tokenizer."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoTokenizer, BertForSequenceClassification

from data.architecture import Architecture
from data.tasks import Example
from fusion import compile_model, plan_architecture
from fusion.checkpoints.onnx_export import checkpoint_to_onnx
from fusion.compare.agreement import max_difference
from search.learning.encoding import Encoded, encode, pad
from search.optimization.space import SearchSpace
from search.real_stages import teacher_sizes
from search.students.basis import principal_basis
from search.students.student import cut_student, save_untrained
from search.teachers.families import with_head
from search.teachers.source import load_teacher
from tests.search.teachers.pretrained import FAMILIES, PAIRS, save_pretrained
from tests.support import new_home

EXAMPLES = tuple(Example(first, second, 0.0) for first, second in PAIRS for _ in range(30))


def teacher_of(name: str, folder: Path) -> tuple[Any, Any, Encoded]:
    """The teacher with a new head, its tokenizer, and some encoded texts."""
    save_pretrained(name, folder)
    torch.manual_seed(0)
    loaded = load_teacher(folder, PAIRS, 32)
    model = with_head(BertForSequenceClassification, loaded.encoder)
    # A head whose logits differ from text to text.
    model.classifier.weight.data.mul_(20)
    return model, loaded.tokenizer, encode(loaded.tokenizer, EXAMPLES, "classification", 32)


def states_of(model: Any, encoded: Encoded) -> torch.Tensor:
    """Last hidden states of the valid tokens, centred, (n, hidden)."""
    inputs = pad(encoded, range(0, len(encoded), 30))
    with torch.no_grad():
        states: torch.Tensor = model.bert(**inputs).last_hidden_state[inputs["attention_mask"].bool()]
    return states - states.mean(dim=0)


@pytest.mark.parametrize("name", FAMILIES)
def test_a_student_of_full_width_gives_the_teachers_states(name: str, tmp_path: Path) -> None:
    teacher, _, encoded = teacher_of(name, tmp_path)
    config = teacher.config
    sizes = Architecture(config.num_hidden_layers, config.hidden_size, 4, 96, vocab_size=config.vocab_size)
    student = cut_student(teacher, encoded, principal_basis(teacher, encoded), sizes, seed=0)
    assert not hasattr(student.config, "embedding_size")
    expected = states_of(teacher, encoded)
    lost = (states_of(student, encoded) - expected).square().mean() / expected.square().mean()
    assert lost < 0.1


@pytest.mark.parametrize("name", FAMILIES)
def test_a_student_is_an_ordinary_bert_with_the_teachers_tokenizer(name: str, tmp_path: Path) -> None:
    teacher, tokenizer, encoded = teacher_of(name, tmp_path / "source")
    own = AutoTokenizer.from_pretrained(tmp_path / "source")
    sizes = teacher_sizes(str(tmp_path / "source"))
    architecture = Architecture(
        2, 32, 2, 64, vocab_size=sizes.vocab_size, seq_len=24, max_positions=sizes.max_positions
    )
    student = cut_student(teacher, encoded, principal_basis(teacher, encoded), architecture, seed=0)
    folder = tmp_path / "student"
    student.save_pretrained(folder)
    tokenizer.save_pretrained(folder)

    assert json.loads((folder / "config.json").read_text())["model_type"] == "bert"
    again = AutoTokenizer.from_pretrained(folder)
    first, second = ([pair[index] for pair in PAIRS] for index in (0, 1))
    for texts in ((first,), (first, second)):
        batch = again(*texts, padding=True, return_tensors="pt")
        assert batch["input_ids"].tolist() == own(*texts, padding=True)["input_ids"]
        assert ("token_type_ids" in batch) == (sizes.token_types > 1)
        # As users call it: with all that the tokenizer gives.
        assert BertForSequenceClassification.from_pretrained(folder)(**batch).logits.isfinite().all()
    assert again.pad_token_id == student.config.pad_token_id == student.bert.embeddings.word_embeddings.padding_idx


@pytest.mark.parametrize("name", ["distilbert", "roberta", "albert"])
def test_an_untrained_student_compiles_as_its_bare_architecture(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("POCKETBERT_HOME", str(new_home(tmp_path / "home")))
    settings = {"intermediate_size": 128} if name != "distilbert" else {"hidden_dim": 128}
    width = {"dim": 64} if name == "distilbert" else {"hidden_size": 64}
    save_pretrained(name, tmp_path / "source", **settings, **width)
    sizes = teacher_sizes(str(tmp_path / "source"))
    assert sizes.factorised == (name == "albert")
    smallest = SearchSpace.from_teacher(sizes, seq_len=24, labels=3).architectures()[0]
    assert smallest.token_types == sizes.token_types == (2 if name == "albert" else 1)
    folder = save_untrained(tmp_path / "source", smallest, tmp_path / "student")
    onnx = checkpoint_to_onnx(folder, tmp_path / "student.onnx", smallest.seq_len)
    compiled = compile_model(onnx, seq_len=smallest.seq_len, threads=1)
    assert max_difference(compiled, onnx, smallest, seed=0) < 1e-4
    if name == "distilbert":  # the others have another epsilon or activation
        assert compiled.blocks == plan_architecture(smallest)
