"""What launches ask of a GPU agrees with the kernels that are emitted, and with the blocks' costs."""

from __future__ import annotations

from math import prod

import pytest

from data.architecture import Architecture, Head
from fusion.block import Block, make_block
from fusion.emit.opencl.family import family_of
from fusion.emit.opencl.program import OpenClEmitter
from fusion.emit.opencl.work import launches_of
from fusion.planning.architecture_plan import plan_architecture

ADRENO = OpenClEmitter(family_of("Adreno 650"), 1 << 27)
MALI = OpenClEmitter(family_of("Mali-G76 MP10"), 1 << 16)
LABELS: dict[Head, int] = {"sequence": 2, "tokens": 9, "embedding": 1}


def blocks(fuse: bool) -> set[Block]:
    """Those of models with odd and even sizes and every head."""
    sizes = [(2, 96, 3, 200), (2, 64, 2, 128)]
    models = [
        Architecture(*each, seq_len=30, labels=labels, head=head) for each in sizes for head, labels in LABELS.items()
    ]
    return {block for model in models for block in plan_architecture(model, fuse)}


@pytest.mark.parametrize("fuse", [True, False])
@pytest.mark.parametrize("emitter", [ADRENO, MALI], ids=["adreno", "mali"])
def test_launches_are_the_kernels_that_are_emitted(emitter: OpenClEmitter, fuse: bool) -> None:
    for block in blocks(fuse):
        launches = launches_of(block, emitter)
        assert [launch.items for launch in launches] == [prod(each.items) for each in emitter.unit(block).kernels]
        assert launches[0].weight_bytes == block.cost.weight_bytes
        assert launches[0].weight_bytes + launches[0].activation_bytes == block.cost.bytes_moved


@pytest.mark.parametrize("fuse", [True, False])
def test_all_operations_are_done_by_some_work_item(fuse: bool) -> None:
    for block in blocks(fuse):
        first = launches_of(block, ADRENO)[0]
        assert first.items * first.flops >= block.cost.flops * (1 - 1e-9), block.name


def test_a_product_reads_its_weights_once_for_every_tile_of_rows() -> None:
    block = make_block("gemm", {"rows": 128, "inner": 768, "columns": 768}, ("bias",))
    matrix = 768 * 768 * 4
    (images,) = launches_of(block, ADRENO)
    assert images.items * images.image_bytes == matrix * 128 / 4
    # Neighbours in a group of 16 x 8 read the same rows of activations.
    assert images.items * images.buffer_bytes == 128 * 768 * 4 * (768 / 8) / 16
    # On the Mali this matrix is larger than an image may be.
    (buffers,) = launches_of(block, MALI)
    assert buffers.image_bytes == 0
    assert buffers.items * buffers.buffer_bytes == matrix * 128 / 4 + 128 * 768 * 4 * (768 / 4) / 8


def test_half_moves_half_the_bytes() -> None:
    sizes = {"rows": 128, "inner": 256, "columns": 256}
    single = make_block("gemm", sizes, ("bias", "residual", "layer_norm"))
    half = Block(single.anchor, single.shape, single.epilogue, single.attributes, "fp16")
    for whole, halved in zip(launches_of(single, ADRENO), launches_of(half, ADRENO), strict=True):
        assert halved.items == whole.items and halved.flops == whole.flops
        for name in ("image_bytes", "buffer_bytes", "weight_bytes", "activation_bytes"):
            assert getattr(halved, name) == pytest.approx(getattr(whole, name) / 2)


def test_only_a_product_that_stores_its_result_as_it_is_is_raw() -> None:
    assert all(
        launches_of(block, ADRENO)[0].raw == (block.anchor == "gemm" and not block.epilogue)
        for block in blocks(True) | blocks(False)
    )
    assert not any(launches_of(block, ADRENO)[0].raw for block in blocks(True))
