"""How many threads are taken, and what the user is told of it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from data.device_spec import load_device
from data.errors import InputError
from data.usable_processors import UsableProcessors
from search.profiles.threads import choose_threads


def given(monkeypatch: pytest.MonkeyPatch, usable: UsableProcessors) -> None:
    for module in ("data.device_spec", "search.profiles.threads"):
        monkeypatch.setattr(f"{module}.usable_processors", lambda: usable)


@pytest.mark.parametrize(
    ("usable", "asked", "count", "told"),
    [
        (UsableProcessors(64), None, 64, ""),
        (
            UsableProcessors(64, 2.0),
            None,
            2,
            "2 threads: a CPU quota gives this process the time of 2 of 64 processors",
        ),
        (UsableProcessors(64, 1.5), None, 1, "1 thread: a CPU quota gives this process the time of 1.5 of 64"),
        (UsableProcessors(96), None, 64, "64 threads, the most that a compiled model takes"),
        (UsableProcessors(96, 80.0), None, 64, "64 threads, the most that a compiled model takes"),
        (UsableProcessors(64, 2.0), 2, 2, ""),
        (UsableProcessors(64, 2.0), 4, 4, "warning: --threads 4: a CPU quota gives this process the time of 2 of 64"),
        (UsableProcessors(1), None, 1, ""),
    ],
)
def test_threads_of_this_machine(
    monkeypatch: pytest.MonkeyPatch, usable: UsableProcessors, asked: int | None, count: int, told: str
) -> None:
    given(monkeypatch, usable)
    chosen = choose_threads(load_device("host"), asked, f"--threads {asked}")
    assert chosen.count == count
    assert chosen.note.startswith(told) and bool(chosen.note) == bool(told)


def test_more_than_there_are_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    given(monkeypatch, UsableProcessors(96, 2.0))
    for asked, problem in ((97, "--threads 97: device host has 96 cores"), (65, "at most 64 threads")):
        with pytest.raises(InputError, match=problem):
            choose_threads(load_device("host"), asked, f"--threads {asked}")
    with pytest.raises(InputError, match="device s20 has 8 cores"):
        choose_threads(load_device("s20"), 9, "device s20:9")


def test_a_device_file_that_states_its_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    given(monkeypatch, UsableProcessors(64, 2.0))
    for stated, count, told in ((1, 1, ""), (8, 2, "2 threads: a CPU quota")):
        chosen = choose_threads(replace(load_device("host"), threads=stated), None, "")
        assert chosen.count == count and chosen.note.startswith(told) and bool(chosen.note) == bool(told)
    assert choose_threads(load_device("s20"), None, "").count == 8
