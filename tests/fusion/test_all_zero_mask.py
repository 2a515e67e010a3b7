"""A mask of zeros alone, which no tokenizer makes: every key weighs the same, however the model was exported."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from fusion import compile_model
from tests.fusion.families import Export, export_family, ragged_inputs, runtime_outputs

pytestmark = pytest.mark.usefixtures("shared_home")

ONE_LAYER = {"num_hidden_layers": 1}
EAGER = Export("bert", changes=ONE_LAYER)
SDPA = Export("bert", attention="sdpa", changes=ONE_LAYER)


@pytest.mark.parametrize("fuse", [True, False])
def test_all_keys_weigh_the_same_in_every_export(fuse: bool, tmp_path: Path) -> None:
    """ONNX Runtime does so for eager attention; TorchScript's SDPA has a guard that makes the weights zero instead."""
    inputs = ragged_inputs(EAGER, 7, 0)
    assert not inputs["attention_mask"].any()
    eager = export_family(EAGER, tmp_path / "eager.onnx")
    (expected,) = runtime_outputs(EAGER, eager, inputs)
    for path in (eager, export_family(SDPA, tmp_path / "sdpa.onnx")):
        (output,) = compile_model(path, seq_len=7, threads=1, fuse=fuse).run(inputs)
        assert np.abs(output - expected).max() < 1e-4
