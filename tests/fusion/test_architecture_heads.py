"""Architectures of every head: the blocks of a bare one are those of its checkpoint, which computes the same compiled.

All numbers are compared, those of padded tokens too: a padded token attends to the kept ones as any other does, so its
logits are as defined as theirs, though nobody reads them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from data.architecture import HEADS, Architecture, Head
from fusion import compile_model, plan_architecture
from fusion.planning.architecture_plan import architecture_plan
from tests.fusion.models import export, random_architecture, random_inputs

pytestmark = pytest.mark.usefixtures("shared_home")

TOLERANCE = 1e-4
WIDE: dict[str, int] = {"layers": 1, "hidden": 384, "heads": 12, "intermediate": 1536, "vocab_size": 300}
# One label, two, as many as CoNLL has, a vector and one, more than a token is wide; MiniLM's width, and tiny ones.
SIZES = (
    *(Architecture(1, 48, 3, 64, vocab_size=300, labels=labels, head="tokens") for labels in (1, 2, 9, 17, 200)),
    Architecture(**WIDE, labels=9, head="tokens"),
    Architecture(**WIDE, labels=1, head="embedding"),
    Architecture(1, 8, 1, 8, vocab_size=20, labels=1, head="embedding"),
    Architecture(2, 3, 3, 5, vocab_size=20, seq_len=2, labels=1, head="embedding"),
)
_RANDOM = [(seed, head) for seed in range(8) for head in ("tokens", "embedding")]


def masks(seq_len: int) -> Mapping[str, np.ndarray]:
    """Masks [1, seq_len] of one token, half of them, all but one, all, and with a hole."""
    kept = np.arange(seq_len)[None]
    counts = {"one": 1, "half": max(1, seq_len // 2), "all but one": max(1, seq_len - 1), "all": seq_len}
    found = {name: (kept < count).astype(np.int64) for name, count in counts.items()}
    return found | {"a hole": (kept != seq_len // 2).astype(np.int64)} if seq_len > 1 else found


def assert_agrees(architecture: Architecture, folder: Path) -> None:
    """The model gives ONNX Runtime's output for every mask, compiled from its folder and from its ONNX file."""
    path = export(architecture, folder)
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    models = [compile_model(source, seq_len=architecture.seq_len) for source in (path, folder / "checkpoint")]
    if architecture.seq_len > 1:  # the position of a single row is a plain bias
        assert models[0].blocks == models[1].blocks == plan_architecture(architecture)
    for name, mask in masks(architecture.seq_len).items():
        inputs = random_inputs(architecture, architecture.seq_len) | {"attention_mask": mask}
        inputs = {port.name: inputs[port.name] for port in session.get_inputs()}
        (expected,) = session.run(None, inputs)
        for model in models:
            (output,) = model.run(inputs)
            assert output.shape == expected.shape == expected_shape(architecture)
            assert np.abs(output - expected).max() < TOLERANCE, name


def expected_shape(architecture: Architecture) -> tuple[int, ...]:
    shapes: dict[Head, tuple[int, ...]] = {
        "sequence": (1, architecture.labels),
        "tokens": (1, architecture.seq_len, architecture.labels),
        "embedding": (1, architecture.hidden),
    }
    return shapes[architecture.head]


@pytest.mark.parametrize(("seed", "head"), _RANDOM)
def test_blocks_of_a_bare_architecture_are_those_of_its_checkpoint(seed: int, head: Head, tmp_path: Path) -> None:
    architecture = random_architecture(seed, head)
    path = export(architecture, tmp_path, seed)
    for fuse in (True, False):
        planned = tuple(fused.block for fused in architecture_plan(architecture, fuse=fuse).blocks)
        for source in (path, tmp_path / "checkpoint"):
            imported = compile_model(source, seq_len=architecture.seq_len, fuse=fuse)
            if architecture.seq_len > 1:  # the position of a single row is a plain bias
                assert imported.blocks == planned


@pytest.mark.parametrize("head", HEADS)
def test_a_single_token_type_is_no_input(head: Head, tmp_path: Path) -> None:
    assert_agrees(replace(random_architecture(2, head), token_types=1, seq_len=9), tmp_path)


@pytest.mark.parametrize("architecture", SIZES, ids=lambda each: f"{each.name}-{each.labels}")
def test_every_mask_gives_what_the_exported_model_gives(architecture: Architecture, tmp_path: Path) -> None:
    assert_agrees(architecture, tmp_path)


@pytest.mark.parametrize("head", ["tokens", "embedding"])
def test_a_sequence_of_one_token(head: Head, tmp_path: Path) -> None:
    assert_agrees(replace(random_architecture(1, head), seq_len=1), tmp_path)


def test_no_layer_of_these_heads_is_computed_for_the_first_token_only() -> None:
    sizes = {"layers": 3, "hidden": 192, "heads": 6, "intermediate": 768, "labels": 1}
    sequence = plan_architecture(Architecture(**sizes))
    for head, behind in (("tokens", ["gemm"]), ("embedding", ["pool", "rowwise"])):
        blocks = plan_architecture(Architecture(**sizes, head=head))
        assert all(block.sizes["rows"] == 128 for block in blocks[: -len(behind)])
        assert [block.anchor for block in blocks[-len(behind) :]] == behind
        # Each layer is as the inner layers of a sequence's model.
        assert set(blocks[: -len(behind)]) < set(sequence) and len(blocks) == 1 + 3 * 5 + len(behind)
