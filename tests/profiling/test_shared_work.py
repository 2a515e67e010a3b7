"""Work handed out to several workers, some of which fail."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from data.errors import DeviceError
from profiling.shared_work import hand_out


def failing(at: int, error: Exception) -> Callable[[int], int]:
    """A worker that fails at its ``at``-th item, from 1."""
    seen: list[int] = []

    def work(item: int) -> int:
        seen.append(item)
        if len(seen) == at:
            raise error
        return item

    return work


def test_every_item_is_done_once_though_workers_fail() -> None:
    lost: list[int] = []
    workers = [failing(2, DeviceError("gone")), failing(100, DeviceError("")), failing(1, DeviceError("gone"))]
    rows = list(hand_out(range(50), workers, lambda number, error: lost.append(number)))
    assert sorted(rows) == list(range(50)) and set(lost) <= {0, 2}


def test_item_of_a_failed_worker_goes_to_one_that_waits() -> None:
    taken, others_done = threading.Event(), threading.Event()

    def fails_late(item: int) -> int:
        taken.set()
        others_done.wait(10)
        raise DeviceError("gone")

    def works(item: int) -> int:
        assert taken.wait(10)  # the other worker holds an item
        if len(done) == 1:
            others_done.set()
        done.append(item)
        return item

    done: list[int] = []
    assert sorted(hand_out([0, 1, 2], [fails_late, works], lambda number, error: None)) == [0, 1, 2]


def test_error_of_the_last_worker_and_defects_reach_the_caller() -> None:
    rows = hand_out(range(9), [failing(3, DeviceError("one")), failing(3, DeviceError("two"))], lambda *_: None)
    done: list[int] = []
    with pytest.raises(DeviceError):
        done.extend(rows)
    with pytest.raises(ZeroDivisionError):
        list(hand_out(range(9), [failing(3, ZeroDivisionError()), failing(99, DeviceError(""))], lambda *_: None))


def test_whoever_stops_leaves_no_work_behind() -> None:
    began: list[int] = []

    def work(item: int) -> int:
        began.append(item)
        return item

    before = set(threading.enumerate())
    rows = hand_out(range(100_000), [work, work], lambda *_: None)
    next(rows)
    rows.close()  # type: ignore[attr-defined]
    assert len(began) < 100_000
    assert not set(threading.enumerate()) - before
