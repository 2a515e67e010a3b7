"""Generated C: golden files (``POCKETBERT_UPDATE_GOLDEN=1`` rewrites them), vector functions, suites of blocks."""

from __future__ import annotations

import ctypes
import json
import os
import subprocess
from pathlib import Path

import numpy as np
import pytest
from scipy.special import erf

from data.architecture import Architecture
from data.errors import InputError
from fusion import (
    Block,
    Processor,
    build_model_suite,
    build_suite,
    host_target,
    make_block,
    plan_architecture,
    target_named,
)
from fusion.build.toolchain import Toolchain
from fusion.emit.c import emit_block
from fusion.emit.c.program import emit_table

GOLDEN = Path(__file__).parents[2] / "golden"
CASES = {
    "gemm_gelu": make_block("gemm", {"rows": 20, "inner": 40, "columns": 100}, ("bias", "gelu")),
    "gemm_norm": make_block(
        "gemm", {"rows": 20, "inner": 5000, "columns": 100}, ("bias", "residual", "layer_norm"), {"epsilon": 1e-5}
    ),
    "attention": make_block(
        "attention", {"rows": 40, "keys": 40, "heads": 2, "head_size": 20}, (), {"scale": 0.25, "masked_bias": -1e9}
    ),
    "embeddings": make_block(
        "embeddings",
        {"rows": 20, "hidden": 24, "tables": 2, "entries0": 30},
        ("positions", "layer_norm"),
        {"epsilon": 1e-5},
    ),
    "rowwise": make_block("rowwise", {"rows": 20, "columns": 24}, ("residual", "tanh")),
    "gemm_softmax": make_block("gemm", {"rows": 20, "inner": 40, "columns": 9}, ("bias", "row_softmax")),
    "unit_rows": make_block(
        "rowwise", {"rows": 20, "columns": 24}, ("l2_norm",), {"inside": 0.0, "floor": 1e-12, "outside": 0.0}
    ),
    "mean_pool": make_block(
        "pool", {"rows": 20, "columns": 24, "tokens": 20, "result_rows": 1}, (), {"function": "sum"}
    ),
    "mask_rows": make_block("mask_rows", {"rows": 20, "columns": 24, "tokens": 20}),
    "best": make_block(
        "top", {"rows": 20, "columns": 24, "result_columns": 1}, (), {"indices": 1, "largest": 1, "last": 0}
    ),
    "turned": make_block(
        "view",
        {"rows": 20, "columns": 24, "result_rows": 24, "result_columns": 20},
        (),
        {"sizes": "20,24", "perm": "1,0", "columns0": 30},
    ),
    "concat": make_block("concat", {"rows": 20, "columns": 30}, (), {"widths": "24,6"}),
}
# Products that are narrow on processors alone, and who leaves their rows.
NARROW_CASES = {
    "gemm_int8": make_block(
        "gemm",
        {"rows": 20, "inner": 40, "columns": 100},
        ("bias", "residual", "layer_norm"),
        {"epsilon": 1e-5, "narrow_operand": "0,20", "narrow_result": "int8"},
        "int8",
    ),
    "gemm_rounded": make_block(
        "gemm",
        {"rows": 130, "inner": 40, "columns": 96},
        ("bias", "relu"),
        {"narrow_operand": "0,130", "narrow_result": "int8"},
        "int8",
    ),
    "embeddings_int8": make_block(
        "embeddings",
        {"rows": 20, "hidden": 24, "tables": 2, "entries0": 30},
        ("add_rows", "bias", "layer_norm"),
        {"epsilon": 1e-5},
        "int8",
    ),
    "gemm_fp16": make_block(
        "gemm",
        {"rows": 20, "inner": 140, "columns": 100},
        ("bias", "gelu"),
        {"narrow_operand": "2,22", "narrow_result": "fp16"},
        "fp16",
    ),
    "attention_int8": make_block(
        "attention", {"rows": 40, "keys": 40, "heads": 2, "head_size": 20}, (), {"scale": 0.25, "narrow_result": "int8"}
    ),
}


# What differs between instruction sets: the products, and attention, which is made of them.
PRODUCTS = ("attention", "gemm_gelu", "gemm_norm", "gemm_softmax")
ALL_CASES = CASES | NARROW_CASES
HALF = frozenset({"gemm_fp16"})
RECORDED = [(case, target) for case in sorted(ALL_CASES.keys() - HALF) for target in ("x86_64-avx512", "aarch64-neon")]
RECORDED += [(case, "x86_64-avx2") for case in PRODUCTS]
RECORDED += [(case, "aarch64-dotprod") for case in sorted(HALF)]


