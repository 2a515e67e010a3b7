"""Exports a compiled model as files that run without Python."""

from __future__ import annotations

import shutil
from pathlib import Path

from fusion.build.toolchain import RUNTIME
from fusion.compiled import CompiledModel
from fusion.target import Target


def export_compiled(model: CompiledModel, directory: Path, runner_target: Target | None = None) -> Path:
    """``model.so``, ``pocketbert.h``, ``example.c``, ``runner`` and ``weights.bin`` in a directory: no Python needed.

    The library and ``weights.bin`` are for the model's own target; a runner for another target has weights of its
    own, ``runner-weights.bin``, because packing follows the target's vectors.
    """
    runner_target = runner_target or model.target
    directory.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(model.library(), directory / "model.so")
    shutil.copyfile(RUNTIME / "pocketbert.h", directory / "pocketbert.h")
    shutil.copyfile(model.weights(), directory / "weights.bin")
    example = (RUNTIME / "example.c").read_text(encoding="utf-8")
    (directory / "example.c").write_text(f"#define PB_THREADS {model.threads}\n{example}", encoding="utf-8")
    runner = model.runner(runner_target)
    shutil.copyfile(runner.executable, directory / "runner")
    (directory / "runner").chmod(0o755)
    if runner_target != model.target and runner.weights is not None:
        shutil.copyfile(runner.weights, directory / "runner-weights.bin")
    return directory
