"""What a caller may give to a compiled model, and what is refused by name rather than cut, rounded or reshaped."""

from __future__ import annotations

from collections import UserDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from data.errors import InputError
from fusion import compile_model
from fusion.compiled import CompiledModel
from tests.fusion.families import VOCABULARY, Export, export_family, runtime_outputs

pytestmark = pytest.mark.usefixtures("shared_home")

S = 6
IDS = np.array([[5, 9, 2, 33, 1, 1]])
MASK = np.array([[1, 1, 1, 1, 0, 0]])
ONE_LAYER = {"num_hidden_layers": 1}
WHOLE = Export("bert", seq_len=S, changes=ONE_LAYER)
BARE = Export("bert", seq_len=S, changes=ONE_LAYER, inputs=("input_ids",))


@pytest.fixture(scope="module")
def whole_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export_family(WHOLE, tmp_path_factory.mktemp("whole") / "model.onnx")


@pytest.fixture(scope="module")
def whole(whole_file: Path, shared_home: None) -> CompiledModel:
    return compile_model(whole_file, seq_len=S, threads=1)


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory, shared_home: None) -> CompiledModel:
    return compile_model(export_family(BARE, tmp_path_factory.mktemp("bare") / "model.onnx"), seq_len=S, threads=1)


@pytest.mark.parametrize(
    "ids",
    [
        IDS.tolist(),
        IDS[0],
        tuple(IDS[0].tolist()),
        IDS.astype(np.int32),
        IDS.astype(np.uint8),
        torch.tensor(IDS),
        torch.tensor(IDS[0], dtype=torch.int32),
        np.repeat(IDS, 2, axis=1)[:, ::2],
        np.asfortranarray(IDS),
        list(torch.tensor(IDS)[0]),
    ],
)
@pytest.mark.parametrize("mask", [MASK, MASK.astype(bool), MASK.tolist(), torch.tensor(MASK).bool()])
def test_whole_numbers_in_any_dress_are_taken(ids: Any, mask: Any, whole: CompiledModel, whole_file: Path) -> None:
    given = {"input_ids": IDS, "attention_mask": MASK, "token_type_ids": np.zeros_like(IDS)}
    (expected,) = runtime_outputs(WHOLE, whole_file, given)
    (output,) = whole.run(UserDict({"input_ids": ids, "attention_mask": mask}))
    assert np.abs(output - expected).max() < 1e-4


@pytest.mark.parametrize(
    ("name", "value", "problem"),
    [
        ("input_ids", None, "is None"),
        ("input_ids", IDS.astype(float), "holds float64"),
        ("input_ids", torch.tensor(IDS).float(), "holds float32"),
        ("input_ids", torch.ones(1, S, requires_grad=True), "cannot be read as whole numbers"),
        ("input_ids", torch.ones(1, S, device="meta", dtype=torch.int64), "cannot be read as whole numbers"),
        ("input_ids", [[1, 2], [3]], "cannot be read as whole numbers"),
        ("input_ids", [["5"] * S], "holds str"),
        ("input_ids", "hello", "holds str"),
        ("input_ids", IDS.astype(object), "holds object"),
        ("input_ids", IDS.astype(complex), "holds complex"),
        ("input_ids", [[10**30] * S], "holds object"),
        ("input_ids", np.full((1, S), 2**64 - 1, np.uint64), f"outside 0 to {VOCABULARY - 1}"),
        ("input_ids", np.full((1, S), 2**32), f"outside 0 to {VOCABULARY - 1}"),
        ("input_ids", np.full((1, S), np.nan), "holds float64"),
        ("input_ids", np.ma.masked_equal(IDS, 1), "masked array"),
        ("input_ids", IDS.reshape(2, 3), r"of shape \[2, 3\]"),
        ("input_ids", IDS.T, r"of shape \[6, 1\]"),
        ("input_ids", IDS[None], r"of shape \[1, 1, 6\]"),
        ("input_ids", np.repeat(IDS, 2, axis=0), r"of shape \[2, 6\]"),
        ("input_ids", np.int64(5), r"of shape \[\]"),
        ("input_ids", [], r"of shape \[0\]"),
        ("input_ids", {1, 2}, "holds object"),
        ("attention_mask", np.full((1, S), 0.5), "holds float64"),
        ("attention_mask", np.full((1, S), 2), "outside 0 to 1"),
        ("attention_mask", -MASK, "outside 0 to 1"),
        ("attention_mask", np.ones((1, 1, 1, S), np.int64), r"of shape \[1, 1, 1, 6\]"),
        ("token_type_ids", np.full((1, S), 2), "outside 0 to 1"),
        ("attention_masks", MASK, "no input 'attention_masks'.*Did you mean 'attention_mask'"),
        ("position_ids", MASK, "no input 'position_ids'"),
        (5, MASK, "no input 5"),
    ],
)
def test_anything_else_is_refused_by_name(name: Any, value: Any, problem: str, whole: CompiledModel) -> None:
    with pytest.raises(InputError, match=problem) as caught:
        whole.run({"input_ids": IDS, "attention_mask": MASK} | {name: value})
    assert str(name) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("inputs", [IDS, None, [("input_ids", IDS)], "input_ids"])
