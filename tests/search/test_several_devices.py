"""A search for several devices on doubles: the tightest decides, all are measured, and all are told of."""

from __future__ import annotations

import html
import json
import re
import shlex
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from data.errors import DeviceError, InfeasibleBudgetError, InputError
from search.commands.search import main
from search.latencies import DeviceBudget
from search.reports.devices import where_pending
from search.reports.front_report import front_document, render_front
from search.result import BudgetOutcome, SearchResult
from tests.search.doubles import World, memory, search_in, true_ms

# The phones take twice and three times as long as the host, whose budget is 1 ms.
FACTORS = {"s20": 2.0, "s10": 3.0}
TIGHT, WIDE = DeviceBudget("s20", 1.0), DeviceBudget("s20", 9.0)


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path / "log.txt", factors=FACTORS)


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("devices") / "out"


@pytest.fixture(scope="module")
def result(out: Path) -> SearchResult:
    """On the host, measured, and on a phone that is not attached, whose budget is the tighter one."""
    world = World(out.with_name("log.txt"), factors=FACTORS, absent=("s20",))
    return search_in(out, world, also=(TIGHT,))


def test_the_device_whose_budget_is_tighter_decides(result: SearchResult) -> None:
    for admission in result.admissions:
        assert len(admission.timings) == 2
        assert admission.admitted == (2 * true_ms(admission.candidate.architecture) <= 1.0 / 1.03)
    assert all(2 * true_ms(trial.candidate.architecture) <= 1.0 for trial in result.trials)
    on_host, on_phone = result.shares_of_budgets
    assert on_host < 0.5 < 0.87 <= on_phone <= 1.0 and result.share_of_budget == on_phone
    assert result.winning_finalist.meets(1.0, 1.0) and not result.winning_finalist.meets(1.0, 0.5)
    assert result.baseline is not None and result.trials[0].candidate == result.baseline.candidate


def test_a_budget_that_binds_nothing_changes_nothing(tmp_path: Path, world: World) -> None:
    """Probabilities are taken together: where the further one is sure, the first remains."""
    alone = search_in(tmp_path / "alone", replace(world, log=tmp_path / "other.txt"))
    both = search_in(tmp_path / "both", world, also=(WIDE,))
    assert [each.candidate.architecture for each in alone.trials] == [
        each.candidate.architecture for each in both.trials
    ]
    assert [each.candidate.probability_within for each in alone.trials] == [
        each.candidate.probability_within for each in both.trials
    ]
    assert both.winner == alone.winner


def test_the_probability_is_that_of_all_devices_together(result: SearchResult) -> None:
    for admission in result.admissions[1:]:
        candidate = admission.candidate
        (there,) = candidate.also
        assert candidate.probability_within <= there.probability_within
        assert there.predicted_ms == pytest.approx(2 * candidate.predicted_ms)
    assert any(0 < each.candidate.probability_within < 1 for each in result.admissions[1:])


