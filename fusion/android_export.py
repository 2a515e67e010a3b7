"""Exports a compiled model for an app on Android: a library for each ABI, and one file of weights."""

from __future__ import annotations

import shutil
from pathlib import Path

from data.errors import InputError
from data.kept import replacing
from fusion.build.android import app_libraries, checked_name, phones_gpu, phones_processor
from fusion.build.machine import Machine
from fusion.build.toolchain import RUNTIME
from fusion.compiled import CompiledModel
from fusion.emit.model_header import model_header


def export_android(model: CompiledModel, directory: Path, name: str = "model", gpu_family: str | None = None) -> Path:
    """What goes into an app's ``src/main``: ``jniLibs/ABI/libNAME.so`` for arm64-v8a and x86_64, for both of them
    ``assets/NAME.weights``, and in ``include/`` what C++ of the app includes: ``pocketbert.h``, and ``NAME.h`` with the
    model's names and sizes.

    A model that was compiled for the GPU has kernels for a ``gpu_family`` (``adreno``, ``mali`` or ``other``, for any);
    else it runs on the processor. Files that are there are replaced.

    Raises:
        InputError: ``name`` is none for a library, or ``gpu_family`` unknown or given for the processor.
        StoreError: the directory cannot be made or written.
        ToolchainError: the C compiler failed.
    """
    checked_name(name)
    machine = _machine(model, gpu_family)
    program = model.program_for(machine)
    header = model_header(program, model.plan.graph, model.seq_len)
    for abi, library in app_libraries(program, machine, name).items():
        _write(directory / "jniLibs" / abi / f"lib{name}.so", library)
    _write(directory / "include" / "pocketbert.h", (RUNTIME / "pocketbert.h").read_bytes())
    _write(directory / "include" / f"{name}.h", header.encode())
    with replacing(directory / "assets" / f"{name}.weights") as partial:
        shutil.copyfile(model.weights(machine), partial)
    return directory


def _write(path: Path, content: bytes) -> None:
    with replacing(path) as partial:
        partial.write_bytes(content)


def _machine(model: CompiledModel, gpu_family: str | None) -> Machine:
    if model.unit == "gpu":
        return phones_gpu("other" if gpu_family is None else gpu_family)
    if gpu_family is not None:
        raise InputError("a family of GPUs is for models that are compiled for the GPU")
    return phones_processor()
