"""The whole search on doubles: what it finds, what it says when things go wrong, and that nothing is done twice."""

from __future__ import annotations

import json
import math
import os
import random
from collections import Counter
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from data.architecture import Architecture
from data.errors import DeviceError, InfeasibleBudgetError, InputError, PocketBertError, StoreError
from data.progress import ProgressEvent
from data.tasks import Example, Task
from search.optimization.space import model_bytes
from search.options import SpaceFile
from search.pipeline import run_search
from search.reports.summary import final_table
from search.study import open_study
from tests.benchmarks.kills import killed
from tests.search.doubles import INT8_LOSS, OPTIONS, TASK, World, memory, search_in, true_ms, true_score


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path / "log.txt")


def test_the_winner_is_the_most_accurate_finalist_within_the_budget(tmp_path: Path, world: World) -> None:
    result = search_in(tmp_path / "out", world)
    winner = result.winning_finalist
    assert winner.timing.median_ms <= result.options.budget_ms
    assert winner.trained.score == max(f.trained.score for f in result.finalists)
    assert result.confirmation == "confirmed"
    assert (tmp_path / "out" / "best" / "model.onnx").exists()
    assert (tmp_path / "out" / "best" / "compiled" / "runner").exists()
    assert not any(count > 1 for count in Counter(world.log_lines()).values())


def test_dev_is_read_once_when_the_winner_is_chosen_and_chooses_nothing(tmp_path: Path) -> None:
    """On this dev set the best of the held-out examples is the worst."""
    world, notes = World(tmp_path / "log.txt", dev_slope=-1.0), list[str]()
    result = search_in(tmp_path / "out", world, notes=notes)
    winner = result.winning_finalist
    assert winner.trained.score == max(each.trained.score for each in result.finalists)
    assert winner.dev is not None and result.teacher.dev is not None
    assert winner.dev.score == min(each.dev.score for each in result.finalists if each.dev)
    lines = world.log_lines()
    assert sorted(line for line in lines if line.startswith("dev ")) == sorted(
        ["dev teacher-checkpoint", *(f"dev final-{each.trial:03d}" for each in result.finalists)]
    )
    assert all(line.startswith("dev ") for line in lines[-1 - len(result.finalists) :])
    told = f"chosen by {winner.trained.score:.3f} on the held-out tenth of train, has {winner.dev.score:.3f} ± "
    assert any(told in note for note in notes)
    assert (result.task.train_examples, result.task.held_out_examples, result.task.dev_examples) == (900, 100, 40)
    document = json.loads((tmp_path / "out" / "result.json").read_text())
    assert document["winner"]["score"] == winner.trained.score
    assert document["winner"]["dev"]["score"] == winner.dev.score
    assert document["teacher"]["dev"]["standard_error"] == result.teacher.dev.standard_error > 0
    assert all(trial["cut_score"] < trial["score"] for trial in document["trials"])


def sentences(count: int, name: str) -> tuple[Example, ...]:
    return tuple(Example(f"{name} word{number} word{number // 2}", None, math.nan) for number in range(count))


def test_plain_sentences_are_ranked_as_the_teacher_ranks_them(tmp_path: Path) -> None:
    pairs = tuple(Example(each.first, "another", math.nan) for each in sentences(30, "dev"))
    task = Task("plain", "similarity", (), "spearman", sentences(1000, "text"), pairs)
    world, notes = World(tmp_path / "log.txt", task=task, teacher_score=1.0), list[str]()
    result = search_in(tmp_path / "out", world, notes=notes)
    assert result.task.measures == ("agreement with the teacher (spearman)",) * 2
    assert world_lines(world, "cosines") == ["cosines 200", "cosines 30"]
    assert world.log_lines().index("cosines 200") < world.log_lines().index("cosines 30")
    assert search_in(tmp_path / "out", world, resume=True) == result
    assert "agreement with the teacher (spearman)" in (tmp_path / "out" / "report.html").read_text()

    scored = replace(task, dev=tuple(replace(each, label=float(number)) for number, each in enumerate(pairs)))
    world = World(tmp_path / "log2.txt", task=scored, teacher_score=1.0)
    result = search_in(tmp_path / "scored", world)
    assert result.task.measures == ("agreement with the teacher (spearman)", "spearman")
    assert world_lines(world, "cosines") == ["cosines 200"]


