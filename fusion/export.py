"""Exports a compiled model as files that run without Python."""

from __future__ import annotations

import shutil
from pathlib import Path

from data.kept import replacing
from fusion.build.machine import Machine
from fusion.build.toolchain import RUNTIME
from fusion.compiled import CompiledModel
from fusion.emit.model_header import model_header

_THREADS = "#define PB_THREADS 2"  # in example.c


def export_compiled(model: CompiledModel, directory: Path, machine: Machine | None = None) -> Path:
    """``model.so``, ``pocketbert.h``, ``model.h``, ``example.c``, ``runner`` and ``weights.bin`` in a directory: no
    Python needed. ``model.h`` holds what is this model's own: names and sizes of inputs and outputs, names of labels.

    The library and ``weights.bin`` are for the model's own machine; a runner for another ``machine`` has weights of its
    own, ``runner-weights.bin``, because packing follows the machine's vectors. Files that are there are replaced, not
    written over: who runs them goes on with the old ones.

    Raises:
        StoreError: the directory cannot be made or written.
    """
    runner = model.runner(machine)
    files = {"model.so": model.library(), "pocketbert.h": RUNTIME / "pocketbert.h", "weights.bin": model.weights()}
    files["runner"] = runner.executable
    if machine not in (None, model.machine) and runner.weights is not None:
        files["runner-weights.bin"] = runner.weights
    for name, file in files.items():
        with replacing(directory / name) as partial:
            shutil.copyfile(file, partial)
            partial.chmod(0o755 if name == "runner" else 0o644)
    texts = {"model.h": header_source(model), "example.c": example_source(model.threads)}
    for name, text in texts.items():
        with replacing(directory / name) as partial:
            partial.write_text(text, encoding="utf-8")
    return directory


def header_source(model: CompiledModel) -> str:
    """The C header of one model: what it takes and gives, by name, and the names of its labels."""
    return model_header(model.program, model.plan.graph, model.seq_len)


def example_source(threads: int) -> str:
    """The C program that goes with an exported model and runs it once, on that many threads."""
    before, after = (RUNTIME / "example.c").read_text(encoding="utf-8").split(_THREADS)
    return f"{before}#define PB_THREADS {threads}{after}"
