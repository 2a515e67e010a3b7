"""The search space: what it offers, and how candidates lie in the unit cube."""

from __future__ import annotations

from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data.architecture import Head
from data.errors import InputError
from search.optimization.space import SearchSpace, model_bytes

MINILM = SimpleNamespace(
    layers=6,
    hidden=384,
    heads=12,
    intermediate=1536,
    vocab_size=30522,
    max_positions=512,
    token_types=2,
    factorised=False,
)

teachers = st.builds(
    SimpleNamespace,
    layers=st.integers(2, 24),
    hidden=st.integers(2, 32).map(lambda n: 32 * n),
    heads=st.just(1),
    intermediate=st.integers(128, 2048),
    vocab_size=st.just(100),
    max_positions=st.just(512),
    token_types=st.just(2),
    factorised=st.just(False),
)


def test_the_default_teacher_has_some_thousand_students() -> None:
    architectures = SearchSpace.from_teacher(MINILM, seq_len=128, labels=2).architectures()
    assert 1000 <= len(architectures) <= 10_000
    assert len(set(architectures)) == len(architectures)
    assert {a.layers for a in architectures} == {2, 3, 4, 5, 6}
    assert max(a.hidden for a in architectures) == 384
    assert {a.seq_len for a in architectures} == {128}


@settings(deadline=None, max_examples=30)
@given(teachers)
def test_no_student_exceeds_its_teacher_and_all_lie_in_the_unit_cube(teacher: SimpleNamespace) -> None:
    space = SearchSpace.from_teacher(teacher, seq_len=64, labels=3)
    architectures = space.architectures()
    for a in architectures:
        assert a.layers <= teacher.layers
        assert a.hidden <= teacher.hidden
        assert a.intermediate <= teacher.intermediate
        assert 16 <= a.head_size <= 64
        assert a.hidden % 32 == a.intermediate % 128 == 0
    points = space.encode(architectures)
    assert points.shape == (len(architectures), 4)
    assert points.min() >= 0
    assert points.max() <= 1 + 1e-12
    assert len(np.unique(points.round(9), axis=0)) == len(architectures)


@pytest.mark.parametrize("sizes", [{"layers": 1}, {"hidden": 48}, {"intermediate": 64}])
def test_a_tiny_teacher_is_refused(sizes: dict[str, int]) -> None:
    with pytest.raises(InputError, match="too small"):
        SearchSpace.from_teacher(SimpleNamespace(**{**vars(MINILM), **sizes}), seq_len=128, labels=2)


def test_a_sequence_longer_than_the_teachers_positions_is_refused() -> None:
    with pytest.raises(InputError, match="512 positions"):
        SearchSpace.from_teacher(MINILM, seq_len=513, labels=2)


def test_size_in_bytes_counts_fp32_weights() -> None:
    architecture = SearchSpace.from_teacher(MINILM, seq_len=128, labels=2).architectures()[0]
    assert model_bytes(architecture) == 4 * architecture.parameters


@pytest.mark.parametrize(("head", "labels"), [("tokens", 9), ("embedding", 1)])
def test_students_have_the_head_of_the_task(head: Head, labels: int) -> None:
    space = SearchSpace.from_teacher(MINILM, seq_len=128, labels=labels, head=head)
    assert {(a.head, a.labels) for a in (*space.architectures(), *space.uniformly_scaled())} == {(head, labels)}
    assert len(space.architectures()) == len(SearchSpace.from_teacher(MINILM, seq_len=128, labels=2).architectures())


def test_the_teacher_is_scaled_in_all_sizes_alike() -> None:
    space = SearchSpace.from_teacher(MINILM, seq_len=128, labels=2)
    scaled = space.uniformly_scaled()
    assert set(scaled) <= set(space.architectures())
    assert scaled[-1] == space.template
    assert len(scaled) > 15
    sizes = [(a.layers, a.hidden, a.intermediate) for a in scaled]
    for smaller, larger in pairwise(sizes):
        assert all(low <= high for low, high in zip(smaller, larger, strict=True))
    assert all(abs(a.hidden / 384 - a.intermediate / 1536) < 0.15 for a in scaled)
