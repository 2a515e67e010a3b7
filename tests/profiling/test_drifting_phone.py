"""A phone whose clock falls by 30% and comes back: real aarch64 runners go round under qemu, at an analytic speed."""

from __future__ import annotations

from statistics import median

import numpy as np
import pytest

from fusion import build_suite
from fusion.block import make_block
from profiling import DeviceState, RawSamples, Round, Visit, open_device
from tests.profiling.adb_double.descriptions import s20
from tests.profiling.adb_double.speed import Speed, with_fine_clocks
from tests.profiling.test_phones import SPEC, Attach

FALL = 0.3


def test_times_clock_and_temperature_tell_the_same_story(attach: Attach, qemu: str) -> None:
    phone = attach(with_fine_clocks(s20()))
    device = open_device(SPEC)
    blocks = [make_block("gemm", {"rows": 8, "inner": 32, "columns": 64 * n}, ("bias",)) for n in (1, 2)]
    runner = build_suite(blocks, device.target)
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
