"""The search space: what it offers, and how candidates lie in the unit cube."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data.architecture import Head
from data.errors import DataFileError, InputError
from search.optimization.space import SearchSpace, model_bytes
from search.options import SpaceFile

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
    layers=st.integers(1, 30),
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
    assert {a.layers for a in architectures} == {*range(1, 13), 14, 16, 20, 24, 28}
    assert max(a.hidden for a in architectures) == 384
    assert {a.seq_len for a in architectures} == {128}


@settings(deadline=None, max_examples=30)
@given(teachers)
def test_no_student_is_wider_than_its_teacher_and_all_lie_in_the_unit_cube(teacher: SimpleNamespace) -> None:
    space = SearchSpace.from_teacher(teacher, seq_len=64, labels=3)
    architectures = space.architectures()
    for a in architectures:
        assert 1 <= a.layers <= 28
        assert a.hidden <= teacher.hidden
        assert a.intermediate <= teacher.intermediate
        assert 16 <= a.head_size <= 64
        assert a.hidden % 32 == a.intermediate % 128 == 0
    points = space.encode(architectures)
    assert points.shape == (len(architectures), 4)
    assert points.min() >= 0
    assert points.max() <= 1 + 1e-12
    assert len(np.unique(points.round(9), axis=0)) == len(architectures)
    assert space.smallest == min(architectures, key=model_bytes)
    scaled = space.uniformly_scaled()
    assert set(scaled) <= set(architectures)
    assert max(a.layers for a in scaled) <= teacher.layers


@pytest.mark.parametrize("sizes", [{"hidden": 48}, {"intermediate": 64}])
def test_a_tiny_teacher_is_refused(sizes: dict[str, int]) -> None:
    with pytest.raises(InputError, match="too small"):
        SearchSpace.from_teacher(SimpleNamespace(**{**vars(MINILM), **sizes}), seq_len=128, labels=2)


def test_a_sequence_longer_than_the_teachers_positions_is_refused() -> None:
    with pytest.raises(InputError, match="512 positions"):
        SearchSpace.from_teacher(MINILM, seq_len=513, labels=2)


def values(most: int) -> st.SearchStrategy[tuple[int, ...] | None]:
    """Some of the numbers up to ``most``, or none: the default."""
    some = st.sets(st.integers(1, most), min_size=1, max_size=5).map(lambda found: tuple(sorted(found)))
    return st.none() | some


@st.composite
def named_values(draw: st.DrawFn) -> SpaceFile:
    heads = {draw(st.sampled_from(["heads", "head_size"])): draw(values(40))}
    sizes = {"layers": draw(values(40)), "hidden": draw(values(384)), "intermediate": draw(values(1536))}
    return SpaceFile("space.toml", **sizes, **heads)


@settings(deadline=None, max_examples=60)
@given(named_values())
def test_candidates_have_the_named_values_and_lie_in_the_unit_cube(named: SpaceFile) -> None:
    space = SearchSpace.from_teacher(MINILM, seq_len=64, labels=2, named=named) if possible(named) else None
    if space is None:
        with pytest.raises(DataFileError, match=r"space.toml: head.*: no hidden \(.*\) is a multiple of any head"):
            SearchSpace.from_teacher(MINILM, seq_len=64, labels=2, named=named)
        return
    architectures = space.architectures()
    assert len(set(architectures)) == len(architectures) > 0
    for name in ("layers", "hidden", "heads", "head_size", "intermediate"):
        wanted, found = getattr(named, name), {getattr(a, name) for a in architectures}
        if wanted is not None:
            assert space.values[name] == wanted
            assert found | set(space.unused.get(name, ())) == set(wanted)
            assert not found & set(space.unused.get(name, ()))
    points = space.encode(architectures)
    assert points.min() >= 0 and points.max() <= 1 + 1e-12
    assert len(np.unique(points.round(9), axis=0)) == len(architectures)
    scaled = space.uniformly_scaled()
    assert set(scaled) <= set(architectures)
    assert all(a.layers <= MINILM.layers for a in scaled)
    assert space.smallest == min(architectures, key=model_bytes)


def possible(named: SpaceFile) -> bool:
    """Whether some width is a multiple of some number or size of heads."""
    widths = named.hidden or range(64, 385, 32)
    return any(hidden % each == 0 for hidden in widths for each in named.heads or named.head_size or range(16, 65, 8))


@pytest.mark.parametrize(
    ("named", "told"),
    [
        ({"hidden": (64, 400, 512)}, "hidden: 400, 512 is beyond the teacher's 384, out of which students are cut"),
        ({"intermediate": (1537,)}, "intermediate: 1537 is beyond the teacher's 1536"),
        ({"hidden": (64,), "heads": (7,)}, r"heads: no hidden \(64\) is a multiple of any heads \(7\)"),
        ({"hidden": tuple(range(1, 300)), "heads": (1,), "intermediate": tuple(range(1, 1000))}, "are too many"),
    ],
)
def test_values_that_the_teacher_cannot_have_name_file_and_key(named: dict[str, tuple[int, ...]], told: str) -> None:
    with pytest.raises(DataFileError, match=f"space.toml: .*{told}"):
        SearchSpace.from_teacher(MINILM, seq_len=128, labels=2, named=SpaceFile("space.toml", **named))


def test_narrow_values_serve_a_teacher_that_is_too_small_for_the_default() -> None:
    small = SimpleNamespace(**{**vars(MINILM), "hidden": 48, "intermediate": 96, "heads": 4})
    named = SpaceFile("space.toml", hidden=(24, 48), intermediate=(48, 96), heads=(2, 4))
    assert len(SearchSpace.from_teacher(small, seq_len=128, labels=2, named=named).architectures()) == 17 * 2 * 2 * 2


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


def test_every_size_is_there_in_each_precision() -> None:
    single = SearchSpace.from_teacher(MINILM, seq_len=128, labels=2)
    both = SearchSpace.from_teacher(MINILM, seq_len=128, labels=2, precisions=("fp32", "int8"))
    count = len(single.architectures())
    assert both.architectures()[:count] == single.architectures()
    assert [replace(each, precision="fp32") for each in both.architectures()[count:]] == [*single.architectures()]
    points = both.encode(both.architectures())
    assert np.array_equal(points[:count, :-1], single.encode(single.architectures()))
    assert np.array_equal(points[:count, :-1], points[count:, :-1])
    assert points[:, -1].tolist() == [0.0] * count + [1.0] * count
    assert [each.precision for each in both.teachers] == ["fp32", "int8"]
    assert {each.precision for each in both.uniformly_scaled()} == {"int8"}
    small = both.smallest
    assert small.precision == "int8" and model_bytes(small) < model_bytes(replace(small, precision="fp32"))
