"""A phone whose clock falls by 30% and comes back is profiled about as well as one whose clock stays where it is.

Real aarch64 runners go round under qemu, at the speed of an analytic phone.
"""

from __future__ import annotations

from functools import partial
from statistics import mean, median

import numpy as np
import pytest

from data.store import MeasurementStore
from fusion import build_suite, plan_architecture
from fusion.block import make_block
from profiling import DeviceState, RawSamples, Round, Visit, open_device
from profiling.session import Care
from search.profiles import profile_pipeline
from search.profiles.profile_pipeline import ProfilePlan, plan_profile, profile
from surrogate import DevicePredictor
from tests.profiling.adb_double.descriptions import s20
from tests.profiling.adb_double.phone import PhoneDouble
from tests.profiling.adb_double.speed import Speed, with_fine_clocks
from tests.profiling.test_phones import SPEC, Attach

VISITS, THREADS, SEQ_LEN = 10, 2, 8
# As many visits whatever the time: equal seeds then give equal rows.
CARE = Care(runs=3, least_visits=VISITS, most_visits=VISITS)
SEEDS, FALL, MOST_TIMES = (1, 2, 3), 0.3, 1.5


def test_times_clock_and_temperature_tell_the_same_story(attach: Attach, qemu: str) -> None:
    phone = attach(with_fine_clocks(s20()))
    device = open_device(SPEC)
    blocks = [make_block("gemm", {"rows": 8, "inner": 32, "columns": 64 * n}, ("bias",)) for n in (1, 2)]
    runner = build_suite(blocks, device.machine)
    speed = phone.speed = Speed(blocks, fall=FALL, period=24)
    work = Round(tuple(Visit(block.hash, (block,), 1, 9) for block in blocks * 3), threads=2, runner=runner)
    device.state()
    made: list[tuple[tuple[RawSamples, ...], DeviceState]] = [(device.go_round(work), device.state()) for _ in range(4)]
    device.close()
    known = {block.hash: speed.undisturbed_ms([block.hash], 2)[0] for block in blocks}
    raws = [raw for round_, _ in made for raw in round_]
    seen = [known[raw.block_ms[0][0]] / median(raw.samples_ms) for raw in raws]
    assert seen == pytest.approx(speed.shares, rel=0.05)
    assert min(speed.shares) < 1 - 0.9 * FALL and min(speed.shares[0], speed.shares[-1]) > 1 - 0.1 * FALL
    full_mhz = (1804.8 + 2419.2 + 2841.6) / 3
    for number, (_, state) in enumerate(made):
        meanwhile = speed.shares[max(0, 6 * number - 1) : 6 * number + 7]
        assert state.clock_mhz is not None
        assert min(meanwhile) - 0.03 < state.clock_mhz / full_mhz < max(meanwhile) + 0.03
    warmth = [state.temperature_c or 0.0 for _, state in made]
    assert int(np.argmax(warmth)) in (1, 2) and min(warmth) >= 31.2 and max(warmth) > 32.0


def test_equal_seeds_give_equal_times() -> None:
    block = make_block("gemm", {"rows": 8, "inner": 32, "columns": 64}, ("bias",))
    printed = (
        b'{"threads": 2, "blocks": [{"hash": "%s"}], "warmups_ms": [9.0], "samples_ms": [8.0, 7.0]}\n'
        % block.hash.encode()
    )
    first, twin, other = (Speed([block], fall=FALL, period=8, seed=seed).retimed(3 * printed) for seed in (1, 1, 2))
    assert first == twin and first != other and first[0].count(b"\n") == 3


@pytest.fixture
def plan(monkeypatch: pytest.MonkeyPatch) -> ProfilePlan:
    """Few and small models, since qemu is slow: all that are measured."""
    space = partial(
        profile_pipeline.SamplingRange,
        layers=(1, 4),
        hidden=(32, 64),
        sparse_hidden=(),
        head_size=(16, 32),
        intermediate_ratio=(1.0, 2.0),
        vocab_size=64,
    )
    monkeypatch.setattr(profile_pipeline, "SamplingRange", space)
    monkeypatch.setattr(profile_pipeline, "FIT_MODELS", 16)
    monkeypatch.setattr(profile_pipeline, "HELD_OUT_MODELS", 8)
    return plan_profile(space(seq_len=SEQ_LEN), None, 0)


def true_error(predictor: DevicePredictor, plan: ProfilePlan, speed: Speed) -> float:
    """Mean absolute error of the predictor on the models kept aside, but for the clock that all of them share."""
    predicted = predictor.predict(plan.held_out)
    true = [
        sum(speed.undisturbed_ms([block.hash for block in plan_architecture(each)], THREADS)) for each in plan.held_out
    ]
    ratios = np.log(predicted / np.array(true))
    return float(np.abs(ratios - np.median(ratios)).mean())


def profiled(phone: PhoneDouble, plan: ProfilePlan, store: MeasurementStore, fall: float, seed: int) -> float:
    """Profiles a phone; the error of its predictor."""
    blocks = {block for model in plan.models for block in plan_architecture(model)}
    phone.speed = Speed(blocks, fall=fall, period=VISITS * len(plan.models), seed=seed)
    device = open_device(SPEC, phone.serial)
    made = profile(device, store, threads=THREADS, seq_len=SEQ_LEN, care=CARE)
    device.close()
    return true_error(made.predictor, plan, phone.speed)


def test_a_drifting_phone_is_profiled_as_well_as_a_steady_one(
    attach: Attach, qemu: str, plan: ProfilePlan, store: MeasurementStore
) -> None:
    # A single profile's error is .2 to .9% by chance, so each kind is profiled three times. The phones are of
    # different builds, so that no phone's rows count for another.
    errors = {
        fall: [
            profiled(attach(with_fine_clocks(s20(f"{9 + seed}.{fall:g}"))), plan, store, fall, seed) for seed in SEEDS
        ]
        for fall in (0.0, FALL)
    }
    assert mean(errors[FALL]) < MOST_TIMES * mean(errors[0.0])
