"""The benchmark's tables in Markdown: milliseconds, and in brackets how many times ours each engine takes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import exp, log
from typing import Any

from fusion.compare.comparison import OURS, UNFUSED
from tests.benchmarks.models import PUBLISHED

# The published system was compared with LiteRT's forerunner; the fastest peer is sought among the others.
_PEERS = ("onnxruntime", "openvino", "pytorch")
_TITLES = {"onnxruntime": "ONNX Runtime", "openvino": "OpenVINO", "litert": "LiteRT", "pytorch": "PyTorch"}

Results = Mapping[str, Mapping[str, Any]]


def markdown(results: Results, engines: Sequence[str], provenance: Mapping[str, Any], settings: Mapping) -> str:
    """The whole report: minima, medians, means over the models, what is missing and why, where it comes from."""
    notes = [*conclusions(results), *_unsteady(results), *_absences(results), *_origin(provenance)]
    parts = [
        f"fp32, batch 1, {settings['seq_len']} tokens, {settings['threads']} threads, {settings['rounds']} rounds in "
        "turn in one process. Milliseconds; in brackets, times ours.\n",
        f"Minima:\n\n{_table(results, engines, 'min_ms')}",
        f"Medians:\n\n{_table(results, engines, 'median_ms')}",
        "".join(f"- {line}\n" for line in notes),
    ]
    return "\n".join(parts)


def conclusions(results: Results) -> list[str]:
    """Ratios of minima: each engine in the geometric mean over the published models, and the fastest peer of each."""
    rows = {name: row for name in PUBLISHED if "error" not in (row := results.get(name, {"error": ""}))}
    lines = []
    for engine in [UNFUSED, *_TITLES]:
        ratios = [ratio for row in rows.values() if (ratio := _ratio(row, engine))]
        if ratios:
            name = _TITLES.get(engine, "without fusion")
            lines.append(f"{name}: {_mean(ratios):.3f}x ours in the geometric mean of {_of_all(ratios)}")
    fastest = {name: ratio for name, row in rows.items() if (ratio := fastest_peer(row))}
    if fastest:
        least = min(fastest, key=lambda name: fastest[name])
        mean = _mean(list(fastest.values()))
        lines.append(
            f"the fastest of {', '.join(_TITLES[name] for name in _PEERS)}: {mean:.3f}x ours in the geometric mean of "
            f"{_of_all(list(fastest.values()))}, least {fastest[least]:.3f}x ({least})"
        )
    return lines


def fastest_peer(row: Mapping[str, Any]) -> float | None:
    """The fastest peer's smallest time over ours."""
    return min((ratio for name in _PEERS if (ratio := _ratio(row, name))), default=None)


def _table(results: Results, engines: Sequence[str], figure: str) -> str:
    titles = ["model", "GFLOP", "fused", "unfused", *(_TITLES[name] for name in engines), "fastest peer"]
    lines = [[*titles, "GFLOP/s", "of peak", "MB resident"], ["---", *["---:"] * (len(titles) + 2)]]
    for name, row in results.items():
        lines.append([name, *(_cells(row, engines, figure) if "error" not in row else ["–"] * (len(titles) + 2))])
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)


def _cells(row: Mapping[str, Any], engines: Sequence[str], figure: str) -> list[str]:
    ours = row["engines"][OURS][figure]
    peers = {name: row["engines"][name][figure] for name in _PEERS if name in row["engines"]}
    rate = row["flops"] / ours / 1e6
    return [
        f"{row['flops'] / 1e9:.2f}",
        f"{ours:.2f}",
        *(_cell(row, name, figure) for name in [UNFUSED, *engines]),
        f"{min(peers.values()) / ours:.2f}x" if peers else "–",
        f"{rate:.0f}",
        f"{rate / row['peak_gflops']:.0%}",
        f"{row['process_peak_bytes'] / 1e6:.1f}",
    ]


def _cell(row: Mapping[str, Any], engine: str, figure: str) -> str:
    timing = row["engines"].get(engine)
    return f"{timing[figure]:.2f} ({timing[figure] / row['engines'][OURS][figure]:.2f}x)" if timing else "–"


def _ratio(row: Mapping[str, Any], engine: str) -> float | None:
    timing = row["engines"].get(engine)
    return timing["min_ms"] / row["engines"][OURS]["min_ms"] if timing else None


def _mean(ratios: Sequence[float]) -> float:
    return exp(sum(map(log, ratios)) / len(ratios))


def _of_all(ratios: Sequence[float]) -> str:
    return f"{len(ratios)} of the {len(PUBLISHED)} models"


def _unsteady(results: Results) -> list[str]:
    """The models of which an engine's median lies far above its minimum: other programs used the machine."""
    found = [f"{name} ({', '.join(row['unsteady'])})" for name, row in results.items() if row.get("unsteady")]
    return [f"unsteady, medians far above minima: {'; '.join(found)}"] if found else []


def _absences(results: Results) -> list[str]:
    """What is not in the table and why, each reason once."""
    reasons: dict[str, list[str]] = {}
    for name, row in results.items():
        for reason in [row["error"]] if "error" in row else row["missing"].values():
            reasons.setdefault(reason, []).append(name)
    return [f"absent ({', '.join(models)}): {reason}" for reason, models in reasons.items()]


def _origin(provenance: Mapping[str, Any]) -> list[str]:
    packages = ", ".join(f"{name} {version}" for name, version in provenance["versions"].items())
    return [
        f"{provenance['cpu']}, {provenance['cores']} cores, {provenance['system']}, Python {provenance['python']}",
        f"pocketbert {provenance['commit']}, {packages}, {provenance['date']}",
    ]