@pytest.mark.parametrize(("case", "target"), RECORDED)
def test_generated_code_is_as_recorded(case: str, target: str) -> None:
    source = emit_block(ALL_CASES[case], target_named(target)).source
    golden = GOLDEN / f"{case}.{target}.c"
    if os.environ.get("POCKETBERT_UPDATE_GOLDEN"):
        golden.write_text(source)
    assert source == golden.read_text()


FUNCTIONS = '#include "vector.h"\n' + "".join(
    f'__attribute__((visibility("default"))) void apply_{name}(const float *x, float *y, int n);\n'
    f"void apply_{name}(const float *x, float *y, int n) "
    f"{{ for (int i = 0; i < n; i += PB_LANES) pb_store(y + i, pb_{name}(pb_load(x + i))); }}\n"
    for name in ("exp", "erf", "tanh")
)


def test_vector_functions_keep_their_stated_errors(tmp_path: Path) -> None:
    library = ctypes.CDLL(str(Toolchain(host_target(), tmp_path).library([FUNCTIONS, emit_table([])])))
    # Every fp32 in a fine grid, and the edges.
    x = np.concatenate([np.linspace(-87, 88, 1 << 18), np.linspace(-5, 5, 1 << 18), np.zeros(16)]).astype(np.float32)

    def apply(name: str, values: np.ndarray) -> np.ndarray:
        result = np.zeros_like(values)
        pointer = ctypes.POINTER(ctypes.c_float)
        getattr(library, f"apply_{name}")(values.ctypes.data_as(pointer), result.ctypes.data_as(pointer), values.size)
        return result.astype(np.float64)

    exact = x.astype(np.float64)
    assert np.abs(apply("exp", x) / np.exp(exact) - 1).max() < 2e-7
    assert np.abs(apply("erf", x) - erf(exact)).max() < 5e-7
    assert np.abs(apply("tanh", x) - np.tanh(exact)).max() < 5e-7
    far = np.full(16, -3.4e38, np.float32)
    assert apply("exp", far).max() < 1e-37


def timed(command: list[str]) -> dict[str, object]:
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    result: dict[str, object] = json.loads(done.stdout)
    return result


def test_a_suite_times_each_block_and_rotates_its_weights(tmp_path: Path) -> None:
    blocks = sorted(set(plan_architecture(Architecture(1, 64, 2, 128, vocab_size=100))), key=lambda block: block.hash)
    runner = build_suite([*blocks, *blocks], Processor(host_target()), tmp_path)
    assert list(runner.programs) == [block.hash for block in blocks]
    for block in blocks:
        command = runner.command(
            block.hash, threads=2, warmup=2, runs=5, rotate_bytes=1 << 22, fill_weights=True, affinity="3"
        )
        result = timed(command)
        assert result["program"] == block.hash
        assert len(result["warmups_ms"]) == 2 and len(result["samples_ms"]) == 5  # type: ignore[arg-type]
        assert min(result["samples_ms"]) > 0  # type: ignore[type-var]
        assert [entry["hash"] for entry in result["blocks"]] == [block.hash]  # type: ignore[attr-defined]


def test_a_model_suite_names_its_architectures(tmp_path: Path) -> None:
    architectures = [Architecture(layers, 64, 2, 128, vocab_size=100) for layers in (1, 2)]
    with pytest.raises(InputError, match="two different models are called 2x64-h2-f128"):
        build_model_suite(
            [*architectures, Architecture(2, 64, 2, 128, vocab_size=100, labels=3)], Processor(host_target())
        )
    runner = build_model_suite(architectures, Processor(host_target()), tmp_path)
    assert set(runner.programs) == {architecture.name for architecture in architectures}
    result = timed(runner.command(architectures[1].name, threads=1, warmup=0, runs=3))
    assert len(result["blocks"]) == len(plan_architecture(architectures[1]))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (["nothing", "--fill"], "no program nothing"),
        (["--fill"], "no program is named"),
        (["PROGRAM"], "--weights FILE or --fill"),
        (["PROGRAM", "--fill", "--threads", "0"], "--threads takes a whole number from 1"),
        (["PROGRAM", "--fill", "--runs", "x"], "--runs takes a whole number from 1"),
        (["PROGRAM", "--weights", "/nowhere/w.bin"], "cannot open the weights"),
        (["PROGRAM", "--fill", "--banana", "1"], "unknown option"),
        (["PROGRAM", "--fill", "--affinity", "zz"], "hexadecimal"),
    ],
)
def test_the_runner_says_what_is_wrong(words: list[str], problem: str, block_runner: tuple[str, str]) -> None:
    executable, program = block_runner
    done = subprocess.run(
        [executable, *(program if word == "PROGRAM" else word for word in words)],
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith("error: ") and problem in done.stderr


@pytest.fixture(scope="module")
def block_runner(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    block: Block = CASES["rowwise"]
    return str(build_suite([block], Processor(host_target()), tmp_path_factory.mktemp("suite")).executable), block.hash