def test_every_device_is_told_of_with_budget_prediction_measurement_and_provenance(
    result: SearchResult, out: Path
) -> None:
    document = json.loads((out / "result.json").read_text())
    host, phone = document["devices"]
    assert (host["name"], host["provenance"], host["budget_ms"]) == ("host", "measured", 1.0)
    assert (phone["name"], phone["provenance"], phone["budget_ms"]) == ("s20", "simulated", 1.0)
    assert document["options"]["also"] == [{"device": "s20", "budget_ms": 1.0}]
    winner, there = document["winner"], phone["winner"]
    (also,) = winner["also"]
    assert also["timing"]["median_ms"] == there["timing"]["median_ms"] == result.winning_finalist.also[0].median_ms
    assert also["timing"]["provenance"] == there["latency"]["provenance"] == "simulated"
    assert there["meets_budget"] and winner["meets_budget"] and there["memory_bytes"] > 0
    assert there["latency"]["interval_ms"][0] < there["latency"]["predicted_ms"] < there["latency"]["interval_ms"][1]
    assert winner["share_of_budget"] == there["share_of_budget"]
    for model in document["admission"]["models"]:
        bounds = model["upper_ms"], model["also"][0]["upper_ms"]
        assert bounds[1] == pytest.approx(2 * bounds[0]) and model["admitted"] == (max(bounds) <= 1.0)
    assert all(len(model["also"]) == 1 for model in document["admission"]["models"])
    assert phone["predictor"]["n"] == 2 and phone["prediction_error"] >= 0
    assert all((out / device["compiled"] / "runner").exists() for device in document["devices"])
    assert [device["compiled"] for device in document["devices"]] == ["best/compiled", "best/compiled-s20"]

    median = f"{there['timing']['median_ms']:.2f}"
    page = html.unescape((out / "report.html").read_text())
    assert "within 1 ms on host and 1 ms on s20</h1>" in page
    assert "<th>upper bound on host</th>" in page and "<th>upper bound on s20</th>" in page
    assert "what has its upper bound within 1 ms on host and 1 ms on s20; a median" in page
    assert "session to session, 3.0% on host and 3.0% on s20." in page
    assert "admitted is what has the upper bound of its median within every device's budget." in page
    assert "<h2>Every device</h2>" in page and f"<b>{median} ms</b> (simulated) on s20" in page
    assert "latencies on s20 are <b>simulated</b>" in page and "--also s20:1ms" in page
    card = (out / "best" / "README.md").read_text()
    assert (
        f"budget 1 ms; {median} ms median of 4 runs" in card and "(**simulated**)" in card and "(**measured**" in card
    )
    assert "`compiled-s20/` (for " in card


def test_a_model_that_misses_one_budget_at_measurement_does_not_win(tmp_path: Path, world: World) -> None:
    """With its real weights it still meets the first budget."""
    notes: list[str] = []
    slower = replace(world, slower_there={"s20": 1.15})
    result = search_in(tmp_path / "out", slower, notes=notes, also=(TIGHT,), trials=4)
    missed = [each for each in result.finalists if not each.meets(1.0, 1.0)]
    assert missed and all(each.timing.median_ms < 0.6 for each in missed)
    assert result.winning_finalist not in missed
    assert result.winning_finalist.trained.score < max(each.trained.score for each in missed)
    told = "misses the budget of 1 ms on s20 with its real weights, though it was admitted before: "
    assert any(told in note and "measured on host and 1." in note for note in notes)
    with pytest.raises(
        InfeasibleBudgetError, match=r"met 1 ms on host and 1 ms on s20 in the end: the nearest took 0\."
    ):
        search_in(tmp_path / "none", replace(slower, slower_there={"s20": 3.0}), also=(TIGHT,))


def test_what_fits_nowhere_is_told_with_the_device_and_its_budget(tmp_path: Path, world: World) -> None:
    with pytest.raises(
        InfeasibleBudgetError,
        match=r"fits 1 ms on host and 0\.1 ms on s20: of \d timed the nearest, .*, took 0\.231 ms measured on "
        r"s20, where 0\.1 ms are allowed",
    ):
        search_in(tmp_path / "out", world, also=(DeviceBudget("s20", 0.1),))
    assert not any(line.split()[0] in ("teacher", "short") for line in world.log_lines())


def test_a_teacher_that_fits_only_the_first_device_is_no_candidate(tmp_path: Path, world: World) -> None:
    notes: list[str] = []
    result = search_in(tmp_path / "out", world, notes=notes, budget_ms=2.0, also=(DeviceBudget("s20", 2.0),))
    assert result.winner is not None
    told = "does not fit 2 ms on host and 2 ms on s20: 1.62 ms measured on host and 3.25 ms measured on s20"
    assert any(told in note for note in notes)
    fits = search_in(tmp_path / "fits", replace(world, log=tmp_path / "o.txt"), budget_ms=2.0, also=(WIDE,))
    assert fits.winner is None and all(each.share_of([1.62, 3.24]) < 1 for each in fits.finalists if each.trial)


def test_memory_is_bounded_on_every_device(tmp_path: Path, world: World) -> None:
    result = search_in(tmp_path / "out", world, also=(WIDE,), max_memory=900_000)
    threads = max(device.threads for device in result.devices)
    assert all(memory(trial.candidate.architecture) + threads <= 900_000 for trial in result.trials)


