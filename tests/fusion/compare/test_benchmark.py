"""Timing in turn, and engines beside ours: what is missing is said, and Ctrl-C keeps the finished rounds."""

from __future__ import annotations

import importlib.util
import json
import sys
from collections.abc import Callable, Iterator
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnxruntime.capi.onnxruntime_pybind11_state import Fail

from data.architecture import Architecture
from data.errors import EngineUnavailableError, InputError, UnknownNameError
from fusion import compile_model
from fusion.checkpoints.onnx_export import checkpoint_to_onnx
from fusion.compare.benchmark import time_in_turn
from fusion.compare.comparison import IN_FP32, OURS, UNFUSED, compare, largest_difference
from fusion.compare.engines import EngineSettings, ModelFiles, _Engine, open_engine
from fusion.compare.litert import PYTHON_VARIABLE, litert_file
from fusion.torch_threads import torch_threads
from tests.fusion.families import Export, export_family
from tests.fusion.models import export, tiny_checkpoint
from tests.support import new_home

SMALL = Architecture(2, 96, 3, 256, vocab_size=300, seq_len=40)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ModelFiles]:
    folder = tmp_path_factory.mktemp("small")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("POCKETBERT_HOME", str(new_home(folder / "home")))
        yield ModelFiles(export(SMALL, folder), SMALL.seq_len, folder / "checkpoint")


def hide(monkeypatch: pytest.MonkeyPatch, *modules: str) -> None:
    """As if these modules were not installed."""
    find = importlib.util.find_spec
    monkeypatch.setattr("importlib.util.find_spec", lambda name, *rest: None if name in modules else find(name, *rest))


def test_engines_take_turns_and_rounds_add_up() -> None:
    order: list[str] = []
    turns = time_in_turn({"a": lambda: order.append("a"), "b": lambda: order.append("b")}, rounds=3, runs=4, warmup=2)
    assert [name for name, _ in groupby(order)] == ["a", "b"] * 3
    assert [(timing.engine, len(timing.samples_ms)) for timing in turns.timings] == [("a", 12), ("b", 12)]
    assert all(timing.min_ms <= timing.median_ms for timing in turns.timings)
    assert (turns.rounds, turns.planned) == (3, 3)


def test_ctrl_c_keeps_the_finished_rounds() -> None:
    progress: list[int] = []

    def interrupt_in_the_third_round() -> None:
        if len(progress) == 2:
            raise KeyboardInterrupt

    turns = time_in_turn(
        {"a": lambda: None, "b": interrupt_in_the_third_round},
        rounds=9,
        runs=5,
        progress=lambda done, _: progress.append(done),
    )
    assert (turns.rounds, turns.planned) == (2, 9)
    assert [len(timing.samples_ms) for timing in turns.timings] == [10, 10]


def test_ctrl_c_before_the_first_round_is_an_interruption() -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        time_in_turn({"a": interrupt}, rounds=2)


