"""2,000 broken ONNX files: each gives one of our errors or a legal model, soon, and without filling the memory."""

from __future__ import annotations

import resource
import time
from pathlib import Path

import pytest

from data.errors import PocketBertError
from fusion.frontend.canonical import canonicalize
from fusion.frontend.onnx_import import import_onnx
from fusion.planning.plan import plan_graph
from fusion.rewriting.rewrite import simplify
from tests.fusion.families import INPUTS, Export, export_family
from tests.fusion.mutations import mutated

SEQ_LEN = 7
FILES, CHUNKS = 2000, 10
_ONE_LAYER = {"num_hidden_layers": 1}
BASES = (
    Export("bert", opset=16, changes=_ONE_LAYER),
    Export("mobilebert", "dynamo", 18, attention="sdpa", changes=_ONE_LAYER),
    Export("roberta", attention="sdpa", dynamic=True, inputs=INPUTS[:2], changes=_ONE_LAYER),
    Export("albert", "dynamo", 20, "hidden", "sdpa", dynamic=True, changes=_ONE_LAYER),
)
LONGEST_S = 10
MOST_KILOBYTES = 2 << 20


@pytest.fixture(scope="module")
def bases(tmp_path_factory: pytest.TempPathFactory) -> list[bytes]:
    folder = tmp_path_factory.mktemp("bases")
    return [export_family(how, folder / f"{how}.onnx").read_bytes() for how in BASES]


def peak_kilobytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


@pytest.mark.parametrize("chunk", range(CHUNKS))
def test_broken_files_give_our_error_or_a_legal_model(chunk: int, bases: list[bytes], tmp_path: Path) -> None:
    before, legal, refused = peak_kilobytes(), 0, 0
    path = tmp_path / "mutated.onnx"
    for seed in range(chunk, FILES, CHUNKS):
        path.write_bytes(mutated(bases[seed % len(bases)], seed))
        start = time.monotonic()
        try:
            plan_graph(simplify(canonicalize(import_onnx(path, SEQ_LEN))))
            legal += 1
        except PocketBertError as error:
            assert str(error), f"seed {seed}"
            refused += 1
        assert time.monotonic() - start < LONGEST_S, f"seed {seed}"
    assert legal and refused > legal
    assert peak_kilobytes() - before < MOST_KILOBYTES
