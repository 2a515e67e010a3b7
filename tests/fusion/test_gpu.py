"""Models on the GPU: what ONNX Runtime computes, by PoCL on this machine's cores, in fp32 and in half."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings

from data.architecture import Architecture, Head
from fusion import compile_model, export_compiled
from fusion.build.library import NativeModel
from fusion.build.machine import Gpu
from fusion.build.toolchain import toolchain
from fusion.emit.opencl.family import FAMILIES, Family, Tile
from fusion.emit.opencl.program import OpenClEmitter, emit_gpu_table, launches
from fusion.emit.program import place
from fusion.emit.weights import write_weights
from fusion.graph import Graph, Operator, TensorType
from fusion.planning.architecture_plan import architecture_plan
from fusion.planning.plan import Plan, plan_graph, with_precision
from fusion.rewriting.rewrite import simplify
from fusion.target import host_target
from tests.fusion import families
from tests.fusion.build.gcc import needs_gcc
from tests.fusion.emit.test_generated_code import CASES
from tests.fusion.families import Export, export_family, ragged_inputs, runtime_outputs
from tests.fusion.interpreter import evaluate
from tests.fusion.models import export, random_architecture, random_inputs
from tests.fusion.planning.test_planner import ROWS, graphs

pytestmark = pytest.mark.usefixtures("shared_home")

# Of the range of what the model gives.
TOLERANCES = {"fp32": 1e-4, "fp16": 1e-2}
BERT_BASE = Architecture(layers=12, hidden=768, heads=12, intermediate=3072, vocab_size=30522, seq_len=128)


def assert_close(made: np.ndarray, expected: np.ndarray, precision: str) -> None:
    reach = max(float(np.ptp(expected)), float(np.abs(expected).max()))
    assert made.shape == expected.shape
    assert np.abs(made - expected).max() <= TOLERANCES[precision] * reach


EXPORTS = (
    *(Export(family) for family in families.FAMILIES),
    Export("roberta", head="tokens", seq_len=40),
    Export("bert", head="states", opset=16, seq_len=1),
)


@pytest.mark.parametrize("how", EXPORTS, ids=str)
def test_a_family_on_the_gpu_agrees_with_onnx_runtime(how: Export, gpu: Gpu, tmp_path: Path) -> None:
    path = export_family(how, tmp_path / "model.onnx")
    precision = "fp16" if families.FAMILIES.index(how.family) % 2 else "fp32"
    model = compile_model(path, seq_len=how.seq_len, unit="gpu", precision=precision)
    for used in {how.seq_len, max(1, how.seq_len // 3)}:
        inputs = ragged_inputs(how, how.seq_len, used, seed=used)
        for made, expected in zip(model.run(inputs), runtime_outputs(how, path, inputs), strict=True):
            assert_close(made, expected, precision)
            rows = expected.reshape(-1, expected.shape[-1])
            # Where two labels are as near to each other as half tells numbers apart, either may be the larger.
            apart = np.ptp(np.sort(rows, axis=-1)[:, -2:], axis=-1) > 2 * TOLERANCES[precision] * np.ptp(expected)
            assert np.array_equal(made.reshape(rows.shape).argmax(-1)[apart], rows.argmax(-1)[apart])


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("fuse", [True, False])
def test_any_sizes_with_and_without_fusion(seed: int, fuse: bool, gpu: Gpu, tmp_path: Path) -> None:
    import onnxruntime

    architecture = random_architecture(seed, "embedding" if seed else "sequence")
    path = export(architecture, tmp_path)
    inputs = random_inputs(architecture, seed)
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    expected = session.run(None, {one.name: inputs[one.name] for one in session.get_inputs()})
    model = compile_model(path, seq_len=architecture.seq_len, unit="gpu", fuse=fuse)
    for made, wanted in zip(model.run(inputs), expected, strict=True):
        assert_close(made, wanted, "fp32")


def run_plan(plan: Plan, ids: np.ndarray, family: Family, tiles: dict[str, Tile] | None = None) -> list[np.ndarray]:
    """What a plan gives on this machine's driver, with the code of any family."""
    program = place(plan, OpenClEmitter(family, 1 << 20, tiles or {}))
    library = toolchain(host_target()).gpu_library([emit_gpu_table([program], family)])
    with tempfile.TemporaryDirectory() as folder:
        weights = write_weights(program, plan.graph.constants, Path(folder) / "weights.bin")
        native = NativeModel(library, weights, program, 1)
        made = native.run({"input_ids": ids})
        native.close()
    return made


@given(graphs())
@settings(max_examples=4, deadline=None)
def test_graphs_on_the_gpu_compute_what_they_mean(gpu: Gpu, graph: Graph) -> None:
    ids = np.random.default_rng(0).integers(0, 20, (1, ROWS))
    made = run_plan(plan_graph(simplify(graph)), ids, gpu.family)
    for first, second in zip(made, evaluate(graph, {"input_ids": ids}), strict=True):
        assert np.allclose(first.reshape(second.shape), second, rtol=1e-3, atol=1e-3 * max(1.0, np.abs(second).max()))


