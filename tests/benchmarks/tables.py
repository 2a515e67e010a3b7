"""The benchmark's tables in Markdown: milliseconds, and in brackets how many times ours each engine takes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import exp, log
from typing import Any

from fusion.compare.comparison import OURS, UNFUSED

# The published system was compared with LiteRT's forerunner; the fastest peer is sought among the others.
_FIGURES = {"min_ms": "minima", "median_ms": "medians", "p90_ms": "90th percentiles"}
_PEERS = ("onnxruntime", "openvino", "pytorch")
_TITLES = {"onnxruntime": "ONNX Runtime", "openvino": "OpenVINO", "litert": "LiteRT", "pytorch": "PyTorch"}

Results = Mapping[str, Mapping[str, Any]]


def markdown(results: Results, engines: Sequence[str], provenance: Mapping[str, Any], settings: Mapping) -> str:
    """The whole report: minima, medians, means over the models, what is missing and why, where it comes from."""
    found = [line for figure in _FIGURES for line in conclusions(results, figure)]
    notes = [*found, *_unsteady(results), *_absences(results), *_origin(provenance)]
    parts = [
        f"fp32, batch 1, {settings['seq_len']} tokens, {settings['threads']} threads, {settings['target']}, "
        f"{settings['rounds']} rounds in turn in one process, beside {settings['beside']}. "
        "Milliseconds; in brackets, times ours.\n",
        *(f"{title.capitalize()}:\n\n{_table(results, engines, figure)}" for figure, title in _FIGURES.items()),
        "".join(f"- {line}\n" for line in notes),
    ]
    return "\n".join(parts)


def conclusions(results: Results, figure: str) -> list[str]:
    """Ratios of one figure: each engine in the geometric mean over the models, and the fastest peer of each."""
    rows = {name: row for name, row in results.items() if "error" not in row}
    title = _FIGURES[figure]
    lines = []
    for engine in [UNFUSED, *_TITLES]:
        ratios = {name: ratio for name, row in rows.items() if (ratio := _ratio(row, engine, figure))}
        if ratios:
            lines.append(f"{title}, {_TITLES.get(engine, 'without fusion')}: {_summary(ratios)}")
    fastest = {name: ratio for name, row in rows.items() if (ratio := fastest_peer(row, figure))}
    if fastest:
        lines.append(f"{title}, the fastest of {', '.join(_TITLES[name] for name in _PEERS)}: {_summary(fastest)}")
    return lines


def fastest_peer(row: Mapping[str, Any], figure: str) -> float | None:
    """The fastest peer's figure over ours."""
    return min((ratio for name in _PEERS if (ratio := _ratio(row, name, figure))), default=None)


def _summary(ratios: Mapping[str, float]) -> str:
    least = min(ratios, key=lambda name: ratios[name])
    mean = _mean(list(ratios.values()))
    return f"{mean:.3f}x ours in the geometric mean of {len(ratios)} models, least {ratios[least]:.3f}x ({least})"


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


def _ratio(row: Mapping[str, Any], engine: str, figure: str) -> float | None:
    timing = row["engines"].get(engine)
    return timing[figure] / row["engines"][OURS][figure] if timing else None


def _mean(ratios: Sequence[float]) -> float:
    return exp(sum(map(log, ratios)) / len(ratios))


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
