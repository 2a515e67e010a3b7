"""Analytic ARM boards in several settings each: threads at two clocks, with drift, sessions and what no feature tells.

Their constants were set by what is known of published tables of that kind, not by our predictors: from 20, 50 and 600
rows a log-linear ridge should miss by about 7.0, 5.5 and 4.6% and XGBoost by 38, 17 and 4.7%, and between settings one
fitted factor by 4 to 12%.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from surrogate.tables.table import TARGET

# Deviations in the logarithm: of sessions, and of a model by itself, shared by all settings and of each.
_SESSIONS, _SESSION_DEVIATION, _SHARED_PART = 6, 0.01, 0.7
# How much of the drift is left at the next row, and the freedom of the noise's heavy-tailed law.
_PERSISTENCE, _FREEDOM = 0.97, 5
# A slow clock, as a share of the fast one.
_SLOW = 0.6


@dataclass(frozen=True)
class Kit:
    """A board in one setting; rates are of one core, fp32.

    ``short_inner`` is the reduction length at half the rate, ``overlap`` 1 where computing and moving bytes take turns,
    ``throttle`` the slowing of long runs; ``own``, ``noise`` and ``drift`` are deviations of the logarithm.
    """

    name: str
    gflops: float
    core_gbps: float
    memory_gbps: float
    cache_kib: float
    operator_us: float
    elements_per_us: float
    short_inner: float
    tile: tuple[int, int]
    overlap: float
    throttle: float
    own: float
    noise: float
    drift: float
    threads: int = 1


_P = Kit("kit P", 6.0, 1.8, 3.2, 512, 25, 180, 40, (4, 8), 2, 0.05, 0.02, 0.02, 0.012)
_Q = Kit("kit Q", 16.0, 4.5, 9.0, 1024, 12, 420, 24, (8, 8), 1.3, 0.12, 0.025, 0.022, 0.015)
_R = Kit("kit R", 38.0, 9.0, 20.0, 4096, 7, 1100, 64, (8, 12), 3, 0.0, 0.02, 0.025, 0.01)
# Each kit's sequence lengths, batches, and settings (threads, clock).
_ALL = tuple((threads, clock) for clock in (1.0, _SLOW) for threads in (1, 2, 4))
KITS = (
    (_P, (32, 64, 128, 256), (1,), _ALL),
    (_Q, (64, 128), (1, 2), ((1, 1.0), (4, 1.0), (2, _SLOW))),
    (_R, (32, 64, 128, 256), (1,), ((1, 1.0), (4, 1.0), (2, _SLOW))),
)


def kit_latencies(rows: int, seed: int = 0) -> Iterator[tuple[str, str, pd.DataFrame, np.ndarray]]:
    """(kit, setting, rows, latencies in another session) of every setting, and one table of several settings: it names
    their threads and not their clocks, as tables of others do."""
    for index, (kit, lengths, batches, settings) in enumerate(KITS):
        random = np.random.default_rng([seed, index, 3])
        models = _models(random, rows, lengths, batches)
        shared = random.standard_normal(rows)
        tables = []
        for threads, clock in settings:
            setting = _at(kit, threads, clock)
            first, again, sessions = _measured(setting, models, shared, random)
            tables.append(models.assign(session=sessions, **{TARGET: first}))
            yield kit.name, setting.name, tables[-1], again
        if kit is _R:
            third = np.arange(rows) % len(settings)
            parts = [
                table[third == part].assign(threads=threads)
                for part, (table, (threads, _)) in enumerate(zip(tables, settings, strict=True))
            ]
            yield (
                f"{kit.name} pooled",
                f"{kit.name}, threads and unstated clocks in one",
                pd.concat(parts),
                np.array([]),
            )


def _at(kit: Kit, threads: int, clock: float) -> Kit:
    """Memory slows down less than the cores with the clock."""
    return replace(
        kit,
        name=f"{kit.name}, {threads} threads, {'fast' if clock == 1 else 'slow'} clock",
        threads=threads,
        gflops=kit.gflops * clock,
        core_gbps=kit.core_gbps * clock**0.4,
        operator_us=kit.operator_us / clock,
        elements_per_us=kit.elements_per_us * clock,
    )


def _models(random: np.random.Generator, rows: int, lengths: tuple[int, ...], batches: tuple[int, ...]) -> pd.DataFrame:
    heads = random.choice([4, 6, 8, 12], rows)
    hidden = heads * random.choice([32, 64], rows)
    return pd.DataFrame(
        {
            "layers": random.integers(2, 13, rows),
            "hidden": hidden,
            "heads": heads,
            "intermediate": hidden * random.choice([1, 2, 3, 4], rows),
            "seq_len": random.choice(lengths, rows),
            "batch": random.choice(batches, rows),
        }
    )


def _measured(
    kit: Kit, models: pd.DataFrame, shared: np.ndarray, random: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Two measurements of every model, ms, each in random sessions with drift, and the first one's sessions."""
    rows = len(models)
    own = kit.own * (_SHARED_PART * shared + np.sqrt(1 - _SHARED_PART**2) * random.standard_normal(rows))
    clean = np.log(_milliseconds(kit, *models.to_numpy(dtype=float).T)) + own

    def measurement() -> tuple[np.ndarray, np.ndarray]:
        sessions = np.sort(random.integers(_SESSIONS, size=rows))
        drift = np.zeros(rows)
        for row in range(1, rows):
            step = np.sqrt(1 - _PERSISTENCE**2) * kit.drift * random.standard_normal()
            drift[row] = _PERSISTENCE * drift[row - 1] + step
        heavy = random.standard_t(_FREEDOM, rows) / np.sqrt(_FREEDOM / (_FREEDOM - 2))
        offsets = _SESSION_DEVIATION * random.standard_normal(_SESSIONS)
        return np.exp(clean + offsets[sessions] + drift + kit.noise * heavy), sessions

    (first, sessions), (again, _) = measurement(), measurement()
    return first, again, sessions