def product_graph(rows: int, inner: int, columns: int) -> Graph:
    """A product with an epilogue of each kind, on embeddings."""
    random = np.random.default_rng(rows)
    shapes: dict[str, tuple[int, ...]] = {"table": (20, inner), "w": (inner, columns), "v": (columns, columns)}
    shapes |= dict.fromkeys(("b", "scale", "shift"), (columns,))
    constants = {name: random.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}
    steps = (
        ("gather", ("table", "input_ids"), "x", ()),
        ("matmul", ("x", "w"), "xw", ()),
        ("bias", ("xw", "b"), "biased", ()),
        ("gelu", ("biased",), "y", ()),
        ("matmul", ("y", "v"), "yv", ()),
        ("add", ("yv", "y"), "sum", ()),
        ("layer_norm", ("sum", "scale", "shift"), "z", (("epsilon", 1e-5),)),
    )
    operators = tuple(Operator(kind, inputs, output, attributes, output) for kind, inputs, output, attributes in steps)
    types = {"input_ids": TensorType((1, rows), "int64"), "x": TensorType((1, rows, inner))}
    types |= {name: TensorType(shape) for name, shape in shapes.items()}
    types |= {operator.output: TensorType((1, rows, columns)) for operator in operators[1:]}
    return Graph(("input_ids",), ("z",), operators, types, constants)


# Those of other families are among these; Oclgrind runs the code of all.
@pytest.mark.parametrize("name", ["cores16", "adreno", "mali"])
def test_every_tile_and_both_ways_to_the_weights_give_the_product(name: str, gpu: Gpu) -> None:
    graph = product_graph(rows=13, inner=22, columns=39)
    ids = np.random.default_rng(0).integers(0, 20, (1, 13))
    (wanted,) = evaluate(graph, {"input_ids": ids})
    plan = plan_graph(graph)
    for tile in FAMILIES[name].tiles:
        tiles = {fused.block.hash: tile for fused in plan.blocks}
        (made,) = run_plan(plan, ids, FAMILIES[name], tiles)
        assert_close(made.reshape(wanted.shape), wanted, "fp32")
    half = with_precision(plan, "fp16")
    (made,) = run_plan(half, ids, FAMILIES[name])
    assert_close(made.reshape(wanted.shape), wanted, "fp16")


def test_small_parts_of_a_residual_sum_are_not_lost_in_half(gpu: Gpu) -> None:
    """Numbers of 65 to 125 to which a four thousandth is added 64 times: half cannot tell any of the sums apart."""
    width, times = 32, 64
    constants = {"table": np.linspace(65, 125, 20 * width, dtype=np.float32).reshape(20, width)}
    constants["w"] = np.eye(width, dtype=np.float32) / 4096
    operators = [Operator("gather", ("table", "input_ids"), "x0", (), "x0")]
    for time in range(times):
        operators.append(Operator("matmul", (f"x{time}", "w"), f"y{time}", (), f"y{time}"))
        operators.append(Operator("add", (f"y{time}", f"x{time}"), f"x{time + 1}", (), f"x{time + 1}"))
    types = {
        "input_ids": TensorType((1, 5), "int64"),
        "table": TensorType((20, width)),
        "w": TensorType((width, width)),
    }
    types |= {operator.output: TensorType((1, 5, width)) for operator in operators}
    graph = Graph(("input_ids",), (f"x{times}",), tuple(operators), types, constants)
    ids = np.array([[0, 3, 7, 12, 19]])
    half = with_precision(plan_graph(graph), "fp16")
    assert {fused.block.precision for fused in half.blocks} == {"fp16"}
    (wanted,), (made,) = evaluate(graph, {"input_ids": ids}), run_plan(half, ids, gpu.family)
    # The table is half, which is a two thousandth; all that was added is a sixty-fourth.
    assert np.abs(made.reshape(wanted.shape) / wanted - 1).max() < 1e-3


@pytest.mark.parametrize("family", FAMILIES.values(), ids=lambda family: family.name)
@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_kernels_keep_the_rules_of_drivers(family: Family, precision: str) -> None:
    blocks = [*CASES.values(), *(fused.block for fused in architecture_plan(BERT_BASE).blocks)]
    blocks += [fused.block for fused in architecture_plan(BERT_BASE, fuse=False).blocks]
    for block in {replace(block, precision=precision) for block in blocks}:
        emitter = OpenClEmitter(family, 65536)
        for kernel in emitter.unit(block).kernels:
            assert len(re.findall(r"\bkernel void ", kernel.source)) == 1
            assert kernel.group[0] * kernel.group[1] <= 256
            assert all(items % each == 0 for items, each in zip(kernel.items, kernel.group, strict=True))
            assert not re.search(r"\bdouble\b|sub_group|image2d|cl_khr|\batomic|printf|\bfma\(", kernel.source)
            if block.anchor in {"gemm", "attention", "scores", "context"} and not kernel.name.endswith("_rows"):
                assert not re.search(r"\blocal float|\bbarrier\(", kernel.source.split("kernel void")[1])
            assert ("#define PB_HALF" in kernel.source) == (precision == "fp16")


