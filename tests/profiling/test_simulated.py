"""The analytic phones: near the published latencies, and monotone where physics is."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.architecture import Architecture, preset
from data.device_spec import load_device
from data.errors import InputError
from fusion.block import Block, make_block
from fusion.emit.c.sharing import makespan
from fusion.planning.architecture_plan import architecture_plan
from profiling import Round, Visit, open_device
from profiling.sampling import SamplingRange, sample_architectures
from profiling.simulated import SimulatedDevice
from tests.benchmarks.table2 import MODELS, PUBLISHED, all_rows_ms

GEMM = make_block("gemm", {"rows": 128, "inner": 768, "columns": 3072}, ("bias", "gelu"))


FIGURES = [(MODELS[name], *where, ms) for name, figures in PUBLISHED.items() for where, ms in figures.items()]


def blocks_of(model: Architecture, fuse: bool) -> list[Block]:
    return [fused.block for fused in architecture_plan(model, fuse=fuse).blocks]


@pytest.mark.parametrize(("model", "unit", "fuse", "published_ms"), FIGURES)
def test_s20_is_near_the_published_latencies(model: Architecture, unit: str, fuse: bool, published_ms: float) -> None:
    device = SimulatedDevice(load_device("s20"), unit)
    assert all_rows_ms(device, model, fuse) == pytest.approx(published_ms, rel=0.10)


def test_sizes_have_the_published_work() -> None:
    for model, gflops in zip(MODELS.values(), (10.9, 21.8, 4.6), strict=True):
        encoder = model.layers * (4 * model.hidden**2 + 2 * model.hidden * model.intermediate)
        assert 2 * 128 * encoder / 1e9 == pytest.approx(gflops, rel=0.03)


@pytest.mark.parametrize("unit", ["cpu", "gpu"])
@pytest.mark.parametrize("name", ["s20", "s10", "mali"])
def test_at_equal_work_many_small_operators_are_slower_and_fusion_helps_them_more(name: str, unit: str) -> None:
    device = SimulatedDevice(load_device(name), unit)
    wide, narrow = Architecture(3, 768, 12, 3072), Architecture(27, 256, 4, 1024)  # equal matrix products
    times = {(model, fuse): all_rows_ms(device, model, fuse) for model in (wide, narrow) for fuse in (True, False)}
    assert times[narrow, True] > times[wide, True] and times[narrow, False] > times[wide, False]
    assert times[narrow, False] / times[narrow, True] > times[wide, False] / times[wide, True]


@pytest.mark.parametrize("unit", ["cpu", "gpu"])
def test_fusion_helps_all(unit: str) -> None:
    device = SimulatedDevice(load_device("s20"), unit)
    for model in sample_architectures(SamplingRange(), 12, 0):
        apart, fused = (sum(device.block_ms(block, 8) for block in blocks_of(model, fuse)) for fuse in (False, True))
        assert apart > fused


def test_more_threads_are_never_slower() -> None:
    device = SimulatedDevice(load_device("s20"))
    times = [device.block_ms(GEMM, threads) for threads in range(1, 9)]
    assert all(later <= earlier for earlier, later in pairwise(times))


@given(st.floats(1e3, 1e9), st.integers(1, 300), st.lists(st.floats(1e9, 1e11), min_size=1, max_size=8).map(sorted))
def test_makespan_lies_between_its_bounds(tile: float, tiles: int, speeds: list[float]) -> None:
    time = makespan([tile / speed for speed in speeds], tiles)
    ideal = tile * tiles / sum(speeds)
    assert ideal * (1 - 1e-9) <= time <= ideal + tile / min(speeds) + 1e-12


def test_noise_follows_the_seed_and_differs_between_runs() -> None:
    spec = load_device("s20")
    visit = Visit("x", (GEMM,), warmup=2, runs=50)
    twice = Round((visit, visit), threads=8)
    device, twin, other = SimulatedDevice(spec), SimulatedDevice(spec), SimulatedDevice(spec, seed=1)
    first, second = device.go_round(twice)
    assert (first, second) == twin.go_round(twice)
    assert first.samples_ms not in (second.samples_ms, other.go_round(twice)[0].samples_ms)
    assert (first.began_ms, second.began_ms) == (0.0, pytest.approx(sum(first.warmups_ms + first.samples_ms)))
    assert (len(first.warmups_ms), len(first.samples_ms)) == (2, 50)
    assert np.median(first.samples_ms) == pytest.approx(device.block_ms(GEMM, 8), rel=0.02)


def test_is_marked_simulated_and_changes_with_its_figures() -> None:
    s20, s10 = (open_device(load_device(name), simulated=True) for name in ("s20", "s10"))
    assert s20.provenance == "simulated" and not s20.needs_runner
    assert "simulated" in s20.describe().fingerprint
    assert s20.describe().fingerprint != s10.describe().fingerprint


def test_unknown_unit() -> None:
    with pytest.raises(InputError, match="no unit"):
        open_device(load_device("s20"), simulated=True, unit="npu")


def test_narrow_products_are_faster_by_less_than_their_instructions() -> None:
    """Bolt publishes 2.13 for a small model in int8 on one A76, with code of its own; four is the rate."""
    device = SimulatedDevice(load_device("s10"))
    base = preset("bert-base")

    def milliseconds(architecture: Architecture) -> float:
        return sum(device.block_ms(fused.block, 1) for fused in architecture_plan(architecture).blocks)

    gain = milliseconds(base) / milliseconds(replace(base, precision="int8"))
    assert 2.13 < gain < 4
