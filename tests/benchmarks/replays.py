"""Replays of optimisers on measured tables, where nothing has to be trained: NAS-Bench-BERT's 500 encoders.

    python -m tests.benchmarks.replays --data DIR/nas-bench-bert --out DIR --replays 100 [--methods search,largest]

A replay hides a random fifth of the table (``--hidden``), so that methods without chance in them see different tables
too, and lets a method try 24 of what is left. Its regret after n trials is the best score of what is left, less the
best that it tried. A finished replay is a row of OUT/replays.jsonl, and a killed call goes on. Prints mean regrets, in
points of GLUE, with their standard errors over replays.
"""

from __future__ import annotations

import argparse
import json
import time
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from search.optimization.acquisition import most_promising
from search.optimization.evidence import Choices, Evidence
from tests.benchmarks.distillation_report import spearman
from tests.benchmarks.replayed_methods import METHODS, Table, of_best_sizes

TRIALS, SHOWN = 24, (1, 4, 8, 12, 24)
_OPERATIONS = ("SA:SDP", "SA:WMA", "LT:DFT", "LT:DCT", "DSC:5", "DSC:9")
_ROWS = "replays.jsonl"


def nas_bench_bert(folder: Path) -> Table:
    """The table: sizes and the shares of each operation as points of the unit cube, the logarithm of the number of
    parameters as trend, and the mean GLUE score."""
    import pandas as pd

    frame = pd.read_csv(folder / "encoders.csv")

    def each_mean(column: str) -> NDArray[np.float64]:
        return np.array([np.mean([float(value) for value in str(text).split("+")]) for text in frame[column]])

    operations = [text.split("+") for text in frame["operations"]]
    columns = [frame["layers"], frame["hidden"], each_mean("heads"), each_mean("intermediate"), each_mean("stacks")]
    columns += [np.array([row.count(name) / len(row) for row in operations]) for name in _OPERATIONS]
    values = np.column_stack([np.asarray(column, dtype=np.float64) for column in columns])
    points = (values - values.min(axis=0)) / np.maximum(np.ptp(values, axis=0), 1e-9)
    trend = np.log(frame["parameters"].to_numpy(dtype=np.float64))[:, None]
    return Table(points, (trend - trend.mean()) / trend.std(), frame["glue"].to_numpy(dtype=np.float64))


@dataclass(frozen=True)
class Replay:
    """One replay: which method, which part of the table."""

    method: str
    seed: int
    hidden: float

    def run(self, table: Table) -> list[float]:
        """Regrets after 1, 2, ... trials."""
        # Every method sees the same parts; its own chance is another.
        part = np.random.default_rng(self.seed)
        kept = np.sort(part.permutation(len(table.scores))[: round(len(table.scores) * (1 - self.hidden))])
        left = Table(table.points[kept], table.trends[kept], table.scores[kept])
        own = np.random.default_rng([self.seed, zlib.crc32(self.method.encode())])
        tried = METHODS[self.method](left, TRIALS, own)
        assert len(set(tried)) == TRIALS, "a method tried something twice"
        return [float(value) for value in left.scores.max() - np.maximum.accumulate(left.scores[tried])]


def rows_of(path: Path) -> dict[str, dict[str, Any]]:
    """The finished replays, by their JSON."""
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    rows = [json.loads(line) for line in lines]
    return {json.dumps(row["replay"]): row for row in rows}


def run_all(table: Table, replays: Iterable[Replay], path: Path) -> Iterator[dict[str, Any]]:
    """The rows of all replays; those that are not there are made now."""
    rows = rows_of(path)
    for replay in replays:
        name = json.dumps(vars(replay))
        if name not in rows:
            rows[name] = {"replay": vars(replay), "regrets": replay.run(table)}
            with path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(rows[name]) + "\n")
        yield rows[name]


def report(rows: Iterable[Mapping[str, Any]]) -> str:
    """Markdown: mean regret of each method after so many trials, with its standard error."""
    found: dict[tuple[str, float], list[list[float]]] = {}
    for row in rows:
        found.setdefault((row["replay"]["method"], row["replay"]["hidden"]), []).append(row["regrets"])
    lines = [
        "| method | hidden | replays | " + " | ".join(f"after {count}" for count in SHOWN) + " |",
        "|" + " --- |" * (3 + len(SHOWN)),
    ]
    for (method, hidden), regrets in found.items():
        values = np.array(regrets)[:, [count - 1 for count in SHOWN]]
        errors = values.std(axis=0) / np.sqrt(len(values))
        cells = [f"{mean:.2f} ± {error:.2f}" for mean, error in zip(values.mean(axis=0), errors, strict=True)]
        lines.append(f"| {method} | {hidden:.0%} | {len(values)} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def within_best_sizes(table: Table) -> str:
    """How well all that is known beside depth and width ranks those that have the best: ridge regression, ten folds."""
    from sklearn.linear_model import RidgeCV
    from sklearn.model_selection import KFold, cross_val_predict

    members = of_best_sizes(table)
    known, scores = np.hstack([table.points[:, 2:], table.trends])[members], table.scores[members]
    known = (known - known.mean(axis=0)) / np.maximum(known.std(axis=0), 1e-9)
    folds = KFold(10, shuffle=True, random_state=0)
    predicted = cross_val_predict(RidgeCV(np.logspace(-2, 3, 20)), known, scores, cv=folds)
    return (
        f"{members.sum()} of {len(members)} have the best depth and width: {scores.mean():.1f}, deviation "
        f"{scores.std():.1f}; a ridge regression on all else ranks them with {spearman(predicted, scores):.2f}"
    )


def step_seconds(candidates: int, trials: int = 24, steps: int = 5) -> list[float]:
    """Seconds of single steps over so many candidates of four sizes and two trends, after one that loads all."""
    random = np.random.default_rng(0)
    points, trends = random.random((trials, 4)), random.standard_normal((trials, 2))
    scores = trends.sum(axis=1) + 0.1 * random.standard_normal(trials)
    evidence = Evidence(points, trends, scores, np.full(trials, 0.05))
    choices = Choices(
        random.random((candidates, 4)), random.standard_normal((candidates, 2)), random.uniform(0.1, 1.0, candidates)
    )
    found = []
    for seed in range(steps + 1):
        begin = time.perf_counter()
        most_promising(evidence, choices, 3, seed)
        found.append(time.perf_counter() - begin)
    return found[1:]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder with encoders.csv")
    parser.add_argument("--out", type=Path, default=Path("benchmark/replays"))
    parser.add_argument("--step", type=int, metavar="N", help="only time single steps over N candidates")
    parser.add_argument("--replays", type=int, default=100)
    parser.add_argument("--hidden", type=float, default=0.2, help="share of the table that a replay does not see")
    parser.add_argument("--methods", default=",".join(METHODS))
    given = parser.parse_args()
    if given.step:
        print(
            " ".join(f"{seconds:.2f}" for seconds in step_seconds(given.step)), "s a step, trials 24, three proposals"
        )
        return
    if given.data is None:
        parser.error("--data DIR, the folder with encoders.csv, is missing")
    given.out.mkdir(parents=True, exist_ok=True)
    replays = [Replay(name, seed, given.hidden) for name in given.methods.split(",") for seed in range(given.replays)]
    table = nas_bench_bert(given.data)
    print(report(list(run_all(table, replays, given.out / _ROWS))))
    print(within_best_sizes(table))


if __name__ == "__main__":
    main()
