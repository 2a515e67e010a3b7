"""Table 1 as it was replayed: Markdown and JSON, with the published figures beside it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import mean, stdev
from typing import Any

from data.tasks import Task
from tests.benchmarks.table1_latency import Latencies
from tests.benchmarks.table1_published import CAVEAT, PUBLISHED
from tests.benchmarks.table1_records import ROWS, Record, Settings

_HEADINGS = (
    "model",
    "sizes",
    "points",
    "deviation over seeds",
    "standard error of dev",
    "million parameters",
    "MB fp32",
    "ms, minimum / median",
    "speed-up, minima / medians",
    "s of training (of its rate)",
    "rate",
    "published points",
    "published ms, CPU / GPU",
)
# What is gained or given up: first minus second, for each seed that has both.
_DIFFERENCES = (
    ("distilled", "undistilled", "distilled minus labels only"),
    ("undistilled", "random", "cut minus random initialisation, labels only"),
    ("teacher", "distilled", "teacher minus distilled"),
    ("distilled", "searched", "distilled minus searched"),
    ("teacher", "searched", "teacher minus searched"),
    ("teacher", "half-depth", "teacher minus half depth"),
    ("teacher", "bottleneck", "teacher minus bottleneck"),
)
_LEVEL = 0.9
_UNSTEADY = 1.25


@dataclass(frozen=True)
class Replayed:
    """All there is to report: finished records, times (None where they were not taken), what is ``missing`` and why,
    and where it comes from. ``others`` records of other settings lie beside them."""

    settings: Settings
    tasks: Mapping[str, Task]
    records: Sequence[Record]
    latencies: Latencies | None
    missing: Sequence[str]
    others: int
    command: str
    origin: Mapping[str, Any]

    def of(self, task: str, row: str) -> list[Record]:
        """The records of one row."""
        return [each for each in self.records if (each.task, each.row) == (task, row)]


def document(found: Replayed) -> dict[str, Any]:
    """All figures, ready for JSON."""
    settings = asdict(found.settings) | {"corpus": f"{len(found.settings.corpus)} lines"}
    return {
        "command": found.command,
        "settings": settings,
        "tasks": {
            name: {
                "metric": task.metric,
                "train": len(task.train),
                "dev": len(task.dev),
                "remarks": list(task.remarks),
                "rows": {row: _figures(found, found.of(name, row)) for row in ROWS if found.of(name, row)},
            }
            for name, task in found.tasks.items()
        },
        "differences": differences(found),
        "published": {row: asdict(each) for row, each in PUBLISHED.items()} | {"caveat": CAVEAT},
        "missing": list(found.missing),
        "others": found.others,
        "origin": dict(found.origin),
        "latencies": asdict(found.latencies) if found.latencies else None,
        "records": [asdict(each) for each in found.records],
    }


def _figures(found: Replayed, records: Sequence[Record]) -> dict[str, Any]:
    """A row's figures: means over the seeds, and the sample standard deviation where there are several."""
    first = records[0]
    return {
        "title": ROWS[first.row],
        "shape": first.shape,
        "seeds": [each.seed for each in records],
        "score": mean(each.score for each in records),
        "deviation": stdev(each.score for each in records) if len(records) > 1 else None,
        "standard_error": mean(each.standard_error for each in records),
        "scores": [each.score for each in records],
        "held_out": mean(each.held_out for each in records),
        "parameters": first.parameters,
        "megabytes": 4 * first.parameters / 1e6,
        "seconds": mean(each.seconds for each in records),
        "rate_seconds": first.rate_seconds,
        "rate": first.rate,
        "tried": first.tried,
        **_speed(found, first.shape),
    }


def _speed(found: Replayed, shape: str) -> dict[str, float | None]:
    shapes = found.latencies.shapes if found.latencies else {}
    own = shapes.get(shape)
    teacher = next((shapes.get(each.shape) for each in found.records if each.row == "teacher"), None)
    return {
        "min_ms": own.min_ms if own else None,
        "median_ms": own.median_ms if own else None,
        "min_speed_up": teacher.min_ms / own.min_ms if own and teacher else None,
        "median_speed_up": teacher.median_ms / own.median_ms if own and teacher else None,
    }


