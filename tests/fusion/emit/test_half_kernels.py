"""The kernels of products in half against NumPy's half, bit for bit, in qemu; and against what they stand for."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.errors import InputError
from fusion.block import make_block
from fusion.emit.c import emit_block
from fusion.emit.c.half_packing import HALF_DEPTH, HALF_STEP, half_matrix_numbers, halve_weights, pack_half
from fusion.emit.c.narrow_tiling import half_register_tiles
from fusion.emit.layout import ALIGNMENT, round_up
from fusion.target import TARGETS, Target, target_named
from tests.fusion.emit.int8_probe import build_probe, row_case, run_probe

SOURCE = Path(__file__).with_name("half_probe.c")
HALF = [target for target in TARGETS.values() if target.half]
INNER = (1, 7, 8, 63, 128, 129, 768, 4096)
TILES = (*half_register_tiles(), (8, 3), (7, 4), (3, 1), (1, 8))
# Columns of a row, and the bytes that are written.
ROWS = ((1, 64), (7, 64), (32, 64), (33, 128), (768, 1536))
LARGEST = np.float32(65504)
# A rounding to half, relative, and of numbers too small for that.
UNIT, LEAST = 2.0**-11, 2.0**-25


@dataclass(frozen=True)
class Product:
    """A tile of a product: half rows [rows, inner], fp32 weights [inner, columns]."""

    rows: np.ndarray
    weights: np.ndarray

    def case(self, target: Target) -> bytes:
        """The product as the program reads it; numbers between the rows are none of theirs."""
        (rows, inner), columns = self.rows.shape, self.weights.shape[1]
        depth = round_up(inner, HALF_STEP)
        stored = np.full((rows, depth + 24), 77, np.float16)
        stored[:, :inner], stored[:, inner:depth] = self.rows, 0
        halves, scales = halve_weights(self.weights)
        head = np.array([0, rows, columns // target.lanes, depth, stored.strides[0]], np.int32)
        return b"".join(part.tobytes() for part in (head, stored, pack_half(halves, columns, target.lanes), scales))

    def expected(self) -> np.ndarray:
        """fp32 [rows, columns] by the definition: multiply-adds with one rounding each, in half over ``HALF_DEPTH``."""
        halves, scales = halve_weights(self.weights)
        rows, weights = self.rows.astype(np.float64), halves.astype(np.float64)
        total = np.zeros((len(rows), weights.shape[1]), np.float32)
        for first in range(0, len(weights), HALF_DEPTH):
            sums = np.zeros(total.shape, np.float16)
            for k in range(first, min(first + HALF_DEPTH, len(weights))):
                sums = (sums + rows[:, k, None] * weights[k]).astype(np.float16)
            total += sums
        return total * scales

    def bound(self) -> np.ndarray:
        """How far from the exact product it may be [rows, columns]: each product is rounded with its weight and in up
        to ``HALF_DEPTH`` sums (Higham, Accuracy and Stability of Numerical Algorithms, 3.1)."""
        magnitudes = np.abs(self.rows).astype(np.float64) @ np.abs(self.weights).astype(np.float64)
        roundings, scales = (HALF_DEPTH + 2) * UNIT, halve_weights(self.weights)[1]
        small = LEAST * (len(self.weights) + np.abs(self.rows).sum(axis=1, dtype=np.float64))
        return magnitudes * roundings / (1 - roundings) + small[:, None] * scales


def products(target: Target) -> list[Product]:
    """Of every tile and inner size: numbers at random, among them a row at the end of half's range, and columns of one
    sign, with a weight above all others, next to nothing, larger than half, and nothing."""
    random = np.random.default_rng(5)
    found = []
    for rows, vectors in TILES:
        for inner in INNER:
            shape = (inner, vectors * target.lanes)
            weights = random.normal(0, 0.05, shape)
            weights[:, 0] = np.abs(weights[:, 0]).max()
            weights[0, 1], weights[:, 2], weights[:, 3] = 30, weights[:, 2] * 1e-20, weights[:, 3] * 1e9
            operand = random.normal(0, 1, (rows, inner))
            operand[-1] = LARGEST
            found.append(Product(operand.astype(np.float16), weights.astype(np.float32)))
    return found


def float_rows() -> list[tuple[int, np.ndarray]]:
    """(bytes to write, numbers) of rows of every length: at random, beyond half's range, next to nothing."""
    random = np.random.default_rng(6)
    rows = [(padded, random.normal(0, size, columns)) for columns, padded in ROWS for size in (3, 1e5, 1e-7)]
    edges = [65504, 65519, 65520, 6e4, 3.4e38, np.inf, np.nan]
    rows += [(64, np.resize(np.array([*edges, *np.negative(edges)]), 32))]
    return [(padded, row.astype(np.float32)) for padded, row in rows]


