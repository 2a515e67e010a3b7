"""What `fuse-model` shows people: the plan, how it ran, block by block, and other engines beside it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console


def show_model(console: Console, document: Mapping[str, Any]) -> None:
    """Prints the document that ``fuse-model --json`` writes as lines and tables."""
    summary = document["summary"]
    for label, text in [*_plan_lines(summary), *_execution_lines(summary)]:
        console.print(f"{label:<11}{text}", markup=False, soft_wrap=True)
    _show_blocks(console, summary)
    if "bench" in document:
        _show_bench(console, document["bench"])
    for written in ("export", "export_android"):
        if written in document:
            console.print(f"written to {document[written]}", markup=False, soft_wrap=True)
    if "takes" in document:
        console.print(f"takes {document['takes']}", markup=False, soft_wrap=True)


def _plan_lines(summary: Mapping[str, Any]) -> list[tuple[str, str]]:
    distinct = len(set(summary["block_names"]))
    return [
        ("target", _target(summary)),
        ("fusion", f"{summary['operators']} operators -> {summary['blocks']} blocks, {distinct} of them distinct"),
        ("saved", f"{_megabytes(summary['saved_bytes'])} of intermediates are neither written nor read"),
        (
            "needs",
            f"{summary['flops'] / 1e9:.2f} GFLOP, {_megabytes(summary['weight_bytes'])} of weights, "
            f"{_megabytes(summary['activation_bytes'])} of activations",
        ),
        *(("note", note) for note in summary["notes"]),
    ]


def _target(summary: Mapping[str, Any]) -> str:
    if summary["unit"] == "cpu":
        return f"{summary['target']}, {summary['precision']}, {_count(summary['threads'], 'thread')}"
    return f"{summary['target']}, {summary['precision']}, {summary['launches']} launches a run"


def _execution_lines(summary: Mapping[str, Any]) -> list[tuple[str, str]]:
    execution = summary["execution"]
    if execution is None:
        return []
    rate, memory = f"{execution['gflops']:.1f} GFLOP/s", f"{_megabytes(execution['model_bytes'])} held by the runtime"
    if execution["peak_share"] is not None:
        rate += (
            f", {execution['peak_share']:.0%} of the measured peak, {execution['peak_gflops']:.1f} "
            f"(the {execution['peak_tile']} micro-kernel alone in L1 cache)"
        )
    if execution["process_peak_bytes"] is not None:
        memory += f", {_megabytes(execution['process_peak_bytes'])} resident at most in the static runner"
    latency = f"{execution['median_ms']:.3f} ms median, {execution['min_ms']:.3f} ms least of {execution['runs']} runs"
    return [("latency", latency), ("rate", rate), _utilisation(summary, execution), ("memory", memory)]


def _utilisation(summary: Mapping[str, Any], execution: Mapping[str, Any]) -> tuple[str, str]:
    if summary["unit"] == "gpu":
        return "gpu", f"kernels ran in {execution['gpu_utilisation']:.0%} of the time, by its own clock"
    threads = _count(summary["threads"], "thread")
    return "processor", f"{execution['cpu_utilisation']:.0%} of {threads}, waiting for each other included"


def _show_blocks(console: Console, summary: Mapping[str, Any]) -> None:
    """One row for each distinct block, in the order of first use."""
    from rich.table import Table

    timed = bool(summary["block_ms"])
    times = summary["block_ms"] or [0.0] * len(summary["block_names"])
    rows: dict[str, list[tuple[float, int]]] = {}
    for name, time_ms, flops in zip(summary["block_names"], times, summary["block_flops"], strict=True):
        rows.setdefault(name, []).append((time_ms, flops))
    table = Table("block", "times", "MFLOP, all", *(["ms, all", "share", "GFLOP/s"] if timed else []))
    for column in table.columns[1:]:
        column.justify = "right"
    for name, entries in rows.items():
        spent, work = sum(time_ms for time_ms, _ in entries), sum(flops for _, flops in entries)
        figures = [f"{spent:.3f}", f"{spent / sum(times):.1%}", f"{work / spent / 1e6:.1f}"] if spent else []
        table.add_row(name, str(len(entries)), f"{work / 1e6:.1f}", *figures)
    console.print(table)


def _show_bench(console: Console, bench: Mapping[str, Any]) -> None:
    from rich.table import Table

    table = Table("engine", "median ms", "min ms", "ratio", "min ratio", "runs", "max diff")
    for column in table.columns[1:]:
        column.justify = "right"
    for row in bench["engines"]:
        ratios = (f"{row['median_ratio']:.2f}x", f"{row['min_ratio']:.2f}x")
        difference = bench["max_abs_difference"].get(row["engine"])
        table.add_row(
            row["engine"],
            f"{row['median_ms']:.3f}",
            f"{row['min_ms']:.3f}",
            *ratios,
            str(row["n"]),
            "" if difference is None else f"{difference:.1e}",
        )
    console.print(table)
    if "pause" in bench:
        rounds = f"{bench['rounds']} of {bench['planned_rounds']} rounds in turn"
        console.print(f"{rounds}, {_count(bench['threads'], 'thread')} each; {bench['pause']}", markup=False)
    if bench.get("unsteady"):
        names = ", ".join(bench["unsteady"])
        console.print(f"unsteady, medians far above minima: {names}; the machine was shared", soft_wrap=True)
    for name, told in bench.get("how", {}).items():
        console.print(f"{name}: {told}", markup=False, soft_wrap=True)
    reference = "pocketbert in fp32" if bench.get("precision") == "int8" else "pocketbert"
    for name in bench.get("differing", []):
        console.print(f"outputs differ: {name} gives other numbers than {reference}", markup=False, soft_wrap=True)
    for reason in bench.get("missing_reasons", {}).values():
        console.print(f"left out: {reason}", markup=False, soft_wrap=True)


def _megabytes(count: int) -> str:
    """``1.2 MB``, of 10^6 bytes."""
    return f"{count / 1e6:.2f} MB" if count < 1e7 else f"{count / 1e6:.1f} MB"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
