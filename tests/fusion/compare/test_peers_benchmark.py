"""The benchmark beside the peers, on a model small enough for a test."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from tests.benchmarks.tables import conclusions
from tests.support import ROOT, Completed, assert_one_error_line, environment, new_home, run_in


def run_benchmark(folder: Path, *options: str) -> Completed:
    argv = [sys.executable, "-m", "tests.benchmarks.peers", "--out", str(folder / "out"), "--seq-len", "16", *options]
    return run_in(ROOT, argv, environment(new_home(folder / "home")), timeout=240)


def test_the_benchmark_prints_keeps_and_reuses_its_figures(tmp_path: Path) -> None:
    options = ("--models", "1x32-h2-f64", "--rounds", "1", "--engines", "onnxruntime", "--beside", "spinning")
    done = run_benchmark(tmp_path, *options)
    assert done.returncode == 0, done.stderr
    assert "| model | GFLOP | fused | unfused | ONNX Runtime | fastest peer | GFLOP/s | of peak |" in done.stdout
    assert (tmp_path / "out" / "peers.md").read_text() in done.stdout
    document = json.loads((tmp_path / "out" / "peers.json").read_text())
    row = document["models"]["1x32-h2-f64"]
    assert set(row["engines"]) == {"pocketbert", "pocketbert unfused", "onnxruntime"}
    assert row["max_abs_difference"]["onnxruntime"] < 1e-4
    assert {"date", "cpu", "cores", "versions", "commit"} <= document["provenance"].keys()
    again = run_benchmark(tmp_path, *options, "--json")
    assert json.loads(again.stdout)["models"]["1x32-h2-f64"] == row, "a finished model is not timed again"


def test_an_unknown_model_is_one_line(tmp_path: Path) -> None:
    assert_one_error_line(run_benchmark(tmp_path, "--models", "bert-bas"), 2, "bert-bas", "bert-base")


def row(**times_ms: float) -> dict[str, dict[str, dict[str, float]]]:
    return {"engines": {name.replace("_", " "): {"p90_ms": value} for name, value in times_ms.items()}}


def test_conclusions_are_geometric_means_of_ratios_of_one_figure() -> None:
    results = {
        "bert-base": row(pocketbert=10, pocketbert_unfused=20, onnxruntime=20, openvino=40, litert=10),
        "distilbert": row(pocketbert=10, pocketbert_unfused=20, onnxruntime=160, openvino=80, litert=40),
        "mobilebert": {"error": "not supported"},
    }
    assert conclusions(results, "p90_ms") == [
        "90th percentiles, without fusion: 2.000x ours in the geometric mean of 2 models, least 2.000x (bert-base)",
        "90th percentiles, ONNX Runtime: 5.657x ours in the geometric mean of 2 models, least 2.000x (bert-base)",
        "90th percentiles, OpenVINO: 5.657x ours in the geometric mean of 2 models, least 4.000x (bert-base)",
        "90th percentiles, LiteRT: 2.000x ours in the geometric mean of 2 models, least 1.000x (bert-base)",
        "90th percentiles, the fastest of ONNX Runtime, OpenVINO, PyTorch: 4.000x ours in the geometric mean of "
        "2 models, least 2.000x (bert-base)",
    ]
