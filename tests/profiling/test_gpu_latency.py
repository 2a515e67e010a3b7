"""The analytic GPU: near the published figures, also those that it was not fitted to, and monotone where physics is."""

from __future__ import annotations

from dataclasses import asdict, replace
from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data.architecture import Architecture, preset
from data.device_spec import Gpu, load_device
from fusion.block import Block, make_block
from fusion.planning.architecture_plan import plan_architecture
from profiling.sampling import SamplingRange, sample_architectures
from profiling.simulated import SimulatedDevice
from tests.benchmarks.table2 import MOST_ERROR, Row, bundled, fitted, gpu_figures, rows

PHONES = ("s20", "s10", "mali")
SIZES = st.fixed_dictionaries({name: st.integers(1, 4096) for name in ("rows", "inner", "columns")})
HEADS = st.fixed_dictionaries({name: st.integers(1, 200) for name in ("rows", "keys", "heads", "head_size")})


@cache
def gpu(name: str) -> SimulatedDevice:
    return SimulatedDevice(load_device(name), "gpu")


def altered(name: str, **figures: float) -> SimulatedDevice:
    """The phone with other figures of its GPU."""
    spec = load_device(name)
    assert isinstance(spec.gpu, Gpu)
    return SimulatedDevice(replace(spec, gpu=replace(spec.gpu, **figures)), "gpu")


def model_ms(device: SimulatedDevice, model: Architecture, fuse: bool = True) -> float:
    return sum(device.block_ms(block, 8) for block in plan_architecture(model, fuse))


@cache
def published() -> tuple[Row, ...]:
    return rows()


@pytest.mark.parametrize("place", range(len(gpu_figures())))
def test_each_published_figure_is_met_also_when_it_is_left_out_of_the_fit(place: int) -> None:
    row = published()[place]
    assert abs(row.error) < MOST_ERROR, row
    assert abs(row.left_out_error) < MOST_ERROR, row


def test_the_bundled_constants_are_the_fitted_ones() -> None:
    assert asdict(bundled()) == pytest.approx(asdict(fitted(gpu_figures())), rel=0.005)


@given(st.sampled_from(PHONES), SIZES, st.sampled_from(["rows", "inner", "columns"]), st.integers(1, 500))
@settings(deadline=None)
def test_a_larger_product_never_takes_less(name: str, sizes: dict[str, int], grown: str, more: int) -> None:
    larger = sizes | {grown: sizes[grown] + more}
    for epilogue in ((), ("bias", "gelu"), ("bias", "residual", "layer_norm")):
        small, large = (make_block("gemm", each, epilogue) for each in (sizes, larger))
        assert gpu(name).block_ms(large, 8) >= gpu(name).block_ms(small, 8) * (1 - 1e-9)


@given(st.sampled_from(PHONES), HEADS, st.sampled_from(["rows", "keys", "heads"]), st.integers(1, 100))
@settings(deadline=None)
def test_attention_over_more_never_takes_less(name: str, sizes: dict[str, int], grown: str, more: int) -> None:
    larger = sizes | {grown: sizes[grown] + more}
    for anchor in ("attention", "scores", "context"):
        small, large = (make_block(anchor, each, attributes={"scale": 0.125}) for each in (sizes, larger))
        assert gpu(name).block_ms(large, 8) >= gpu(name).block_ms(small, 8) * (1 - 1e-9)


@pytest.mark.parametrize("epilogue", [("bias", "gelu"), ("bias",)])
def test_what_is_applied_to_a_product_costs_more_apart(epilogue: tuple[str, ...]) -> None:
    sizes = {"rows": 128, "inner": 768, "columns": 768}
    fused = make_block("gemm", sizes, epilogue)
    row = {"rows": 128, "columns": 768}
    apart: list[Block] = [make_block("gemm", sizes), *(make_block("rowwise", row, (step,)) for step in epilogue)]
    for name in PHONES:
        assert sum(gpu(name).block_ms(block, 8) for block in apart) > gpu(name).block_ms(fused, 8)


@pytest.mark.parametrize(("fuse", "launches"), [(True, 88), (False, 204)])
def test_every_launch_of_the_compiled_model_is_paid(fuse: bool, launches: int) -> None:
    model = preset("bert-base")
    dearer = altered("s20", launch_us=1035.0)
    assert model_ms(dearer, model, fuse) - model_ms(gpu("s20"), model, fuse) == pytest.approx(launches, rel=1e-6)


@pytest.mark.parametrize("figures", [("fp32_gflops", "clock_mhz"), ("memory_gbps",), ("image_gbps",), ("buffer_gbps",)])
def test_a_better_gpu_is_never_slower(figures: tuple[str, ...]) -> None:
    before = asdict(load_device("s20"))["gpu"]
    better = altered("s20", **{figure: 2 * before[figure] for figure in figures})
    for model in sample_architectures(SamplingRange(), 8, 0):
        for block in {*plan_architecture(model), *plan_architecture(model, False)}:
            assert better.block_ms(block, 8) <= gpu("s20").block_ms(block, 8) * (1 + 1e-9)


def test_lanes_and_groups_that_are_not_full_take_as_long_as_full_ones() -> None:
    """The S20 has 1024 lanes, as many as 128 rows of 256 columns have tiles of 4 x 8; a group has 16 x 8 tiles."""
    device = altered("s20", launch_us=1e-6)
    half, full, one_more, group_more, twice = (
        device.block_ms(make_block("gemm", {"rows": 128, "inner": 2048, "columns": columns}, ("bias",)), 8)
        for columns in (128, 256, 264, 384, 512)
    )
    assert half == pytest.approx(full, rel=1e-3)
    assert twice == pytest.approx(2 * full, rel=1e-3)
    assert one_more == pytest.approx(group_more, rel=1e-3)
    assert group_more == pytest.approx(1.5 * full, rel=1e-3)