def differences(found: Replayed) -> list[dict[str, Any]]:
    """Of pairs of rows, in points, by task and in the mean of the tasks, seed by seed."""
    rows = []
    for first, second, title in _DIFFERENCES:
        by_task = {task: _by_seed(found, task, first, second) for task in found.tasks}
        by_task = {task: values for task, values in by_task.items() if values}
        if by_task:
            # Seeds that all of these tasks have.
            seeds = set.intersection(*(set(values) for values in by_task.values()))
            means = [mean(values[seed] for values in by_task.values()) for seed in sorted(seeds)]
            tasks = {task: _summary(list(values.values())) for task, values in by_task.items()}
            rows.append(
                {"title": title, "tasks": tasks, "mean": _summary(means), "published": _published(first, second)}
            )
    return rows


def _by_seed(found: Replayed, task: str, first: str, second: str) -> dict[int, float]:
    ones, others = ({each.seed: each.score for each in found.of(task, row)} for row in (first, second))
    return {seed: 100 * (ones[seed] - others[seed]) for seed in ones if seed in others}


def _published(first: str, second: str) -> dict[str, float]:
    if first not in PUBLISHED or second not in PUBLISHED:
        return {}
    one, other = PUBLISHED[first].points, PUBLISHED[second].points
    return {task: round(one[task] - other[task], 1) for task in one if task in other}


def _summary(values: Sequence[float]) -> dict[str, float | None] | None:
    """Mean, sample standard deviation, and what the mean exceeds with 90% (one side of Student's t, over the seeds)."""
    from scipy.stats import t

    if not values:
        return None
    if len(values) < 2:
        return {"mean": mean(values), "deviation": None, "lower": None}
    spread = stdev(values)
    lower = mean(values) - float(t.ppf(_LEVEL, len(values) - 1)) * spread / math.sqrt(len(values))
    return {"mean": mean(values), "deviation": spread, "lower": lower}


def markdown(found: Replayed) -> str:
    """The tables, what is missing, and where it comes from."""
    figures = document(found)
    parts = ["# Table 1, replayed\n", _introduction(found)]
    for name, task in figures["tasks"].items():
        counts = f"{task['metric']}, {task['train']:,} training and {task['dev']:,} dev examples"
        rows = [_cells(name, row, each) for row, each in task["rows"].items()]
        parts.append(f"## {name} ({counts})\n\n{_table(_HEADINGS, rows) if rows else 'Nothing finished.'}")
    if figures["differences"]:
        parts.append(f"## Differences in points\n\n{_differences(found, figures['differences'])}")
    if found.missing:
        parts.append("## Missing\n\n" + "".join(f"- {line}\n" for line in found.missing))
    parts.append("## Where it comes from\n\n" + "".join(f"- {line}\n" for line in _notes(found)))
    return "\n".join(parts)


def _introduction(found: Replayed) -> str:
    settings = found.settings
    return (
        f"Students learn from {settings.tokens:,} tokens each, passes of the teacher: {settings.passes}; seeds "
        f"{', '.join(map(str, settings.seeds))}, each with a teacher of its own. All learn from nine tenths of train; "
        "rates and the teacher's best pass are chosen by the other tenth; students keep their last weights; dev "
        "was read once, at the end. "
        "Where a row has a rate of its own, the first seed tried each for a third of the tokens (scores in the JSON "
        f"file). {CAVEAT.capitalize()}.\n"
    )


