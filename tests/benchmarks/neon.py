"""The NEON build of whole models under qemu-user, against ONNX Runtime: ``python -m tests.benchmarks.neon``.

Says whether the numbers are the same; an emulator says nothing of speed.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import time
from typing import Any

import click
import numpy as np

from data.errors import DeviceError
from fusion.build.machine import Processor
from fusion.compare.engines import EngineSettings, open_engine
from fusion.compiled import compile_model
from fusion.target import target_named
from search.commands._options import Command, console, emit_json, run_command
from tests.benchmarks.models import PUBLISHED, check_model, model_files

_TIME_LIMIT_S = 3600
_MASKS = (1.0, 0.3)


@click.command(cls=Command, help=__doc__)
@click.option("--models", default=",".join(PUBLISHED), show_default=True, help="Names, or 2x64-h2-f128.")
@click.option("--seq-len", type=click.IntRange(min=1), default=128, show_default=True, help="Sequence length, tokens.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object on standard output.")
@run_command
def main(models: str, seq_len: int, as_json: bool) -> None:
    names = [name.strip() for name in models.split(",") if name.strip()]
    for name in names:
        check_model(name)
    emulator = shutil.which("qemu-aarch64-static")
    if emulator is None:
        raise DeviceError("qemu-aarch64-static is not installed: apt-get install qemu-user-static")
    results = {}
    for name in names:
        results[name] = _compare(emulator, name, seq_len)
        console().print(f"{name}: {results[name]}", markup=False)
    if as_json:
        emit_json(results)


def _compare(emulator: str, name: str, seq_len: int) -> dict[str, Any]:
    """Largest difference over two ragged masks, and the largest output for scale."""
    files = model_files(name, seq_len)
    compiled = compile_model(files.onnx, seq_len=seq_len)
    runner = compiled.runner(Processor(target_named("aarch64-neon")))
    reference = open_engine("onnxruntime", files, EngineSettings(threads=2))
    start, difference, largest = time.monotonic(), 0.0, 0.0
    for share in _MASKS:
        inputs = _inputs(compiled.program.inputs, seq_len, share)
        rows = {key: [int(value) for value in row[0]] for key, row in inputs.items()}
        command = [emulator, *runner.command("model", threads=2, warmup=0, runs=1, inputs=rows)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=_TIME_LIMIT_S, check=True)
        (made,) = json.loads(done.stdout)["outputs"].values()
        expected = reference(inputs)[0]
        difference = max(difference, float(np.abs(np.array(made).reshape(expected.shape) - expected).max()))
        largest = max(largest, float(np.abs(expected).max()))
    return {"max_abs_difference": difference, "largest_output": largest, "seconds": time.monotonic() - start}


def _inputs(ports: Any, seq_len: int, share: float) -> dict[str, np.ndarray]:
    generator = np.random.default_rng(0)
    values = {
        "input_ids": generator.integers(0, 30522, (1, seq_len)),
        "attention_mask": (np.arange(seq_len) < share * seq_len).astype(np.int64)[None],
        "token_type_ids": np.zeros((1, seq_len), np.int64),
    }
    return {port.name: values[port.name] for port in ports}


if __name__ == "__main__":
    main()
