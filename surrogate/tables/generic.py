"""What encoders cost on devices in general: 256 made-up processors, spread over what real ones and their runtimes do.

Their mean is what is believed of a device before any of its rows is seen, and the way in which they differ says in
which directions a real device is likely to differ: a Gaussian process about them (:mod:`surrogate.tables.process`)
needs few rows. The law is a roofline (Williams, Waterman and Patterson, 2009) for each product, with half-rate lengths
(Hockney, n-1/2), a cache, passes over activations and a cost of each operator; nothing in it is fitted to a table.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

DEVICES = 256
# Operators that a runtime dispatches for one layer, and bytes of a float.
_OPERATORS, _BYTES = 14, 4
# Ranges of the made-up devices; times are in units of one floating-point operation at full rate.
_LOGARITHMIC = {
    "half_inner": (4, 150),  # sizes of a product at which half the full rate is reached
    "half_rows": (0.5, 30),
    "half_columns": (0.5, 60),
    "activation_byte": (0.02, 1.0),
    "weight_byte": (0.05, 5.0),
    "cache_bytes": (2**18, 2**24),
    "element": (1, 60),  # one pass over one activation
    "softmax_element": (1, 60),
    "operator": (3e3, 3e6),
    "attention": (0.8, 4),  # attention's products against the others
    "start": (1e4, 3e7),
}
_LINEAR = {
    "overlap": (1, 4),  # 1: computing and moving bytes in turn; large: at the same time
    "computing_threads": (0.6, 1.0),  # speed is threads to this power
    "moving_threads": (0.0, 0.6),
    "dispatch_threads": (0.0, 0.4),
}
# Encoders whose mean cost sets each device's own scale: a scale is what no prior can know.
_REFERENCE = np.array(
    [
        (layers, hidden, hidden / 64, 4 * hidden, tokens, 1.0)
        for layers in (2.0, 6.0, 12.0)
        for hidden in (128.0, 256.0, 512.0, 768.0)
        for tokens in (32.0, 64.0, 128.0, 256.0)
    ]
)


def generic_logs(hyperparameters: np.ndarray, threads: np.ndarray | None = None) -> np.ndarray:
    """(n, devices) logarithms of latency but for each device's scale.

    Args:
        hyperparameters: (n, 6) layers, hidden, heads, intermediate, seq_len, batch.
        threads: (n,) threads of each row; None is one.
    """
    return _logs(hyperparameters, np.ones(len(hyperparameters)) if threads is None else threads) - _own_scale()


@lru_cache(maxsize=1)
def _own_scale() -> np.ndarray:
    """(devices,) mean logarithm over the reference encoders."""
    return np.asarray(_logs(_REFERENCE, np.ones(len(_REFERENCE))).mean(axis=0))


@lru_cache(maxsize=1)
def _devices() -> dict[str, np.ndarray]:
    """The devices' figures, each (devices,): an additive recurrence, so that any version draws the same.

    Source: Roberts, The unreasonable effectiveness of quasirandom sequences, 2018.
    """
    dimensions = len(_LOGARITHMIC) + len(_LINEAR)
    golden = 2.0
    for _ in range(64):
        golden = (1 + golden) ** (1 / (dimensions + 1))
    steps = golden ** -np.arange(1.0, dimensions + 1)
    shares = (0.5 + np.arange(1, DEVICES + 1)[:, None] * steps) % 1
    low, high = np.array([*_LOGARITHMIC.values(), *_LINEAR.values()], dtype=float).T
    drawn = {}
    for index, name in enumerate((*_LOGARITHMIC, *_LINEAR)):
        span, share = (low[index], high[index]), shares[:, index]
        drawn[name] = (
            span[0] * (span[1] / span[0]) ** share if name in _LOGARITHMIC else span[0] + (span[1] - span[0]) * share
        )
    return drawn


def _logs(hyperparameters: np.ndarray, threads: np.ndarray) -> np.ndarray:
    device = _devices()
    layers, hidden, heads, intermediate, seq_len, batch = hyperparameters.T[:, :, None]
    workers = threads[:, None]
    tokens, copies, size = seq_len * batch, heads * batch, hidden / heads
    computing, moving = workers ** device["computing_threads"], workers ** device["moving_threads"]

    def product(
        rows: np.ndarray, inner: np.ndarray, columns: np.ndarray, times: np.ndarray | None = None
    ) -> np.ndarray:
        """One product with weights or, ``times`` over, one of activations alone."""
        repeats = 1.0 if times is None else times
        rate = (1 + device["half_inner"] / inner) * (1 + device["half_rows"] / rows)
        work = repeats * 2 * rows * inner * columns * rate * (1 + device["half_columns"] / columns) / computing
        right = _BYTES * inner * columns
        activations = repeats * _BYTES * rows * (inner + columns) + (0.0 if times is None else repeats * right)
        weights = right if times is None else 0.0 * right
        missed = 0.2 + 0.8 / (1 + device["cache_bytes"] / (activations + weights))
        moved = missed * (device["activation_byte"] * activations + device["weight_byte"] * weights) / moving
        return np.asarray((work ** device["overlap"] + moved ** device["overlap"]) ** (1 / device["overlap"]))

    def passes(elements: np.ndarray) -> np.ndarray:
        """Passes over activations: up to twice as slow where the cache is too small."""
        spilled = 1 + 1 / (1 + device["cache_bytes"] / (_BYTES * elements))
        return np.asarray(elements * spilled / np.sqrt(computing * moving))

    attention = product(seq_len, size, seq_len, copies) + product(seq_len, seq_len, size, copies)
    layer = (
        4 * product(tokens, hidden, hidden)
        + product(tokens, hidden, intermediate)
        + product(tokens, intermediate, hidden)
        + device["attention"] * attention
        + device["softmax_element"] * passes(3 * copies * seq_len**2)
        + device["element"] * passes(tokens * (6 * hidden + 4 * intermediate))
        + _OPERATORS * device["operator"] * (1 + device["dispatch_threads"] * (workers - 1))
    )
    whole = layers * layer + device["start"] + device["element"] * 4 * tokens * hidden
    return np.asarray(np.log(whole))