def test_a_phone_that_is_attached_later_completes_the_search(tmp_path: Path, world: World) -> None:
    given: dict[str, Any] = {"also": (DeviceBudget("s10", 9.0), DeviceBudget("s20", 9.0)), "resume": True}
    out, notes = tmp_path / "out", list[str]()
    first = search_in(out, replace(world, absent=("s10", "s20")), notes=notes, **given)
    assert first.confirmation == "pending"
    assert sum("so every latency on s10 is simulated" in note for note in notes) == 1
    other = search_in(out, replace(world, absent=("s10",)), **given)
    assert [device.provenance for device in other.devices] == ["measured", "simulated", "measured"]
    assert other.confirmation == "pending"
    # The one that was measured before is gone: what was confirmed is not given up.
    assert search_in(out, replace(world, absent=("s20",)), notes=notes, **given) == other
    assert any("s10 can be measured now, but s20 no more: the result stays as it is" in note for note in notes)
    last = search_in(out, world, **given)
    assert last.confirmation == "confirmed"
    assert [trial.candidate for trial in last.trials] == [trial.candidate for trial in first.trials]
    trained = Counter(line for line in world.log_lines() if line.split()[0] in ("short", "full", "teacher"))
    assert set(trained.values()) == {1}
    assert "was not attached" not in (out / "report.html").read_text()
    with pytest.raises(DeviceError, match="s10 is not attached"):
        search_in(out, replace(world, absent=("s10",)), require_device=True, **given)


def test_an_interrupted_search_goes_on_to_the_same_end(tmp_path: Path, world: World) -> None:
    undisturbed = search_in(tmp_path / "undisturbed", replace(world, log=tmp_path / "other.txt"), also=(TIGHT,))
    (tmp_path / "teacher").unlink()
    timed = [2]

    class Dying(World):
        def time_model(self, *arguments: Any) -> Any:
            timed[0] -= 1
            if timed[0] == 0:
                raise KeyboardInterrupt
            return super().time_model(*arguments)

    with pytest.raises(KeyboardInterrupt):
        search_in(tmp_path / "out", Dying(**vars(world)), also=(TIGHT,))
    resumed = search_in(tmp_path / "out", world, resume=True, also=(TIGHT,))
    assert [trial.candidate for trial in resumed.trials] == [trial.candidate for trial in undisturbed.trials]
    assert resumed.winning_candidate == undisturbed.winning_candidate
    trained = Counter(line for line in world.log_lines() if line.split()[0] in ("short", "full", "teacher"))
    assert set(trained.values()) == {1}
    before = world.log_lines()
    assert search_in(tmp_path / "out", world, resume=True, also=(TIGHT,)) == resumed
    assert world.log_lines() == before
    for also, told in (((), "also was s20:1ms, now None"), ((WIDE,), "also was s20:1ms, now s20:9ms")):
        with pytest.raises(InputError, match=told):
            search_in(tmp_path / "out", world, resume=True, also=also)


def test_a_study_from_before_there_were_further_devices_goes_on(tmp_path: Path, world: World) -> None:
    out = tmp_path / "out"
    result = search_in(out, world)
    for path in (out / "study").glob("*.json"):
        path.write_text(json.dumps(without_also(json.loads(path.read_text()))))
    assert search_in(out, world, resume=True) == result


def without_also(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: without_also(part) for name, part in value.items() if name != "also"}
    return [without_also(part) for part in value] if isinstance(value, list) else value


Search = Callable[..., Result]


