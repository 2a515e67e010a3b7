"""The evaluation of the latency predictors as Markdown and as a plain dictionary."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from tests.benchmarks.predictor_blocks import Judged
from tests.benchmarks.predictor_methods import OURS
from tests.benchmarks.predictor_splits import Held, Moved

_HELD = (
    "table",
    "rows",
    "method",
    "MAPE",
    "worst seed",
    "within 5%",
    "within 10%",
    "Spearman",
    "RMSE, ms",
    "worst seed",
)
_INTERVAL = ("90% covers", "width")
# Within this much of the better baseline is as good: seeds differ by more.
_AS_GOOD = 1.05


@dataclass
class Evaluation:
    """All that was found: provenance, noise floors and groups of tables, figures, what was left out and why."""

    settings: dict[str, Any]
    provenance: dict[str, str] = field(default_factory=dict)
    floors: dict[str, float] = field(default_factory=dict)
    groups: dict[str, str] = field(default_factory=dict)
    held: list[Held] = field(default_factory=list)
    few: list[Held] = field(default_factory=list)
    moved: list[Moved] = field(default_factory=list)
    devices: list[Judged] = field(default_factory=list)
    many: dict[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """Plain dictionary for JSON."""
        return asdict(self)


def markdown(found: Evaluation, origin: Mapping[str, Any]) -> str:
    """The whole report."""
    seeds = len(found.settings["seeds"])
    parts = [
        "# The latency predictors, judged\n",
        f"{seeds} seeded splits; means over them unless the worst is named. 1 = 100%; width: the 90% interval's over "
        "its prediction, median.\n",
        *(["## Rows kept aside\n", _held_table(found.held, found)] if found.held else []),
        *(["## From a few rows\n", _few_table(found.few, found.groups)] if found.few else []),
        *(["## To another device with a few of its rows\n", _moved_table(found.moved)] if found.moved else []),
        "".join(f"- {line}\n" for line in [*_conclusions(found), *found.notes, *_origin(origin)]),
    ]
    return "\n".join(part for part in parts if part)


def _table(titles: Sequence[str], rows: Sequence[Sequence[str]], left: int = 1) -> str:
    head = [list(titles), [*(["---"] * left), *(["---:"] * (len(titles) - left))]]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in [*head, *rows])


def _held_table(held: Sequence[Held], found: Evaluation) -> str:
    rows = [
        [
            f"{one.table} ({found.provenance.get(one.table, 'simulated')})",
            str(one.rows),
            one.method,
            f"{one.mean.mape:.2%}",
            f"{one.worst_mape:.2%}",
            f"{one.mean.within_5:.1%}",
            f"{one.mean.within_10:.1%}",
            f"{one.mean.spearman:.4f}",
            f"{one.mean.rmse:.3g}",
            f"{one.worst_rmse:.3g}",
            _share(one.mean.covered),
            _share(one.mean.width),
            _share(found.floors.get(one.table) if one.method == OURS else None),
        ]
        for one in held
    ]
    return _table([*_HELD, *_INTERVAL, "noise floor"], rows)


def _few_table(few: Sequence[Held], groups: Mapping[str, str]) -> str:
    """MAPE by number of rows, of each table and of each group's mean, by method; ours with coverage."""
    counts = sorted({one.rows for one in few})
    lines: dict[tuple[str, str], list[Held]] = {}
    for one in few:
        lines.setdefault((one.table, one.method), []).append(one)
    for one in few:
        lines.setdefault((f"{groups.get(one.table, 'other')}, mean", one.method), []).append(one)
    rows = []
    for name, held in lines.items():
        by = [[one.mean for one in held if one.rows == count] for count in counts]
        errors = [_share(_mean([figures.mape for figures in found]), 2) for found in by]
        rows.append([*name, *errors, *(_share(_mean([figures.covered for figures in found])) for found in by)])
    titles = [*(f"{count} rows" for count in counts), *(f"covers, {count}" for count in counts)]
    return _table(["table", "method", *titles], rows, left=2)


def _moved_table(moved: Sequence[Moved]) -> str:
    """Means over the pairs of each group and of all, by number of rows; the pairs themselves are in the JSON."""
    groups = list(dict.fromkeys(one.group for one in moved))
    counts = sorted({one.rows for one in moved})
    parts = [(group, [one for one in moved if one.group == group]) for group in groups]
    if len(groups) > 1:
        parts.append(("all", list(moved)))
    rows = [
        _moved_row(name, [one for one in members if one.rows == count])
        for name, members in parts
        for count in counts
        if any(one.rows == count for one in members)
    ]
    titles = ["between", "rows", "pairs", "scale factor", "from scratch", "adapted", "adapted, chosen rows"]
    return _table([*titles, "below both", "within 5% of the better", *_INTERVAL], rows)


def _moved_row(group: str, pairs: Sequence[Moved]) -> list[str]:
    better = [min(one.scale, one.scale if one.scratch is None else one.scratch) for one in pairs]
    ways = ("scale", "scratch", "adapt", "chosen")
    return [
        group,
        str(pairs[0].rows),
        str(len(pairs)),
        *(_share(_mean([getattr(one, way) for one in pairs]), 2) for way in ways),
        str(sum(one.adapt < least for one, least in zip(pairs, better, strict=True))),
        str(sum(one.adapt <= _AS_GOOD * least for one, least in zip(pairs, better, strict=True))),
        _share(_mean([one.covered for one in pairs])),
        _share(_mean([one.width for one in pairs])),
    ]


def _conclusions(found: Evaluation) -> list[str]:
    """Devices beside their noise floor, and the time that many predictions take."""
    lines = []
    for one in found.devices:
        mean, floor = one.held.mean, one.floor
        lines.append(
            f"{one.held.table}: MAPE {mean.mape:.2%} is {mean.mape / floor.mape:.2f} x the noise floor. Two later "
            f"sessions of the same models differ by {floor.mape:.2%}; they agree within 5% on {floor.within_5:.1%} and "
            f"within 10% on {floor.within_10:.1%} of them. The plain sum of blocks is {one.sum_mape:.2%} off"
        )
    if found.many:
        lines.append(
            f"{found.many['architectures']:,} architectures predicted by blocks in {found.many['seconds']:.1f} s"
        )
    return lines


def _mean(values: Sequence[float | None]) -> float | None:
    """Of those that there are."""
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def _share(value: float | None, digits: int = 1) -> str:
    return "–" if value is None else f"{value:.{digits}%}"


def _origin(origin: Mapping[str, Any]) -> list[str]:
    return [
        f"{origin['cpu']}, {origin['cores']} cores, Python {origin['python']}",
        f"pocketbert {origin['commit']}, {origin['date']}; `python -m tests.benchmarks.predictor`",
    ]