@pytest.mark.parametrize("target", HALF, ids=lambda target: target.name)
def test_products_and_rows_are_what_numpy_makes_of_half(target: Target, tmp_path: Path) -> None:
    tiles, rows = products(target), float_rows()
    cases = [*(tile.case(target) for tile in tiles), *(row_case(row, padded) for padded, row in rows)]
    results = run_probe(build_probe(target, TILES, ROWS, tmp_path, SOURCE), target, cases, tmp_path)
    for tile in tiles:
        expected = tile.expected()
        found = np.frombuffer(results.read(expected.nbytes), np.float32).reshape(expected.shape)
        assert np.isfinite(found).all()
        assert np.array_equal(found, expected), (found.shape, tile.rows.shape[1])
        exact = tile.rows.astype(np.float64) @ tile.weights.astype(np.float64)
        assert (np.abs(found - exact) <= tile.bound()).all()
    for padded, row in rows:
        found = np.frombuffer(results.read(padded), np.float16)
        finite = np.where(np.isfinite(row), row.clip(-LARGEST, LARGEST), np.float32(np.nan))
        assert np.array_equal(found[: row.size], finite.astype(np.float16), equal_nan=True), row.size
        assert not found[row.size :].any()
    assert results.read() == b""


@given(st.integers(-30, 30), st.integers(1, 300), st.integers(1, 12), st.integers(0, 9))
def test_weights_of_any_size_keep_eleven_bits_and_cannot_overflow(
    size: int, inner: int, columns: int, seed: int
) -> None:
    matrix = np.random.default_rng(seed).normal(0, 10.0**size, (inner, columns)).astype(np.float32)
    halves, scales = halve_weights(matrix)
    assert (np.frexp(scales)[0] == 0.5).all()
    worst = [np.abs(halves[k : k + HALF_DEPTH], dtype=np.float64).sum(axis=0) for k in range(0, inner, HALF_DEPTH)]
    assert (np.max(worst, axis=0) * LARGEST * (1 + UNIT) ** HALF_DEPTH < 65520).all()
    assert (np.max(worst, axis=0) > 0.45).all()
    errors = np.abs(halves * scales.astype(np.float64) - matrix)
    assert (errors <= np.maximum(np.abs(matrix) * UNIT, LEAST * scales)).all()


@pytest.mark.parametrize(("inner", "columns"), [(1, 1), (10, 37), (64, 96)])
def test_packed_weights_lie_as_the_kernels_read_them(inner: int, columns: int) -> None:
    halves = np.random.default_rng(9).normal(0, 1, (inner, columns)).astype(np.float16)
    panel, lanes = 16, 4
    packed = pack_half(halves, panel, lanes)
    depth, width = round_up(inner, HALF_STEP), round_up(columns, lanes)
    assert packed.size == half_matrix_numbers(inner, columns, lanes) == depth * width
    for first in range(0, width, panel):
        part = packed[depth * first : depth * min(first + panel, width)].reshape(depth, -1)
        found = halves[:, first : first + panel]
        assert np.array_equal(part[:inner, : found.shape[1]], found)
        assert not part[inner:].any() and not part[:, found.shape[1] :].any()


def test_other_targets_refuse_it_in_one_line() -> None:
    block = make_block("gemm", {"rows": 4, "inner": 16, "columns": 16}, (), {"narrow_operand": "0,4"}, "fp16")
    for block_ in (block, make_block("rowwise", {"rows": 4, "columns": 16}, ("tanh",), {"narrow_result": "fp16"})):
        with pytest.raises(InputError, match="aarch64-lse does not calculate in half: code for aarch64-i8mm, aarch"):
            emit_block(block_, target_named("aarch64-lse"))
    assert ALIGNMENT % (2 * HALF_STEP) == 0
