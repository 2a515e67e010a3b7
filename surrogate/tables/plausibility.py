"""Whether a table's latencies can be milliseconds of its models, all of them, and say anything about them.

What a model must compute over how long it is said to take is a rate. No machine computes arbitrarily fast or slowly,
and no row's rate lies a hundredfold away from what the other rows imply: such tables hold other units, or no times.
"""

from __future__ import annotations

import numpy as np

from data.errors import InputError

# GFLOP/s of the best row: less than one core of a phone of 2014 gives, even in a poor library.
_SLOWEST_RATE = 0.3
# GFLOP/s for each token that runs at once: three times what the largest accelerators reach on so few tokens.
_FASTEST_RATE_PER_TOKEN = 400.0
# Above this rate, beyond all phones and most CPUs, it is an accelerator, whose kernels take microseconds to start.
_ACCELERATOR_RATE, _ACCELERATOR_LAYER_MS = 2000.0, 0.02
# Latencies of real machines are nowhere near so nearly proportional to the work.
_PROPORTIONAL_SPREAD, _LEAST_WORK_RANGE = 0.01, 2.0
# A row so far from what the others imply is in another unit: units are a thousandfold apart. Rates of small and large
# models on one accelerator may lie further apart.
_ANOTHER_UNIT, _ANOTHER_UNIT_BY_RATE = 20.0, 100.0
# A machine that is too fast shows in many rows, a row in another unit is found before.
_TOO_FAST_PART = 0.1
_FEWEST_TO_COMPARE, _FEWEST_FOR_SIGNAL = 8, 10
# Labels that tell nothing rank rows left out no better than chance, and miss them as a constant does.
_CHANCE, _NO_BETTER, _LEAST_SPREAD = 0.005, 0.9, 0.05
# One device's latencies follow its models' sizes more closely than this, whatever the device.
_WORST_FACTOR = 3.0


def check_units(inputs: np.ndarray, names: tuple[str, ...], latencies_ms: np.ndarray, hyperparameters: bool) -> None:
    """Refuses latencies (n,) that cannot be milliseconds of the models with features (n, f).

    Args:
        inputs: (n, f) features as :func:`surrogate.tables.table.table_features` gives them.
        names: their names.
        latencies_ms: (n,) positive numbers.
        hyperparameters: whether the features are those of encoders, so that their work is known; of other features
            only rows are compared with each other.

    Raises:
        InputError: naming what the numbers look like, and the row where it is one of many.
    """
    _check_rows_agree(inputs, names, latencies_ms, hyperparameters)
    if hyperparameters:
        columns = {name: inputs[:, index] for index, name in enumerate(names)}
        rates = columns["gflops"] / latencies_ms * 1e3
        _check_proportional(columns["gflops"], latencies_ms)
        _check_rates(rates, columns["seq_len"] * columns["batch"], latencies_ms / columns["layers"])


def check_signal(errors: np.ndarray, latencies_ms: np.ndarray) -> None:
    """Refuses latencies (n,) that cannot be told from chance: ``errors`` (n,) are those of the logarithms of rows left
    out of a fit.

    Raises:
        InputError: rows left out are ranked no better than by chance and missed by as much as their median misses, or
            missed manyfold.
    """
    from scipy.stats import spearmanr

    logarithms = np.log(latencies_ms)
    constant = np.abs(logarithms - np.median(logarithms)).mean()
    if len(errors) < _FEWEST_FOR_SIGNAL or constant < _LEAST_SPREAD:
        return
    missed = np.abs(errors).mean()
    predicted = logarithms - errors
    by_chance = np.ptp(predicted) == 0 or spearmanr(predicted, logarithms, alternative="greater").pvalue > _CHANCE
    if by_chance and missed > _NO_BETTER * constant:
        raise InputError(
            f"the latencies carry no signal: rows left out of the fit are missed by a factor of {np.exp(missed):.2f}, "
            f"their median alone misses them by {np.exp(constant):.2f}; do latencies and models belong together?"
        )
    if missed > np.log(_WORST_FACTOR):
        raise InputError(
            f"the latencies follow no law of the models' sizes: rows left out of the fit are missed by a factor of "
            f"{np.exp(missed):.2f}; does the table hold several units or several devices?"
        )


