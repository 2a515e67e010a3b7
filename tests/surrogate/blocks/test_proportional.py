"""Latency believed without knowing of fusion: in proportion to operations, or to models that are not fused."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from data.architecture import Architecture
from data.device_spec import load_device
from data.errors import InputError
from data.measurement import Measurement
from data.store import MeasurementStore
from fusion import plan_architecture
from fusion.target import TARGETS
from profiling import open_device
from profiling.processor_latency import core_speeds
from profiling.sampling import SamplingRange, sample_architectures
from profiling.session import Care, measure_until_steady
from profiling.simulated import SimulatedDevice
from surrogate import DevicePredictor
from surrogate.blocks.features import Setting, base_features, block_features
from surrogate.blocks.plans import count_blocks
from surrogate.blocks.proportional import ProportionalPredictor, flops

TEACHER = Architecture(6, 384, 12, 1536)
NEW = sample_architectures(SamplingRange(), 30, 77)
CARE = Care(least_visits=4, most_visits=4)
SPEEDS = core_speeds(load_device("s20"), TARGETS["aarch64-neon"], 8)


@pytest.fixture(scope="module")
def device() -> SimulatedDevice:
    found = open_device(load_device("s20"), simulated=True)
    assert isinstance(found, SimulatedDevice)
    return found


@pytest.fixture(scope="module")
def store_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("store") / "m.sqlite"


def timed(
    device: SimulatedDevice, path: Path, models: Sequence[Architecture], fuse: bool = True
) -> Sequence[Measurement]:
    with MeasurementStore.open(path) as store:
        return measure_until_steady(device, models, threads=8, store=store, usual_s=60, care=CARE, fuse=fuse)


@pytest.fixture(scope="module")
def fused(device: SimulatedDevice, store_path: Path) -> DevicePredictor:
    rows = timed(device, store_path, sample_architectures(SamplingRange(), 24, 0))
    return DevicePredictor.fit(rows, target=TARGETS["aarch64-neon"], speeds=SPEEDS)


@pytest.fixture(scope="module")
def unfused(device: SimulatedDevice, store_path: Path, fused: DevicePredictor) -> DevicePredictor:
    """In the store that holds the same models fused: the two are kept apart."""
    rows = timed(device, store_path, sample_architectures(SamplingRange(), 24, 0), fuse=False)
    return DevicePredictor.fit(rows, target=TARGETS["aarch64-neon"], fuse=False, speeds=SPEEDS)


def truth(device: SimulatedDevice, models: Sequence[Architecture], fuse: bool) -> np.ndarray:
    return np.array([sum(device.block_ms(block, 8) for block in plan_architecture(model, fuse)) for model in models])


def test_models_without_fusion_have_a_predictor_of_their_own(
    device: SimulatedDevice, fused: DevicePredictor, unfused: DevicePredictor, tmp_path: Path
) -> None:
    true_ms = truth(device, NEW, fuse=False)
    assert (true_ms > 1.2 * truth(device, NEW, fuse=True)).all()
    assert np.abs(unfused.predict(NEW) / true_ms - 1).mean() < 0.03
    assert unfused.origin.compiler == f"{fused.origin.compiler}, without fusion"
    assert not unfused.outside(NEW).all() and fused.fused and not unfused.fused
    unfused.save(tmp_path / "p")
    loaded = DevicePredictor.load(tmp_path / "p")
    assert (loaded.fused, loaded.judged, loaded.ranges) == (False, unfused.judged, unfused.ranges)
    np.testing.assert_array_equal(loaded.predict(NEW), unfused.predict(NEW))
    # From the blocks of fused models alone, most of which no plan without fusion holds, they are predicted poorly.
    counted = count_blocks(NEW, fuse=False)
    guess = counted.totals(fused.blocks.predict(counted.blocks))
    assert 0.05 < np.abs(guess / true_ms - 1).mean() < 0.5


def test_timings_of_the_one_do_not_teach_the_other(
    device: SimulatedDevice, fused: DevicePredictor, unfused: DevicePredictor, store_path: Path
) -> None:
    rows = timed(device, store_path, NEW[:2], fuse=False)
    for predictor in (fused, ProportionalPredictor.of(fused, flops, TEACHER)):
        with pytest.raises(InputError, match="own device"):
            predictor.learned(rows)
    assert unfused.learned(rows).learned_residuals


@pytest.mark.parametrize("head", ["sequence", "tokens", "embedding"])
def test_blocks_are_counted_without_fusion_as_they_are_planned(head: str) -> None:
    models = [
        replace(model, layers=layers, head=head, labels=1)
        for model in (*NEW[:2], Architecture(2, 64, 1, 64))
        for layers in (1, 2, 3, 5)
    ]
    counted = count_blocks(models, fuse=False)
    totals = counted.totals(np.array([block.cost.bytes_moved for block in counted.blocks], dtype=float))
    expected = [sum(block.cost.bytes_moved for block in plan_architecture(model, False)) for model in models]
    np.testing.assert_allclose(totals, expected)
    setting = Setting(TARGETS["aarch64-neon"], 8)
    assert np.isfinite(block_features(counted.blocks, setting)).all()
    assert (base_features(counted.blocks, setting) >= 0).all()


def test_operations_are_the_same_however_they_are_fused() -> None:
    apart = [sum(block.cost.flops for block in plan_architecture(model, False)) for model in NEW]
    np.testing.assert_allclose(flops(NEW), apart, rtol=1e-3)


@pytest.mark.parametrize("measure", ["flops", "unfused"])
def test_it_agrees_with_the_profile_in_the_teacher_and_goes_by_its_measure_elsewhere(
    measure: str, device: SimulatedDevice, fused: DevicePredictor, unfused: DevicePredictor
) -> None:
    found = flops if measure == "flops" else unfused.predict
    blind = ProportionalPredictor.of(fused, found, TEACHER)
    assert blind.predict([TEACHER])[0] == pytest.approx(fused.predict([TEACHER])[0])
    relative = blind.predict(NEW) / blind.predict([TEACHER])
    np.testing.assert_allclose(relative, found(NEW) / found([TEACHER]))
    # It is blind: on this phone small models gain more by fusion than the teacher, and have more beside operations.
    smaller = blind.predict(NEW) < blind.anchor_ms / 4
    ratio = blind.predict(NEW)[smaller] / truth(device, NEW, fuse=True)[smaller]
    assert (ratio < 1).mean() > 0.9 if measure == "flops" else (ratio > 1).mean() > 0.9
    assert blind.errors.n == fused.errors.n and blind.errors.mape > 2 * fused.errors.mape
    assert [name for name, _, _ in blind.held_out] == [model.name for model in fused.judged]


def test_its_intervals_are_as_wide_as_it_is_wrong(device: SimulatedDevice, fused: DevicePredictor) -> None:
    blind = ProportionalPredictor.of(fused, flops, TEACHER)
    true_ms = truth(device, NEW, fuse=True)
    low, high = blind.interval(NEW, 0.9)
    assert ((low <= true_ms) & (true_ms <= high)).mean() >= 0.8
    narrow, wide = (predictor.interval(NEW, 0.9) for predictor in (fused, blind))
    assert ((wide[1] - wide[0]) > (narrow[1] - narrow[0])).all()
    budget = float(blind.predict(NEW[:1])[0])
    assert blind.probability_within(NEW[:1], budget)[0] == pytest.approx(0.5)


def test_timings_give_the_teachers_own_latency_and_a_level_and_no_more(
    device: SimulatedDevice, fused: DevicePredictor, store_path: Path
) -> None:
    blind = ProportionalPredictor.of(fused, flops, TEACHER)
    (teacher_ms,) = truth(device, [TEACHER], fuse=True)
    anchored = blind.learned(timed(device, store_path, [TEACHER]))
    assert anchored.predict([TEACHER])[0] == pytest.approx(teacher_ms, rel=0.03)
    assert anchored.level == 1.0 and blind.learned([]) is blind
    small = sorted(NEW, key=lambda model: model.encoder_parameters)[:6]
    learned = anchored.learned(timed(device, store_path, [TEACHER, *small]))
    assert learned.level > 1.05 and len(learned.learned_residuals) == 6
    np.testing.assert_allclose(learned.predict(NEW) / learned.level, anchored.predict(NEW), rtol=0.02)
    true_ms = truth(device, small, fuse=True)
    before, after = (np.abs(each.predict(small) / true_ms - 1).mean() for each in (anchored, learned))
    assert after < before
    # What the held-out models were off by in common is no doubt any more.
    (low, high), (learned_low, learned_high) = (each.spread.relative_interval() for each in (anchored, learned))
    assert learned_high - learned_low < high - low
