"""Several budgets in one run on doubles: what they share, what is left behind, and that nothing is done twice."""

from __future__ import annotations

import html
import json
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from data.errors import InfeasibleBudgetError, InputError, PocketBertError
from data.progress import no_progress
from search.front import folder_of, open_studies, options_of_each, run_front
from search.reports.findings import findings
from search.reports.front_report import front_document
from search.result import BudgetOutcome
from tests.search.doubles import OPTIONS, World

BUDGETS = (0.4, 1.0, 0.7)


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path / "log.txt")


def search_for(
    out: Path,
    world: World,
    budgets_ms: Sequence[float] = BUDGETS,
    *,
    resume: bool = False,
    notes: list[str] | None = None,
    trials: int = 6,
) -> tuple[BudgetOutcome, ...]:
    heard = [] if notes is None else notes
    each = options_of_each(replace(OPTIONS, trials=trials, finalists=1), budgets_ms)
    with open_studies(out, each, resume=resume) as studies:
        return run_front(out, studies, world.stages(), no_progress, heard.append)


def test_each_budget_has_a_winner_of_its_own_and_the_teacher_is_trained_once(tmp_path: Path, world: World) -> None:
    out, notes = tmp_path / "out", list[str]()
    outcomes = search_for(out, world, notes=notes)
    assert [outcome.budget_ms for outcome in outcomes] == sorted(BUDGETS)
    scores = []
    for outcome in outcomes:
        result = outcome.result
        assert result is not None and len(result.finalists) == 1
        assert 0.8 * outcome.budget_ms <= result.winning_finalist.timing.median_ms <= outcome.budget_ms
        assert (out / outcome.folder / "best" / "compiled" / "runner").exists()
        assert (out / outcome.folder / "report.html").exists()
        scores.append(result.winning_finalist.trained.score)
    assert scores == sorted(scores)
    counts = Counter(world.log_lines())
    assert counts["teacher"] == 1
    assert all(count == 1 for line, count in counts.items() if line.split()[0] in ("short", "full"))
    begun = [note for note in notes if note.startswith("budget ")]
    assert begun == [f"budget {ms:g} ms, {n + 1} of 3: {out / f'{ms:g}ms'}" for n, ms in enumerate((1.0, 0.7, 0.4))]


def test_later_budgets_learn_from_the_trials_of_earlier_ones(tmp_path: Path, world: World) -> None:
    smallest, _, largest = search_for(tmp_path / "out", world)
    assert largest.result is not None and smallest.result is not None
    assert "largest" in {each.proposer for each in largest.result.admissions}
    assert "largest" not in {each.proposer for each in smallest.result.admissions}
    assert "bayesian" in {each.proposer for each in smallest.result.admissions}


def test_the_document_and_the_page_set_them_side_by_side(tmp_path: Path, world: World) -> None:
    out = tmp_path / "out"
    outcomes = search_for(out, world)
    document = json.loads((out / "result.json").read_text())
    assert [entry["budget_ms"] for entry in document["budgets"]] == sorted(BUDGETS)
    page = (out / "report.html").read_text()
    for entry, outcome in zip(document["budgets"], outcomes, strict=True):
        assert entry["result"] == json.loads((out / entry["folder"] / "result.json").read_text())
        assert outcome.result is not None
        assert outcome.result.winning_candidate.architecture.name in page
        assert f'href="{entry["folder"]}/report.html"' in page
    assert "<script" not in page and "http" not in page.replace("http://www.w3.org", "")


def test_the_page_begins_with_what_was_found_as_its_table_has_it(tmp_path: Path) -> None:
    world = World(tmp_path / "log.txt", predictor_factor=1.2)
    search_for(tmp_path / "out", world, (0.01, *BUDGETS))
    page = html.unescape((tmp_path / "out" / "report.html").read_text())
    budgets = json.loads((tmp_path / "out" / "result.json").read_text())["budgets"]
    first, second = re.findall("<p>(.*?)</p>", page)[:2]
    columns, *rows = table_of(page)
    teacher, dev = rows[-1], columns.index("dev: accuracy")
    reaches = f"reaches {teacher[dev]} on dev (accuracy, ± one standard error)"
    told = [f"The teacher, 4x128, takes 1.62 ms measured and {reaches}. Within 0.01 ms nothing was found."]
    for entry, row in zip(budgets[1:], rows[1:-1], strict=True):
        winner, result = dict(zip(columns, row, strict=True)), entry["result"]
        assert winner["predictions off by"] == f"{100 * result['admission']['prediction_error']:.1f} %" != "0.0 %"
        times = result["teacher"]["timing"]["median_ms"] / result["winner"]["timing"]["median_ms"]
        below = result["teacher"]["dev"]["score"] - result["winner"]["dev"]["score"]
        told.append(
            f"Within {winner['budget ms']} ms {winner['winner']} takes {winner['measured median ms']} ms measured, "
            f"{times:.1f} times as fast as the teacher, and reaches {row[dev]}, {below:.3f} below the teacher."
        )
    assert first == " ".join(told)
    steps = re.findall(
        r"From (\S+) to (\S+) ms the dev score rises by (\S+), (no more|more) than the .*? of (\S+)\.", second
    )
    assert [step[:2] for step in steps] == [("0.4", "0.7"), ("0.7", "1")]
    assert all((float(moved) > float(error)) == (beyond == "more") for _, _, moved, beyond, error in steps)
    assert "The scaled teacher is the teacher scaled down in all its sizes alike" in page
    assert "cannot be compared with those of the winners" in " ".join(page.split())


