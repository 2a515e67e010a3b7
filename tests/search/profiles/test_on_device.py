"""What a search leaves for apps: libraries for the unit that was searched for, with the winner's tokenizer."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from data.device_spec import load_device
from fusion import Processor, compile_model, target_named
from fusion.build.android import ABIS
from fusion.compiled import CompiledModel
from search.profiles.on_device import export_compiled
from tests.fusion.app.models import save_model

pytestmark = pytest.mark.usefixtures("shared_home")


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_model(tmp_path_factory.mktemp("model") / "checkpoint", "bert", "classification")


@pytest.fixture(scope="module")
def model(checkpoint: Path, shared_home: None) -> CompiledModel:
    return compile_model(checkpoint, seq_len=16)


def device(name: str, unit: str = "cpu") -> Any:
    """An analytic model of a phone, or this machine."""
    spec = load_device(name)
    target = target_named(spec.target if spec.kind == "android" else "x86_64-sse")
    return SimpleNamespace(spec=spec, unit=unit, needs_runner=False, machine=Processor(target))


@pytest.mark.parametrize(("name", "unit"), [("s20", "cpu"), ("mali", "gpu")])
def test_a_phone_gets_what_an_app_needs(
    name: str, unit: str, model: CompiledModel, checkpoint: Path, tmp_path: Path
) -> None:
    export_compiled(device(name, unit), model, checkpoint, tmp_path / "compiled", tmp_path / "android")
    libraries = [(tmp_path / "android" / "jniLibs" / abi / "libmodel.so").read_bytes() for abi in ABIS]
    assert all((b"kernel void" in library) == (unit == "gpu") for library in libraries)
    assert (tmp_path / "android" / "assets" / "model.tokenizer").is_file()
    readme = (tmp_path / "android" / "README-model.md").read_text(encoding="utf-8")
    assert ("libOpenCL.so" in readme) == (unit == "gpu")


def test_this_machine_gets_nothing_for_an_app(model: CompiledModel, checkpoint: Path, tmp_path: Path) -> None:
    export_compiled(device("host"), model, checkpoint, tmp_path / "compiled", tmp_path / "android")
    assert not (tmp_path / "android").exists()


def test_a_tokenizer_that_is_missing_is_the_reason_for_token_ids(
    model: CompiledModel, checkpoint: Path, tmp_path: Path
) -> None:
    assert export_compiled(device("s20"), model, checkpoint, tmp_path / "with", tmp_path / "app") == ""
    assert (tmp_path / "with" / "tokenizer.bin").is_file()
    assert "no tokenizer" in export_compiled(device("s20"), model, tmp_path, tmp_path / "without", tmp_path / "app")
    assert not (tmp_path / "without" / "tokenizer.bin").exists()