def test_only_what_was_timed_within_the_budget_is_distilled(tmp_path: Path) -> None:
    """The device is slower than predicted: what misses is never trained, and later predictions know better."""
    world, notes = World(tmp_path / "log.txt", slower=1.4), list[str]()
    result = search_in(tmp_path / "out", world, notes=notes, trials=4, max_bytes=2_000_000)
    missed = [each for each in result.admissions if not each.admitted]
    assert any(each.proposer != "teacher" for each in missed)
    assert all(each.timing.median_ms > 1.0 / 1.03 for each in missed)
    for trial in result.trials:
        assert 1.4 * true_ms(trial.candidate.architecture) <= 1.0 / 1.03
        assert model_bytes(trial.candidate.architecture) <= 2_000_000
    trained = {line.split()[1] for line in world_lines(world, "short", "full")}
    assert not trained & {each.candidate.architecture.name for each in missed if each.proposer != "teacher"}
    errors = [abs(each.candidate.predicted_ms / each.timing.median_ms - 1) for each in result.admissions]
    assert errors[-1] < errors[0] / 2
    assert any("the teacher itself, 4x128-h4-f512, is larger than --max-size allows: 2.27 ms" in note for note in notes)
    possible, size = result.outlook.possible, result.outlook.space_size
    assert len(result.admissions) < possible <= size
    told = "may fit 1 ms; each that is proposed is timed before it is trained"
    assert f"{possible} of {size} architectures {told}" in notes
    document = json.loads((tmp_path / "out" / "result.json").read_text())
    assert document["admission"]["timed"] == len(result.admissions)
    assert document["admission"]["missed"] == len(missed)
    assert document["winner"]["share_of_budget"] == result.winning_finalist.timing.median_ms


def test_the_budget_is_used_and_the_scaled_teacher_is_the_first_trial(tmp_path: Path, world: World) -> None:
    result = search_in(tmp_path / "out", world, trials=5)
    assert result.share_of_budget >= 0.87
    assert result.baseline is not None
    assert result.trials[0].candidate == result.baseline.candidate
    assert [trial.proposer for trial in result.trials[:2]] == ["uniform", "largest"]
    assert "bayesian" in {trial.proposer for trial in result.trials}
    assert json.loads((tmp_path / "out" / "result.json").read_text())["baseline"]["trial"] == 0


def test_candidates_near_the_budget_are_cut_and_the_first_trial_promises_most(tmp_path: Path, world: World) -> None:
    result = search_in(tmp_path / "out", world, trials=2, effort="full")
    lines, cut = world.log_lines(), [cut.architecture for cut in result.cuts]
    counts = [int(line.split()[1]) for line in lines if line.startswith("cuts ")]
    # Three rounds, then what is proposed for a trial, a few at a time.
    assert counts[:3] == [8, 8, 8] and all(1 <= count <= 3 for count in counts[3:])
    assert len(cut) == len(set(cut)) == sum(counts)
    assert result.baseline is not None
    scaled = result.baseline.candidate.architecture
    assert cut[0] == scaled and all(0.8 <= true_ms(each) <= 1.1 for each in cut[1:])
    assert {trial.candidate.architecture for trial in result.trials} <= set(cut)
    assert lines.index("teacher") < next(n for n, line in enumerate(lines) if line.startswith("cuts "))
    fitting = [cut.architecture for cut in result.cuts if true_ms(cut.architecture) <= 1.0 / 1.03]
    promised = sorted(map(true_score, fitting), reverse=True)
    first = next(trial for trial in result.trials if trial.proposer != "uniform")
    assert true_score(first.candidate.architecture) >= promised[3]
    document = json.loads((tmp_path / "out" / "result.json").read_text())
    assert [cut["name"] for cut in document["cuts"]] == [cut.architecture.name for cut in result.cuts]
    assert search_in(tmp_path / "out", world, resume=True, trials=2, effort="full") == result