def test_neighbouring_budgets_whose_dev_scores_differ_by_more_than_chance_are_told_so(
    tmp_path: Path, world: World
) -> None:
    """Where the larger budget has the lower score, and where both have one."""
    document = front_document(search_for(tmp_path / "out", world, (1.0, 0.4)), tmp_path / "out")
    smaller, larger = (entry["result"]["winner"] for entry in document["budgets"])
    smaller["dev"], larger["dev"] = {"score": 0.9, "standard_error": 0.03}, {"score": 0.84, "standard_error": 0.04}
    assert (
        "From 0.4 to 1 ms the dev score falls by 0.060, more than the standard error of 0.050." in findings(document)[1]
    )
    larger["dev"]["score"] = 0.9
    assert "the dev score stays the same, no more than the standard error of 0.050." in findings(document)[1]
    assert "reaches 0.900 ± 0.040, as much as the teacher." in findings(document)[0]
    larger["trial"] = None
    assert "Within 1 ms the teacher itself is the winner: it takes 0." in findings(document)[0]
    smaller["trial"] = document["budgets"][0]["result"]["baseline"]["trial"] = 0
    for entry in document["budgets"]:
        entry["result"]["teacher"]["timing"] = None
    told = findings(document)[0]
    assert "4x128, is not compiled and reaches" in told and "(the scaled teacher) takes 0." in told
    assert "times as fast" not in told


def table_of(page: str) -> list[list[str]]:
    """The cells of the table after the first figure, row by row."""
    table = page.split("</figure>")[1].split("</table>")[0]
    return [re.findall("<t[hd].*?>(.*?)</t[hd]>", row) for row in table.split("<tr>")[1:]]


def test_a_budget_that_nothing_fits_is_said_and_the_others_go_on(tmp_path: Path, world: World) -> None:
    out, notes = tmp_path / "out", list[str]()
    none, found = search_for(out, world, (1.0, 0.01), notes=notes)
    assert none.result is None and "fits 0.01 ms" in none.problem
    assert found.result is not None
    assert none.problem in notes
    document = json.loads((out / "result.json").read_text())
    assert document["budgets"][0]["problem"] == none.problem and document["budgets"][0]["result"] is None
    assert "fits 0.01 ms" in (out / "report.html").read_text()
    with pytest.raises(InfeasibleBudgetError, match=r"fits 0\.02 ms"):
        search_for(tmp_path / "none", World(tmp_path / "log2.txt"), (0.01, 0.02))


def test_an_interrupted_run_goes_on_to_the_same_end(tmp_path: Path, world: World) -> None:
    undisturbed = search_for(tmp_path / "undisturbed", World(tmp_path / "other.txt"))
    (tmp_path / "teacher").unlink()
    out = tmp_path / "out"
    stages = world.stages()
    each = options_of_each(replace(OPTIONS, trials=6, finalists=1), BUDGETS)
    for stop in (1, 2):
        left = [stop]

        def distil(*arguments: Any, left: list[int] = left) -> Any:
            left[0] -= 1
            if left[0] < 0:
                raise KeyboardInterrupt
            return stages.distil_short(*arguments)

        dying = replace(stages, distil_short=distil)
        with pytest.raises(KeyboardInterrupt), open_studies(out, each, resume=True) as studies:
            run_front(out, studies, dying, no_progress, lambda note: None)
    assert (out / "1ms" / "result.json").exists() and (out / "0.7ms" / "study" / "trial-001.json").exists()
    assert not (out / "result.json").exists()
    resumed = search_for(out, world, resume=True)
    for one, other in zip(undisturbed, resumed, strict=True):
        assert one.result is not None and other.result is not None
        assert [trial.candidate for trial in one.result.trials] == [trial.candidate for trial in other.result.trials]
        assert one.result.winning_candidate == other.result.winning_candidate
    trained = Counter(line for line in world.log_lines() if line.split()[0] in ("short", "full", "teacher"))
    assert set(trained.values()) == {1}
    before = world.log_lines()
    assert search_for(out, world, resume=True) == resumed
    assert world.log_lines() == before


def test_what_else_is_in_the_folder_is_refused(tmp_path: Path, world: World) -> None:
    out = tmp_path / "out"
    search_for(out, world, (1.0, 0.7))
    with pytest.raises(InputError, match=r"started with other budgets \(0\.7ms\)"):
        search_for(out, world, (1.0, 0.4), resume=True)
    with pytest.raises(InputError, match="finished search: add --resume"):
        search_for(out, world, (1.0, 0.7))
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "notes.txt").touch()
    with pytest.raises(InputError, match="holds no search for several budgets"):
        search_for(tmp_path / "other", world)
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="is a file"):
        search_for(tmp_path / "file", world)


def test_a_search_that_fails_for_another_reason_ends_the_run(tmp_path: Path) -> None:
    world = World(tmp_path / "log.txt", all_fail=True)
    with pytest.raises(PocketBertError, match="trials failed"):
        search_for(tmp_path / "out", world)


def test_the_scaled_teacher_is_a_trial_of_the_smallest_budget(tmp_path: Path, world: World) -> None:
    outcomes = search_for(tmp_path / "out", world, trials=2)
    proposers = [outcome.result.trials[0].proposer for outcome in outcomes if outcome.result]
    assert proposers[0] == "uniform" and "uniform" not in proposers[1:]
    assert "scaled teacher, short, held-out" in (tmp_path / "out" / "report.html").read_text()


def test_trials_are_shared_and_two_are_the_fewest_but_of_the_smallest_three() -> None:
    assert [each.trials for each in options_of_each(replace(OPTIONS, trials=7), BUDGETS)] == [3, 3, 3]
    assert [each.trials for each in options_of_each(replace(OPTIONS, trials=2), BUDGETS)] == [2, 2, 3]
    assert [folder_of(Path("o"), each).name for each in options_of_each(OPTIONS, BUDGETS)] == ["1ms", "0.7ms", "0.4ms"]