def test_engines_give_the_same_outputs_and_missing_ones_say_why(
    files: ModelFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    hide(monkeypatch, "openvino")
    fused = compile_model(files.onnx, seq_len=files.seq_len)
    unfused = compile_model(files.onnx, seq_len=files.seq_len, fuse=False)
    engines = ["onnxruntime", "openvino", "pytorch"]
    document = compare(fused, files, engines, EngineSettings(threads=2), rounds=1, unfused=unfused).to_dict()
    assert [row["engine"] for row in document["engines"]] == [OURS, UNFUSED, "onnxruntime", "pytorch"]
    assert document["engines"][0]["min_ratio"] == document["engines"][0]["median_ratio"] == 1
    assert all(row["n"] == len(row["samples_ms"]) == 10 and row["min_ms"] > 0 for row in document["engines"])
    assert all(0 <= value < 1e-4 for value in document["max_abs_difference"].values())
    assert document["max_abs_difference"].keys() == {UNFUSED, "onnxruntime", "pytorch"}
    assert document["missing"] == ["openvino"]
    assert document["missing_reasons"] == {"openvino": "openvino: not installed (pip install openvino)"}
    assert (document["rounds"], document["planned_rounds"], document["threads"]) == (1, 1, 2)


def test_int8_is_compared_with_the_engines_own_int8_and_with_fp32(
    files: ModelFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    hide(monkeypatch, "nncf")
    ours, fp32 = (compile_model(files.onnx, seq_len=files.seq_len, precision=word) for word in ("int8", "fp32"))
    settings = EngineSettings(1, precision="int8")
    document = compare(ours, files, ["onnxruntime", "openvino", "pytorch"], settings, 1, fp32=fp32).to_dict()
    assert [row["engine"] for row in document["engines"]] == [OURS, IN_FP32, "onnxruntime"]
    assert (document["precision"], document["differing"]) == ("int8", [])
    differences = document["max_abs_difference"]
    assert differences.keys() == {OURS, "onnxruntime"}
    assert all(1e-4 < value < 0.1 for value in differences.values()), "both round, and neither is fp32"
    assert document["how"].keys() == {"onnxruntime"}
    assert "fastest of 4 settings" in document["how"]["onnxruntime"] and "failed" not in document["how"]["onnxruntime"]
    assert "pip install nncf" in document["missing_reasons"]["openvino"]
    assert document["missing_reasons"]["pytorch"] == "pytorch: is timed in fp32 only, not in int8"


def test_openvinos_int8_is_near_fp32(files: ModelFiles) -> None:
    pytest.importorskip("nncf")
    fp32 = compile_model(files.onnx, seq_len=files.seq_len)
    document = compare(fp32, files, ["openvino"], EngineSettings(1, precision="int8"), 1, fp32=fp32).to_dict()
    assert 1e-4 < document["max_abs_difference"]["openvino"] < 0.1


@pytest.mark.parametrize("engine", ["pytorch", "litert"])
def test_engines_of_checkpoints_refuse_a_bare_onnx_file(engine: str, files: ModelFiles) -> None:
    with pytest.raises(EngineUnavailableError, match=f"{engine}.* a Hugging Face directory"):
        open_engine(engine, ModelFiles(files.onnx, files.seq_len), EngineSettings(2))


@pytest.mark.parametrize("before", [1, 3])
def test_pytorch_computes_with_its_threads_only_while_it_is_timed(before: int, files: ModelFiles) -> None:
    fused = compile_model(files.onnx, seq_len=files.seq_len)
    with torch_threads(before):
        compare(fused, files, ["pytorch"], EngineSettings(threads=2), rounds=1)
        assert torch.get_num_threads() == before


def test_an_unknown_engine_is_named(files: ModelFiles) -> None:
    with pytest.raises(UnknownNameError, match=r"openvin'.*openvino"):
        open_engine("openvin", files, EngineSettings(2))


def test_openvino_agrees(files: ModelFiles) -> None:
    fused = compile_model(files.onnx, seq_len=files.seq_len)
    assert compare(fused, files, ["openvino"], EngineSettings(2), 1).max_abs_difference["openvino"] < 1e-4


def fake_python(path: Path, body: str) -> str:
    """An executable in the place of a Python that has litert-torch."""
    path.write_text(f"#!{sys.executable}\nimport sys\n{body}\n")
    path.chmod(0o755)
    return str(path)


def test_a_model_is_converted_once(files: ModelFiles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POCKETBERT_HOME", str(tmp_path))
    body = "open(sys.argv[4], 'w').write(' '.join([sys.argv[1], sys.argv[5]]))"
    python = fake_python(tmp_path / "python", body)
    assert files.checkpoint is not None
    made = litert_file(files.checkpoint, 40, python)
    assert made.read_text() == "-I 40", "the converter is isolated from this process's packages"
    assert litert_file(files.checkpoint, 40, "/no/such/python") == made, "the cache needs no converter"
    monkeypatch.setenv(PYTHON_VARIABLE, python)
    assert litert_file(files.checkpoint, 41).read_text() == "-I 41"
    assert litert_file(files.checkpoint, 40, precision="int8") != made, "int8 is another file"


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("print('first', file=sys.stderr); sys.exit('ImportError: no litert_torch')", "ImportError: no litert_torch"),
        ("sys.exit(3)", "status 3"),
        ("pass", "status 0"),
    ],
)
def test_a_failed_conversion_says_why_in_one_line(
    body: str, reason: str, files: ModelFiles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("POCKETBERT_HOME", str(tmp_path / "home"))
    assert files.checkpoint is not None
    with pytest.raises(EngineUnavailableError, match=reason) as caught:
        litert_file(files.checkpoint, 40, fake_python(tmp_path / "python", body))
    assert "\n" not in str(caught.value)
    assert not list((tmp_path / "home" / "litert").iterdir()), "nothing half-made is left"


def test_without_a_converter_the_option_is_named(
    files: ModelFiles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("POCKETBERT_HOME", str(tmp_path))
    monkeypatch.delenv(PYTHON_VARIABLE, raising=False)
    hide(monkeypatch, "litert_torch")
    assert files.checkpoint is not None
    with pytest.raises(EngineUnavailableError, match=f"--litert-python or {PYTHON_VARIABLE}"):
        litert_file(files.checkpoint, 40)
    with pytest.raises(EngineUnavailableError, match="/no/such/python cannot be started"):
        litert_file(files.checkpoint, 40, "/no/such/python")


def test_litert_agrees(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """``tiny.tflite`` is what litert-torch made of this very checkpoint (``convert_to_litert.py CHECKPOINT OUT 8``)."""
    monkeypatch.setenv("POCKETBERT_HOME", str(tmp_path / "home"))
    body = f"import shutil; shutil.copy({str(Path(__file__).with_name('tiny.tflite'))!r}, sys.argv[4])"
    settings = EngineSettings(2, fake_python(tmp_path / "python", body))
    checkpoint = tiny_checkpoint(tmp_path / "checkpoint")
    files = ModelFiles(checkpoint_to_onnx(checkpoint, tmp_path / "model.onnx", 8), 8, checkpoint)
    comparison = compare(compile_model(files.onnx, seq_len=8), files, ["litert"], settings, rounds=1)
    assert comparison.max_abs_difference["litert"] < 1e-4


def test_outputs_of_other_shapes_are_another_model() -> None:
    with pytest.raises(InputError, match="shapes"):
        largest_difference([np.zeros((1, 2))], [np.zeros((1, 3))])


def fake_engine(monkeypatch: pytest.MonkeyPatch, open_model: Callable[..., Any]) -> str:
    """ONNX Runtime's place taken by another function that opens a model."""
    monkeypatch.setattr("fusion.compare.engines._ENGINES", {"onnxruntime": _Engine("onnxruntime", "", open_model)})
    return "onnxruntime"


def refuse(*_: object) -> Any:
    """As ONNX Runtime does, by a class that is no kin of any other."""
    raise Fail("Exception from somewhere.cpp:7\nno kernel for this\nmore")


@pytest.mark.parametrize(
    ("open_model", "reason"),
    [
        (refuse, "onnxruntime: no kernel for this"),
        (lambda *_: refuse, "onnxruntime: no kernel for this"),
        (lambda *_: lambda inputs: [np.zeros((1, 9))], "onnxruntime: its outputs are of shapes [1, 9], not [1, 2]"),
        (lambda *_: lambda inputs: [], "onnxruntime: its outputs are of shapes , not [1, 2]"),
    ],
)
def test_an_engine_that_fails_is_left_out_with_its_reason(
    open_model: Callable[..., Any], reason: str, files: ModelFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = fake_engine(monkeypatch, open_model)
    compiled = compile_model(files.onnx, seq_len=files.seq_len)
    document = compare(compiled, files, [name], EngineSettings(1), rounds=1).to_dict()
    assert [row["engine"] for row in document["engines"]] == [OURS]
    assert document["missing_reasons"][name].startswith(reason)


@pytest.mark.parametrize(("number", "shown"), [(7.0, True), (np.nan, False), (np.inf, False)])
def test_other_numbers_are_told(number: float, shown: bool, files: ModelFiles, monkeypatch: pytest.MonkeyPatch) -> None:
    name = fake_engine(monkeypatch, lambda *_: lambda inputs: [np.full((1, 2), number, np.float32)])
    compiled = compile_model(files.onnx, seq_len=files.seq_len)
    document = compare(compiled, files, [name], EngineSettings(1), rounds=1).to_dict()
    assert document["differing"] == [name]
    assert (document["max_abs_difference"][name] is not None) == shown
    json.dumps(document, allow_nan=False)


@pytest.mark.usefixtures("files")
@pytest.mark.parametrize("engine", ["onnxruntime", "openvino"])
def test_inputs_of_32_bits_and_unread_ones_are_fed_as_the_file_wants_them(engine: str, tmp_path: Path) -> None:
    if importlib.util.find_spec(engine) is None:
        pytest.skip(f"{engine} is not installed")
    path = export_family(Export("bert", dtype=torch.int32, changes={"num_hidden_layers": 1}), tmp_path / "model.onnx")
    model = onnx.load(str(path))
    model.graph.input.append(onnx.helper.make_tensor_value_info("labels", onnx.TensorProto.FLOAT, ["batch", 3]))
    onnx.save(model, str(path))
    compiled = compile_model(path, seq_len=7, threads=1)
    comparison = compare(compiled, ModelFiles(path, 7), [engine], EngineSettings(1), rounds=1)
    assert not comparison.missing
    assert comparison.max_abs_difference[engine] < 1e-4


@pytest.mark.usefixtures("files")
def test_a_file_that_one_runtime_refuses_is_still_compared(tmp_path: Path) -> None:
    path = export_family(Export("bert", changes={"num_hidden_layers": 1}), tmp_path / "model.onnx")
    model = onnx.load(str(path))
    model.ir_version = 99
    onnx.save(model, str(path))
    compiled = compile_model(path, seq_len=7, threads=1)
    comparison = compare(compiled, ModelFiles(path, 7), ["onnxruntime"], EngineSettings(1), rounds=1)
    assert comparison.missing["onnxruntime"].startswith("onnxruntime: ")
    assert "\n" not in comparison.missing["onnxruntime"]


def test_what_an_engine_raises_is_told_and_a_defect_keeps_its_traceback(
    files: ModelFiles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "broken.onnx").write_bytes(b"no model")
    with pytest.raises(EngineUnavailableError, match=r"^onnxruntime: [^\n]*broken\.onnx"):
        open_engine("onnxruntime", ModelFiles(tmp_path / "broken.onnx", 8), EngineSettings(1))
    monkeypatch.setattr("onnxruntime.InferenceSession", lambda *given, **named: 1 // 0)
    with pytest.raises(ZeroDivisionError):
        open_engine("onnxruntime", files, EngineSettings(1))
