"""Every family with every published head, and with all kernels behind an encoder, against ONNX Runtime: here, and in an
emulator on an Armv8.0 core and a later one: ``python -m tests.benchmarks.heads``. An emulator says nothing of speed.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import click
import numpy as np

from data.errors import DeviceError
from fusion.build.machine import Processor
from fusion.compiled import CompiledModel, compile_model
from fusion.target import target_named
from search.commands._options import Command, console, emit_json, run_command
from tests.fusion.families import FAMILIES, Export, export_family, ragged_inputs, runtime_outputs
from tests.fusion.heads import everything, export_head

HEADS = ("everything", "questions", "masked", "tokens", "classification")
CORES = {"cortex-a53": "aarch64-neon", "cortex-a76": "aarch64-lse"}
_SEQ_LEN, _USED, _TIME_LIMIT_S = 13, 9, 600


@click.command(cls=Command, help=__doc__)
@click.option("--families", default=",".join(FAMILIES), show_default=True, help="Families, separated by commas.")
@click.option("--heads", default=",".join(HEADS), show_default=True, help="Heads, separated by commas.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object on standard output.")
@run_command
def main(families: str, heads: str, as_json: bool) -> None:
    emulator = shutil.which("qemu-aarch64-static")
    if emulator is None:
        raise DeviceError("qemu-aarch64-static is not installed: apt-get install qemu-user-static")
    results: dict[str, dict[str, float]] = {}
    for head in heads.split(","):
        for family in families.split(","):
            results[f"{family} {head}"] = _differences(family, head, emulator)
            console().print(f"{family} {head}: {results[f'{family} {head}']}", markup=False)
    largest = {where: max(found[where] for found in results.values()) for where in ("here", *CORES)}
    console().print(f"largest of {len(results)} models: {largest}", markup=False)
    if as_json:
        emit_json({"models": results, "largest": largest})


def _differences(family: str, head: str, emulator: str) -> dict[str, float]:
    """The largest absolute difference of any output from ONNX Runtime's, here and on each core."""
    kind = "hidden" if head == "everything" else head
    how = Export(family, "torchscript", 17, kind, seq_len=_SEQ_LEN)
    with TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        if head == "everything":
            export_head(how, everything, path)
        else:
            export_family(how, path)
        inputs = ragged_inputs(how, _SEQ_LEN, _USED)
        expected = runtime_outputs(how, path, inputs)
        model = compile_model(path, seq_len=_SEQ_LEN)
        given = {port.name: inputs[port.name] for port in model.program.inputs}
        emulated = {core: _emulated(model, given, [emulator, "-cpu", core], target) for core, target in CORES.items()}
        return {where: _largest(made, expected) for where, made in {"here": model.run(given), **emulated}.items()}


def _largest(made: Sequence[np.ndarray] | Sequence[Sequence[float]], expected: Sequence[np.ndarray]) -> float:
    pairs = zip(made, expected, strict=True)
    return max(float(np.abs(np.ravel(one) - np.ravel(other)).max()) for one, other in pairs)


def _emulated(
    model: CompiledModel, inputs: Mapping[str, np.ndarray], emulator: Sequence[str], target: str
) -> list[list[float]]:
    """Outputs of the static runner."""
    rows = {name: [int(value) for value in row[0]] for name, row in inputs.items()}
    command = model.runner(Processor(target_named(target))).command("model", threads=2, warmup=0, runs=1, inputs=rows)
    done = subprocess.run([*emulator, *command], capture_output=True, text=True, timeout=_TIME_LIMIT_S, check=True)
    return list(json.loads(done.stdout)["outputs"].values())


if __name__ == "__main__":
    main()