def test_a_teacher_that_is_not_compiled_has_students_all_the_same(tmp_path: Path) -> None:
    """One of narrow embeddings would fit the budget, were it what is timed."""
    world, notes = World(tmp_path / "log.txt", narrow_teacher=True), list[str]()
    result = search_in(tmp_path / "out", world, notes=notes, budget_ms=2.0)
    assert sum("4x128-h4-f512, is not compiled, for its embeddings are narrower" in note for note in notes) == 1
    assert result.teacher_admission is None and result.winner is not None
    assert all(finalist.trial is not None for finalist in result.finalists)
    teacher = json.loads((tmp_path / "out" / "result.json").read_text())["teacher"]
    assert (teacher["compiles"], teacher["fits"], teacher["timing"]) == (False, False, None)
    assert "not compiled" in "".join(str(cell) for column in final_table(result).columns for cell in column.cells)


def test_what_is_worth_saying_of_a_teacher_is_said_first(tmp_path: Path) -> None:
    remarks: dict[str, Any] = {"teacher_remarks": ("it holds no pooler",), "material_remarks": ("7 texts are cut",)}
    world, notes = World(tmp_path / "log.txt", **remarks), list[str]()
    search_in(tmp_path / "out", world, notes=notes)
    (said,) = [place for place, note in enumerate(notes) if note == "the teacher: it holds no pooler"]
    assert said < next(place for place, note in enumerate(notes) if note.startswith("the teacher itself"))
    assert notes.count("7 texts are cut") == 1


def test_a_teacher_that_fits_is_the_model_to_beat(tmp_path: Path, world: World) -> None:
    notes: list[str] = []
    result = search_in(tmp_path / "out", world, notes=notes, budget_ms=2.0)
    assert any("the teacher itself, 4x128-h4-f512, fits 2 ms: 1.62 ms measured" in note for note in notes)
    assert result.winner is None
    assert result.winning_finalist.trained.score == 0.9
    assert all(each.timing.median_ms < 1.62 for each in result.finalists if each.trial is not None)
    assert (tmp_path / "out" / "best" / "compiled" / "runner").exists()
    assert not list((tmp_path / "out" / "best").glob("*.npy"))
    document = json.loads((tmp_path / "out" / "result.json").read_text())
    assert document["winner"]["trial"] is None
    assert document["teacher"]["fits"]

    weaker = World(tmp_path / "log2.txt", teacher_score=0.82)
    result = search_in(tmp_path / "weaker", weaker, notes=notes, budget_ms=2.0)
    assert result.equals, "with so few dev examples a faster student is as accurate"
    assert any("as accurate as the winner" in note for note in notes)

    large = search_in(tmp_path / "large", replace(world, log=tmp_path / "log3.txt"), budget_ms=2.0, max_bytes=2_000_000)
    assert large.winner is not None
    assert not large.admissions[0].admitted


def test_candidates_are_distilled_and_scored_in_their_own_precision(tmp_path: Path, world: World) -> None:
    plain = search_in(tmp_path / "fp32", World(tmp_path / "log1.txt"), budget_ms=2.0)
    notes: list[str] = []
    result = search_in(tmp_path / "int8", world, budget_ms=2.0, precision="int8", notes=notes)
    assert len(result.finalists) > 1 and result.finalists[0].trial is None
    teacher, before = result.finalists[0], plain.finalists[0]
    assert (teacher.trained.precision, before.trained.precision) == ("int8", "fp32")
    assert teacher.trained.score == pytest.approx(before.trained.score - INT8_LOSS)
    assert teacher.dev and before.dev and teacher.dev.score == pytest.approx(before.dev.score - INT8_LOSS)
    for finalist in result.finalists[1:]:
        assert finalist.trial is not None and finalist.trained.precision == "int8"
        architecture = result.trials[finalist.trial].candidate.architecture
        assert finalist.trained.score == pytest.approx(true_score(architecture) - INT8_LOSS)
    for trial in result.trials:
        assert trial.candidate.architecture.precision == "int8"
        assert trial.score == pytest.approx(true_score(trial.candidate.architecture) - 0.05 - INT8_LOSS)
    assert result.teacher == plain.teacher
    assert any("0.004 from those in fp32, 0.007 without 1 products that stay fp32 (8.0%)" in note for note in notes)


