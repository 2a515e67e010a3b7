"""What a search leaves for people and programs: report.html, result.json, the table."""

from __future__ import annotations

import html
import io
import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from search.reports.front_report import front_document, render_front
from search.reports.model_card import model_card
from search.reports.report import pareto_front, render_report
from search.reports.summary import final_table, result_document, resume_command
from search.result import BudgetOutcome, SearchResult
from tests.search.doubles import World, search_in


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("search") / "out"


@pytest.fixture(scope="module")
def result(out: Path) -> SearchResult:
    return search_in(out, World(out.with_name("log.txt")))


def test_result_json_holds_every_figure_with_its_provenance(result: SearchResult, out: Path) -> None:
    document = json.loads((out / "result.json").read_text())
    assert document == json.loads(json.dumps(result_document(result, out)))
    assert document["schema"] == 2
    assert document["admission"]["timed"] == len(document["admission"]["models"]) > len(document["trials"])
    assert document["device"]["provenance"] == document["predictor"]["provenance"] == "measured"
    assert len(document["trials"]) == 3
    winner = document["winner"]
    assert winner["timing"]["n"] == len(winner["timing"]["samples_ms"]) == 4
    assert winner["timing"]["min_ms"] <= winner["timing"]["median_ms"] <= winner["timing"]["p90_ms"]
    assert winner["timing"]["provenance"] == "measured"
    assert winner["trial"] in [finalist["trial"] for finalist in document["finalists"]]
    assert all((out / path).exists() for path in document["files"].values())
    assert {"profile", "teacher", "trials", "full distillation", "compile", "measure"} <= document["seconds"].keys()


def test_the_report_is_self_contained_and_shows_the_figures(result: SearchResult, out: Path) -> None:
    page = (out / "report.html").read_text()
    assert page.count("<svg") == 4
    assert not re.search(r"""(?:src|href)=["']?(?:https?:)?//""", page)
    assert "<script" not in page
    text = html.unescape(page)
    assert result.winning_candidate.architecture.name in text
    for trial in result.trials:
        assert trial.candidate.architecture.name in text
    assert "budget 1 ms" in text
    assert "Pareto front" in text
    # Every point of a figure stands in the table beneath it.
    rows = [tuple(re.findall("<td>(.*?)</td>", row)) for row in re.findall("<tr>(.*?)</tr>", text)]
    for trial in result.trials:
        latency = result.admission_of(trial.index).timing.median_ms
        name = trial.candidate.architecture.name
        assert ("short distillation", name, f"{latency:.4g}", f"{trial.score:.4g}") in rows
    for finalist in result.finalists:
        name = result.admission_of(finalist.trial).candidate.architecture.name
        score, latency = finalist.trained.score, finalist.timing.median_ms
        assert ("in the final: trained fully", name, f"{latency:.4g}", f"{score:.4g}") in rows
    for share in result.winning_finalist.shares:
        assert (f"{share.count} × {share.name}", f"{share.total_ms:.4g}") in rows
    identifiers = re.findall(r'<clipPath id="([^"]+)"', page)
    assert len(identifiers) == len(set(identifiers)), "figures on one page must not share identifiers"


def test_what_is_refused_though_its_median_is_within_the_budget_is_told_with_its_bound(tmp_path: Path) -> None:
    """The teacher takes 1.62 ms, and 1.67 by its upper bound."""
    result = search_in(tmp_path / "out", World(tmp_path / "log.txt"), budget_ms=1.64, trials=1)
    document = json.loads((tmp_path / "out" / "result.json").read_text())
    teacher, *others = document["admission"]["models"]
    assert teacher["timing"]["median_ms"] < 1.64 < teacher["upper_ms"] and not teacher["admitted"]
    assert teacher["upper_ms"] == pytest.approx(1.03 * teacher["timing"]["median_ms"])
    assert all(model["admitted"] == (model["upper_ms"] <= 1.64) for model in others)
    row, page = table_after("Timed before any training", tmp_path / "out")
    for model in document["admission"]["models"]:
        bound = f"{model['upper_ms']:.4g}"
        assert row[model["name"]]["upper bound"] == (bound if model["upper_ms"] <= 1.64 else f"<b>{bound}</b>")
    assert "Admitted to training is what has its upper bound within 1.64 ms; a median within it is not enough." in page
    assert "what medians move by from session to session, 3.0%." in page and "--max-size" not in page
    assert "admitted is what has the upper bound of its median within the budget" in " ".join(shown(result).split())


def table_after(heading: str, out: Path) -> tuple[dict[str, dict[str, str]], str]:
    """The cells of the first table beneath a heading of the report, by their row's and column's names; and the page."""
    page = html.unescape((out / "report.html").read_text())
    table = page.split(f"<h2>{heading}</h2>")[1].split("</table>")[0]
    columns = re.findall("<th>(.*?)</th>", table)
    rows = [re.findall("<td>(.*?)</td>", row) for row in table.split("<tr")[2:]]
    return {row[0]: dict(zip(columns, row, strict=True)) for row in rows}, page