def _check_rows_agree(
    inputs: np.ndarray, names: tuple[str, ...], latencies_ms: np.ndarray, hyperparameters: bool
) -> None:
    if len(latencies_ms) < _FEWEST_TO_COMPARE:
        return
    design = _work(inputs, names) if hyperparameters else _scaled(inputs)
    ways = [(np.exp(np.log(latencies_ms) - _middle(design, np.log(latencies_ms))), _ANOTHER_UNIT)]
    if hyperparameters:  # where half of the rows are in another unit, no line lies on either half
        ways.append((latencies_ms / inputs[:, names.index("gflops")], _ANOTHER_UNIT_BY_RATE))
    for factors, unlike in ways:
        other = _of_another_unit(factors, unlike)
        if other.any():
            row = int(np.argmax(other))
            more = f" (and {int(other.sum()) - 1} more rows)" if other.sum() > 1 else ""
            times = factors[row] / np.median(factors[~other])
            raise InputError(
                f"row {row + 1}: its latency of {latencies_ms[row]:g} is {times:.2g} times what the other rows "
                f"imply{more}; is it in another unit than milliseconds?"
            )


def _of_another_unit(factors: np.ndarray, unlike: float) -> np.ndarray:
    """(n,) the rows on the smaller side of a gap of ``unlike`` or more; none where there is no such gap."""
    order = np.argsort(factors)
    gaps = factors[order][1:] / factors[order][:-1]
    other = np.zeros(len(factors), dtype=bool)
    if gaps.max() < unlike:
        return other
    below = order[: int(np.argmax(gaps)) + 1]
    other[below] = True
    return other if 2 * len(below) <= len(factors) else ~other


def _work(inputs: np.ndarray, names: tuple[str, ...]) -> np.ndarray:
    """(n, 2 or 3) logarithms of what a model must do."""
    wanted = [name for name in ("gflops", "layers", "threads") if name in names]
    return np.log(inputs[:, [names.index(name) for name in wanted]])


def _scaled(inputs: np.ndarray) -> np.ndarray:
    """(n, f) features of any kind, those of several magnitudes as logarithms, in units of their deviation."""
    low, high = inputs.min(axis=0), inputs.max(axis=0)
    wide = (low > 0) & (high > 10 * np.where(low > 0, low, 1))
    values = np.where(wide, np.log(np.where(wide, inputs, 1)), inputs)
    return np.asarray((values - values.mean(axis=0)) / np.maximum(values.std(axis=0), 1e-12))


def _middle(design: np.ndarray, logarithms: np.ndarray) -> np.ndarray:
    """(n,) the linear median of logarithms (n,): rows in another unit do not move it."""
    from sklearn.linear_model import QuantileRegressor

    varying = design[:, np.ptp(design, axis=0) > 0]
    if varying.shape[1] == 0 or len(design) < 2 * varying.shape[1] + 2:
        return np.full(len(logarithms), np.median(logarithms))
    return np.asarray(QuantileRegressor(quantile=0.5, alpha=0).fit(varying, logarithms).predict(varying))


def _check_proportional(gflops: np.ndarray, latencies_ms: np.ndarray) -> None:
    if len(gflops) < _FEWEST_TO_COMPARE or gflops.max() < _LEAST_WORK_RANGE * gflops.min():
        return
    if np.log(latencies_ms / gflops).std() < _PROPORTIONAL_SPREAD:
        raise InputError(
            "the latencies are exactly proportional to the models' operations: are they operations rather than "
            "milliseconds?"
        )


def _check_rates(rates: np.ndarray, tokens: np.ndarray, layer_ms: np.ndarray) -> None:
    """``rates`` (n,) GFLOP/s, ``tokens`` (n,) at once, ``layer_ms`` (n,) a layer."""
    if rates.max() < _SLOWEST_RATE:
        raise InputError(
            f"the latencies imply at most {rates.max():.2g} GFLOP/s, less than any device gives: are they in "
            "microseconds, or no times at all? They must be milliseconds"
        )
    at_once = rates > _ACCELERATOR_RATE
    too_fast = (rates > _FASTEST_RATE_PER_TOKEN * tokens) | (at_once & (layer_ms < _ACCELERATOR_LAYER_MS))
    if too_fast.mean() >= _TOO_FAST_PART:
        raise InputError(
            f"the latencies imply {np.median(rates):.3g} GFLOP/s and {np.median(layer_ms) * 1e3:.2g} microseconds a "
            "layer, faster than any device: are they in seconds? They must be milliseconds"
        )