def test_inputs_that_are_no_mapping_are_refused(inputs: Any, whole: CompiledModel) -> None:
    with pytest.raises(InputError, match="must map names to arrays"):
        whole.run(inputs)


def test_ids_are_never_left_out(whole: CompiledModel) -> None:
    with pytest.raises(InputError, match="'input_ids' is missing"):
        whole.run({"attention_mask": MASK})


def test_an_input_that_the_model_lacks_is_taken_only_where_it_changes_nothing(bare: CompiledModel) -> None:
    (expected,) = bare.run({"input_ids": IDS})
    defaults = {"attention_mask": np.ones((1, S), bool), "token_type_ids": [0] * S}
    assert np.array_equal(bare.run({"input_ids": IDS} | defaults)[0], expected)
    for name, value in (("attention_mask", MASK), ("token_type_ids", 1 - MASK)):
        with pytest.raises(InputError, match=f"the model has no input '{name}'"):
            bare.run({"input_ids": IDS, name: value})
    with pytest.raises(InputError, match=r"'attention_mask' is of shape \[1, 3\]"):
        bare.run({"input_ids": IDS, "attention_mask": [[1, 1, 1]]})


@pytest.mark.parametrize("change", [{"warmup": -1}, {"runs": 0}, {"runs": 2.0}, {"warmup": True}, {"runs": 10**12}])
def test_runs_are_counted_in_whole_numbers(change: dict[str, Any], whole: CompiledModel) -> None:
    with pytest.raises(InputError, match=f"{next(iter(change))} must be a whole number"):
        whole.time(**change)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"seq_len": 6.0}, "seq_len must be a whole number"),
        ({"seq_len": "6"}, "seq_len must be a whole number"),
        ({"seq_len": True}, "seq_len must be a whole number"),
        ({"seq_len": 0}, "seq_len must be a whole number from 1"),
        ({"seq_len": 10**9}, "seq_len must be a whole number from 1"),
        ({"threads": 0}, "threads must be a whole number from 1 to 64"),
        ({"threads": 1000}, "threads must be a whole number from 1 to 64"),
        ({"threads": True}, "threads must be a whole number"),
        ({"fuse": "no"}, "fuse must be True or False"),
        ({"target": "x86_64-avx2"}, "target must be a Target"),
    ],
)
def test_options_are_checked(change: dict[str, Any], problem: str, whole_file: Path) -> None:
    with pytest.raises(InputError, match=problem):
        compile_model(whole_file, **({"seq_len": S} | change))


@pytest.mark.parametrize("source", [None, 5, "", b"model.onnx", "model\0.onnx"])
def test_a_source_is_a_path(source: Any) -> None:
    with pytest.raises(InputError, match="source must be the path"):
        compile_model(source)


def test_a_path_to_nothing_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nowhere\.onnx: no such"):
        compile_model(tmp_path / "nowhere.onnx")