def _cells(task: str, row: str, figures: Mapping[str, Any]) -> list[str]:
    published = PUBLISHED.get(row)
    points = published.points.get(task) if published else None
    rates = [float(rate) for rate in figures["tried"]]
    return [
        ROWS[row],
        figures["shape"],
        f"{100 * figures['score']:.2f}",
        _number(figures["deviation"], ".2f", 100),
        f"{100 * figures['standard_error']:.2f}",
        f"{figures['parameters'] / 1e6:.2f}",
        f"{figures['megabytes']:.1f}",
        _both(figures["min_ms"], figures["median_ms"], ".3g"),
        _both(figures["min_speed_up"], figures["median_speed_up"], ".2f", "x"),
        f"{figures['seconds']:.0f}" + (f" ({figures['rate_seconds']:.0f})" if rates else ""),
        "–" if figures["rate"] is None else f"{figures['rate']:g}{_edge(figures['rate'], rates)}",
        _number(points, ".1f"),
        f"{published.cpu_ms:g} / {published.gpu_ms:g}" if published else "–",
    ]


def _edge(rate: float, tried: Sequence[float]) -> str:
    """Whether a better rate may lie beyond those that were tried."""
    if len(tried) == 1:
        return " (the only one tried)"
    return (
        " (lowest tried)"
        if rate == min(tried, default=0)
        else " (highest tried)"
        if rate == max(tried, default=0)
        else ""
    )


def _number(value: float | None, form: str, scale: float = 1.0) -> str:
    return "–" if value is None else f"{value * scale:{form}}"


def _both(first: float | None, second: float | None, form: str, unit: str = "") -> str:
    return "–" if first is None or second is None else f"{first:{form}}{unit} / {second:{form}}{unit}"


def _differences(found: Replayed, rows: Sequence[Mapping[str, Any]]) -> str:
    headings = [
        "",
        *(f"{task} (published)" for task in found.tasks),
        "mean of the tasks",
        f"at least, with {_LEVEL:.0%}",
    ]
    lines = []
    for row in rows:
        cells = [
            f"{_spread(row['tasks'].get(task))} ({_number(row['published'].get(task), '+.1f')})" for task in found.tasks
        ]
        lines.append([row["title"], *cells, _spread(row["mean"]), _number((row["mean"] or {}).get("lower"), "+.2f")])
    return _table(headings, lines)


def _spread(values: Mapping[str, Any] | None) -> str:
    if values is None:
        return "–"
    return f"{values['mean']:+.2f}" + (f" ± {values['deviation']:.2f}" if values["deviation"] is not None else "")


def _table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [headings, ["---", *["---:"] * (len(headings) - 1)], *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _notes(found: Replayed) -> list[str]:
    settings, origin, times = found.settings, found.origin, found.latencies
    versions = ", ".join(f"{name} {version}" for name, version in origin["versions"].items())
    notes = [
        "deviation: sample standard deviation over the seeds; standard error: over the dev examples, mean of the seeds",
        "the cut, as the teacher, keeps its word embeddings as they are; a random initialisation learns them",
        f"{origin['cpu']}, {origin['cores']} cores, {origin['system']}, Python {origin['python']}, {origin['date']}",
        f"pocketbert {origin['commit']}, {versions}",
        f"`{found.command}`",
    ]
    if times:
        unsteady = [name for name, each in times.shapes.items() if each.median_ms > _UNSTEADY * each.min_ms]
        if unsteady:
            notes.insert(2, f"unsteady, medians far above minima, other programs ran: {', '.join(unsteady)}")
        most = max(each.max_abs_difference for each in times.shapes.values())
        notes.insert(
            2,
            f"times: compiled for {times.target}, batch 1, {times.seq_len} tokens, {times.threads} threads, "
            f"{times.rounds} rounds of 10 runs in turn in one process, one model for each of {len(times.shapes)} "
            f"shapes ({times.date}); outputs differ from PyTorch's by {most:.1e} at most",
        )
    if settings.limit:
        notes.append(f"limited to the first {settings.limit} training and dev examples: no figures to compare")
    if found.others:
        notes.append(f"{found.others} records of other settings or other code lie beside these and are not shown")
    return notes + [f"{name}: {remark}" for name, task in found.tasks.items() for remark in task.remarks]