@pytest.fixture
def search(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Search:
    """Runs the command in an empty folder, with the stages of a world."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("POCKETBERT_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("COLUMNS", "200")

    def run(world: World, *arguments: str) -> Result:
        monkeypatch.setattr("search.real_stages.real_stages", world.stages)
        given = ["--device", "host", "--seq-len", "64", "--trials", "2", "--effort", "brief"]
        budget = [] if "--budget" in arguments else ["--budget", "1ms"]
        return CliRunner().invoke(main, [*given, *budget, *arguments])

    return run


def test_the_command_takes_devices_in_any_order_and_prints_how_to_complete_it(search: Search, world: World) -> None:
    done = search(replace(world, absent=("s20",)), "--also", "s20:2ms", "--also", "s10:0.009s", "--json")
    assert done.exit_code == 0, done.output
    document = json.loads(done.stdout)
    assert [each["device"] for each in document["options"]["also"]] == ["s10", "s20"]
    assert Path("pocketbert-host-docpairs-1ms-s10-9ms-s20-2ms/result.json").exists()
    table = done.stderr.split("on every device")[1]
    assert all(name in table for name in ("host", "s10", "s20", "simulated", "measured"))
    assert "confirmation pending: latencies on s20 are simulated (" in table
    assert "); with all devices attached at once" in table
    command = document["confirmation"]["command"]
    assert "--also s10:9ms --also s20:2ms" in command and command in done.stderr
    completed = search(world, "--also", "s20:2ms", "--also", "s10:9ms", *shlex.split(command)[-3:], "--json")
    assert completed.exit_code == 0, completed.output
    assert json.loads(completed.stdout)["confirmation"]["status"] == "confirmed"


def test_each_of_several_budgets_keeps_the_further_one(search: Search, world: World) -> None:
    done = search(world, "--budget", "0.4ms,1ms", "--also", "s20:1.2ms", "--out", "run", "--json")
    assert done.exit_code == 0, done.output
    for entry in json.loads(done.stdout)["budgets"]:
        on_host, on_phone = (device["winner"]["timing"]["median_ms"] for device in entry["result"]["devices"])
        assert on_host <= entry["budget_ms"] and on_phone <= 1.2
    assert "each model also keeps 1.2 ms on s20" in done.stderr
    page = Path("run/report.html").read_text()
    assert "Each model also keeps 1.2 ms on s20." in page and "measured median ms on s20" in page
    assert "<th>predictions off by on host</th><th>predictions off by on s20</th>" in page
    assert re.search(
        r"0\.\d\d ms measured on host and \d\.\d\d ms measured on s20, \S+ times as fast as .* on host,", page
    )


@pytest.mark.parametrize(
    ("also", "told"),
    [
        ("s10", "'s10' is not a device with its budget: write it like s10:70ms"),
        ("s10:", "is not a device with its budget"),
        (":70ms", "is not a device with its budget"),
        ("s10:70", "'70' has no unit"),
        ("s10:0ms", "is not a positive duration"),
        ("s10:70ms,mali:60ms", "names more than one budget: give --also once for each device"),
        ("s10:70ms,80ms", "names more than one budget"),
        ("s2O:70ms", "s20"),
        ("host:70ms", "--also host:70ms: host has a budget already: name each device once"),
        ("none.toml:70ms", "none.toml"),
    ],
)
def test_what_is_wrong_with_a_further_device_is_one_line(search: Search, world: World, also: str, told: str) -> None:
    done = search(world, "--also", also, "--out", "run")
    assert done.exit_code == 2
    assert told in done.stderr and done.stderr.count("\n") == 1
    assert not Path("run").exists() and world.log_lines() == []


def test_a_device_given_twice_and_too_many_threads_are_refused(search: Search, world: World) -> None:
    twice = search(world, "--also", "s20:2ms", "--also", "s20:3ms")
    assert twice.exit_code == 2 and "s20 has a budget already" in twice.stderr
    assert "--also s10:70ms" in CliRunner().invoke(main, ["--help"]).output


def test_where_a_device_came_or_went_between_budgets_that_is_said(result: SearchResult) -> None:
    (phone,) = result.also
    assert phone.provenance == "simulated" and where_pending(result) == f"latencies on {phone.name} are"
    later = replace(result, also=(replace(phone, provenance="measured"),))
    assert where_pending(later) == ""
    assert where_pending(result, later) == where_pending(later, result) == f"some latencies on {phone.name} are"
    earlier = replace(result, options=replace(result.options, budget_ms=0.5))
    outcomes = [BudgetOutcome(0.5, "0.5ms", earlier), BudgetOutcome(1.0, "1ms", later)]
    page = render_front(outcomes, front_document(outcomes, Path("out")))
    assert f"some latencies on {phone.name} are <b>simulated</b>" in page
    assert f"simulated or measured median ms on {phone.name}" in page
