"""Names of labels that a checkpoint or an ONNX file does not give as it should are refused; others reach the model."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

from data.errors import DataFileError
from fusion import compile_model
from fusion.checkpoints.model import open_checkpoint
from fusion.checkpoints.onnx_export import checkpoint_to_onnx
from fusion.labels import LABELS_KEY
from tests.fusion.directories import edit_json, save_head

pytestmark = pytest.mark.usefixtures("shared_home")

SEQ_LEN = 6


def saved(folder: Path, id2label: object, head: str = "ForSequenceClassification") -> Path:
    """A checkpoint of three labels, or of a head without any."""
    save_head("bert", head, folder)
    edit_json(folder / "config.json", id2label=id2label)
    return folder


@pytest.fixture
def onnx_file(tmp_path: Path) -> Path:
    return checkpoint_to_onnx(saved(tmp_path / "model", {"0": "a", "1": "b", "2": "c"}), tmp_path / "m.onnx", SEQ_LEN)


@pytest.mark.parametrize(
    ("id2label", "expected"),
    [
        ({"0": "no", "1": "yes", "2": "né\n"}, ("no", "yes", "né\n")),
        ({"2": "c", "0": "a", "1": "a"}, ("a", "a", "c")),
        ({"0": 5, "1": 3.5, "2": -1}, ("5", "3.5", "-1")),
        ({"0": "LABEL_0", "1": "LABEL_1", "2": "LABEL_2"}, ()),
        ({"0": "LABEL_0", "1": "LABEL_1", "2": "other"}, ("LABEL_0", "LABEL_1", "other")),
    ],
)
@pytest.mark.parametrize("head", ["ForSequenceClassification", "ForTokenClassification"])
def test_labels_are_named_in_order(head: str, id2label: object, expected: tuple[str, ...], tmp_path: Path) -> None:
    assert open_checkpoint(saved(tmp_path, id2label, head)).labels == expected


@pytest.mark.parametrize("head", ["Model", "ForQuestionAnswering", "ForMaskedLM"])
def test_other_heads_have_no_labels(head: str, tmp_path: Path) -> None:
    assert open_checkpoint(saved(tmp_path, {"0": "start", "1": "end"}, head)).labels == ()


@pytest.mark.parametrize(
    ("id2label", "problem"),
    [
        ({"1": "a", "2": "b", "3": "c"}, r"id2label numbers its labels 1, 2, 3 \.\.\.; they count from 0 on"),
        ({"0": "a", "1": None, "2": "c"}, "id2label: label 1 is None, not a name"),
        ({"0": ["a"], "1": "b", "2": "c"}, r"id2label: label 0 is \['a'\], not a name"),
        ({"0": "a", "1": "b\0c", "2": "c"}, r"label 1 is 'b\\x00c'; NUL would end the name in C"),
        ({"0": "a", "1": "b", "2": "\ud800"}, r"label 2 is '\\ud800', which is no valid Unicode"),
        ({"0": "a", "1": "b", "2": "é" * 2048}, "label 2 is of 4096 bytes; names of labels have at most 4095"),
    ],
)
def test_names_that_are_none_are_refused(id2label: object, problem: str, tmp_path: Path) -> None:
    with pytest.raises(DataFileError, match=problem) as caught:
        open_checkpoint(saved(tmp_path, id2label))
    assert "\n" not in str(caught.value) and str(caught.value).startswith(str(tmp_path / "config.json"))


def test_the_onnx_file_is_as_good_as_without_names(onnx_file: Path) -> None:
    onnx.checker.check_model(onnx_file, full_check=True)
    session = onnxruntime.InferenceSession(str(onnx_file))
    assert json.loads(session.get_modelmeta().custom_metadata_map[LABELS_KEY]) == ["a", "b", "c"]
    inputs = {"input_ids": np.ones((1, SEQ_LEN), np.int64), "attention_mask": np.ones((1, SEQ_LEN), np.int64)}
    inputs["token_type_ids"] = np.zeros((1, SEQ_LEN), np.int64)
    (expected,) = session.run(None, inputs)
    assert np.abs(compile_model(onnx_file, seq_len=SEQ_LEN).run(inputs)[0] - expected).max() < 1e-4


def test_names_outlive_other_tools(onnx_file: Path) -> None:
    """What ONNX Runtime's optimiser or onnx itself writes again."""
    settings = onnxruntime.SessionOptions()
    settings.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    settings.optimized_model_filepath = str(onnx_file.with_name("optimised.onnx"))
    onnxruntime.InferenceSession(str(onnx_file), settings)
    onnx.save(onnx.load(onnx_file), onnx_file.with_name("saved.onnx"))
    for name in ("optimised.onnx", "saved.onnx"):
        assert compile_model(onnx_file.with_name(name), seq_len=SEQ_LEN).labels == ("a", "b", "c")


@pytest.mark.parametrize(
    ("values", "problem"),
    [
        (["a,b,c"], "metadata pocketbert.labels is no JSON list of names"),
        (['{"0": "a"}'], "is no JSON list"),
        (["[]"], "is no JSON list"),
        (["[" * 100_000], "is no JSON list"),
        (['["a", "b", 3]'], "metadata pocketbert.labels: label 2 is 3, not a name"),
        (['["a", "b", "\\u0000"]'], "label 2 is '.x00'; NUL would end"),
        (['["a", "b"]'], "metadata pocketbert.labels names 2 labels, but the file has 3 logits"),
        (['["a", "b", "c"]', '["a", "b", "c"]'], "metadata pocketbert.labels is there 2 times"),
    ],
)
def test_metadata_that_do_not_name_the_labels_are_refused(values: list[str], problem: str, onnx_file: Path) -> None:
    model = onnx.load(onnx_file)
    del model.metadata_props[:]
    for value in values:
        model.metadata_props.add(key=LABELS_KEY, value=value)
    onnx.save(model, onnx_file)
    with pytest.raises(DataFileError, match=problem) as caught:
        compile_model(onnx_file, seq_len=SEQ_LEN)
    assert "\n" not in str(caught.value)


def test_other_metadata_are_left_alone(onnx_file: Path) -> None:
    model = onnx.load(onnx_file)
    model.metadata_props[0].key = "labels"
    onnx.save(model, onnx_file)
    assert compile_model(onnx_file, seq_len=SEQ_LEN).labels == ()
