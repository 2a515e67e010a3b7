"""2,000 broken ONNX files: each gives one of our errors or ONNX Runtime's numbers, soon, without filling the memory."""

from __future__ import annotations

import resource
import time
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnxruntime.capi import onnxruntime_pybind11_state as runtime_errors

from data.errors import PocketBertError
from fusion import compile_model
from fusion.frontend.canonical import canonicalize
from fusion.graph import Graph
from fusion.importing.onnx_import import import_onnx
from fusion.planning.plan import plan_graph
from fusion.rewriting.rewrite import simplify
from tests.fusion.families import INPUTS, VOCABULARY, Export, export_family
from tests.fusion.interpreter import KINDS, evaluate
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
INPUT_VALUES = {
    "input_ids": np.random.default_rng(0).integers(0, VOCABULARY, (1, SEQ_LEN)),
    "attention_mask": np.array([[1, 1, 1, 1, 1, 0, 0]]),
    "token_type_ids": np.array([[0, 0, 1, 1, 0, 0, 0]]),
}
# What ONNX Runtime says of files that it does not run.
REFUSALS = tuple(
    getattr(runtime_errors, name) for name in ("Fail", "InvalidArgument", "InvalidGraph", "NotImplemented")
)
# Beyond such numbers, fp32 and fp64 are two models.
LARGEST = 1e6
TOLERANCE = 1e-3
LONGEST_S = 10
MOST_KILOBYTES = 2 << 20


@pytest.fixture(scope="module")
def bases(tmp_path_factory: pytest.TempPathFactory) -> list[bytes]:
    folder = tmp_path_factory.mktemp("bases")
    return [bare(export_family(how, folder / f"{how}.onnx")) for how in BASES]


def bare(path: Path) -> bytes:
    """A file without the exporter's notes, so that damage hits what matters."""
    model = onnx.load(str(path))
    for part in (model, model.graph, *model.graph.node, *model.graph.value_info, *model.graph.input):
        part.ClearField("metadata_props")
    return model.SerializeToString()


def expected_outputs(path: Path, graph: Graph) -> list[np.ndarray] | None:
    """ONNX Runtime's outputs; None where it does not run the file, or would fill the memory with what nothing reads."""
    if any(name.startswith("vast") for node in onnx.load(str(path)).graph.node for name in node.output):
        return None
    options = onnxruntime.SessionOptions()
    options.log_severity_level, options.intra_op_num_threads = 4, 1
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    ours = dict(graph.renamed_inputs)
    try:
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        feeds = {}
        for value in session.get_inputs():
            given = INPUT_VALUES.get(ours.get(value.name, value.name), INPUT_VALUES["input_ids"])
            feeds[value.name] = given.astype("int32" if value.type == "tensor(int32)" else "int64")
        return [np.asarray(output) for output in session.run(None, feeds)]
    except REFUSALS:
        return None


def our_outputs(path: Path, graph: Graph) -> list[np.ndarray]:
    """The canonical graph interpreted in double precision, or compiled where it holds what is not interpreted."""
    inputs = {name: INPUT_VALUES[name] for name in graph.inputs}
    if all(operator.kind in KINDS for operator in graph.operators):
        with np.errstate(all="ignore"):
            return evaluate(graph, inputs)
    return compile_model(path, seq_len=SEQ_LEN, threads=1).run(inputs)


def is_tame(graph: Graph) -> bool:
    """Whether no number in the model, such as a weight with a flipped bit, is so large that fp32 overflows."""
    floats = [value for value in graph.constants.values() if value.dtype == np.float32 and value.size]
    return all(np.abs(value).max() < LARGEST for value in floats)


def differ(ours: np.ndarray, theirs: np.ndarray) -> bool:
    theirs = np.asarray(theirs, np.float64).reshape(-1)
    return ours.size != theirs.size or not np.allclose(ours.reshape(-1), theirs, TOLERANCE, TOLERANCE, equal_nan=True)


def peak_kilobytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


@pytest.mark.usefixtures("shared_home")
@pytest.mark.parametrize("chunk", range(CHUNKS))
def test_broken_files_give_our_error_or_the_right_numbers(chunk: int, bases: list[bytes], tmp_path: Path) -> None:
    before, refused, compared = peak_kilobytes(), 0, 0
    path = tmp_path / "mutated.onnx"
    for seed in range(chunk, FILES, CHUNKS):
        path.write_bytes(mutated(bases[seed % len(bases)], seed))
        start = time.monotonic()
        try:
            graph = simplify(canonicalize(import_onnx(path, SEQ_LEN)))
            plan_graph(graph)
        except PocketBertError as error:
            assert str(error), f"seed {seed}"
            refused += 1
            continue
        finally:
            assert time.monotonic() - start < LONGEST_S, f"seed {seed}"
        expected = expected_outputs(path, graph) if is_tame(graph) else None
        if expected is not None:
            ours = our_outputs(path, graph)
            assert len(ours) == len(expected), f"seed {seed}"
            wrong = [name for name, *pair in zip(graph.outputs, ours, expected, strict=True) if differ(*pair)]
            assert not wrong, f"seed {seed}"
            compared += 1
    assert compared
    assert refused > compared
    assert peak_kilobytes() - before < MOST_KILOBYTES