GOLDEN = Path(__file__).parents[1] / "golden"


@pytest.mark.parametrize("case", sorted(CASES))
@pytest.mark.parametrize("name", ["cores16", "mali"])
def test_generated_kernels_are_as_recorded(case: str, name: str) -> None:
    kernels = OpenClEmitter(FAMILIES[name], 65536).unit(CASES[case]).kernels
    # Without what all begin with, block.cl.
    own = "\n".join(kernel.source[kernel.source.index("/* A scale of zero") :] for kernel in kernels)
    golden = GOLDEN / f"{case}.{name}.cl"
    if os.environ.get("POCKETBERT_UPDATE_GOLDEN"):
        golden.write_text(own)
    assert own == golden.read_text()


def test_bert_base_takes_few_launches() -> None:
    emitter = OpenClEmitter(FAMILIES["adreno"], 65536)
    fused, unfused = (launches(place(architecture_plan(BERT_BASE, fuse=fuse), emitter)) for fuse in (True, False))
    assert fused <= 8 * BERT_BASE.layers + 4
    # Rewriting joins operators in either, and functions of whole rows are a launch of their own.
    assert unfused >= 2.3 * fused


def test_a_layer_takes_a_quarter_of_the_launches_that_its_operators_would_take(tmp_path: Path) -> None:
    """Of an exported file; what only names a tensor otherwise is not counted."""
    import onnx

    free = {"Constant", "Identity", "Reshape"}
    operators, launched = [], []
    for layers in (2, 3):
        architecture = replace(BERT_BASE, layers=layers, hidden=48, heads=4, intermediate=96, vocab_size=30, seq_len=12)
        (tmp_path / str(layers)).mkdir()
        graph = onnx.load(export(architecture, tmp_path / str(layers))).graph
        operators.append(sum(node.op_type not in free for node in graph.node))
        launched.append(launches(place(architecture_plan(architecture), OpenClEmitter(FAMILIES["adreno"], 65536))))
    assert operators[1] - operators[0] >= 4 * (launched[1] - launched[0]) > 0


OCLGRIND = Path("/usr/lib/oclgrind/liboclgrind-rt.so")


@pytest.mark.skipif(not OCLGRIND.exists(), reason="oclgrind is not installed")
@pytest.mark.parametrize("head", ["sequence", "embedding"])
def test_a_simulator_finds_no_race_and_no_access_out_of_bounds(head: Head, tmp_path: Path) -> None:
    import onnxruntime

    architecture = Architecture(1, 24, 2, 20, vocab_size=30, seq_len=6, labels=3 - 2 * (head == "embedding"), head=head)
    path, inputs = export(architecture, tmp_path), random_inputs(architecture, 0)
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    (expected,) = session.run(None, {one.name: inputs[one.name] for one in session.get_inputs()})
    np.savez(tmp_path / "inputs.npz", **inputs)
    log, made = tmp_path / "log", tmp_path / "outputs.npz"
    checks = {"POCKETBERT_OPENCL": str(OCLGRIND), "OCLGRIND_LOG": str(log)}
    checks |= dict.fromkeys(("OCLGRIND_DATA_RACES", "OCLGRIND_CHECK_API"), "1")
    words = ["-m", "tests.fusion.emit.checked_kernels", str(path), "6", str(tmp_path / "inputs.npz"), str(made)]
    subprocess.run([sys.executable, *words], env=os.environ | checks, check=True, timeout=300)
    assert not log.exists() or log.read_text() == ""
    outputs = np.load(made)
    assert len(outputs) == 2 * 2 * len(FAMILIES)
    for name, output in outputs.items():
        assert_close(output.reshape(expected.shape), expected, name.split()[1])


@needs_gcc
def test_an_exported_model_runs_from_c_and_by_its_runner(gpu: Gpu, tmp_path: Path) -> None:
    """Without Python: the library finds the driver, and keeps its kernels beside the weights."""
    architecture = Architecture(1, 32, 2, 48, vocab_size=60, seq_len=6)
    model = compile_model(export(architecture, tmp_path), seq_len=6, unit="gpu")
    folder = export_compiled(model, tmp_path / "exported")
    ids = 4 + np.arange(6) % 56
    (expected,) = model.run({"input_ids": ids[None]})
    program = str(folder / "example")
    command = ["gcc", "example.c", "model.so", "-ldl", "-lpthread", "-Wl,-rpath,$ORIGIN", "-o", program]
    subprocess.run(command, cwd=folder, check=True)
    done = subprocess.run([program, "weights.bin"], cwd=folder, capture_output=True, text=True, check=True)
    assert_close(np.array(done.stdout.splitlines()[1].split(), np.float32), expected[0], "fp32")
    assert list((folder / "kernels").iterdir())
    words = [
        str(folder / "runner"),
        "model",
        "--weights",
        "weights.bin",
        "--input",
        f"input_ids={','.join(map(str, ids))}",
    ]
    done = subprocess.run(words, cwd=folder, capture_output=True, text=True, check=True)
    (printed,) = json.loads(done.stdout)["outputs"].values()
    assert_close(np.array(printed, np.float32), expected[0], "fp32")
