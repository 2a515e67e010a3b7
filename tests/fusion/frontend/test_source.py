"""The cache of imported graphs: by content, without weights, harmless when damaged."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

from data.architecture import Architecture
from fusion import compile_model
from fusion.frontend.source import Source
from tests.fusion.models import export, random_inputs, reference, save_checkpoint

SMALL = Architecture(1, 32, 2, 64, vocab_size=50, seq_len=8)


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("POCKETBERT_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export(SMALL, tmp_path_factory.mktemp("model"))


def forbid_import(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise AssertionError("imported again")

    monkeypatch.setattr("fusion.frontend.source.import_onnx", fail)


def test_the_second_compilation_imports_nothing(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    inputs = random_inputs(SMALL, 5)
    first = compile_model(model, seq_len=8).run(inputs)[0]
    forbid_import(monkeypatch)
    assert np.array_equal(compile_model(model, seq_len=8).run(inputs)[0], first)


def test_a_copy_elsewhere_is_the_same_source_and_other_weights_are_not(model: Path, tmp_path: Path) -> None:
    (tmp_path / "copy.onnx").write_bytes(model.read_bytes())
    assert (key := Source(model, 8).key) != Source(model, 7).key
    changed = onnx.load(str(model))
    tensor = next(tensor for tensor in changed.graph.initializer if tensor.data_type == onnx.TensorProto.FLOAT)
    tensor.raw_data = bytes(len(tensor.raw_data))
    onnx.save(changed, str(tmp_path / "changed.onnx"))
    assert Source(tmp_path / "changed.onnx", 8).key != key


def test_external_weights_belong_to_the_content(model: Path, tmp_path: Path) -> None:
    path = tmp_path / "split.onnx"
    onnx.save(onnx.load(str(model)), str(path), save_as_external_data=True, location="split.bin", size_threshold=16)
    key = Source(path, 8).key
    inputs = random_inputs(SMALL, 5)
    assert np.abs(compile_model(path, seq_len=8).run(inputs)[0] - reference(model, inputs)).max() < 1e-4
    data = bytearray((tmp_path / "split.bin").read_bytes())
    data[100] ^= 1
    (tmp_path / "split.bin").write_bytes(bytes(data))
    assert Source(path, 8).key != key


@pytest.mark.parametrize("content", ["", "{", "[]", '{"inputs": 3}', '{"operators": [["gemm"]], "types": {}}'])
def test_a_damaged_entry_is_made_again(content: str, model: Path, home: Path) -> None:
    inputs = random_inputs(SMALL, 5)
    first = compile_model(model, seq_len=8).run(inputs)[0]
    (entry,) = (home / "graphs").glob("*.json")
    entry.write_text(content)
    assert np.array_equal(compile_model(model, seq_len=8).run(inputs)[0], first)
    assert len(entry.read_text()) > len(content)


def test_a_checkpoint_is_exported_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoint = save_checkpoint(SMALL, tmp_path / "checkpoint")
    inputs = random_inputs(SMALL, 5)
    first = compile_model(checkpoint, seq_len=8).run(inputs)[0]
    forbid_import(monkeypatch)
    assert np.array_equal(compile_model(checkpoint, seq_len=8).run(inputs)[0], first)
