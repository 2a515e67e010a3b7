"""Execution information: rates, the machine's measured peak, processor time, and the bound on memory."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from data.architecture import Architecture
from fusion import compile_model, host_target
from fusion.compare.full_execution import measure_execution
from fusion.compare.peak import measure_peak, peak_runner
from fusion.compiled import CompiledModel
from fusion.emit.memory import memory_bytes
from fusion.emit.named import emitter_named
from tests.fusion.models import export

pytestmark = pytest.mark.usefixtures("shared_home")

SMALL = Architecture(2, 96, 3, 256, vocab_size=300, seq_len=40)
TINY = Architecture(1, 16, 1, 16, vocab_size=8, seq_len=1)
# Activations and scratch weigh as much as the weights, of which all are read: hardly any vocabulary.
WIDE = Architecture(2, 256, 4, 1024, vocab_size=100, seq_len=512)
PAGE_BYTES = 4096


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> CompiledModel:
    return compiled(SMALL, tmp_path_factory.mktemp("small"))


def compiled(architecture: Architecture, folder: Path, threads: int = 2) -> CompiledModel:
    return compile_model(export(architecture, folder), seq_len=architecture.seq_len, threads=threads)


def test_the_summary_tells_how_the_model_ran(small: CompiledModel) -> None:
    assert small.summary.execution is None
    seconds = small.time(warmup=2, runs=7)
    summary = small.summary
    execution = summary.execution
    assert execution is not None
    assert len(summary.block_ms) == len(summary.block_flops) == len(summary.block_names) == summary.blocks
    assert sum(summary.block_flops) == summary.flops
    assert execution.min_ms == pytest.approx(seconds.min() * 1e3)
    assert execution.min_ms <= execution.median_ms
    assert execution.runs == 7
    assert execution.gflops == pytest.approx(summary.flops / seconds.min() / 1e9)
    assert 0 < execution.cpu_utilisation < 1.5, "of so few runs, a thread's time is read a little early or late"
    assert execution.model_bytes >= summary.weight_bytes + summary.activation_bytes
    assert execution.peak_gflops is None and execution.process_peak_bytes is None


def test_the_full_measurement_adds_peak_and_process_memory(small: CompiledModel) -> None:
    execution = measure_execution(small, warmup=2, runs=5)
    assert execution.peak_gflops is not None and execution.peak_gflops > 0
    assert execution.peak_share == pytest.approx(execution.gflops / execution.peak_gflops)
    assert execution.process_peak_bytes is not None and execution.process_peak_bytes > small.summary.activation_bytes


def test_one_thread_is_busy_all_the_time(tmp_path: Path) -> None:
    model = compiled(SMALL, tmp_path, threads=1)
    model.time(warmup=2, runs=200)
    assert model.summary.execution is not None
    assert model.summary.execution.cpu_utilisation < 1.05, "other threads of this process do not count"


def test_the_peak_is_the_best_of_the_register_tiles() -> None:
    peak = measure_peak(host_target(), threads=1, runs=5)
    assert peak.gflops > 0
    assert peak.tile in peak_runner(host_target()).programs


def run_model(model: CompiledModel, threads: int) -> dict[str, int]:
    command = model.runner().command("model", threads=threads, warmup=1, runs=2)
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    document: dict[str, int] = json.loads(done.stdout)
    return document


@pytest.mark.parametrize("threads", [1, 2])
def test_memory_is_weights_activations_and_scratch(threads: int, tmp_path: Path) -> None:
    base = run_model(compiled(TINY, tmp_path / "tiny"), threads)
    model = compiled(WIDE, tmp_path / "wide")
    used = run_model(model, threads)
    summary = model.summary
    scratch = used["model_bytes"] - summary.weight_bytes - summary.activation_bytes
    assert 0 < scratch < summary.activation_bytes
    known = memory_bytes([WIDE], emitter_named(host_target().name), threads)[0]
    assert used["model_bytes"] == known, "as known without compiling"
    resident = used["peak_memory_bytes"] - (base["peak_memory_bytes"] - base["model_bytes"])
    bound = summary.weight_bytes + 1.3 * summary.activation_bytes + scratch
    assert resident <= bound + 16 * PAGE_BYTES
    assert resident > 0.9 * (summary.weight_bytes + summary.activation_bytes), "the bound is about what is really used"


def test_the_runner_reports_utilisation_and_memory(small: CompiledModel) -> None:
    document = run_model(small, 1)
    assert 0 <= document["utilisation"] < 1.5
    assert document["peak_memory_bytes"] > 0
    assert document["model_bytes"] >= small.summary.weight_bytes + small.summary.activation_bytes