def _milliseconds(
    kit: Kit,
    layers: np.ndarray,
    hidden: np.ndarray,
    heads: np.ndarray,
    inner: np.ndarray,
    tokens: np.ndarray,
    batch: np.ndarray,
) -> np.ndarray:
    """(n,) of whole models, operator by operator."""
    rows, copies, size = tokens * batch, heads * batch, hidden / heads
    ones = np.ones_like(rows)
    layer = (
        4 * _product_us(kit, rows, hidden, hidden, ones)
        + _product_us(kit, rows, hidden, inner, ones)
        + _product_us(kit, rows, inner, hidden, ones)
        + _product_us(kit, tokens, size, tokens, copies)
        + _product_us(kit, tokens, tokens, size, copies)
        + _rowwise_us(kit, 3 * copies * tokens**2)
        + _rowwise_us(kit, rows * (6 * hidden + 4 * inner))
        + 14 * kit.operator_us * (1 + 0.2 * (kit.threads - 1))
    )
    head = _product_us(kit, batch, hidden, hidden, ones) + _rowwise_us(kit, 4 * rows * hidden) + 30 * kit.operator_us
    total = (layers * layer + head) / 1e3
    return np.asarray(total * (1 + kit.throttle / (1 + (400 / total) ** 1.2)))


def _product_us(kit: Kit, rows: np.ndarray, inner: np.ndarray, columns: np.ndarray, copies: np.ndarray) -> np.ndarray:
    """Whole tiles over the threads, and bytes at what the cores or the memory can move."""
    high, wide = np.ceil(rows / kit.tile[0]), np.ceil(columns / kit.tile[1])
    tiles = high * wide * copies
    balance = np.maximum(tiles / (np.ceil(tiles / kit.threads) * kit.threads), 0.3)
    filled = rows / (high * kit.tile[0]) * columns / (wide * kit.tile[1])
    rate = kit.gflops * 1e3 * kit.threads * balance * filled * inner / (inner + kit.short_inner)
    computing = copies * 2 * rows * inner * columns / rate
    size = 4 * (rows * inner + inner * columns + rows * columns) * copies
    missed = 0.2 + 0.8 / (1 + (kit.cache_kib * 1024 / size) ** 1.5)
    moving = size * missed / (min(kit.core_gbps * kit.threads, kit.memory_gbps) * 1e3)
    return np.asarray((computing**kit.overlap + moving**kit.overlap) ** (1 / kit.overlap))


def _rowwise_us(kit: Kit, elements: np.ndarray) -> np.ndarray:
    """Passes over activations: they share the memory, so that threads help little."""
    spilled = 1 + 1 / (1 + (kit.cache_kib * 1024 / (4 * elements)) ** 2)
    return np.asarray(elements * spilled / (kit.elements_per_us * kit.threads**0.6))
