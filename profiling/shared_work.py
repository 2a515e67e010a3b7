"""Handing out items of work to several workers as they become free; what a failing worker held goes to another."""

from __future__ import annotations

import queue
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Generic, TypeVar

from data.errors import DeviceError

Item = TypeVar("Item")
Row = TypeVar("Row")


class _Pool(Generic[Item]):
    """Items that wait, and how many are being worked on."""

    def __init__(self, items: Sequence[Item]) -> None:
        self._waiting = deque(items)
        self._in_work = 0
        self._changed = threading.Condition()

    def take(self) -> list[Item]:
        """The next item, as a list of one; none once all are done. Waits while others may give theirs back."""
        with self._changed:
            while not self._waiting and self._in_work:
                self._changed.wait()
            if not self._waiting:
                return []
            self._in_work += 1
            return [self._waiting.popleft()]

    def finish(self, back: Sequence[Item]) -> None:
        """An item is done, or given ``back``."""
        with self._changed:
            self._waiting.extendleft(back)
            self._in_work -= 1
            self._changed.notify_all()

    def stop(self) -> None:
        """Hand out nothing more."""
        with self._changed:
            self._waiting.clear()
            self._changed.notify_all()


def hand_out(
    items: Sequence[Item], workers: Sequence[Callable[[Item], Row]], lost: Callable[[int, DeviceError], None]
) -> Iterator[Row]:
    """What the workers make of the items, as it comes. ``lost`` is told the number of a failed worker, and why.

    A worker that raises ``DeviceError`` gets nothing more. Whoever stops iterating waits for what is in work.

    Raises:
        DeviceError: the last worker failed. Any other error ends the work at once.
    """
    pool, made = _Pool(items), queue.SimpleQueue[Row | Future[None]]()

    def work(worker: Callable[[Item], Row]) -> None:
        while taken := pool.take():
            back = taken
            try:
                made.put(worker(taken[0]))
                back = []
            finally:
                pool.finish(back)

    with ThreadPoolExecutor(len(workers)) as executor:
        running = {executor.submit(work, worker): number for number, worker in enumerate(workers)}
        for future in running:
            future.add_done_callback(made.put)
        try:
            yield from _results(made, running, lost)
        finally:
            pool.stop()


def _results(
    made: queue.SimpleQueue[Row | Future[None]],
    running: dict[Future[None], int],
    lost: Callable[[int, DeviceError], None],
) -> Iterator[Row]:
    """Rows until a worker finds nothing more to do; the last one's error where all have failed."""
    failed: BaseException | None = None
    while running:
        got = made.get()
        if not isinstance(got, Future):
            yield got
            continue
        number, failed = running.pop(got), got.exception()
        if failed is None:
            return
        if not isinstance(failed, DeviceError):
            raise failed
        lost(number, failed)
    if failed is not None:
        raise failed
