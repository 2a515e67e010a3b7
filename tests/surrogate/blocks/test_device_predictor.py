"""The device predictor: learns an analytic device, knows its error, saves without pickles."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from data.architecture import Architecture, preset
from data.device_spec import load_device
from data.disturbance import PREEMPTIONS
from data.errors import DataFileError, InputError
from data.measurement import Measurement
from data.store import MeasurementStore
from fusion import plan_architecture
from fusion.target import TARGETS
from profiling import open_device
from profiling.sampling import SamplingRange, candidate_blocks, choose_blocks, sample_architectures
from profiling.session import measure_blocks, measure_models
from surrogate import DevicePredictor
from surrogate.blocks.plans import count_blocks
from surrogate.blocks.training_data import corrected_ms

SPACE = SamplingRange()


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[Measurement], list[Measurement]]:
    """(block rows, model rows) of the simulated S20."""
    device = open_device(load_device("s20"), simulated=True)
    blocks = choose_blocks(candidate_blocks(SPACE, 0), 100, 0)
    with MeasurementStore.open(tmp_path_factory.mktemp("store") / "m.sqlite") as store:
        return (
            measure_blocks(device, blocks, threads=8, store=store, repeats=1),
            measure_models(device, sample_architectures(SPACE, 24, 0), threads=8, store=store, repeats=1),
        )


@pytest.fixture(scope="module")
def predictor(rows: tuple[list[Measurement], list[Measurement]]) -> DevicePredictor:
    return DevicePredictor.fit(*rows, target=TARGETS["aarch64-neon"])


def test_predicts_models_it_has_not_seen(predictor: DevicePredictor) -> None:
    assert predictor.errors.n == 12
    assert predictor.errors.mape < 0.05 and predictor.errors.within_10 == 1 and predictor.errors.spearman > 0.99
    assert "12 held-out models: MAPE" in str(predictor.errors)
    device = open_device(load_device("s20"), simulated=True)
    new = sample_architectures(SPACE, 30, 77)
    truth = [sum(device.block_ms(block, 8) for block in plan_architecture(model)) for model in new]  # type: ignore[attr-defined]
    assert np.abs(predictor.predict(new) / truth - 1).mean() < 0.05


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


@pytest.mark.parametrize("damage", ["schema", "missing", "cut", "keys", "laws", "trees", "none"])
def test_damaged_or_foreign_files_are_refused(predictor: DevicePredictor, tmp_path: Path, damage: str) -> None:
    predictor.save(tmp_path)
    path = tmp_path / "predictor.json"
    document = json.loads(path.read_text())
    if damage == "missing":
        path.unlink()
    elif damage == "trees":
        trees = tmp_path / "block_residual.json"
        trees.write_text(trees.read_text().replace("0", "1", 1))
    elif damage == "none":
        path.write_text(path.read_text().replace("disturbance", "quiet"))
    elif damage == "cut":
        path.write_text(path.read_text()[:100])
    else:
        changes = {"schema": {"schema": "old"}, "keys": {"remainder": {"slope": 1}}, "laws": {"blocks": {"laws": {}}}}
        path.write_text(json.dumps({**document, **changes[damage]}))
    with pytest.raises(DataFileError, match=r"predictor\.json|train it again|train the predictor again"):
        DevicePredictor.load(tmp_path)


def test_blocks_of_many_models_are_counted_as_planned() -> None:
    models = [*sample_architectures(SPACE, 20, 1), Architecture(1, 64, 1, 64), preset("deep-narrow")]
    counted = count_blocks(models)
    for model, row in zip(models, counted.counts.toarray(), strict=True):
        found = {block: int(count) for block, count in zip(counted.blocks, row, strict=True) if count}
        assert found == Counter(plan_architecture(model))
    assert counted.lengths.tolist() == [len(plan_architecture(model)) for model in models]


def test_rows_of_different_devices_are_not_mixed(rows: tuple[list[Measurement], list[Measurement]]) -> None:
    blocks, models = rows
    other = [replace(row, fingerprint="another") for row in models]
    with pytest.raises(InputError, match="one device"):
        DevicePredictor.fit(blocks, other, target=TARGETS["aarch64-neon"])
    with pytest.raises(InputError, match="at least"):
        DevicePredictor.fit(blocks, models[:3], target=TARGETS["aarch64-neon"])


def test_drift_is_corrected_and_disturbed_rows_give_way(rows: tuple[list[Measurement], list[Measurement]]) -> None:
    row = rows[0][0]
    hot = [replace(row, samples_ms=(1.3,), reference_ms=1.3), replace(row, samples_ms=(1.0,), reference_ms=1.0)]
    cool = [replace(row, subject_hash=f"{n}", samples_ms=(1.0,), reference_ms=1.0) for n in range(5)]
    assert corrected_ms([*hot, *cool])[row.subject_hash] == pytest.approx(1.0)
    disturbed = replace(row, samples_ms=(9.0, 4.0), state_after={PREEMPTIONS: 900.0})
    quiet = replace(row, samples_ms=(2.0,), reference_ms=None)
    assert corrected_ms([disturbed, quiet])[row.subject_hash] == 2.0
    assert corrected_ms([disturbed])[row.subject_hash] == 6.5


def test_a_reference_that_is_disturbed_itself_corrects_nothing(
    rows: tuple[list[Measurement], list[Measurement]],
) -> None:
    random, row = np.random.default_rng(0), rows[0][0]
    noisy = [
        replace(row, subject_hash=f"{n % 8}", samples_ms=(1.0,), reference_ms=float(random.choice([1.0, 1.4])))
        for n in range(40)
    ]
    assert set(corrected_ms(noisy).values()) == {1.0}
    drifting = [replace(row, samples_ms=(row.reference_ms or 1.0,)) for row in noisy]
    assert len(set(np.round(list(corrected_ms(drifting).values()), 6))) == 1
