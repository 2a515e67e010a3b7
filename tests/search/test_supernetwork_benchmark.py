"""The benchmark's super-network: its students nest, share their matrices, and begin where cuts do."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from transformers import AutoTokenizer, BertConfig

from data.errors import InputError
from search.distillation.changes import Material
from search.distillation.recipe import default_recipe
from search.learning.encoding import Encoded, encode, pad
from search.learning.objectives import predict
from search.learning.task_models import new_model
from search.students.basis import principal_basis
from search.students.student import cut_student
from tests.benchmarks.nested_fit import jobs
from tests.benchmarks.nested_students import Lessons, NestedBasis, SuperNetwork, in_turns
from tests.search.small_tasks import SEQ_LEN, make_task, small_architecture, write_source

TASK = make_task(120, "regression")
WIDE, NARROW, DEEP = (
    small_architecture(*sizes, task=TASK) for sizes in ((2, 36, 3, 96), (4, 24, 2, 64), (6, 24, 2, 32))
)


class World(NamedTuple):
    """A teacher whose answers differ from text to text, what it reads, and its coordinates."""

    teacher: Any
    encoded: Encoded
    basis: NestedBasis


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    folder: Path = write_source(tmp_path_factory.mktemp("source"))
    torch.manual_seed(0)
    config = BertConfig.from_pretrained(folder)
    config.num_labels = 1
    teacher = new_model(config, "regression").eval().requires_grad_(False)
    teacher.classifier.weight.data.mul_(20)
    encoded = encode(AutoTokenizer.from_pretrained(folder), TASK.train, TASK.kind, SEQ_LEN)
    found = principal_basis(teacher, encoded)
    return World(teacher, encoded, NestedBasis(found.components, found.variances, (24, 36)))


@pytest.fixture(scope="module")
def network(world: World) -> SuperNetwork:
    return SuperNetwork(*world, sizes=(WIDE, NARROW, DEEP), seed=0)


def test_coordinates_of_a_narrow_student_are_the_first_of_a_wide_one(world: World) -> None:
    wide, narrow = world.basis.projection(36), world.basis.projection(24)
    np.testing.assert_array_equal(wide[:, :24], narrow)
    np.testing.assert_allclose(wide.T @ wide, np.eye(36), atol=1e-5)
    with pytest.raises(InputError, match="30"):
        world.basis.projection(30)


def test_layers_are_shared_by_what_they_do() -> None:
    assert jobs(2, 4) == ((0, 2, 0), (2, 4, 0))
    assert jobs(4, 4) == ((0, 1, 0), (1, 2, 0), (2, 3, 0), (3, 4, 0))
    assert jobs(10, 4)[:4] == ((0, 1, 0), (1, 1, 0), (1, 1, 1), (1, 2, 0))
    assert set(jobs(4, 4)) < set(jobs(6, 4))


@pytest.mark.parametrize("size", [WIDE, NARROW], ids=lambda size: size.name)
def test_a_network_of_one_size_begins_as_its_cut_does(world: World, size: Any) -> None:
    basis = NestedBasis(world.basis.components, world.basis.variances, (size.hidden,))
    alone = SuperNetwork(world.teacher, world.encoded, basis, (size,), seed=0).student(size.name)
    cut = cut_student(world.teacher, world.encoded, basis, size, 0)
    teacher = predict(world.teacher, world.encoded)
    own, other = (np.square(predict(model, world.encoded) - teacher).mean() / teacher.var() for model in (alone, cut))
    assert own < 1.2 * other + 0.01


def test_matrices_are_corners_of_one_bank_and_vectors_each_students_own(network: SuperNetwork) -> None:
    bank = {parameter.untyped_storage().data_ptr() for parameter in network.bank.parameters()}
    for size in (WIDE, NARROW, DEEP):
        for name, tensor in network.tensors(size.name).items():
            shared = tensor.ndim == 2 and not name.startswith("classifier")
            assert (tensor.untyped_storage().data_ptr() in bank) == shared, name
    own, place = jobs(4, 4)[1], jobs(6, 4).index(jobs(4, 4)[1])
    narrow = network.tensors(NARROW.name)["bert.encoder.layer.1.output.dense.weight"]
    deep = network.tensors(DEEP.name)[f"bert.encoder.layer.{place}.output.dense.weight"]
    assert own == (1, 2, 0)
    assert narrow.data_ptr() == deep.data_ptr()
    assert torch.equal(narrow[:, :32], deep)


def test_a_student_learns_in_its_corner_only(world: World, network: SuperNetwork) -> None:
    nobody = np.full((world.teacher.config.vocab_size, 1), -1)
    material = Material(world.encoded, nobody, None, SEQ_LEN)
    sizes, plan = (WIDE, NARROW, DEEP), [np.arange(8)]
    lessons = Lessons(world.teacher, material, world.basis, sizes, default_recipe(), plan, [[NARROW]], 0)
    network.zero_grad()
    lessons.loss()(network, 0).backward()
    queries = [layer.attention.self.query.weight for layer in network.bank.bert.encoder.layer]
    learnt = [query.grad for query in queries if query.grad is not None]
    assert len(learnt) == NARROW.layers
    for gradient in learnt:
        assert gradient.shape == (36, 36)
        assert gradient[:24, :24].abs().min() > 0
        assert not gradient[24:].any()
        assert not gradient[:, 24:].any()
    assert all(parameter.grad is not None for parameter in network.own[NARROW.name].values())
    assert all(parameter.grad is None for parameter in network.own[WIDE.name].values())


def test_an_extracted_student_is_an_ordinary_model_with_the_same_answers(world: World, network: SuperNetwork) -> None:
    batch = pad(world.encoded, range(6))
    with torch.no_grad():
        seen = network.view(NARROW.name)(**batch).logits
        torch.testing.assert_close(network.student(NARROW.name)(**batch).logits, seen)


def test_each_size_has_its_turn_equally_often() -> None:
    sizes = (WIDE, NARROW, DEEP)
    turns = [size.name for turn in in_turns(sizes, 9, 2, seed=3) for size in turn]
    assert {turns.count(size.name) for size in sizes} == {6}
