"""Every device of a search: its budget there, and what was predicted and measured on it; as document and as table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fusion.emit.memory import memory_bytes
from fusion.emit.named import emitter_named
from search.latencies import Timing, listed
from search.options import LatencySource
from search.records import Candidate
from search.reports.latency_source import source_mark
from search.result import DeviceSummary, FurtherOutlook, Outlook, SearchResult

if TYPE_CHECKING:
    from rich.table import Table


def devices_document(result: SearchResult) -> list[dict[str, Any]]:
    """An entry for each device, with what the winner does there."""
    winner, candidate = result.winning_finalist, result.winning_candidate
    outlooks: list[Outlook | FurtherOutlook] = [result.outlook, *result.outlook.also]
    figures = zip(
        result.devices,
        result.options.budgets,
        outlooks,
        result.prediction_errors,
        latencies_document(candidate),
        winner.timings,
        result.shares_of_budgets,
        strict=True,
    )
    return [
        asdict(device)
        | {
            "runs_on": device.runs_on,
            "budget_ms": budget.budget_ms,
            "predictor": predictor_document(result.options.latency_from, outlook),
            "prediction_error": error,
            "compiled": f"best/{compiled_folder(result.devices, device)}",
            "winner": {
                "latency": latency,
                "timing": short_timing(timing),
                "meets_budget": timing.median_ms <= budget.budget_ms,
                "share_of_budget": share,
                "memory_bytes": held_bytes(candidate, device),
            },
        }
        for device, budget, outlook, error, latency, timing, share in figures
    ]


def predictor_document(source: LatencySource, outlook: Outlook | FurtherOutlook) -> dict[str, Any]:
    """What predictions on a device come from, and how far off they were on the profile's held-out models."""
    sources = {name: asdict(quality) for name, quality in outlook.source_quality.items()}
    told = {"source": source, "provenance": outlook.provenance}
    return told | asdict(outlook.quality) | {"sources": sources}


def latencies_document(candidate: Candidate) -> list[dict[str, Any]]:
    """What is predicted of a candidate on each device."""
    first = candidate.predicted_ms, candidate.lower_ms, candidate.upper_ms, candidate.provenance
    further = [(each.predicted_ms, each.lower_ms, each.upper_ms, each.provenance) for each in candidate.also]
    return [
        {"predicted_ms": predicted, "interval_ms": [lower, upper], "provenance": provenance}
        for predicted, lower, upper, provenance in (first, *further)
    ]


def also_document(result: SearchResult, candidate: Candidate, also: Sequence[Timing]) -> list[dict[str, Any]]:
    """What is predicted and was timed of a model on each further device."""
    return [
        {
            "device": device.name,
            "budget_ms": budget.budget_ms,
            "latency": latency | {"probability_within": predicted.probability_within},
            "timing": timing_document(timing),
            "meets_budget": timing.median_ms <= budget.budget_ms,
        }
        for device, budget, latency, predicted, timing in zip(
            result.also, result.options.also, latencies_document(candidate)[1:], candidate.also, also, strict=True
        )
    ]


def timing_document(timing: Timing) -> dict[str, Any]:
    """A timing with all its samples."""
    return short_timing(timing) | {"min_ms": min(timing.samples_ms)} | asdict(timing)


def short_timing(timing: Timing) -> dict[str, Any]:
    """A timing without its samples."""
    return {
        "median_ms": timing.median_ms,
        "p90_ms": timing.p90_ms,
        "n": len(timing.samples_ms),
        "provenance": timing.provenance,
    }


def held_bytes(candidate: Candidate, device: DeviceSummary) -> int:
    """What a model holds while it runs on a device."""
    return memory_bytes([candidate.architecture], emitter_named(device.target), device.threads)[0]


def compiled_folder(devices: Sequence[DeviceSummary], device: DeviceSummary) -> str:
    """The folder in ``best/`` with the compiled model for a device: that of the first, unless it needs another one."""
    first = devices[0]
    same = (device.target, device.threads) == (first.target, first.threads)
    return "compiled" if same else f"compiled-{device.name}"


def app_folder(compiled: str) -> str:
    """The folder beside a compiled model's with what an app for Android needs, of a phone."""
    return compiled.replace("compiled", "android", 1)


def with_exports(document: dict[str, Any], best: Path) -> dict[str, Any]:
    """The document with what lies in ``best/``: for each device the folder for apps, None where it is no phone, and
    whether the compiled model takes texts."""
    told = []
    for entry in document["devices"]:
        compiled = Path(entry["compiled"]).name
        app = app_folder(compiled)
        told.append(
            entry
            | {
                "android": f"best/{app}" if (best / app).is_dir() else None,
                "takes_texts": (best / compiled / "tokenizer.bin").is_file(),
            }
        )
    return document | {"devices": told}


def where_pending(*results: SearchResult) -> str:
    """What is simulated in results for several budgets: all latencies, or those on devices that were not attached, or
    not always; nothing where all were."""
    attached = {(device.name, device.attached) for result in results for device in result.devices}
    absent = sorted(name for name, there in attached if not there)
    if not any(there for _, there in attached):
        return "all latencies are"
    some = "some " if any((name, True) in attached for name in absent) else ""
    return f"{some}latencies on {listed(absent)} are" if absent else ""


def devices_table(result: SearchResult) -> Table:
    """What the winner does on each device."""
    from rich.table import Table

    table = Table(title=f"{result.winning_candidate.architecture.name} on every device", title_justify="left")
    for heading in (
        "device",
        "budget ms",
        f"predicted{source_mark(result)} ms (90%)",
        "median ms (p90)",
        "of the budget",
    ):
        table.add_column(heading, justify="left" if heading == "device" else "right", overflow="fold")
    for entry in devices_document(result):
        winner = entry["winner"]
        table.add_row(
            entry["name"],
            f"{entry['budget_ms']:g}",
            predicted_told(winner["latency"]),
            f"{winner['timing']['median_ms']:.2f} ({winner['timing']['p90_ms']:.2f}) {winner['timing']['provenance']}",
            f"{winner['share_of_budget']:.0%}",
        )
    return table


def predicted_told(latency: dict[str, Any]) -> str:
    """A prediction with its interval, and what it rests on where that was not measured."""
    low, high = latency["interval_ms"]
    marked = "" if latency["provenance"] == "measured" else f" {latency['provenance']}"
    return f"{latency['predicted_ms']:.2f} ({low:.2f}–{high:.2f}){marked}"
