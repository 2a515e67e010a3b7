"""Whole searches beside simpler rules, on doubles: every arm keeps the budget and learns as much as the others."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, get_args

import pytest

from data.architecture import Architecture
from data.progress import no_progress
from search.distillation.distilled import DistilledModel
from search.study import open_study
from tests.benchmarks.whole_searches import Arm, Run, main, make, table, teacher_ms
from tests.search.doubles import OPTIONS, World


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path / "log.txt")


def row(
    arm: Arm,
    seed: int,
    world: World,
    out: Path,
    learnt: list[int] | None = None,
    budget_ms: float = 1.0,
    **other: Any,
) -> dict[str, Any]:
    def go_on(teacher: Any, task: Any, architecture: Architecture, **given: Any) -> DistilledModel:
        if learnt is not None:
            learnt.append(given["tokens"])
        done: DistilledModel = world.distil("full", teacher, task, architecture, OPTIONS, given["out_dir"], no_progress)
        return done

    run = Run("pairs", seed, arm, 0.6, 3, "brief", "host", 250_000, **other)
    return make(run, Path("."), out, budget_ms, world.stages(), go_on)


def test_every_arm_keeps_the_budget_and_the_largest_is_the_largest(tmp_path: Path, world: World) -> None:
    rows = {arm: row(arm, 0, world, tmp_path) for arm in get_args(Arm)}
    assert all(0.5 < found["latency_ms"] <= 1.0 for found in rows.values())
    # Where accuracy grows with latency the largest is the best, and the search finds it.
    assert rows["search"]["architecture"] == rows["largest"]["architecture"]
    assert rows["search"]["dev"] == max(found["dev"] for found in rows.values()) > rows["scaled"]["dev"]
    told = table(list(rows.values()))
    assert [line.split("|")[2].strip() for line in told.splitlines()[2:]] == list(get_args(Arm))


def test_a_search_that_may_choose_int8_is_an_arm_of_its_own(tmp_path: Path, world: World) -> None:
    rows = [row("search", 0, world, tmp_path, budget_ms=0.5, precision=precision) for precision in ("fp32", "auto")]
    assert "int8" in rows[1]["architecture"] and "int8" not in rows[0]["architecture"]
    assert rows[1]["latency_ms"] <= 0.5 and rows[1]["dev"] > rows[0]["dev"]
    told = [line.split("|")[2].strip() for line in table(rows).splitlines()[2:]]
    assert told == ["search", "search, auto"]


def test_one_candidate_gets_the_tokens_of_all_trials(tmp_path: Path, world: World) -> None:
    learnt: list[int] = []
    for arm in ("random", "largest", "scaled"):
        row(arm, 0, world, tmp_path, learnt)  # type: ignore[arg-type]
    assert learnt == [250_000, 370_000, 370_000]


def test_random_candidates_differ_by_seed_and_a_killed_arm_draws_the_same(tmp_path: Path, world: World) -> None:
    first, second = (row("random", seed, world, tmp_path / "a") for seed in (0, 1))
    drawn = [line for line in world.log_lines() if line.startswith("short")]
    assert len(set(drawn)) > 3
    assert row("random", 0, world, tmp_path / "a") | {"seconds": 0} == first | {"seconds": 0}
    assert [line for line in world.log_lines() if line.startswith("short")] == drawn
    assert first["architecture"] != second["architecture"] or first["dev"] == second["dev"]


def test_the_budget_is_a_share_of_what_the_teacher_takes(tmp_path: Path, world: World) -> None:
    assert teacher_ms("host", tmp_path, Path("."), "pairs", world.stages()) == pytest.approx(1.62, rel=0.02)


def test_two_calls_at_once_time_the_teacher_once(tmp_path: Path) -> None:
    world = World(tmp_path / "log.txt", pause_s=1.0)
    with ThreadPoolExecutor(2) as pool:
        calls = [pool.submit(teacher_ms, "host", tmp_path, Path("."), "pairs", world.stages()) for _ in range(2)]
    assert len({call.result() for call in calls}) == 1
    assert sum(line.startswith("time ") for line in world.log_lines()) == 1


def test_an_arm_that_another_call_makes_is_one_line(
    tmp_path: Path, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tests.benchmarks.whole_searches.real_stages", world.stages)
    given = ["--data", str(tmp_path), "--out", str(tmp_path), "--tasks", "pairs", "--seeds", "0", "--arms", "search"]
    monkeypatch.setattr("sys.argv", ["whole_searches", *given, "--share", "0.6", "--device", "host"])
    with open_study(tmp_path / "pairs-0-search", OPTIONS, resume=True), pytest.raises(SystemExit) as ended:
        main()
    assert str(ended.value).startswith("error: another search is running in ") and "\n" not in str(ended.value)
