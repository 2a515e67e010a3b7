"""A search for several units of a device: the one that runs the larger model in time, and what says so."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from data.errors import DeviceError
from data.progress import no_progress
from search.options import SearchOptions
from search.pipeline import run_search
from search.result import SearchResult
from search.study import open_study
from tests.search.doubles import OPTIONS, World


def searched(world: World, out: Path, options: SearchOptions) -> tuple[SearchResult, list[str]]:
    notes: list[str] = []
    with open_study(out, options, resume=True) as study:
        result = run_search(study, world.stages(), no_progress, notes.append)
    return result, notes


BOTH = replace(OPTIONS, unit="cpu,gpu")


@pytest.mark.parametrize(("factor", "unit"), [(0.4, "gpu"), (2.5, "cpu")])
def test_the_faster_unit_is_searched_and_the_report_says_why(tmp_path: Path, factor: float, unit: str) -> None:
    world = World(tmp_path / "log.txt", gpu_factor=factor)
    result, notes = searched(world, tmp_path / "out", BOTH)
    assert result.device.unit == unit
    (line,) = (note for note in notes if "runs models on its" in note)
    assert f"runs models on its {unit}" in line and "cpu: " in line and "gpu: " in line
    by_unit = {each.unit: each for each in result.device.units}
    assert set(by_unit) == {"cpu", "gpu"} and by_unit[unit].within
    assert by_unit[unit].parameters >= max(each.parameters for each in by_unit.values())
    document = json.loads((tmp_path / "out" / "result.json").read_text())
    assert {each["unit"] for each in document["device"]["units"]} == {"cpu", "gpu"}
    page = (tmp_path / "out" / "report.html").read_text()
    assert f"why it runs on the {unit}: cpu" in page and f"why it runs on the {unit}: gpu" in page
    assert f"scaled teacher in time, {unit}" in (tmp_path / "out" / "best" / "README.md").read_text()


def test_a_search_that_goes_on_keeps_its_unit(tmp_path: Path) -> None:
    """Whatever a timing would say now."""
    kept = replace(BOTH, require_device=True)
    result, _ = searched(World(tmp_path / "log.txt", gpu_factor=0.4), tmp_path / "out", kept)
    again = World(tmp_path / "again.txt", gpu_factor=9.0)
    repeated, notes = searched(again, tmp_path / "out", kept)
    assert repeated.device.unit == result.device.unit == "gpu"
    assert [line for line in again.log_lines() if line.startswith("time")] == []
    assert not any("runs models on its" in note for note in notes)
    lost = World(tmp_path / "lost.txt", missing_units=("gpu",))
    with pytest.raises(DeviceError, match="no driver for the gpu"):
        searched(lost, tmp_path / "out", kept)


def test_a_unit_that_cannot_be_had_is_left_out_and_named(tmp_path: Path) -> None:
    world = World(tmp_path / "log.txt", missing_units=("gpu",))
    result, notes = searched(world, tmp_path / "out", replace(BOTH, require_device=True))
    assert result.device.unit == "cpu"
    assert "--unit cpu,gpu: gpu is left out: no driver for the gpu" in notes
    nothing = World(tmp_path / "log2.txt", missing_units=("cpu", "gpu"))
    with pytest.raises(DeviceError, match="no driver for the cpu; no driver for the gpu"):
        searched(nothing, tmp_path / "none", replace(BOTH, require_device=True))
