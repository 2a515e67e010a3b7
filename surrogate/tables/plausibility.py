"""Whether a table's latencies can be milliseconds of its models, all of them, and say anything about them.

What a model must compute over how long it is said to take is a rate. No machine computes arbitrarily fast or slowly,
and no row's rate lies a hundredfold away from what the other rows imply: such tables hold other units, or no times.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from data.errors import InputError

# GFLOP/s of the best row: less than one core of a phone of 2014 gives, even in a poor library.
_SLOWEST_RATE = 0.3
# GFLOP/s for each token that runs at once: three times what the largest accelerators reach on so few tokens.
_FASTEST_RATE_PER_TOKEN = 400.0
# Above this rate, beyond all phones and most CPUs, it is an accelerator, whose kernels take microseconds to start.
_ACCELERATOR_RATE, _ACCELERATOR_LAYER_MS = 2000.0, 0.02
# Latencies of real machines are nowhere near so nearly proportional to the work.
_PROPORTIONAL_SPREAD, _LEAST_WORK_RANGE, _COUNTED_SPREAD = 0.01, 2.0, 0.001
# A row so far from what the others imply is in another unit: units are a thousandfold apart. Rates of small and large
# models on one accelerator may lie further apart.
_ANOTHER_UNIT, _ANOTHER_UNIT_BY_RATE = 20.0, 100.0
# A machine that is too fast shows in many rows, a row in another unit is found before.
_TOO_FAST_PART = 0.1
_FEWEST_TO_COMPARE, _FEWEST_FOR_SIGNAL = 8, 10
# Of fewer rows, those that fit no other one are told where most others agree.
_FEWEST_FOR_PAIRS = 4
# Where half of the rows are in another unit, nearly half do not explain a row.
_UNEXPLAINED_PART = 0.4
# Equal latencies of so many rows, or latencies within so much of each other although layers and work both differ
# manyfold, are those of no device.
_FEWEST_TO_DIFFER, _HARDLY, _MANYFOLD = 5, 1.05, 4.0
# Labels that tell nothing rank rows left out no better than chance, and miss them as a constant does.
_CHANCE, _CHANCE_OF_FEW, _NO_BETTER, _LEAST_SPREAD = 0.005, 0.05, 0.9, 0.05
_FEW = 20
# One device's latencies follow its models' sizes more closely than this, whatever the device.
_WORST_FACTOR = 3.0
# Rank correlations: with work surely below zero, and with layers hardly above it.
_SURELY, _HARDLY_RISING = 0.01, 0.4
# Features of a user's own may leave out what matters; half a table in another unit is missed by more.
_WORST_FACTOR_OF_OTHERS = 15.0


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
    columns = {name: inputs[:, index] for index, name in enumerate(names)}
    _check_rows_agree(inputs, names, latencies_ms, hyperparameters)
    _check_differ(inputs, latencies_ms)
    if hyperparameters:
        _check_pairs_agree(columns, latencies_ms)
        _check_rising(columns, latencies_ms)
        _check_follow(columns["gflops"], columns["layers"], latencies_ms)
        rates = columns["gflops"] / latencies_ms * 1e3
        _check_proportional(columns["gflops"], latencies_ms, "operations")
        if np.ptp(columns["seq_len"]) > 0:  # of one length, latencies may well go with the weights
            _check_proportional(columns["weight_mb"], latencies_ms, "weights")
            _check_counted(np.column_stack([columns["weight_mb"], columns["hidden"]]), latencies_ms)
        _check_rates(rates, columns["seq_len"] * columns["batch"], latencies_ms / columns["layers"])


def check_signal(
    errors: np.ndarray, latencies_ms: np.ndarray, inputs: np.ndarray, names: tuple[str, ...], hyperparameters: bool
) -> None:
    """Refuses latencies (n,) that cannot be told from chance: ``errors`` (n,) are those of the logarithms of rows left
    out of a fit to features (n, f). Models that are nearly equal need not be told apart.

    Raises:
        InputError: rows left out are ranked no better than by chance and missed by as much as their median misses, or
            missed manyfold.
    """
    from scipy.stats import spearmanr

    logarithms = np.log(latencies_ms)
    deviations = np.abs(logarithms - np.median(logarithms))
    constant = deviations.mean()
    if len(errors) < _FEWEST_FOR_SIGNAL or constant < _LEAST_SPREAD:
        return
    missed, chance = np.abs(errors).mean(), _CHANCE_OF_FEW if len(errors) < _FEW else _CHANCE
    predicted = logarithms - errors
    alike = np.ptp(np.log(inputs[:, names.index("gflops")])) < np.log(_LEAST_WORK_RANGE) if hyperparameters else False
    if alike or len(np.unique(inputs, axis=0)) < _FEWEST_TO_DIFFER:
        return
    by_chance = np.ptp(predicted) == 0 or spearmanr(predicted, logarithms, alternative="greater").pvalue > chance
    # One outlier may spoil the mean, not the median.
    no_better = missed > _NO_BETTER * constant and np.median(np.abs(errors)) > _NO_BETTER * np.median(deviations)
    if by_chance and no_better:
        raise InputError(
            f"the latencies carry no signal: rows left out of the fit are missed by a factor of {np.exp(missed):.2f}, "
            f"their median alone misses them by {np.exp(constant):.2f}; do latencies and models belong together?"
        )
    if missed > np.log(_WORST_FACTOR if hyperparameters else _WORST_FACTOR_OF_OTHERS):
        raise InputError(
            f"the latencies follow no law of the models' sizes: rows left out of the fit are missed by a factor of "
            f"{np.exp(missed):.2f}; does the table hold several units or several devices?"
        )


def _check_rows_agree(
    inputs: np.ndarray, names: tuple[str, ...], latencies_ms: np.ndarray, hyperparameters: bool
) -> None:
    if len(latencies_ms) < _FEWEST_TO_COMPARE:
        return
    columns = {name: inputs[:, index] for index, name in enumerate(names)}
    design = _work(inputs, names) if hyperparameters else _scaled(inputs)
    ways = [(np.exp(np.log(latencies_ms) - _middle(design, np.log(latencies_ms))), _ANOTHER_UNIT)]
    if hyperparameters:  # where half of the rows are in another unit, no line lies on either half
        ways.append((latencies_ms / inputs[:, names.index("gflops")], _ANOTHER_UNIT_BY_RATE))

    def explained(row: int) -> bool:
        """Whether layers or work explain it after all: what starts slowly makes small models alike."""
        return hyperparameters and _unexplained(columns, latencies_ms, row).mean() < _UNEXPLAINED_PART

    for factors, unlike in ways:
        other = _of_another_unit(factors, unlike)
        row = next((int(row) for row in np.flatnonzero(other) if not explained(int(row))), None)
        if row is not None:
            more = f" (and {int(other.sum()) - 1} more rows)" if other.sum() > 1 else ""
            times = factors[row] / np.median(factors[~other])
            raise InputError(
                f"row {row + 1}: its latency of {latencies_ms[row]:g} is {times:.2g} times what the other rows "
                f"imply{more}; is it in another unit than milliseconds?"
            )


def _check_differ(inputs: np.ndarray, latencies_ms: np.ndarray) -> None:
    """Refuses one latency for all of several models, ``InputError``."""
    if len(np.unique(inputs, axis=0)) >= _FEWEST_TO_DIFFER and np.ptp(latencies_ms) <= 1e-9 * latencies_ms.max():
        raise InputError(f"every latency is {latencies_ms[0]:g}, whatever the model: it says nothing about them")


def _check_follow(gflops: np.ndarray, layers: np.ndarray, latencies_ms: np.ndarray) -> None:
    """Refuses latencies that neither the work nor the number of layers moves, ``InputError``."""
    if len(gflops) < _FEWEST_TO_DIFFER or latencies_ms.max() > _HARDLY * latencies_ms.min():
        return
    if min(np.ptp(np.log(gflops)), np.ptp(np.log(layers))) > np.log(_MANYFOLD):
        raise InputError(
            f"the latencies lie between {latencies_ms.min():g} and {latencies_ms.max():g}, although the models' "
            f"operations differ {gflops.max() / gflops.min():.2g}-fold: are they latencies?"
        )


def _check_pairs_agree(columns: Mapping[str, np.ndarray], latencies_ms: np.ndarray) -> None:
    """Refuses a row, of a few, that most others do not explain, ``InputError``."""
    rows = len(latencies_ms)
    if not _FEWEST_FOR_PAIRS <= rows < _FEWEST_TO_COMPARE:
        return
    agree = [rows - 1 - int(_unexplained(columns, latencies_ms, row).sum()) for row in range(rows)]
    row = int(np.argmin(agree))
    if agree[row] < rows / 2 - 1:
        raise InputError(
            f"row {row + 1}: its latency of {latencies_ms[row]:g} agrees with that of {agree[row]} of the "
            f"{rows - 1} other rows; is it in another unit than milliseconds?"
        )


def _unexplained(columns: Mapping[str, np.ndarray], latencies_ms: np.ndarray, row: int) -> np.ndarray:
    """(n,) the rows that do not explain a row's latency, whether by layers, by work, or by work a thread.

    What a model takes is a sum of what each costs, so that two models' latencies are to each other as something between
    the extremes of these ratios.
    """
    causes = np.log([columns[name] for name in ("layers", "gflops", "gflops_per_thread") if name in columns])
    ratios = causes[:, row : row + 1] - causes
    measured = np.log(latencies_ms[row]) - np.log(latencies_ms)
    unlike = np.maximum(measured - ratios.max(axis=0), ratios.min(axis=0) - measured)
    return np.asarray(unlike > np.log(_ANOTHER_UNIT))


def _check_rising(columns: Mapping[str, np.ndarray], latencies_ms: np.ndarray) -> None:
    """Refuses latencies that fall where both work and layers rise, ``InputError``."""
    from scipy.stats import spearmanr

    if len(latencies_ms) < _FEWEST_TO_COMPARE or np.ptp(latencies_ms) == 0:
        return
    varying = [columns[name] for name in ("gflops_per_thread", "gflops", "layers") if name in columns]
    varying = [cause for cause in varying if np.ptp(cause) > 0]
    falls = [spearmanr(cause, latencies_ms, alternative="less") for cause in varying]
    if falls and falls[0].pvalue < _SURELY and max(fall.statistic for fall in falls) < _HARDLY_RISING:
        raise InputError("the latencies fall as the models' work grows: are they rates, such as inferences a second?")


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


def _check_proportional(counts: np.ndarray, latencies_ms: np.ndarray, what: str) -> None:
    if len(counts) < _FEWEST_FOR_PAIRS or counts.max() < _LEAST_WORK_RANGE * counts.min():
        return
    if np.log(latencies_ms / counts).std() < _PROPORTIONAL_SPREAD:
        raise InputError(
            f"the latencies are exactly proportional to the models' {what}: are they {what} rather than milliseconds?"
        )


def _check_counted(terms: np.ndarray, latencies_ms: np.ndarray) -> None:
    """Refuses a sum of weights and embeddings (n, 2), which no latency is so exactly, ``InputError``."""
    if len(terms) < _FEWEST_FOR_SIGNAL or np.ptp(np.log(terms[:, 0])) < np.log(_LEAST_WORK_RANGE):
        return
    relative = terms / latencies_ms[:, None]
    left = relative @ np.linalg.lstsq(relative, np.ones(len(terms)), rcond=None)[0] - 1
    if np.abs(left).max() < _COUNTED_SPREAD:
        raise InputError(
            "the latencies are sums of the models' weights and embeddings: are they numbers of parameters?"
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
    if too_fast.mean() >= _TOO_FAST_PART and (too_fast.sum() > 1 or len(rates) < _FEWEST_FOR_PAIRS):
        raise InputError(
            f"the latencies imply {np.median(rates):.3g} GFLOP/s and {np.median(layer_ms) * 1e3:.2g} microseconds a "
            "layer, faster than any device: are they in seconds? They must be milliseconds"
        )
