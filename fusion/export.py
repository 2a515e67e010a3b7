"""Exports a compiled model as files that run without Python."""

from __future__ import annotations

import shutil
from pathlib import Path

from data.kept import replacing
from fusion.build.toolchain import RUNTIME
from fusion.compiled import CompiledModel
from fusion.target import Target


def export_compiled(model: CompiledModel, directory: Path, runner_target: Target | None = None) -> Path:
    """``model.so``, ``pocketbert.h``, ``example.c``, ``runner`` and ``weights.bin`` in a directory: no Python needed.

    The library and ``weights.bin`` are for the model's own target; a runner for another target has weights of its
    own, ``runner-weights.bin``, because packing follows the target's vectors. Files that are there are replaced, not
    written over: who runs them goes on with the old ones.

    Raises:
        StoreError: the directory cannot be made or written.
    """
    runner_target = runner_target or model.target
    runner = model.runner(runner_target)
    files = {"model.so": model.library(), "pocketbert.h": RUNTIME / "pocketbert.h", "weights.bin": model.weights()}
    files["runner"] = runner.executable
    if runner_target != model.target and runner.weights is not None:
        files["runner-weights.bin"] = runner.weights
    for name, file in files.items():
        with replacing(directory / name) as partial:
            shutil.copyfile(file, partial)
            partial.chmod(0o755 if name == "runner" else 0o644)
    with replacing(directory / "example.c") as partial:
        partial.write_text(example_source(model.threads), encoding="utf-8")
    return directory


def example_source(threads: int) -> str:
    """The C program that goes with an exported model and runs it once, on that many threads."""
    return f"#define PB_THREADS {threads}\n{(RUNTIME / 'example.c').read_text(encoding='utf-8')}"
