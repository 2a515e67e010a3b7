"""Deeper or wider at equal latency: found where it is so, and not where nothing can be told."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.architecture import Architecture
from search.reports.depth import DepthAnswer, Student, answer, depth_answers
from tests.search.doubles import World, search_in, true_score


def student(layers: int, latency_ms: float, divergence: float) -> Student:
    return Student(Architecture(layers, 64, 4, 128), latency_ms, divergence)


def band(sign: int, count: int = 12, noise: float = 0.3) -> list[Student]:
    """Students of 1 to ``count`` layers near 10 ms; the deeper the nearer to the teacher, or the other way round."""
    rng = random.Random(count)
    return [
        student(layers, 10 + rng.uniform(-0.5, 0.5), 0.5 - sign * (layers + rng.gauss(0, noise)) / 100)
        for layers in range(1, count + 1)
    ]


@pytest.mark.parametrize(("sign", "told"), [(1, "deeper ones were nearer"), (-1, "wider ones were nearer")])
def test_a_clear_order_is_told_with_its_uncertainty(sign: int, told: str) -> None:
    found = answer("cut", band(sign))
    assert told in found.told and "of 12 students within 10% of 9.91 ms" in found.told
    assert found.correlation is not None and found.interval is not None
    low, high = found.interval
    assert -1 <= low <= found.correlation <= high <= 1 and sign * found.correlation > 0.8


def test_what_differs_in_latency_is_left_out_and_what_it_explains_allowed_for() -> None:
    far = [student(layers, 20.0, 0.5 + layers / 100) for layers in range(1, 6)]
    assert answer("cut", [*band(1), *far]).students == answer("cut", band(1)).students
    # Closer only because larger: depth says nothing beside latency.
    rng = random.Random(3)
    larger = [
        student(layers, 10 + 0.05 * layers, 0.5 - 0.01 * layers + 0.02 * rng.gauss(0, 1)) for layers in range(1, 17)
    ]
    found = answer("cut", larger)
    assert found.correlation is None or "cannot be told" in found.told


@pytest.mark.parametrize(
    ("students", "told"),
    [
        ([], "none were judged cut"),
        (band(1, 5), "of 5 students within 10% of 10.2 ms, judged cut, it cannot be told: they are too few"),
        ([student(4, 10.0, 0.1 * n) for n in range(1, 9)], "it cannot be told: all have 4 layers"),
        ([student(n, 10.0, (n * 7 % 11) / 10 + 0.1) for n in range(1, 11)], "it cannot be told (rank correlation"),
    ],
)
def test_where_nothing_can_be_told_the_reason_is(students: list[Student], told: str) -> None:
    assert told in answer("cut", students).told


def test_a_perfect_order_of_few_is_not_taken_for_certain() -> None:
    found = answer("cut", band(1, 6, noise=0.0))
    assert found.correlation is not None and found.interval is not None
    assert found.interval[0] < 0.9 and found.interval[1] - found.interval[0] > 0.1


@given(
    st.lists(
        st.tuples(st.integers(1, 28), st.floats(1.0, 1.2), st.floats(0.0, 10.0, allow_subnormal=False)), max_size=30
    )
)
def test_any_students_give_an_answer(sizes: list[tuple[int, float, float]]) -> None:
    found = answer("cut", [student(*each) for each in sizes])
    assert found.told
    json.dumps(found.to_dict(), allow_nan=False)
    if found.interval and found.correlation is not None:
        assert -1.0000001 <= found.interval[0] <= found.correlation <= found.interval[1] <= 1.0000001


def test_no_depth_no_answer_more_often_than_promised() -> None:
    """Of students whose closeness has nothing to do with depth, one in ten may be told either way."""
    rng = random.Random(7)
    told = 0
    for _ in range(300):
        students = [student(rng.randint(1, 12), 10 + rng.uniform(-0.5, 0.5), rng.random()) for _ in range(12)]
        told += "nearer" in answer("cut", students).told
    assert told <= 0.14 * 300


def test_a_search_answers_from_its_own_trials_and_cuts(tmp_path: Path) -> None:
    result = search_in(tmp_path / "out", World(tmp_path / "log.txt"), effort="full", trials=4)
    answers = depth_answers(result)
    timed = {each.candidate.architecture: each.timing.median_ms for each in result.admissions}
    for name, found in answers.items():
        assert isinstance(found, DepthAnswer)
        for each in found.students:
            assert each.divergence >= 1 - true_score(each.architecture) - 1e-9, name
    assert all(each.latency_ms == timed[each.architecture] for each in answers["trials"].students)
    assert len(answers["cuts"].students) >= 20
    assert all(cut.latency_ms is not None for cut in result.cuts)
    document = json.loads((tmp_path / "out" / "result.json").read_text())
    assert document["depth"] == {name: found.to_dict() for name, found in answers.items()}
    page = (tmp_path / "out" / "report.html").read_text()
    assert "Deeper or wider at equal latency?" in page
    for found in answers.values():
        assert found.told in page
