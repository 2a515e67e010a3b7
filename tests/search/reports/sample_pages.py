"""One page of each kind, made of doubles, in which every name is what a test wants it to be."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from data.device_spec import load_device
from data.statistic import Statistic
from profiling.quality import SessionQuality
from search.latencies import DeviceBudget
from search.reports.front_report import front_document, render_front
from search.reports.portability_page import render_study
from search.reports.profile_report import render_profile
from search.reports.report import render_report
from search.reports.summary import result_document
from search.result import BudgetOutcome, SearchResult
from surrogate.metrics import PredictionErrors
from surrogate.tables.budget_safety import Overshoot, SafeSamples, Safety
from surrogate.tables.portability import Study, Transfer
from tests.search.doubles import World, search_in

# Words that templates choose by; all other words of a document are shown as they are.
_CHOSEN_BY = ("status", "provenance")
Rename = Callable[[str], str]


def two_searches(folder: Path) -> tuple[SearchResult, SearchResult]:
    """For two budgets, on a phone that is not attached; a trial of the second fails."""
    first = search_in(folder / "1ms", World(folder / "log.txt", attached=False), device="s20", trials=3)
    failing = (first.trials[0].candidate.architecture.name,)
    world = World(folder / "log.txt", attached=False, failing=failing)
    return first, search_in(folder / "0.9ms", world, device="s20", trials=3, budget_ms=0.9)


def search_for_several(folder: Path) -> SearchResult:
    """For budgets on two phones, of which one is attached."""
    world = World(folder / "devices.txt", absent=("s10",))
    return search_in(folder / "devices", world, device="s20", trials=3, also=(DeviceBudget("s10", 2.0),))


def search_page(result: SearchResult, rename: Rename) -> str:
    """``report.html`` of a search."""
    named = _renamed(result, rename)
    return render_report(named, _renamed_words(result_document(named, Path("out")), rename))


def front_page(results: tuple[SearchResult, SearchResult], rename: Rename) -> str:
    """``report.html`` of several budgets, of which one has no result."""
    high, low = (_renamed(result, rename) for result in results)
    problem = rename("nothing fits 0.01 ms")
    outcomes = [BudgetOutcome(0.01, "0.01ms", None, problem), BudgetOutcome(0.9, "0.9ms", low)]
    outcomes.append(BudgetOutcome(1.0, "1ms", high))
    return render_front(outcomes, _renamed_words(front_document(outcomes, Path("out")), rename))


def profile_page(rename: Rename) -> str:
    """``report.html`` of a profiling."""
    held_out = tuple((rename(f"{n}x128-h4-f512"), 0.5 * n, 0.5 * n * (0.85 + 0.06 * n)) for n in range(1, 7))
    predictor: Any = SimpleNamespace(
        errors=PredictionErrors(6, 0.05, 0.8, 0.99),
        provenance="simulated",
        held_out=held_out,
        measured_blocks=120,
        usual=1.02,
        statistic=Statistic(agreement=0.05, drift=0.02),
        origin=SimpleNamespace(threads=4, compiler=rename("zig 0.15 -O3")),
        relative_interval=lambda: (-0.08, 0.09),
    )
    spec = replace(load_device("s20"), title=rename("Galaxy S20"))
    description = SimpleNamespace(processor=rename("Exynos 990"), fingerprint=rename("0123456789abcdef"))
    device: Any = SimpleNamespace(spec=spec, unit="cpu", describe=lambda: description)
    quality = SessionQuality(predictor.statistic, 8, 6, 20.0, 0.2, {rename("clock fell"): 0.3})
    return render_profile(device, predictor, [], quality, ("fp32", "int8"))


def study_page(rename: Rename) -> str:
    """``study.html`` of three devices."""
    devices = tuple(rename(name) for name in ("s20", "host:2:avx2", "pixel"))
    pairs = [(source, target) for source in devices for target in devices if source != target]
    counts, choices = (0, 5, 10, 20), ("random", "informative")
    tried = [(*pair, choice, count) for pair in pairs for choice in choices for count in counts]
    study = Study(
        devices=devices,
        provenance=dict(zip(devices, ("measured", "simulated", "published"), strict=True)),
        models=60,
        judged=20,
        splits=5,
        left_out=(50,),
        judged_by="latency",
        rank_correlation=((1.0, 0.9, 0.72), (0.9, 1.0, 0.8), (0.72, 0.8, 1.0)),
        noise_floor=dict(zip(devices, (None, 0.01, 0.02), strict=True)),
        transfers=tuple(Transfer(*key, 0.2, 0.1 / (1 + key[3]), 0.4 / key[3] if key[3] else None) for key in tried),
        safety=tuple(Safety(*key, 40, 0.9, min(0.5 + key[3] / 20, 1.0), 0.02, 0.1, None) for key in tried),
        safe_samples=tuple(
            SafeSamples(*pair, "random", count, f"{pair[0]} to {pair[1]}: safe with {count} rows")
            for pair, count in zip(pairs, (0, 5, 10, None, 20, None), strict=True)
        ),
        overshoots=tuple(Overshoot(*pair, 5.0, {"layers": 4.0}, 5.5, 0.1, None) for pair in pairs),
    )
    return render_study(study)


def _renamed(result: SearchResult, rename: Rename) -> SearchResult:
    """The same search under other names, also those that its figures show."""
    device, task = result.device, result.task
    names = {key: rename(value) for key, value in asdict(device).items() if key in ("name", "title", "processor")}
    measures = rename(task.measures[0]), rename(task.measures[1])
    further = [replace(each, name=rename(each.name), title=rename(each.title)) for each in result.also]
    budgets = [replace(each, device=rename(each.device)) for each in result.options.also]
    shares = [replace(each, shares=tuple(_share(share, rename) for share in each.shares)) for each in result.finalists]
    return replace(
        result,
        device=replace(device, **names),
        task=replace(task, name=rename(task.name), measures=measures),
        finalists=tuple(shares),
        also=tuple(further),
        options=replace(result.options, also=tuple(budgets)),
    )


def _share(share: Any, rename: Rename) -> Any:
    return replace(share, name=rename(share.name))


def _renamed_words(value: Any, rename: Rename, key: str = "") -> Any:
    """A document with every word renamed, so that no field can be forgotten."""
    if isinstance(value, dict):
        return {name: _renamed_words(each, rename, name) for name, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_renamed_words(each, rename, key) for each in value]
    return rename(value) if isinstance(value, str) and key not in _CHOSEN_BY else value