def test_at_a_tight_budget_a_larger_int8_model_beats_a_smaller_fp32_one(tmp_path: Path, world: World) -> None:
    plain = search_in(tmp_path / "fp32", World(tmp_path / "log1.txt"), budget_ms=0.5)
    result = search_in(tmp_path / "auto", world, budget_ms=0.5, precision="auto")
    teachers = [each.candidate.architecture.precision for each in result.admissions if each.proposer == "teacher"]
    assert teachers == ["fp32", "int8"]
    winner = result.winning_candidate.architecture
    assert winner.precision == "int8" and winner.name.endswith("-int8")
    assert result.winning_finalist.trained.score > plain.winning_finalist.trained.score
    assert result.winning_finalist.timing.median_ms <= 0.5


def test_an_impossible_budget_is_refused_before_the_teacher(tmp_path: Path, world: World) -> None:
    with pytest.raises(InfeasibleBudgetError, match=r"fastest, 1x64-h\d-f128, took 0.116 ms measured"):
        search_in(tmp_path / "out", world, budget_ms=0.01)
    assert [line.split()[0] for line in world.log_lines()] == ["profile", *4 * ["time"]]
    result = search_in(tmp_path / "out", world, budget_ms=1.0)
    assert result.options.budget_ms == 1.0, "a failed start holds nothing that would be lost"


@pytest.mark.parametrize(("factor", "budget_ms"), [(1.0, 0.121), (3.0, 0.128)])
def test_where_no_prediction_is_within_the_budget_the_fastest_are_timed(
    tmp_path: Path, factor: float, budget_ms: float
) -> None:
    """The fastest takes 0.116 ms: the prediction is about the budget, or far beyond it."""
    world = World(tmp_path / "log.txt", predictor_factor=factor)
    result = search_in(tmp_path / "out", world, budget_ms=budget_ms, trials=10)
    assert result.winning_finalist.meets(budget_ms)
    with pytest.raises(InfeasibleBudgetError, match=r"took 0\.173 ms measured"):
        search_in(tmp_path / "slow", replace(world, slower=1.5), budget_ms=budget_ms)


def test_a_teacher_that_has_learnt_nothing_is_not_distilled_from(tmp_path: Path) -> None:
    for score, told in ((0.5, "best constant answer has 0.500"), (0.55, "as chance does up to")):
        world = World(tmp_path / "log.txt", teacher_score=score)
        for resume in (False, True):
            with pytest.raises(InputError, match=rf"default teacher has learnt nothing .*{told}.*--teacher"):
                search_in(tmp_path / "out", world, resume=resume)
    assert world_lines(world, "short", "full") == []
    small, notes = replace(TASK, train=TASK.train[:100]), list[str]()
    search_in(tmp_path / "small", World(tmp_path / "log2.txt", task=small, teacher_score=0.55), notes=notes)
    assert any("so few examples cannot tell whether the teacher has learnt" in note for note in notes)
    assert search_in(tmp_path / "out", World(tmp_path / "log.txt", teacher_score=0.85)).teacher.score == 0.85


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"teacher_problem": "teacher: no tokenizer"}, InputError),
        ({"student_problem": "config.json: hidden_act is 'xielu'"}, InputError),
        ({"difference": 0.5}, PocketBertError),
    ],
)
def test_teacher_and_compiler_are_tried_before_anything_takes_long(
    change: dict[str, Any], error: type[PocketBertError], tmp_path: Path
) -> None:
    world = replace(World(tmp_path / "log.txt"), **change)
    with pytest.raises(error, match=r"teacher: no|hidden_act|compiled wrongly"):
        search_in(tmp_path / "out", world)
    assert world.log_lines() == []


def test_fewer_candidates_than_trials_are_counted_as_they_are(tmp_path: Path, world: World) -> None:
    events: list[ProgressEvent] = []
    options = replace(OPTIONS, budget_ms=0.13, trials=10)
    with open_study(tmp_path / "out", options, resume=False) as study:
        result = run_search(study, world.stages(), events.append, lambda note: None)
    assert len(result.trials) == 3
    last = [event for event in events if event.stage == "trials"][-1]
    assert (last.done, last.total) == (3, 3)


