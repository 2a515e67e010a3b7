"""The predictor from any table: accuracy, adaptation, bad rows, files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data.errors import DataFileError, InputError
from surrogate import LatencyPredictor, prediction_errors
from surrogate.tables.portability import study
from tests.support import SHARED_DATA

HAT = SHARED_DATA / "hat"


def table(rows: int, seed: int = 0, speed: float = 100.0, per_layer: float = 0.1, noise: float = 0.01) -> pd.DataFrame:
    """Latencies of a made-up device: work over speed, a cost for each layer, noise."""
    random = np.random.default_rng(seed)
    heads = random.choice([2, 4, 8], rows)
    frame = pd.DataFrame(
        {
            "layers": random.integers(2, 13, rows),
            "hidden": heads * random.choice([16, 32, 64], rows),
            "heads": heads,
            "intermediate": random.integers(2, 33, rows) * 64,
            "seq_len": 128,
            "batch": 1,
        }
    )
    flops = frame.layers * 128 * (8 * frame.hidden**2 + 4 * frame.hidden * frame.intermediate + 512 * frame.hidden)
    clean = flops / 1e6 / speed + per_layer * frame.layers + 0.05
    return frame.assign(latency_ms=clean * np.exp(noise * random.standard_normal(rows)))


def long_table() -> pd.DataFrame:
    """A table whose sequence lengths and batches vary as well."""
    frame, random = table(200, seed=7), np.random.default_rng(7)
    tokens = random.choice([32, 64, 128, 256], 200)
    batch = random.choice([1, 2, 4], 200)
    return frame.assign(seq_len=tokens, batch=batch, latency_ms=frame.latency_ms * tokens * batch / 128)


@pytest.fixture(scope="module")
def predictor() -> LatencyPredictor:
    return LatencyPredictor.fit(long_table().iloc[:60])


def test_good_from_few_rows_and_better_from_more() -> None:
    judged = table(300, seed=9)
    truth = judged.latency_ms.to_numpy()
    errors = [prediction_errors(truth, LatencyPredictor.fit(table(rows)).predict(judged)).mape for rows in (20, 200)]
    assert errors[0] < 0.15 and errors[1] < 0.05


def test_interval_covers_about_what_it_says() -> None:
    predictor, judged = LatencyPredictor.fit(table(200)), table(300, seed=9)
    lower, upper = predictor.interval(judged, coverage=0.9)
    inside = ((judged.latency_ms >= lower) & (judged.latency_ms <= upper)).mean()
    assert 0.8 <= inside <= 1.0


def test_adapting_to_a_faster_device() -> None:
    source = LatencyPredictor.fit(table(200))
    target = table(60, seed=3, speed=250.0, per_layer=0.1)
    seen, judged = target.iloc[:10], target.iloc[10:]
    truth = judged.latency_ms.to_numpy()
    scale = float(np.median(seen.latency_ms / source.predict(seen)))
    adapted = prediction_errors(truth, source.adapt(seen).predict(judged)).mape
    assert adapted <= prediction_errors(truth, scale * source.predict(judged)).mape
    assert adapted < prediction_errors(truth, source.predict(judged)).mape / 2


def test_adapting_to_nothing_or_to_one_row() -> None:
    source, target = LatencyPredictor.fit(table(60)), table(20, seed=4)
    assert source.adapt(target.iloc[:0]) is source
    doubled = target.assign(latency_ms=2 * source.predict(target))
    np.testing.assert_allclose(source.adapt(doubled.iloc[:1]).predict(target), doubled.latency_ms, rtol=0.01)


@pytest.mark.parametrize(
    ("column", "value", "problem"),
    [
        ("hidden", np.nan, r"row 4: hidden is nan"),
        ("layers", -2, r"row 4: layers is -2"),
        ("heads", 0, r"row 4: heads is 0"),
        ("latency_ms", 0.0, r"row 4: latency_ms is 0\.0, not a positive number"),
        ("intermediate", "wide", r"row 4: intermediate is 'wide'"),
        ("latency_ms", np.inf, r"row 4: latency_ms is inf"),
    ],
)
def test_bad_rows_are_named(column: str, value: object, problem: str) -> None:
    frame = table(30).astype(object)
    frame.loc[3, column] = value
    with pytest.raises(InputError, match=problem):
        LatencyPredictor.fit(frame)


def test_bad_rows_of_another_device_are_named() -> None:
    source = LatencyPredictor.fit(table(30))
    with pytest.raises(InputError, match="row 2: latency_ms is -1"):
        source.adapt(table(5, seed=1).assign(latency_ms=[1.0, -1.0, 1.0, 1.0, 1.0]))


def test_a_row_entered_twice_is_named_and_a_model_measured_twice_is_not() -> None:
    frame = table(30)
    with pytest.raises(InputError, match="row 31 repeats row 5"):
        LatencyPredictor.fit(pd.concat([frame, frame.iloc[4:5]]))
    again = frame.iloc[4:5].assign(latency_ms=1.01 * frame.latency_ms.iloc[4])
    assert len(LatencyPredictor.fit(pd.concat([frame, again])).predict(again)) == 1


def test_rows_of_a_session_are_judged_by_other_sessions() -> None:
    frame = table(60)
    sessions = np.repeat(np.arange(6), 10)
    drifted = frame.assign(latency_ms=frame.latency_ms * np.exp(0.1 * np.sin(3.0 * sessions)), session=sessions)
    by_session, by_model = (LatencyPredictor.fit(rows).fit_error for rows in (drifted, drifted.drop(columns="session")))
    assert by_session > by_model


def test_models_measured_again_are_not_judged_by_themselves() -> None:
    frame, random = table(25), np.random.default_rng(1)
    own = np.exp(0.1 * random.standard_normal(25))
    again = [frame.assign(latency_ms=frame.latency_ms * own * np.exp(0.01 * random.standard_normal(25))) for _ in "123"]
    # What a model has for itself cannot be known of one that was never measured.
    assert LatencyPredictor.fit(pd.concat(again)).fit_error > 0.07


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 199), st.sampled_from(["layers", "seq_len", "batch"]), st.integers(1, 3))
def test_more_layers_or_tokens_are_not_predicted_faster(
    predictor: LatencyPredictor, row: int, size: str, more: int
) -> None:
    model = long_table().iloc[[row]]
    larger = model.assign(**{size: model[size] + more if size == "layers" else model[size] * 2**more})
    if size != "batch" and predictor.outside(larger.assign(batch=1))[0]:
        return
    assert predictor.predict(larger)[0] >= predictor.predict(model)[0] > 0


def test_rows_outside_what_was_measured_are_flagged() -> None:
    predictor = LatencyPredictor.fit(table(100))
    known = table(5)
    assert not predictor.outside(known).any()
    beyond = [known.assign(layers=40), known.assign(seq_len=512), known.assign(intermediate=64 * 100)]
    assert all(predictor.outside(rows).all() for rows in beyond)
    assert predictor.outside(pd.concat([known, known.assign(hidden=2048)])).tolist() == [False] * 5 + [True] * 5


def test_probability_within_a_budget() -> None:
    predictor, judged = LatencyPredictor.fit(table(100)), table(1, seed=5)
    middle = float(predictor.predict(judged)[0])
    low, half, high = (float(predictor.probability_within(judged, share * middle)[0]) for share in (0.7, 1.0, 1.4))
    assert low < 0.05 and 0.1 < half < 0.9 and high > 0.95
    with pytest.raises(InputError, match="budget"):
        predictor.probability_within(judged, 0)


def test_threads_are_a_feature_where_the_table_has_them() -> None:
    frames = [table(60, seed=n, speed=100.0 * n, per_layer=0.01).assign(threads=n) for n in (1, 2, 4)]
    predictor = LatencyPredictor.fit(pd.concat(frames))
    judged = table(60, seed=9, speed=200.0, per_layer=0.01).assign(threads=2)
    assert prediction_errors(judged.latency_ms.to_numpy(), predictor.predict(judged)).mape < 0.05
    with pytest.raises(InputError, match=r"fitted with .*threads"):
        predictor.predict(judged.drop(columns="threads"))
    plain = LatencyPredictor.fit(table(30))
    np.testing.assert_allclose(plain.predict(judged), plain.predict(judged.drop(columns="threads")), rtol=1e-12)


def test_missing_column_and_too_few_rows() -> None:
    with pytest.raises(InputError, match="no column 'heads'"):
        LatencyPredictor.fit(table(30).drop(columns="heads"))
    with pytest.raises(InputError, match="at least 5 rows"):
        LatencyPredictor.fit(table(4))


def test_saved_and_loaded_is_the_same(tmp_path: Path) -> None:
    judged = table(20, seed=8)
    predictor = LatencyPredictor.fit(table(120)).adapt(table(12, seed=5, speed=50.0))
    predictor.save(tmp_path / "p")
    loaded = LatencyPredictor.load(tmp_path / "p")
    np.testing.assert_allclose(loaded.predict(judged), predictor.predict(judged), rtol=1e-6)
    document = tmp_path / "p" / "latency_predictor.json"
    document.write_text(document.read_text().replace('"schema": "', '"schema": "x'))
    with pytest.raises(DataFileError, match="other features"):
        LatencyPredictor.load(tmp_path / "p")


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("saved")
    long = pd.concat([table(90, seed=seed, noise=0.1) for seed in (1, 2)], ignore_index=True)
    LatencyPredictor.fit(long.assign(latency_ms=long.latency_ms * (1 + (long.heads == 4)))).save(folder)
    assert (folder / "latency_residual.json").exists(), "this table needs trees"
    return folder


@pytest.mark.parametrize(
    ("file", "before", "after"),
    [
        ("latency_residual.json", '"split_indices":[', '"split_indices":[9999,'),
        ("latency_residual.json", '"base_score":"', '"base_score":"1'),
        ("latency_residual.json", "0", "1"),
        ("latency_predictor.json", '"fit_error": 0', '"fit_error": 1'),
        ("latency_predictor.json", '"checksum": "', '"checksum": "0'),
        ("latency_predictor.json", '"checksum"', '"note"'),
        ("latency_residual.json", None, None),
    ],
)
def test_a_predictor_that_was_changed_is_refused(
    saved: Path, tmp_path: Path, file: str, before: str | None, after: str | None
) -> None:
    for path in saved.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    if before is None or after is None:
        (tmp_path / file).unlink()
    else:
        text = (tmp_path / file).read_text()
        assert before in text
        (tmp_path / file).write_text(text.replace(before, after, 1))
    with pytest.raises(DataFileError, match=r"train it again|train the predictor again"):
        LatencyPredictor.load(tmp_path)
    assert LatencyPredictor.load(saved).fit_error > 0


def test_other_columns_are_ignored() -> None:
    frame = table(40)
    judged = table(10, seed=2)
    plain, more = LatencyPredictor.fit(frame), LatencyPredictor.fit(frame.assign(note="text"))
    np.testing.assert_array_equal(plain.predict(judged), more.predict(judged))


@pytest.mark.skipif(not HAT.exists(), reason="the published HAT tables are not here")
def test_published_table_of_another_kind() -> None:
    frame = pd.read_csv(HAT / "wmt14enfr_cpu_raspberrypi_all.csv")
    features = list(frame.columns[:10])
    frame["latency_ms"] = frame.latency_mean_encoder + frame.latency_mean_decoder
    order = np.random.default_rng(0).permutation(len(frame))
    train, judged = frame.iloc[order[:400]], frame.iloc[order[-200:]]
    predictor = LatencyPredictor.fit(train, features=features)
    errors = prediction_errors(judged.latency_ms.to_numpy(), predictor.predict(judged))
    assert errors.mape < 0.015 and errors.within_10 > 0.99 and errors.spearman > 0.99


def test_study_of_two_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("surrogate.tables.transfer_trials.SPLITS", 3)
    tables = {"slow": table(40), "fast": table(40, speed=300.0)}
    result = study(tables, samples=(0, 5, 10), budget_ms=2.0)
    assert result.devices == ("slow", "fast") and result.models > 30
    assert result.rank_correlation[0][0] == pytest.approx(1) and result.rank_correlation[0][1] > 0.8
    drawn = [entry for entry in result.transfers if (entry.source, entry.choice) == ("slow", "random")]
    by_samples = {entry.samples: entry for entry in drawn}
    assert by_samples[0].scratch is None and by_samples[0].scale == by_samples[0].adapt
    assert by_samples[10].scale < by_samples[0].scale and by_samples[10].scratch is not None
    there = {(entry.source, entry.target): entry for entry in result.overshoots}
    assert there["slow", "fast"].overshoot < 0 < there["fast", "slow"].overshoot


def test_study_needs_shared_models() -> None:
    with pytest.raises(InputError, match="share"):
        study({"a": table(40), "b": table(40, seed=1)})
    with pytest.raises(InputError, match="device b: row 3"):
        study({"a": table(40), "b": table(40).assign(latency_ms=[1.0, 1.0, -1.0, *[1.0] * 37])})
