"""The integer kernels against NumPy's int64, bit for bit, for every target: on this machine, or in qemu."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from fusion import host_target, make_block
from fusion.block import NARROW_RESULT
from fusion.emit.c import emit_block
from fusion.emit.c.int8_packing import column_corrections, int8_matrix_bytes, pack_int8, quantise_weights
from fusion.target import TARGETS, Target
from tests.fusion.emit.int8_probe import Product, build_probe, compile_units, row_case, run_probe

INNER = (1, 2, 3, 4, 5, 8, 63, 64, 129, 768, 4096)
TILES = ((1, 1), (1, 4), (3, 2), (4, 1), (5, 2))
# Columns of a quantised row, and the bytes that are written.
ROWS = ((1, 64), (7, 64), (64, 64), (100, 128), (130, 320), (768, 768))


def within_limit(weights: np.ndarray, limit: int) -> np.ndarray:
    """The weights, but for neighbours of one sign that are above the limit, which become it: the worst that may be."""
    first, second = weights[0:-1:2], weights[1::2]
    above = (np.sign(first) == np.sign(second)) & (np.abs(first + second) > limit)
    second[above] = (np.sign(first) * (limit - np.abs(first)))[above]
    return weights


def products(target: Target) -> list[Product]:
    """Of every tile and inner size: numbers at random, among them a row and columns at the ends of their range."""
    random = np.random.default_rng(5)
    low, high = (0, 255) if target.int8_offset else (-127, 127)
    found = []
    for rows, vectors in TILES:
        for inner in INNER:
            columns = vectors * target.lanes
            stored = random.integers(low, high + 1, (rows, inner))
            stored[0], stored[-1, ::2] = high, low
            weights = random.integers(-128, 128, (inner, columns))
            weights[:, 0], weights[:, 1], weights[:, 2] = -128, 127, np.resize([127, -128], inner)
            if target.int8_pair_limit:
                weights = within_limit(weights, target.int8_pair_limit)
            scales = random.uniform(1e-3, 3, rows + columns).astype(np.float32)
            kind = np.uint8 if target.int8_offset else np.int8
            found.append(Product(stored.astype(kind), weights.astype(np.int8), scales[:rows], scales[rows:]))
    return found


def float_rows() -> list[tuple[int, np.ndarray]]:
    """(bytes to write, numbers) of rows of every length: at random, on ties, nothing, next to nothing, not finite."""
    random = np.random.default_rng(6)
    found = []
    for columns, padded in ROWS:
        ties = (random.integers(-127, 127, columns) + 0.5).astype(np.float32)
        ties[0] = -127
        numbers = random.normal(0, 3, columns).astype(np.float32)
        spoilt = [np.where(np.arange(columns) == columns // 2, bad, numbers) for bad in (np.nan, np.inf, -np.inf)]
        found += [(padded, row) for row in (numbers, ties, 0 * numbers, numbers * np.float32(1e-38), *spoilt)]
    return [(padded, row.astype(np.float32)) for padded, row in found]


def expected_row(row: np.ndarray, padded: int, target: Target) -> tuple[np.float32, np.ndarray]:
    """The scale of a row, and its bytes."""
    most, whole = np.abs(row).max(), np.zeros(padded)
    if most < 1e-36:
        return np.float32(0), (whole + target.int8_offset).astype(np.uint8)
    whole[: row.size] = np.rint(row * (np.float32(127) / most))
    return most / np.float32(127), (whole + target.int8_offset).astype(np.int64).astype(np.uint8)


@pytest.mark.parametrize("name", TARGETS)
def test_sums_equal_int64_and_rows_are_rounded_to_nearest(name: str, tmp_path: Path) -> None:
    target = TARGETS[name]
    tiles, rows = products(target), float_rows()
    cases = [*(tile.case(target) for tile in tiles), *(row_case(row, padded) for padded, row in rows)]
    results = run_probe(build_probe(target, TILES, ROWS, tmp_path), target, cases, tmp_path)
    for tile in tiles:
        shape = (len(tile.rows), tile.weights.shape[1])
        exact = tile.rows.astype(np.int64) @ tile.weights + column_corrections(tile.weights, target.int8_offset)
        sums, result = (np.frombuffer(results.read(4 * exact.size), kind).reshape(shape) for kind in ("i4", "f4"))
        assert np.array_equal(sums, exact), (shape, tile.rows.shape[1])
        assert np.array_equal(result, exact.astype(np.float32) * (tile.scales * tile.row_scales[:, None]))
    for padded, row in rows:
        scale, stored = np.frombuffer(results.read(4), np.float32)[0], np.frombuffer(results.read(padded), np.uint8)
        if not np.isfinite(row).all():
            assert np.isnan(scale) if np.isnan(row).any() else scale == np.inf
            continue
        expected, numbers = expected_row(row, padded, target)
        assert scale == expected
        assert np.array_equal(stored, numbers), (row.size, np.flatnonzero(stored != numbers))
    assert results.read() == b""


def test_every_end_of_a_row_compiles_with_a_narrow_copy(tmp_path: Path) -> None:
    ends = {"l2_norm": {"inside": 0.0, "floor": 1e-12, "outside": 0.0}, "layer_norm": {"epsilon": 1e-5}}
    sources = []
    for step, attributes in ends.items():
        block = make_block("rowwise", {"rows": 20, "columns": 70}, (step,), {**attributes, NARROW_RESULT: "int8"})
        sources.append(tmp_path / f"{step}.c")
        sources[-1].write_text(emit_block(block, host_target()).source)
    compile_units(host_target(), sources)
    assert all(source.with_suffix(".o").stat().st_size for source in sources)


def test_weights_are_quantised_by_column_to_the_nearest_whole_number() -> None:
    matrix = np.random.default_rng(7).normal(0, 1, (300, 40)).astype(np.float32)
    matrix[:, 3] = 0
    quantised, scales = quantise_weights(matrix, None)
    assert (quantised.dtype, scales.dtype) == (np.int8, np.float32)
    largest = np.abs(matrix).max(axis=0)
    assert np.array_equal(scales, largest / np.float32(127))
    assert np.array_equal(np.abs(quantised).max(axis=0), np.where(largest > 0, 127, 0))
    assert np.abs(quantised * scales - matrix).max(axis=0) == pytest.approx(scales / 2, rel=0.2)


def test_weights_that_were_quantised_keep_their_whole_numbers() -> None:
    random = np.random.default_rng(8)
    whole = random.integers(-128, 128, (200, 60))
    whole[:, 0], whole[:, 1] = random.integers(-3, 4, 200), random.integers(-128, 1, 200)
    scales = random.uniform(1e-4, 1e-2, 60).astype(np.float32)
    matrix = scales * whole.astype(np.float32)
    quantised, found = quantise_weights(matrix, None)
    assert np.array_equal(found * quantised.astype(np.float32), matrix)
    # Through a division and a multiplication the grid is blurred, and still the same.
    blurred = matrix / np.float32(3) * np.float32(3)
    assert (blurred != matrix).any()
    assert np.array_equal(quantise_weights(blurred, None)[0], quantised)


@pytest.mark.parametrize("limit", [None, 128])
@pytest.mark.parametrize("spread", ["normal", "uniform", "grid"])
def test_pairs_keep_to_the_limit_at_little_cost(spread: str, limit: int | None) -> None:
    random = np.random.default_rng(10)
    matrix = random.normal(0, 1, (301, 40)) if spread == "normal" else random.uniform(-1, 1, (301, 40))
    matrix = matrix if spread != "grid" else np.rint(matrix * 127) / 64
    quantised, scales = quantise_weights(matrix.astype(np.float32), limit)
    first, second = quantised[0:-1:2].astype(int), quantised[1::2].astype(int)
    above = (first * second > 0) & (np.abs(first + second) > 128)
    assert above.any() == (limit is None)
    error = np.sqrt(np.mean((quantised * scales - matrix) ** 2, axis=0) / np.mean(matrix**2, axis=0))
    # Twice the scale would keep to the limit as well, at twice the rounding.
    twice = 2 * np.abs(matrix).max(axis=0) / 127 / np.sqrt(12) / np.sqrt(np.mean(matrix**2, axis=0))
    assert error.mean() < twice.mean() * (0.55 if limit is None else {"normal": 0.75}.get(spread, 1.02))


@pytest.mark.parametrize(("inner", "columns", "group"), [(1, 1, 4), (10, 37, 4), (10, 37, 8), (64, 96, 4)])
def test_packed_weights_lie_as_the_kernels_read_them(inner: int, columns: int, group: int) -> None:
    quantised = np.random.default_rng(9).integers(-128, 128, (inner, columns)).astype(np.int8)
    panel, lanes = 16, 8
    packed = pack_int8(quantised, panel, lanes, group)
    assert packed.size == int8_matrix_bytes(inner, columns, lanes, group)
    groups, first, found = -(-inner // group), 0, np.zeros((-(-inner // group) * group, -(-columns // lanes) * lanes))
    while first < found.shape[1]:
        width = min(panel, found.shape[1] - first)
        part, packed = packed[: groups * width * group], packed[groups * width * group :]
        found[:, first : first + width] = part.reshape(groups, width, group).transpose(0, 2, 1).reshape(-1, width)
        first += width
    assert np.array_equal(found[:inner, :columns], quantised)
    assert not found[inner:].any() and not found[:, columns:].any()
