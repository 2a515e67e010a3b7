"""Tables of whole-model latencies to judge predictors by: published ones, simulated phones, and analytic ARM boards.

Every table holds feature columns and ``latency_ms``; nothing here is fitted to any of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import numpy as np
import pandas as pd

from data.device_spec import load_device
from fusion import plan_architecture
from profiling.sampling import SamplingRange, sample_architectures
from profiling.simulated import SimulatedDevice
from surrogate.tables.table import HYPERPARAMETERS, TARGET
from tests.benchmarks.predictor_kits import kit_latencies

_HAT_FILES = {"HAT enfr, Raspberry Pi": "wmt14enfr_cpu_raspberrypi_all", "HAT ende, Xeon": "wmt14ende_cpu_xeon_all"}
_HAT_FEATURES = 10
_PHONES = (("s20", "cpu", 8), ("s20", "cpu", 1), ("s10", "cpu", 8), ("mali", "cpu", 8), ("s20", "gpu", 8))
_MODELS = 300
# Between two sessions of one phone, beyond the noise of single runs.
_SESSION_NOISE = 0.02


@dataclass(frozen=True)
class Table:
    """Rows of one device; ``features`` are its columns, None for the six hyperparameters (and threads).

    ``again`` holds the latencies (n,) of the same models in another session, ms, where there was one. Tables of one
    ``group`` have columns in common, so that predictors can be transferred between them.
    """

    name: str
    group: str
    provenance: str
    rows: pd.DataFrame
    features: tuple[str, ...] | None = None
    again: np.ndarray | None = None


def hat_tables(folder: Path) -> tuple[list[Table], list[str]]:
    """The published tables found (encoder and decoder means summed), and the paths of those missing.

    Source: Wang et al., HAT: Hardware-Aware Transformers, 2020 (data under the MIT licence).
    """
    tables, missing = [], []
    for name, stem in _HAT_FILES.items():
        path = folder / f"{stem}.csv"
        if not path.exists():
            missing.append(str(path))
            continue
        frame = pd.read_csv(path)
        frame[TARGET] = frame["latency_mean_encoder"] + frame["latency_mean_decoder"]
        tables.append(Table(name, "HAT", "published", frame, tuple(frame.columns[:_HAT_FEATURES])))
    return tables, missing


def phone_tables(seed: int = 0) -> Iterator[Table]:
    """The bundled analytic phones on the same random models, each in two sessions with seeded noise."""
    models = sample_architectures(SamplingRange(), _MODELS, seed)
    documents = pd.DataFrame([{**model.to_dict(), "batch": 1} for model in models])[list(HYPERPARAMETERS)]
    random = np.random.default_rng(seed)
    for name, unit, threads in _PHONES:
        device = SimulatedDevice(load_device(name), unit)
        block_ms = lru_cache(maxsize=None)(device.block_ms)
        clean = np.array([sum(block_ms(block, threads) for block in plan_architecture(model)) for model in models])
        first, again = (clean * np.exp(_SESSION_NOISE * random.standard_normal(_MODELS)) for _ in range(2))
        label = f"{name} {unit}" + (f", {threads} threads" if unit == "cpu" else "")
        yield Table(label, "phones", "simulated", documents.assign(**{TARGET: first}), again=again)


@dataclass(frozen=True)
class Board:
    """An ARM board's cores under an operator-at-a-time runtime; not made like our phones or our features on purpose.

    Rates are fp32 of one core; ``cache_kib`` is the last level's; ``dispatch_us`` is one operator's.
    """

    name: str
    threads: int
    gflops: float = 18.0
    memory_gbps: float = 3.5
    cache_kib: float = 1024
    dispatch_us: float = 18.0
    elements_per_us: float = 350.0
    noise: float = 0.025


_SMALL = Board("board A", 1)
_LARGE = Board("board B", 1, gflops=38.0, memory_gbps=9.0, cache_kib=2560, dispatch_us=9.0, elements_per_us=900.0)
BOARDS = tuple(
    replace(board, name=f"{board.name}, {threads} threads", threads=threads)
    for board in (_SMALL, _LARGE)
    for threads in (1, 2, 4)
)


def board_tables(seed: int = 0) -> Iterator[Table]:
    """Six settings of two analytic ARM boards on the same random BERTs, sequence lengths 16 to 384, two sessions; and
    the milder boards of :mod:`tests.benchmarks.predictor_kits`, each a group of its own."""
    random = np.random.default_rng([seed, 1])
    frame = _random_berts(random, _MODELS)
    for board in BOARDS:
        clean = np.array([_board_ms(board, *(float(value) for value in row)) for row in frame.to_numpy()])
        # Heavier tails than a normal law: some runs meet other work.
        first, again = (clean * np.exp(board.noise * random.standard_t(5, _MODELS)) for _ in range(2))
        yield Table(board.name, "boards", "analytic", frame.assign(**{TARGET: first}), again=again)
    for kit, setting, rows, other in kit_latencies(_MODELS, seed):
        yield Table(setting, kit, "analytic", rows, again=other if len(other) else None)


def _random_berts(random: np.random.Generator, rows: int) -> pd.DataFrame:
    heads = random.choice([2, 3, 4, 6, 8, 10, 12], rows)
    hidden = heads * random.choice([32, 40, 48, 64], rows)
    return pd.DataFrame(
        {
            "layers": random.integers(1, 13, rows),
            "hidden": hidden,
            "heads": heads,
            "intermediate": (hidden * random.uniform(1, 4, rows) // 32 * 32).astype(int),
            "seq_len": random.choice([16, 32, 64, 128, 256, 384], rows),
            "batch": 1,
        }
    )


def _board_ms(
    board: Board, layers: float, hidden: float, heads: float, inner: float, tokens: float, batch: float
) -> float:
    """Milliseconds of one model, operator by operator."""
    size, rows = hidden / heads, tokens * batch
    layer = (
        4 * _product_us(board, rows, hidden, hidden)
        + _product_us(board, rows, hidden, inner)
        + _product_us(board, rows, inner, hidden)
        + heads * batch * (_product_us(board, tokens, size, tokens) + _product_us(board, tokens, tokens, size))
        + _rowwise_us(board, 3 * heads * batch * tokens**2)
        + _rowwise_us(board, rows * (6 * hidden + 4 * inner))
        + 14 * board.dispatch_us * (1 + 0.25 * (board.threads - 1))
    )
    head = _product_us(board, batch, hidden, hidden) + _rowwise_us(board, 3 * rows * hidden)
    return (layers * layer + head) / 1e3


def _product_us(board: Board, rows: float, inner: float, columns: float) -> float:
    """A product: short inner loops and cut tiles are slow; its bytes come from memory where the cache is too small."""
    tiles = np.ceil(rows / 8) * np.ceil(columns / 12)
    balance = tiles / (np.ceil(tiles / board.threads) * board.threads)
    efficiency = 0.85 * inner / (inner + 24) * rows / (np.ceil(rows / 8) * 8) * columns / (np.ceil(columns / 12) * 12)
    compute = 2 * rows * inner * columns / (board.gflops * 1e3 * board.threads * max(balance, 0.25) * efficiency)
    size = 4 * (rows * inner + inner * columns + rows * columns)
    missed = min(max(size / (board.cache_kib * 1024) - 0.5, 0.0), 1.0)
    return float(np.hypot(compute, (0.25 + 0.75 * missed) * size / (board.memory_gbps * 1e3)))


def _rowwise_us(board: Board, elements: float) -> float:
    """Passes over activations: they share the memory, so that threads help little."""
    spill = 1 + min(4 * elements / (board.cache_kib * 1024) / 4, 1.0)
    return float(elements * spill / (board.elements_per_us * board.threads**0.6))
