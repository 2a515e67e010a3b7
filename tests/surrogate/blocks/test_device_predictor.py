"""The device predictor: learns an analytic device, knows its error, saves without pickles."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from data.architecture import Architecture, Head, preset
from data.device_spec import load_device
from data.errors import DataFileError, InputError
from data.measurement import Measurement
from data.statistic import medians_ms
from data.store import MeasurementStore
from fusion import plan_architecture
from fusion.target import TARGETS
from profiling import open_device
from profiling.processor_latency import core_speeds
from profiling.sampling import SamplingRange, sample_architectures
from profiling.session import measure_models
from surrogate import DevicePredictor
from surrogate.blocks.features import FEATURE_NAMES
from surrogate.blocks.plans import count_blocks
from surrogate.boosting import CHOICES, Residual, grow

SPACE = SamplingRange()
SPEEDS = core_speeds(load_device("s20"), TARGETS["aarch64-neon"], 8)


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> list[Measurement]:
    """Rows of whole models on the simulated S20."""
    return timed(sample_architectures(SPACE, 24, 0), tmp_path_factory.mktemp("store"))


def timed(models: Sequence[Architecture], folder: Path, seed: int = 0) -> list[Measurement]:
    device = open_device(load_device("s20"), simulated=True, seed=seed)
    with MeasurementStore.open(folder / "m.sqlite") as store:
        return measure_models(device, models, threads=8, store=store, visits=4)


@pytest.fixture(scope="module")
def predictor(rows: list[Measurement]) -> DevicePredictor:
    return DevicePredictor.fit(rows, target=TARGETS["aarch64-neon"], speeds=SPEEDS)


def test_predicts_models_it_has_not_seen(predictor: DevicePredictor) -> None:
    assert predictor.errors.n == 12
    assert predictor.errors.mape < 0.05 and predictor.errors.within_10 == 1 and predictor.errors.spearman > 0.99
    assert "12 held-out models: MAPE" in str(predictor.errors)
    device = open_device(load_device("s20"), simulated=True)
    new = sample_architectures(SPACE, 30, 77)
    truth = [sum(device.block_ms(block, 8) for block in plan_architecture(model)) for model in new]  # type: ignore[attr-defined]
    assert np.abs(predictor.predict(new) / truth - 1).mean() < 0.05


@pytest.mark.parametrize(("head", "labels"), [("tokens", 9), ("embedding", 1)])
def test_predicts_heads_it_has_not_seen(predictor: DevicePredictor, head: Head, labels: int) -> None:
    """Their last layer is as those before; what is new behind it, pooling and normalising, takes next to nothing."""
    device = open_device(load_device("s20"), simulated=True)
    new = [replace(model, head=head, labels=labels) for model in sample_architectures(SPACE, 30, 77)]
    truth = [sum(device.block_ms(block, 8) for block in plan_architecture(model)) for model in new]  # type: ignore[attr-defined]
    assert np.abs(predictor.predict(new) / truth - 1).mean() < 0.05
    assert (predictor.predict(new) > predictor.predict(sample_architectures(SPACE, 30, 77))).all()
    # Blocks that were never measured are said to be.
    assert predictor.outside(new).all()


def test_provenance_and_origin_travel(predictor: DevicePredictor) -> None:
    assert predictor.provenance == "simulated"
    assert (predictor.origin.device, predictor.origin.unit, predictor.origin.threads) == ("s20", "cpu", 8)


def test_deeper_is_slower_and_latency_positive(predictor: DevicePredictor) -> None:
    times = predictor.predict([Architecture(layers, 192, 6, 768) for layers in range(1, 13)])
    assert times[0] > 0 and (np.diff(times) > 0).all()


def test_interval_holds_the_prediction_and_widens(predictor: DevicePredictor) -> None:
    models = sample_architectures(SPACE, 10, 5)
    predicted = predictor.predict(models)
    narrow, wide = predictor.interval(models, 0.5), predictor.interval(models, 0.95)
    assert (wide[0] <= narrow[0]).all() and (narrow[0] < predicted).all()
    assert (predicted < narrow[1]).all() and (narrow[1] <= wide[1]).all()
    with pytest.raises(InputError, match="coverage"):
        predictor.interval(models, 1.5)


def test_probability_rises_with_the_budget(predictor: DevicePredictor) -> None:
    model = [Architecture(6, 192, 6, 768)]
    middle = float(predictor.predict(model)[0])
    low, half, high = (float(predictor.probability_within(model, middle * share)[0]) for share in (0.8, 1.0, 1.25))
    assert low < 0.02 and 0.1 < half < 0.9 and high > 0.98


def test_saved_and_loaded_is_the_same(predictor: DevicePredictor, tmp_path: Path) -> None:
    predictor.save(tmp_path / "p")
    loaded = DevicePredictor.load(tmp_path / "p")
    models = sample_architectures(SPACE, 50, 9)
    np.testing.assert_allclose(loaded.predict(models), predictor.predict(models), rtol=1e-6)
    assert loaded.errors == predictor.errors and loaded.origin == predictor.origin
    assert {path.suffix for path in (tmp_path / "p").iterdir()} == {".json"}


def with_trees(predictor: DevicePredictor) -> DevicePredictor:
    """The predictor with trees, whether or not it chose to have some."""
    random = np.random.default_rng(0)
    trees = grow(CHOICES[0], random.random((40, len(FEATURE_NAMES))), random.random(40), 0)
    return replace(predictor, blocks=replace(predictor.blocks, residual=Residual(trees, choice=CHOICES[0])))


@pytest.mark.parametrize("damage", ["schema", "missing", "cut", "keys", "laws", "trees", "none"])
def test_damaged_or_foreign_files_are_refused(predictor: DevicePredictor, tmp_path: Path, damage: str) -> None:
    with_trees(predictor).save(tmp_path)
    path = tmp_path / "predictor.json"
    document = json.loads(path.read_text())
    if damage == "missing":
        path.unlink()
    elif damage == "trees":
        trees = tmp_path / "block_residual.json"
        trees.write_text(trees.read_text().replace("0", "1", 1))
    elif damage == "none":
        path.write_text(path.read_text().replace("usual", "normal"))
    elif damage == "cut":
        path.write_text(path.read_text()[:100])
    else:
        changes = {"schema": {"schema": "old"}, "keys": {"remainder": {"slope": 1}}, "laws": {"blocks": {"laws": {}}}}
        path.write_text(json.dumps({**document, **changes[damage]}))
    with pytest.raises(DataFileError, match=r"predictor\.json|train it again|train the predictor again"):
        DevicePredictor.load(tmp_path)


def test_blocks_of_many_models_are_counted_as_planned() -> None:
    models = [*sample_architectures(SPACE, 20, 1), Architecture(1, 64, 1, 64), preset("deep-narrow")]
    models += [replace(model, layers=layers) for model in models[:4] for layers in (1, 28)]
    models += [replace(model, head="tokens", labels=9) for model in models[::4]]
    models += [replace(model, head="embedding", labels=1) for model in models[:22:4]]
    counted = count_blocks(models)
    for model, row in zip(models, counted.counts.toarray(), strict=True):
        found = {block: int(count) for block, count in zip(counted.blocks, row, strict=True) if count}
        assert found == Counter(plan_architecture(model))
    assert counted.lengths.tolist() == [len(plan_architecture(model)) for model in models]


def test_rows_of_different_devices_are_not_mixed(rows: list[Measurement]) -> None:
    other = [replace(row, fingerprint="another") for row in rows]
    with pytest.raises(InputError, match="one device"):
        DevicePredictor.fit(rows, other, target=TARGETS["aarch64-neon"], speeds=SPEEDS)
    first = [row for row in rows if row.subject_hash == rows[0].subject_hash]
    with pytest.raises(InputError, match="at least two held-out"):
        DevicePredictor.fit(first, target=TARGETS["aarch64-neon"], speeds=SPEEDS)
    with pytest.raises(InputError, match="block by block"):
        DevicePredictor.fit([replace(row, steps_ms=()) for row in rows], target=TARGETS["aarch64-neon"], speeds=SPEEDS)


def test_later_timings_teach_the_level_of_the_day(predictor: DevicePredictor, tmp_path: Path) -> None:
    slower = [
        replace(row, samples_ms=tuple(1.2 * time for time in row.samples_ms))
        for row in timed(sample_architectures(SPACE, 9, 31), tmp_path, seed=7)
    ]
    signatures = {row.subject_hash: row.signature for row in slower}
    medians = medians_ms(slower)
    models = [Architecture.from_dict(json.loads(signatures[key])) for key in medians]
    seen = np.array(list(medians.values()))
    learned = predictor.learned(slower)
    assert np.median(seen / predictor.predict(models)) == pytest.approx(1.2, rel=0.03)
    assert np.abs(learned.predict(models) / seen - 1).mean() < 0.06
    assert len(learned.log_residuals) == predictor.errors.n + len(models)
    # Taught in two parts, or twice the same, it knows the same; and a saved one goes on from where it was.
    first = predictor.learned([row for row in slower if json.loads(row.signature) != models[0].to_dict()])
    first.save(tmp_path / "p")
    again = DevicePredictor.load(tmp_path / "p").learned(slower)
    np.testing.assert_allclose(again.predict(models), learned.predict(models), rtol=1e-6)
    assert predictor.learned([]) is predictor
    with pytest.raises(InputError, match="its own device"):
        predictor.learned([replace(row, threads=4) for row in slower])


def test_what_a_session_adds_widens_the_interval(rows: list[Measurement]) -> None:
    random = np.random.default_rng(0)
    moods = {turn: 1 + 0.2 * (turn >= 2) * random.random() for turn in range(4)}
    restless = [
        replace(
            row,
            samples_ms=tuple(
                time * moods[row.round] * float(np.exp(0.1 * random.standard_normal())) for time in row.samples_ms
            ),
        )
        for row in rows
    ]
    calm, wide = (DevicePredictor.fit(each, target=TARGETS["aarch64-neon"], speeds=SPEEDS) for each in (rows, restless))
    assert wide.later > 2 * calm.later
    assert wide.relative_interval()[1] > calm.relative_interval()[1]
