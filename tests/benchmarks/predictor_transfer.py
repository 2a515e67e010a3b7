"""Transfer between settings, by group, random and chosen rows: ``python -m tests.benchmarks.predictor_transfer``."""

from __future__ import annotations

from collections.abc import Sequence

import click
import numpy as np

from search.commands._options import Command, run_command
from tests.benchmarks.predictor_splits import Moved, transfers
from tests.benchmarks.predictor_tables import Table, board_tables, phone_tables

_COUNTS = (5, 10, 20, 50)
# Within this much of the better baseline is as good: seeds differ by more.
_AS_GOOD = 1.05


@click.command(cls=Command, help=__doc__)
@click.option("--seeds", type=click.IntRange(min=1), default=2, show_default=True, help="Draws of the rows.")
@click.option("--rows", default=",".join(map(str, _COUNTS)), show_default=True, help="Numbers of rows seen.")
@click.option("--groups", "wanted", help="Groups of tables, as 'boards,phones,kit P'; all without it.")
@run_command
def main(seeds: int, rows: str, wanted: str | None) -> None:
    groups: dict[str, list[Table]] = {}
    for table in (*board_tables(), *phone_tables()):
        if wanted is None or table.group in wanted.split(","):
            groups.setdefault(table.group, []).append(table)
    counts = [int(count) for count in rows.split(",")]
    all_moved: list[Moved] = []
    for name, tables in groups.items():
        if len(tables) > 1:
            moved = [one for table in tables for one in _from(table, tables, counts, seeds)]
            all_moved += moved
            _print(name, moved)
    _print("all", all_moved)


def _from(table: Table, tables: Sequence[Table], counts: Sequence[int], seeds: int) -> list[Moved]:
    targets = [other for other in tables if other is not table]
    return transfers(table, targets, counts, range(seeds), lambda message: None)


def _print(name: str, moved: Sequence[Moved]) -> None:
    """One Markdown row for each number of rows seen."""
    for count in sorted({one.rows for one in moved}):
        pairs = [one for one in moved if one.rows == count]
        better = np.array([min(one.scale, np.inf if one.scratch is None else one.scratch) for one in pairs])
        ratio = np.array([one.adapt for one in pairs]) / better
        cells = (
            name,
            count,
            len(pairs),
            *(_mean([getattr(one, way) for one in pairs]) for way in ("scale", "scratch", "adapt", "chosen")),
            f"{(ratio <= 1).sum()}",
            f"{(ratio <= _AS_GOOD).sum()}",
            _mean([one.covered for one in pairs]),
        )
        click.echo("| " + " | ".join(map(str, cells)) + " |")


def _mean(values: Sequence[float | None]) -> str:
    known = [value for value in values if value is not None]
    return f"{np.mean(known):.2%}" if known else "–"


if __name__ == "__main__":
    main()