def test_an_impossible_size_names_the_smallest(tmp_path: Path, world: World) -> None:
    with pytest.raises(InfeasibleBudgetError, match=r"smallest, .* has 0\.\d+ MB"):
        search_in(tmp_path / "out", world, max_bytes=1000)
    assert world.log_lines() == [], "no profile is needed to know it"


def test_memory_bounds_candidates_and_teacher(tmp_path: Path, world: World) -> None:
    notes: list[str] = []
    most = memory(Architecture(4, 96, 3, 512, 1000, 64, 128))
    assert most < memory(Architecture(4, 128, 4, 512, 1000, 64, 128)), "the teacher needs more"
    result = search_in(tmp_path / "out", world, notes=notes, budget_ms=2.0, max_memory=most)
    assert any("h4-f512, is larger than --max-memory allows: 1.62 ms" in note for note in notes)
    assert result.winner is not None and not result.admissions[0].admitted
    assert all(memory(each.candidate.architecture) + 2 <= most for each in result.admissions[1:])
    assert json.loads((tmp_path / "out" / "result.json").read_text())["winner"]["memory_bytes"] > 0
    page = (tmp_path / "out" / "report.html").read_text()
    assert "What is larger than --max-memory allows is refused whatever it takes." in page
    assert "has the upper bound of its median within the budget and is small enough." in page


def test_the_option_that_excludes_is_named(tmp_path: Path, world: World) -> None:
    smallest = Architecture(1, 64, 4, 128, 1000, 64, 128)
    enough, little = model_bytes(smallest), memory(smallest)
    message = r"none of the 3 models of the search space that --max-size leaves is small enough for --max-memory: the "
    with pytest.raises(InfeasibleBudgetError, match=message + r"smallest, 1x64-h\d-f128, needs 0.55 MB of memory"):
        search_in(tmp_path / "out", world, max_bytes=enough, max_memory=little)
    with pytest.raises(
        InfeasibleBudgetError, match=r"small enough for --max-size: the smallest, .* 0.45 MB of weights"
    ):
        search_in(tmp_path / "out", world, max_bytes=enough - 1, max_memory=10**9)
    assert world.log_lines() == []
    assert search_in(tmp_path / "out", world, max_bytes=450_000, max_memory=550_000).trials


def test_a_space_without_the_teachers_depths_has_no_scaled_teacher(tmp_path: Path, world: World) -> None:
    space = SpaceFile("deep.toml", layers=(6, 8), hidden=(48, 64, 96), heads=(2, 3), intermediate=(100, 128))
    notes: list[str] = []
    result = search_in(tmp_path / "out", world, notes=notes, space=space)
    tried = [each.candidate.architecture for each in result.admissions[1:]]
    assert {(a.layers, a.hidden, a.heads, a.intermediate) for a in tried} <= set(
        product((6, 8), (48, 64, 96), (2, 3), (100, 128))
    )
    assert result.baseline is None
    document = json.loads((tmp_path / "out" / "result.json").read_text())
    assert document["space"]["candidates"] == 20
    assert document["space"]["values"] == {
        "layers": [6, 8],
        "hidden": [48, 64, 96],
        "heads": [2, 3],
        "intermediate": [100, 128],
        "precision": ["fp32"],
    }
    assert not any("deep.toml" in note for note in notes)
    report = (tmp_path / "out" / "report.html").read_text()
    assert "hidden 48, 64, 96; heads 2, 3; intermediate 100, 128; precision fp32." in report


def test_values_that_no_candidate_has_are_said(tmp_path: Path, world: World) -> None:
    notes: list[str] = []
    space = SpaceFile("odd.toml", hidden=(64, 100), heads=(4, 7, 8))
    search_in(tmp_path / "out", world, notes=notes, space=space)
    (said,) = [note for note in notes if "odd.toml" in note]
    assert said.startswith("odd.toml: no candidate has heads 7:")


def test_a_failing_candidate_is_recorded_and_the_search_goes_on(tmp_path: Path, world: World) -> None:
    first = search_in(tmp_path / "first", world).trials[0].candidate.architecture.name
    notes: list[str] = []
    result = search_in(tmp_path / "second", World(tmp_path / "log2.txt", failing=(first,)), notes=notes)
    assert result.trials[0].status == "failed"
    assert first in result.trials[0].error
    assert result.winner != 0
    assert any("failed" in note for note in notes)


