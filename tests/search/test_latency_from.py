"""A search whose predictions are blind to fusion: it proposes worse, and measures as ever."""

from __future__ import annotations

import html
import json
from pathlib import Path
from typing import get_args

import pytest

from data.errors import InputError
from search.latencies import DeviceBudget
from search.options import LatencySource
from search.reports.admissions import admission_line
from search.reports.summary import resume_command
from search.result import SearchResult
from search.study import open_study
from tests.search.doubles import OPTIONS, World, search_in, true_ms

SOURCES: tuple[LatencySource, ...] = get_args(LatencySource)
TOLD = {
    "fused": "the blocks as they are fused",
    "unfused": "the same models without fusion",
    "flops": "floating-point operations",
}


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> dict[LatencySource, tuple[Path, World, SearchResult]]:
    found = {}
    for source in SOURCES:
        folder = tmp_path_factory.mktemp(source)
        world = World(folder / "log.txt")
        # Operations alone tell nothing of what a model takes beside them, which is most of so little.
        found[source] = folder / "out", world, search_in(folder / "out", world, latency_from=source, budget_ms=0.3)
    return found


@pytest.mark.parametrize("source", SOURCES)
def test_whatever_is_believed_the_budget_is_kept_as_measured(
    source: LatencySource, searched: dict[LatencySource, tuple[Path, World, SearchResult]]
) -> None:
    out, world, result = searched[source]
    assert result.winning_finalist.timing.median_ms <= 0.3
    for admission in result.admissions:
        assert admission.timing.median_ms == pytest.approx(true_ms(admission.candidate.architecture))
    assert ("profile unfused" in world.log_lines()) == (source == "unfused")
    document = json.loads((out / "result.json").read_text())
    assert document["options"]["latency_from"] == document["predictor"]["source"] == source
    assert set(document["predictor"]["sources"]) == {"fused", "flops", source}
    assert document["predictor"]["mape"] == (0.03 if source == "fused" else 0.3)
    assert document["predictor"]["sources"]["flops"]["mape"] == 0.3


@pytest.mark.parametrize("source", SOURCES)
def test_all_that_is_shown_says_where_predictions_come_from(
    source: LatencySource, searched: dict[LatencySource, tuple[Path, World, SearchResult]]
) -> None:
    out, _, result = searched[source]
    page, card = html.unescape((out / "report.html").read_text()), (out / "best" / "README.md").read_text()
    assert f"(--latency-from {source})" in page and TOLD[source] in page
    assert "from the blocks as they are fused 3.0% (Spearman 1.000)" in page
    assert "from floating-point operations 30.0% (Spearman 1.000)" in page
    assert ("blind to fusion" in page) == (source != "fused")
    marked = "" if source == "fused" else f" from {TOLD[source]}"
    assert f"predictions{marked} were off by" in admission_line(result)
    assert f"predicted{marked} {result.winning_candidate.predicted_ms:.2f} ms" in card
    assert f'"latency_from": "{source}"' in card


def test_one_that_is_blind_proposes_worse_and_learns_its_level_only(
    searched: dict[LatencySource, tuple[Path, World, SearchResult]],
) -> None:
    results = {source: result for source, (_, _, result) in searched.items()}
    assert results["fused"].prediction_errors[0] < 1e-6
    assert results["flops"].prediction_errors[0] > 0.02 and results["unfused"].prediction_errors[0] > 0.02
    first = {source: result.admissions[1].candidate for source, result in results.items()}
    assert first["flops"].predicted_ms < true_ms(first["flops"].architecture)
    assert first["unfused"].predicted_ms > true_ms(first["unfused"].architecture)
    # Operations promise what the device does not keep: more is timed in vain.
    missed = {source: sum(not each.admitted for each in result.admissions) for source, result in results.items()}
    assert missed["flops"] > missed["fused"]


def test_the_teacher_is_believed_as_it_is_measured(
    searched: dict[LatencySource, tuple[Path, World, SearchResult]],
) -> None:
    for _, _, result in searched.values():
        teacher = result.admissions[0]
        assert teacher.proposer == "teacher"
        assert teacher.candidate.predicted_ms == pytest.approx(teacher.timing.median_ms)


def test_a_study_keeps_the_source_and_refuses_another(
    searched: dict[LatencySource, tuple[Path, World, SearchResult]],
) -> None:
    out, world, result = searched["flops"]
    with pytest.raises(InputError, match="latency_from was flops, now fused"):
        search_in(out, world, resume=True, budget_ms=0.3)
    assert search_in(out, world, resume=True, budget_ms=0.3, latency_from="flops") == result
    assert "--latency-from flops" in resume_command(result.options, out)


def test_a_study_of_before_there_were_sources_goes_on(tmp_path: Path) -> None:
    world = World(tmp_path / "log.txt")
    result = search_in(tmp_path / "out", world)
    header = tmp_path / "out" / "study" / "study.json"
    document = json.loads(header.read_text())
    del document["record"]["options"]["latency_from"]
    header.write_text(json.dumps(document))
    outlook = tmp_path / "out" / "study" / "outlook.json"
    document = json.loads(outlook.read_text())
    del document["record"]["source_quality"]
    outlook.write_text(json.dumps(document))
    with open_study(tmp_path / "out", OPTIONS, resume=True) as study:
        assert study.options.latency_from == "fused"
    assert search_in(tmp_path / "out", world, resume=True) == result


@pytest.mark.parametrize("narrow", [False, True])
def test_whoever_asks_for_it_is_told_what_it_rests_on(narrow: bool, tmp_path: Path) -> None:
    notes: list[str] = []
    search_in(tmp_path / "out", World(tmp_path / "log.txt", narrow_teacher=narrow), notes=notes, latency_from="unfused")
    (said,) = [note for note in notes if "--latency-from unfused" in note]
    assert ("since the teacher itself is not compiled" in said) == narrow
    assert "what is timed, admitted and confirmed is fused code" in said


def test_of_further_devices_it_is_believed_from_the_same(tmp_path: Path) -> None:
    world = World(tmp_path / "log.txt", factors={"s20": 2.0})
    also = (DeviceBudget("s20", 0.8),)
    result = search_in(tmp_path / "out", world, budget_ms=0.4, latency_from="unfused", also=also)
    assert world.log_lines().count("profile unfused") == 2
    assert all(error > 0.02 for error in result.prediction_errors)
    assert result.winning_finalist.meets(0.4, 0.8)
    further = json.loads((tmp_path / "out" / "result.json").read_text())["devices"][1]["predictor"]
    assert further["source"] == "unfused" and set(further["sources"]) == {"fused", "flops", "unfused"}
    card = (tmp_path / "out" / "best" / "README.md").read_text()
    assert card.count("predicted from the same models without fusion ") == 2
