"""Models on this machine's OpenCL driver beside our code for its processor, and products beside CLBlast's.

    python -m tests.benchmarks.gpu --models bert-base,deep-narrow --rounds 10

Models run fused and not on the GPU, fused on the processor, in turn in one process. Products are BERT-base's, with
their epilogues, each timed by the device's own clock within the model; CLBlast (Debian's libclblast1, its own defaults)
multiplies matrices of the same shapes, without epilogues, in a process of its own on the same driver. Milliseconds:
minima, medians and 90th percentiles; ratios are times over the processor's, or ours.
"""

from __future__ import annotations

import argparse
import ctypes.util
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from fusion import compile_model
from fusion.build.machine import Gpu
from fusion.build.toolchain import RUNTIME
from fusion.checkpoints.presets import preset_to_onnx
from fusion.compare.benchmark import EngineTiming, time_in_turn
from fusion.compare.comparison import example_inputs
from fusion.compiled import CompiledModel

_SEQ_LEN = 128
_SOURCE = Path(__file__).with_name("clblast_products.c")


def models(names: list[str], rounds: int, folder: Path) -> Iterator[str]:
    """Markdown: each model's times, and how often as long as the processor's the GPU takes."""
    yield "| model | processor | GPU, fused | GPU, one kernel an operator | launches |"
    yield "| --- | ---: | ---: | ---: | ---: |"
    for name in names:
        onnx = preset_to_onnx(name, folder, _SEQ_LEN)
        compiled = {
            "processor": compile_model(onnx, seq_len=_SEQ_LEN),
            "fused": compile_model(onnx, seq_len=_SEQ_LEN, unit="gpu"),
            "unfused": compile_model(onnx, seq_len=_SEQ_LEN, unit="gpu", fuse=False),
        }
        inputs = example_inputs(compiled["processor"])
        calls = {key: _bound(model, inputs) for key, model in compiled.items()}
        found = {each.engine: each for each in time_in_turn(calls, rounds).timings}
        base = found["processor"]
        cells = [_told(base, None), *(_told(found[key], base) for key in ("fused", "unfused"))]
        launches = f"{compiled['fused'].summary.launches}, {compiled['unfused'].summary.launches}"
        yield f"| {name} | {' | '.join(cells)} | {launches} |"


def _bound(model: CompiledModel, inputs: dict[str, np.ndarray]) -> Callable[[], object]:
    return lambda: model.run(inputs)


def _figures(timing: EngineTiming) -> tuple[float, float, float]:
    return timing.min_ms, timing.median_ms, timing.p90_ms


def _told(timing: EngineTiming, base: EngineTiming | None) -> str:
    shown = " / ".join(f"{value:.1f}" for value in _figures(timing))
    if base is None:
        return shown
    ratios = (f"{own / other:.2f}" for own, other in zip(_figures(timing), _figures(base), strict=True))
    return f"{shown} ({' / '.join(ratios)})"


def products(folder: Path) -> Iterator[str]:
    """Markdown: the products of BERT-base's layers, and CLBlast's of the same shapes."""
    model = compile_model(preset_to_onnx("bert-base", folder, _SEQ_LEN), seq_len=_SEQ_LEN, unit="gpu")
    model.time(warmup=2, runs=10)
    took: dict[tuple[int, int, int], list[float]] = {}
    for block, time_ms in zip(model.blocks, model.summary.block_ms, strict=True):
        if block.anchor == "gemm" and block.sizes["rows"] == _SEQ_LEN:
            took.setdefault((block.sizes["rows"], block.sizes["inner"], block.sizes["columns"]), []).append(time_ms)
    theirs = _clblast([*took], folder)
    yield "| rows x inner x columns | ours, with its epilogue | CLBlast, without |"
    yield "| --- | ---: | ---: |"
    for (shape, ours), other in zip(took.items(), theirs, strict=True):
        least = min(ours)
        yield f"| {'x'.join(map(str, shape))} | {least:.2f} | {other:.2f} ({other / least:.1f}) |"


def _clblast(shapes: list[tuple[int, int, int]], folder: Path) -> list[float]:
    libraries = [ctypes.util.find_library(name) for name in ("clblast", "OpenCL")]
    if None in libraries:
        raise SystemExit("error: CLBlast is not installed (Debian: libclblast1)")
    places = [str(next(Path("/usr/lib").rglob(str(name)))) for name in libraries]
    program = folder / "clblast_products"
    compiler = [sys.executable, "-m", "ziglang", "cc", "-O2", "-fno-sanitize=all", "-D_GNU_SOURCE", "-I", str(RUNTIME)]
    subprocess.run([*compiler, str(_SOURCE), *places, "-o", str(program)], check=True)
    words = [str(size) for shape in shapes for size in shape]
    done = subprocess.run([str(program), *words], capture_output=True, text=True, check=True)
    return [float(line) for line in done.stdout.split()]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", default="bert-base,distilbert,mobilebert,deep-narrow")
    parser.add_argument("--rounds", type=int, default=10)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        first = compile_model(preset_to_onnx("deep-narrow", Path(folder), _SEQ_LEN), seq_len=_SEQ_LEN, unit="gpu")
        assert isinstance(first.machine, Gpu)
        print(f"{first.machine.device}, {first.machine.version}, family {first.machine.family.name}", flush=True)
        for lines in (models(given.models.split(","), given.rounds, Path(folder)), products(Path(folder))):
            for line in lines:
                print(line, flush=True)
            print()


if __name__ == "__main__":
    main()