def test_a_full_disk_ends_the_search_and_costs_no_trial(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="cannot write"):
        search_in(tmp_path / "out", World(tmp_path / "log.txt", disk_full=True))
    result = search_in(tmp_path / "out", World(tmp_path / "log.txt"), resume=True)
    assert [trial.status for trial in result.trials] == ["finished"] * 3


def test_when_all_trials_fail_the_reason_is_given(tmp_path: Path) -> None:
    with pytest.raises(PocketBertError, match=r"all 3 trials failed: .* cannot be cut out"):
        search_in(tmp_path / "out", World(tmp_path / "log.txt", all_fail=True))


def test_a_finalist_that_misses_in_the_end_gives_way_to_the_next_best(tmp_path: Path) -> None:
    world, notes = World(tmp_path / "log.txt", slower_in_the_end=1.1), list[str]()
    result = search_in(tmp_path / "out", world, notes=notes)
    assert [finalist.meets(1.0) for finalist in result.finalists] == [False, False, True]
    assert result.winner == 0
    assert any("misses the budget of 1 ms with its real weights" in note for note in notes)


def test_slow_runs_of_a_model_whose_median_keeps_the_budget_are_told_of(tmp_path: Path) -> None:
    notes: list[str] = []
    result = search_in(tmp_path / "out", World(tmp_path / "log.txt", slowest=2.0), notes=notes)
    p90_ms = result.winning_finalist.timing.p90_ms
    assert p90_ms > 1.5
    assert any(f"took {p90_ms:.3g} ms or more on host: the budget is kept by the median" in note for note in notes)
    quiet: list[str] = []
    (tmp_path / "teacher").unlink()
    search_in(tmp_path / "quiet", World(tmp_path / "log.txt"), notes=quiet)
    assert not any("one run in ten" in note for note in quiet)


def test_when_nothing_meets_the_budget_in_the_end_it_says_how_fast_the_fastest_was(tmp_path: Path) -> None:
    world = World(tmp_path / "log.txt", slower_in_the_end=50.0)
    with pytest.raises(InfeasibleBudgetError, match=r"none of the 3 models .* the fastest took"):
        search_in(tmp_path / "out", world)
    with pytest.raises(InputError, match="found no winner"):
        search_in(tmp_path / "out", world)


def test_a_wrongly_compiled_model_never_wins(tmp_path: Path) -> None:
    for difference in (0.5, float("nan")):
        with pytest.raises(PocketBertError, match=r"compiled wrongly"):
            search_in(tmp_path / f"out-{difference}", World(tmp_path / "log.txt", difference=difference))


def test_an_absent_phone_is_simulated_and_confirmed_once_it_is_attached(tmp_path: Path) -> None:
    absent, notes = World(tmp_path / "log.txt", attached=False), list[str]()
    first = search_in(tmp_path / "out", absent, notes=notes, device="s20")
    assert first.confirmation == "pending"
    assert first.winning_finalist.timing.provenance == "simulated"
    assert "analytic model" in notes[0]
    document = json.loads((tmp_path / "out" / "result.json").read_text())
    assert document["confirmation"]["status"] == "pending"
    assert "--resume" in document["confirmation"]["command"]
    before = world_lines(absent, "short", "full", "teacher", "profile")

    attached = World(tmp_path / "log.txt", attached=True)
    second = search_in(tmp_path / "out", attached, device="s20", resume=True)
    assert second.confirmation == "confirmed"
    assert second.winning_finalist.timing.provenance == "measured"
    assert world_lines(attached, "short", "full", "teacher", "profile") == before


def test_trials_of_the_analytic_model_that_miss_on_the_device_are_replaced(tmp_path: Path) -> None:
    first = search_in(tmp_path / "out", World(tmp_path / "log.txt", attached=False), device="s20")
    slower = World(tmp_path / "log.txt", slower=1.3)
    second = search_in(tmp_path / "out", slower, device="s20", resume=True)
    assert second.trials[: len(first.trials)] == first.trials
    assert len(second.trials) > len(first.trials)
    assert all(each.timing.provenance == "measured" for each in second.admissions)
    assert second.winning_finalist.timing.median_ms <= 1.0
    document = json.loads((tmp_path / "out" / "result.json").read_text())
    said = [trial["latency"]["provenance"] for trial in document["trials"]]
    assert said[: len(first.trials)] == ["simulated"] * len(first.trials) and said[-1] == "measured"