def test_the_model_card_says_what_the_model_is_and_names_no_folder(result: SearchResult, out: Path) -> None:
    card = (out / "best" / "README.md").read_text()
    assert card.startswith("---\npipeline_tag: text-classification\n")
    winner = result.winning_finalist
    assert winner.dev is not None
    for told in (
        result.winning_candidate.architecture.name,
        f"{winner.timing.median_ms:.2f} ms median of 4 runs",
        "**measured**",
        f"{winner.dev.score:.3f} ± {winner.dev.standard_error:.3f}",
        "900 training, 100 held-out, 40 dev examples",
        '"seed": 0',
        "Distilled from all-MiniLM-L6-v2",
    ):
        assert told in card
    private = replace(result, options=replace(result.options, train="/home/somebody/secret/reviews.csv"))
    private = replace(private, task=replace(result.task, name="a|b <script> _c_"))
    card = model_card(private, result_document(private, out))
    assert "reviews.csv" in card and "somebody" not in card
    assert r"a\|b &lt;script&gt; \_c\_" in card


def test_the_report_of_equal_results_is_equal(result: SearchResult, out: Path) -> None:
    document = result_document(result, out)
    assert render_report(result, document) == render_report(result, document)


def test_what_is_simulated_says_so(tmp_path: Path) -> None:
    result = search_in(tmp_path / "out", World(tmp_path / "log.txt", attached=False), device="s20")
    page = (tmp_path / "out" / "report.html").read_text()
    assert "simulated" in page
    assert "was not attached" in page
    assert "search --device s20 --budget 1ms" in html.unescape(page)
    assert "simulated ms" in shown(result)
    attached = search_in(tmp_path / "out", World(tmp_path / "log.txt"), device="s20", resume=True)
    page = (tmp_path / "out" / "report.html").read_text()
    # What was predicted of the analytic model stands beside what the phone showed.
    assert "was not attached" not in page and ", simulated</td>" in page and "simulated" in shown(attached)


def test_names_in_the_report_are_escaped(result: SearchResult, out: Path) -> None:
    document = result_document(result, out)
    document["device"]["processor"] = "<script>alert(1)</script>"
    assert "<script>" not in render_report(result, document)


def test_the_table_shows_winner_teacher_and_majority(result: SearchResult) -> None:
    text = shown(result)
    for part in ("winner", "scaled teacher", "teacher", "majority", "0.900", "0.500", "yes", "% of the budget"):
        assert part in text


def test_what_int8_models_reach_is_never_said_to_be_fp32s(tmp_path: Path) -> None:
    out = tmp_path / "out"
    result = search_in(out, World(tmp_path / "log.txt"), precision="int8")
    document = result_document(result, out)
    assert document["winner"]["precision"] == document["teacher"]["precision"] == "int8"
    outcome = BudgetOutcome(result.options.budget_ms, "out", result)
    front = render_front([outcome], front_document([outcome], tmp_path))
    for page in (render_report(result, document), front):
        told = " ".join(html.unescape(page).split())
        assert f"sequence length {result.options.seq_len}, int8" in told and "fp32, " not in told
    # The teacher is timed as its students are, and scored on dev as it is.
    assert re.search(r"The teacher, \S+, takes [0-9.]+ ms measured in int8 and in fp32 reaches", html.unescape(front))
    card = (out / "best" / "README.md").read_text()
    assert f"{result.options.seq_len} tokens, int8" in card and "fp32" not in card
    rows = [line for line in shown(result).splitlines() if " × " in line and "heads" not in line]
    assert rows and all(", int8" in row for row in rows)


@pytest.mark.parametrize("width", [80, 120])
def test_a_narrow_terminal_cuts_no_figure(width: int, result: SearchResult) -> None:
    assert "…" not in shown(result, width)


def shown(result: SearchResult, width: int = 200) -> str:
    console = Console(width=width, record=True, file=io.StringIO())
    console.print(final_table(result))
    return console.export_text()


def test_the_resuming_command_repeats_the_options(result: SearchResult) -> None:
    command = resume_command(result.options, Path("my runs/a"))
    assert command.startswith("search --device host --budget 1ms")
    assert "--out 'my runs/a'" in command
    assert command.endswith("--resume")
    assert "--max-size" not in command


points = st.lists(st.tuples(st.floats(0, 10), st.floats(0, 1)), max_size=20)


@given(points)
def test_nothing_beats_a_point_of_the_front(found: list[tuple[float, float]]) -> None:
    front = pareto_front(found)
    assert front == sorted(front)
    for latency, score in front:
        assert not any(other[0] <= latency and other[1] > score for other in found)
    for point in found:
        assert any(on_front[0] <= point[0] and on_front[1] >= point[1] for on_front in front)
