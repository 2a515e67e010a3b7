"""What predictors are judged against, all behind one signature, and the figures by which they are judged."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np
import pandas as pd

from surrogate import LatencyPredictor
from surrogate.tables.table import TARGET, table_features

OURS = "pocketbert"
COVERAGE = 0.9
_NN_METER_TREES = 100

Features = Sequence[str] | None


@dataclass(frozen=True)
class Prediction:
    """(n,) predicted ms and, where the method states one, the 90% interval's bounds (n,)."""

    latency_ms: np.ndarray
    lower_ms: np.ndarray | None = None
    upper_ms: np.ndarray | None = None


Method = Callable[[pd.DataFrame, pd.DataFrame, Features], Prediction]


def ours(train: pd.DataFrame, judged: pd.DataFrame, features: Features) -> Prediction:
    """:class:`LatencyPredictor`."""
    return with_interval(LatencyPredictor.fit(train, features=features), judged)


def with_interval(predictor: LatencyPredictor, judged: pd.DataFrame) -> Prediction:
    """A predictor's predictions and 90% intervals."""
    return Prediction(predictor.predict(judged), *predictor.interval(judged, COVERAGE))


def flops_proportional(train: pd.DataFrame, judged: pd.DataFrame, features: Features) -> Prediction:
    """Latency proportional to the encoder's floating-point operations."""
    work, goal = _gflops(train), train[TARGET].to_numpy(dtype=float)
    return Prediction(_gflops(judged) * float(np.median(goal / work)))


def linear(train: pd.DataFrame, judged: pd.DataFrame, features: Features) -> Prediction:
    """Ordinary least squares on the features (cost included); where it predicts nothing or less, the least seen."""
    from sklearn.linear_model import LinearRegression

    goal = train[TARGET].to_numpy(dtype=float)
    model = LinearRegression().fit(table_features(train, features)[0], goal)
    return Prediction(np.maximum(model.predict(table_features(judged, features)[0]), goal.min()))


def log_linear(train: pd.DataFrame, judged: pd.DataFrame, features: Features) -> Prediction:
    """Ridge regression of the logarithm on the features' logarithms, its strength cross-validated."""
    from sklearn.linear_model import RidgeCV
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    def logs(frame: pd.DataFrame) -> np.ndarray:
        return np.log1p(table_features(frame, features)[0])

    model = make_pipeline(StandardScaler(), RidgeCV((1e-3, 1e-2, 0.1, 1.0, 10.0)))
    return Prediction(np.exp(model.fit(logs(train), np.log(train[TARGET])).predict(logs(judged))))


def plain_xgboost(train: pd.DataFrame, judged: pd.DataFrame, features: Features) -> Prediction:
    """XGBoost of the latency on the raw hyperparameters, with usual settings."""
    from xgboost import XGBRegressor

    columns = _raw_columns(features)
    model = XGBRegressor(n_estimators=500, max_depth=5, learning_rate=0.05, subsample=0.8, n_jobs=1, random_state=0)
    return Prediction(model.fit(train[columns], train[TARGET]).predict(judged[columns]).astype(float))


def nn_meter_forest(train: pd.DataFrame, judged: pd.DataFrame, features: Features) -> Prediction:
    """A random forest on nn-Meter's kind of features: configuration, FLOPs and parameters.

    Source: Zhang et al., nn-Meter, 2021, section 5 (kernels there; whole models here).
    """
    from sklearn.ensemble import RandomForestRegressor

    def shown(frame: pd.DataFrame) -> np.ndarray:
        raw = frame[_raw_columns(features)].to_numpy(dtype=float)
        return raw if features is not None else np.column_stack([raw, _gflops(frame), _weights(frame)])

    model = RandomForestRegressor(_NN_METER_TREES, random_state=0, n_jobs=1)
    return Prediction(model.fit(shown(train), train[TARGET]).predict(shown(judged)))


BASELINES: Mapping[str, Method] = {
    "FLOPs-proportional": flops_proportional,
    "linear": linear,
    "log-linear": log_linear,
    "plain XGBoost": plain_xgboost,
    "nn-Meter forest": nn_meter_forest,
}
METHODS: Mapping[str, Method] = {OURS: ours, **BASELINES}


@dataclass(frozen=True)
class Figures:
    """Errors on ``n`` rows kept aside: shares are 0 to 1, ``rmse`` ms, ``width`` the median interval's over its middle.

    ``covered`` and ``width`` are None for methods that state no interval.
    """

    n: int
    mape: float
    within_5: float
    within_10: float
    spearman: float
    rmse: float
    covered: float | None = None
    width: float | None = None

    def to_dict(self) -> dict[str, float | None]:
        """Plain dictionary."""
        return asdict(self)


def judge(measured: np.ndarray, prediction: Prediction) -> Figures:
    """Figures of predictions against measured latencies (n,), ms."""
    from scipy.stats import spearmanr

    predicted, lower, upper = prediction.latency_ms, prediction.lower_ms, prediction.upper_ms
    relative = np.abs(predicted / measured - 1)
    figures = Figures(
        n=len(measured),
        mape=float(relative.mean()),
        within_5=float((relative <= 0.05).mean()),
        within_10=float((relative <= 0.1).mean()),
        spearman=float(spearmanr(measured, predicted).statistic),
        rmse=float(np.sqrt(np.mean((predicted - measured) ** 2))),
    )
    if lower is None or upper is None:
        return figures
    covered = float(((lower <= measured) & (measured <= upper)).mean())
    return Figures(**{**asdict(figures), "covered": covered, "width": float(np.median((upper - lower) / predicted))})


def mean_figures(figures: Sequence[Figures]) -> Figures:
    """Each figure's mean over the splits; a figure that one split lacks is None."""
    documents = [one.to_dict() for one in figures]
    means = {
        name: None if None in (values := [document[name] for document in documents]) else float(np.mean(values))
        for name in documents[0]
    }
    return Figures(**{**means, "n": int(means["n"] or 0)})


def _raw_columns(features: Features) -> list[str]:
    return list(features) if features is not None else ["layers", "hidden", "heads", "intermediate", "seq_len", "batch"]


def _gflops(frame: pd.DataFrame) -> np.ndarray:
    values, names = table_features(frame, None)
    return values[:, names.index("gflops")]


def _weights(frame: pd.DataFrame) -> np.ndarray:
    values, names = table_features(frame, None)
    return values[:, names.index("weight_mb")]
