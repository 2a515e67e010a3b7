"""What is measured: inside the range, spread over it, and the same for the same seed."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data.errors import InputError
from profiling.sampling import SamplingRange, sample_architectures

SPACE = SamplingRange()


@settings(max_examples=15, deadline=None)
@given(count=st.integers(1, 200), seed=st.integers(0, 1000))
def test_architectures_are_distinct_and_inside_the_range(count: int, seed: int) -> None:
    architectures = sample_architectures(SPACE, count, seed)
    assert len(set(architectures)) == count
    assert architectures == sample_architectures(SPACE, count, seed)
    for architecture in architectures:
        assert 2 <= architecture.layers <= 12
        assert architecture.hidden in (*SPACE.hidden, *SPACE.sparse_hidden)
        assert 16 <= architecture.head_size <= 64
        assert architecture.intermediate % 64 == 0
        assert max(64, architecture.hidden) <= architecture.intermediate + 63 <= 4 * architecture.hidden + 63


def test_architectures_fill_the_range() -> None:
    architectures = sample_architectures(SPACE, 200, 3)
    assert {architecture.layers for architecture in architectures} == set(range(2, 13))
    assert {architecture.hidden for architecture in architectures} >= set(SPACE.hidden)


def test_sequence_length_is_kept() -> None:
    assert {entry.seq_len for entry in sample_architectures(SamplingRange(seq_len=64), 20, 0)} == {64}


def test_empty_range_is_refused() -> None:
    with pytest.raises(InputError, match="empty"):
        SamplingRange(layers=(5, 4))
