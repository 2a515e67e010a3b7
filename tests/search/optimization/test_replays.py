"""Replays of searches on tables: what is printed of tables whose answer is known."""

from __future__ import annotations

import json
import sys
from math import log
from pathlib import Path

import numpy as np
import pytest

from search.real_stages import teacher_sizes
from tests.benchmarks import own_table, replays
from tests.benchmarks.distillation_runs import architecture_of
from tests.benchmarks.replays import Replay, nas_bench_bert, report

BASELINES = ["largest", "random", "evolution", "local"]  # all that need no further package, and no model
NAMES = [
    f"{layers}x{hidden}-h{heads}-f{inner}"
    for layers in (2, 4, 8)
    for hidden in (64, 96)
    for heads in (4, 2)
    for inner in (128, 256, 512)
]


def write_table(folder: Path) -> tuple[Path, Path]:
    """Sizes, all in one band, and rows in which narrow heads do harm, depth does good, and cuts tell it: of the
    largest two the one is best, the other poor."""
    random, lines = np.random.default_rng(0), []
    for name in NAMES:
        sizes = architecture_of(name, teacher_sizes(None))
        apart = 0.1 + 0.5 / sizes.layers + 4.0 / (sizes.hidden // sizes.heads) - 0.01 * log(sizes.encoder_parameters)
        for tokens, noise, seed in ((60000, 0.01, None), (300000, 0.0, None), (60000, 0.01, 1), (300000, 0.0, 1)):
            own = apart + noise * random.standard_normal()
            row = {"run": {"task": "stsb", "kind": None, "seed": 0, "passes": 3, "rate": 1e-4, "student": name}}
            row["run"] |= {"recipe": "default", "tokens": tokens, "student_seed": seed}
            score = {"pearson_spearman": 0.9 - own / 4}
            row |= {"held_out": score, "dev": score, "cut": score, "metric": "pearson_spearman", "apart": own}
            lines.append(json.dumps(row | {"apart_error": 0.01, "cut_apart": 2 * apart, "cut_apart_error": 0.01}))
    (folder / "rows.jsonl").write_text("\n".join(lines))
    (folder / "sizes.txt").write_text("\n".join(f"{name} 0.125 band" for name in NAMES))
    return folder / "rows.jsonl", folder / "sizes.txt"


def test_a_table_of_our_own(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    rows, sizes = write_table(tmp_path)
    options = f"--rows {rows} --sizes {sizes} --replays 1 --trials 4 --methods search-1,largest,random".split()
    monkeypatch.setattr(sys, "argv", ["own_table", *options])
    own_table.main()
    told = capsys.readouterr().out
    assert "| closeness of the cut | 1.00 | 1.00 | 1.00 | 1.00 |" in told
    assert told.count(f"One seed with the mean of others, {len(NAMES)} of {len(NAMES)} students: trial closeness") == 2
    assert "best 8x96-h2-f512 " in told and "; one student's over seeds 0.00" in told
    methods = {line.split("|")[1].strip(): line.split("|")[2:-1] for line in told.splitlines() if "±" in line}
    assert list(methods) == ["search-1", "largest", "random"]
    regrets = {name: [float(cell.split("±")[0]) for cell in cells] for name, cells in methods.items()}
    heads = next(line for line in told.splitlines() if line.startswith("| method |")).split("|")[2:-1]
    after = {head.strip(): place for place, head in enumerate(heads)}
    assert regrets["search-1"][after["tried, 4"]] <= 0.5
    assert regrets["search-1"][after["returned, 1"]] <= 0.5 < regrets["largest"][after["returned, 1"]]
    tried = [list(each[: len(each) // 2]) for each in regrets.values()]
    assert all(each == sorted(each, reverse=True) for each in tried)


def write_encoders(folder: Path, count: int) -> None:
    """A table in NAS-Bench-BERT's form, in which the score grows with the size."""
    random, lines = np.random.default_rng(0), ["layers,stacks,hidden,heads,intermediate,operations,parameters,glue"]
    for number in range(count):
        operations = random.choice(["SA:SDP", "LT:DFT"], 4)
        cells = [
            4,
            "1+1+2",
            random.choice([128, 256]),
            "2+4",
            f"{random.choice([512, 1024])}+512",
            "+".join(operations),
        ]
        lines.append(",".join(map(str, [*cells, 1_000_000 + 1000 * number, 70 + number / 10])))
    (folder / "encoders.csv").write_text("\n".join(lines))


def test_nas_bench_bert(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    write_encoders(tmp_path, 40)
    options = ["--data", str(tmp_path), "--out", str(tmp_path), "--replays", "2", "--methods", "largest,random,local"]
    monkeypatch.setattr(sys, "argv", ["replays", *options])
    replays.main()
    told = capsys.readouterr().out
    assert "| largest | 20% | 2 | 0.00 ± 0.00 |" in told
    lines = (tmp_path / "replays.jsonl").read_text().splitlines()
    assert len(lines) == 6
    replays.main()
    assert capsys.readouterr().out == told
    assert (tmp_path / "replays.jsonl").read_text().splitlines() == lines


def test_every_baseline_tries_each_candidate_once(tmp_path: Path) -> None:
    write_encoders(tmp_path, 40)
    table = nas_bench_bert(tmp_path)
    rows = [
        {"replay": vars(replay), "regrets": replay.run(table)}
        for replay in (Replay(method, 0, 0.2) for method in BASELINES)
    ]
    assert all(row["regrets"] == sorted(row["regrets"], reverse=True) for row in rows)
    assert len(report(rows).splitlines()) == 2 + len(BASELINES)
