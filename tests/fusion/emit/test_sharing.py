"""Tiles as they are counted for latencies are those of the emitted code."""

from __future__ import annotations

import pytest

from fusion.block import make_block
from fusion.emit.c import emit_block
from fusion.emit.c.sharing import makespan, tile_count
from fusion.target import Target, target_named
from tests.fusion.emit.test_generated_code import CASES, NARROW_CASES

BLOCKS = CASES | NARROW_CASES
TARGETS = [target_named(name) for name in ("x86_64-avx2", "x86_64-avx512-vnni", "aarch64-dotprod")]


@pytest.mark.parametrize(
    ("name", "target"),
    [
        (name, target)
        for name, block in BLOCKS.items()
        for target in TARGETS
        if block.precision != "fp16" or target.half
    ],
)
def test_tiles_are_counted_as_they_are_emitted(name: str, target: Target) -> None:
    assert tile_count(BLOCKS[name], target) == emit_block(BLOCKS[name], target).tiles


def test_a_slow_core_may_end_the_last_tile() -> None:
    assert makespan([1.0, 1.0], 5) == 3.0
    assert makespan([1.0, 5.0], 4) == 5.0


@pytest.mark.parametrize(
    ("heads", "rows", "tiles"), [(2, 128, 4), (4, 128, 16), (12, 128, 24), (4, 64, 4), (3, 256, 24)]
)
def test_phones_cores_share_the_attention_of_few_heads_in_short_blocks(heads: int, rows: int, tiles: int) -> None:
    sizes = {"rows": rows, "keys": rows, "heads": heads, "head_size": 64}
    block = make_block("attention", sizes, (), {"scale": 0.125})
    assert tile_count(block, target_named("aarch64-dotprod")) == tiles
