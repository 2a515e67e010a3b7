"""The benchmark of int8 beside other runtimes' own, on a model small enough for a test."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from fusion.target import host_target
from tests.support import ROOT, Completed, assert_one_error_line, environment, new_home, run_in


def run_benchmark(folder: Path, *options: str) -> Completed:
    argv = [sys.executable, "-m", "tests.benchmarks.int8_peers", "--out", str(folder / "out"), "--seq-len", "16"]
    return run_in(ROOT, [*argv, *options], environment(new_home(folder / "home")), timeout=240)


def test_the_benchmark_times_all_kinds_and_keeps_its_figures(tmp_path: Path) -> None:
    name = host_target().name
    options = ["--models", "1x32-h2-f64", "--rounds", "1", "--engines", "onnxruntime,pytorch", "--threads", "1"]
    options += ["--instruction-sets", name, "--json"]
    done = run_benchmark(tmp_path, *options)
    assert done.returncode == 0, done.stderr
    row = json.loads(done.stdout)["models"]["1x32-h2-f64-1"]
    assert list(row["engines"]) == [f"int8 {name}", f"fp32 {name}", "without quantising", "onnxruntime"]
    assert row["quantising"]["min"] < 1 and row["how"].keys() == {"onnxruntime"}
    assert row["missing"]["pytorch"] == "pytorch: is timed in fp32 only, not in int8"
    assert 0 < row["max_abs_difference"][f"int8 {name}"] < 0.05
    assert row["weight_bytes"][f"int8 {name}"] < 0.5 * row["weight_bytes"][f"fp32 {name}"]
    assert "### 1x32-h2-f64, threads: 1" in (tmp_path / "out" / "int8_peers.md").read_text()
    again = run_benchmark(tmp_path, *options)
    assert json.loads(again.stdout)["models"]["1x32-h2-f64-1"] == row, "a finished model is not timed again"


def test_numbers_of_threads_are_numbers(tmp_path: Path) -> None:
    assert_one_error_line(run_benchmark(tmp_path, "--threads", "1,two"), 2, "--threads", "'two'")
