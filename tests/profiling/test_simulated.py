"""The analytic phones: near the published latencies, and monotone where physics is."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.architecture import Architecture, preset
from data.device_spec import load_device
from data.errors import InputError
from fusion.block import make_block
from profiling import Job, open_device
from profiling.simulated import SimulatedDevice, makespan

GEMM = make_block("gemm", {"rows": 128, "inner": 768, "columns": 3072}, ("bias", "gelu"))


def all_rows_ms(device: SimulatedDevice, model: Architecture) -> float:
    """Time of a model whose last layer computes every row, as the published system does."""
    from fusion import plan_architecture

    plan = plan_architecture(Architecture(**{**model.to_dict(), "layers": 3}))
    shorter = plan_architecture(Architecture(**{**model.to_dict(), "layers": 2}))
    times = [device.block_ms(block, 8) for block in plan]
    layer = sum(times) - sum(device.block_ms(block, 8) for block in shorter)
    return times[0] + model.layers * layer + sum(times[-2:])


# Published fused latencies on S20 (ms); its deep and narrow model of 4.6 GFLOP is nearest to an FFN of 768 here.
@pytest.mark.parametrize(
    ("model", "cpu", "gpu"),
    [(preset("distilbert"), 105, 86), (preset("bert-base"), 196, 147), (Architecture(28, 256, 4, 768), 49, 45)],
)
def test_s20_is_near_the_published_fused_latencies(model: Architecture, cpu: float, gpu: float) -> None:
    spec = load_device("s20")
    assert all_rows_ms(SimulatedDevice(spec), model) == pytest.approx(cpu, rel=0.10)
    assert all_rows_ms(SimulatedDevice(spec, "gpu"), model) == pytest.approx(gpu, rel=0.10)


def test_many_small_blocks_are_slower_than_few_large_ones_of_equal_work() -> None:
    device = SimulatedDevice(load_device("s20"))
    small = make_block("gemm", {"rows": 128, "inner": 96, "columns": 384}, ("bias", "gelu"))
    times = GEMM.cost.flops / small.cost.flops
    assert times * device.block_ms(small, 8) > device.block_ms(GEMM, 8)


def test_more_threads_are_never_slower() -> None:
    device = SimulatedDevice(load_device("s20"))
    times = [device.block_ms(GEMM, threads) for threads in range(1, 9)]
    assert all(later <= earlier for earlier, later in pairwise(times))


@given(st.floats(1e3, 1e9), st.integers(1, 300), st.lists(st.floats(1e9, 1e11), min_size=1, max_size=8).map(sorted))
def test_makespan_lies_between_its_bounds(tile: float, tiles: int, speeds: list[float]) -> None:
    time = makespan(tile, tiles, np.array(speeds))
    ideal = tile * tiles / sum(speeds)
    assert ideal * (1 - 1e-9) <= time <= ideal + tile / min(speeds) + 1e-12


def test_noise_follows_the_seed_and_differs_between_runs() -> None:
    spec = load_device("s20")
    job = Job("x", (GEMM,), threads=8, warmup=2, runs=50)
    device, twin, other = SimulatedDevice(spec), SimulatedDevice(spec), SimulatedDevice(spec, seed=1)
    first, second = device.run(job), device.run(job)
    assert first == twin.run(job) and first.samples_ms not in (second.samples_ms, other.run(job).samples_ms)
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