def test_where_all_of_the_analytic_model_misses_on_the_device_its_fastest_is_found(tmp_path: Path) -> None:
    search_in(tmp_path / "out", World(tmp_path / "log.txt", attached=False), device="s20")
    phone = World(tmp_path / "log.txt", slower=5.0)
    second = search_in(tmp_path / "out", phone, resume=True, device="s20")
    assert any(each.proposer == "fastest" and each.admitted for each in second.admissions)
    assert second.winning_finalist.timing.median_ms <= 1.0


def world_lines(world: World, *kinds: str) -> list[str]:
    return [line for line in world.log_lines() if line.split()[0] in kinds]


def test_a_required_phone_that_is_absent_is_an_error(tmp_path: Path) -> None:
    world = World(tmp_path / "log.txt", attached=False)
    with pytest.raises(DeviceError, match="s20"):
        search_in(tmp_path / "out", world, device="s20", require_device=True)


def test_a_finished_search_resumes_at_once(tmp_path: Path, world: World) -> None:
    first = search_in(tmp_path / "out", world)
    before = world.log_lines()
    assert search_in(tmp_path / "out", world, resume=True) == first
    assert world.log_lines() == before


def test_a_lost_model_folder_is_put_together_again(tmp_path: Path, world: World) -> None:
    search_in(tmp_path / "out", world)
    (tmp_path / "out" / "best" / "compiled" / "runner").unlink()
    (tmp_path / "out" / "best" / "compiled").rmdir()
    (tmp_path / "out" / "best").rename(tmp_path / "elsewhere")
    search_in(tmp_path / "out", world, resume=True)
    assert (tmp_path / "out" / "best" / "compiled" / "runner").exists()


class Killed(BaseException):
    """Stands for the end of the process: nothing may catch it."""


@pytest.mark.parametrize("seed", range(3))
def test_killed_again_and_again_between_any_two_writes_it_does_nothing_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    """Ends the search at some flush to the disk, resumes it, ends it again, until it gets through.

    Each record is flushed once before it is renamed and once after, so that both sides of a write are met.
    """
    undisturbed = search_in(tmp_path / "undisturbed", World(tmp_path / "other.txt"), trials=2)
    (tmp_path / "teacher").unlink()
    world, flush, moments = World(tmp_path / "log.txt"), os.fsync, random.Random(seed)
    left = [0]

    def dying_flush(descriptor: int) -> None:
        left[0] -= 1
        if left[0] < 0:
            raise Killed
        flush(descriptor)

    monkeypatch.setattr("search.study.os.fsync", dying_flush)
    result, deaths = None, 0
    while result is None and deaths < 200:
        left[0] = moments.randint(6, 20)  # a resumed search flushes a few times before it does anything new
        try:
            result = search_in(tmp_path / "out", world, resume=True, trials=2)
        except Killed:
            deaths += 1
    assert result is not None
    assert deaths >= 3
    assert [trial.candidate for trial in result.trials] == [trial.candidate for trial in undisturbed.trials]
    assert result.winner == undisturbed.winner
    assert set(Counter(world_lines(world, "short", "full", "teacher")).values()) == {1}


def test_killed_with_sigkill_at_random_moments_it_goes_on(tmp_path: Path) -> None:
    found = killed(tmp_path, kills=6, trials=3)
    assert found.kills >= 2
    assert found.tried == found.undisturbed
    assert set(found.done.values()) == {1}
    json.loads((tmp_path / "out" / "result.json").read_text())


def test_a_teacher_that_fits_too_narrowly_is_told_of_so(tmp_path: Path) -> None:
    notes: list[str] = []
    result = search_in(tmp_path / "out", World(tmp_path / "log.txt"), notes=notes, budget_ms=1.63)
    assert result.admissions[0].proposer == "teacher" and not result.admissions[0].admitted
    assert any(
        "fits 1.63 ms too narrowly to be sure of it when it is confirmed: 1.62 ms measured" in line for line in notes
    )
