"""Exports a compiled model as files that run without Python."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from data.kept import replacing
from fusion.build.machine import Machine
from fusion.build.toolchain import NOTHING, RUNTIME, TELLING_SOURCES
from fusion.compiled import CompiledModel
from fusion.emit.model_header import model_header
from fusion.texts import TEXT_HEADERS, Texts

_THREADS = "#define PB_THREADS 2"  # in example.c
_EXAMPLES = RUNTIME / "app" / "examples"
# In each of them the line that says how many threads are used.
_TEXT_EXAMPLES: Mapping[str, str] = MappingProxyType(
    {"answer.c": _THREADS, "answer.cpp": "constexpr int threads = 2;", "answer.py": "PB_THREADS = 2"}
)


def export_compiled(
    model: CompiledModel, directory: Path, machine: Machine | None = None, texts: Texts | None = None
) -> Path:
    """``model.so``, ``pocketbert.h``, ``model.h``, ``example.c``, ``runner`` and ``weights.bin`` in a directory: no
    Python needed. ``model.h`` holds what is this model's own: names and sizes of inputs and outputs, names of labels.
    With ``texts`` library and runner take texts, and ``tokenizer.bin``, ``pocketbert_app.h``, ``pocketbert_text.h`` and
    examples in C, C++ and Python (``answer.c``, ``answer.cpp``, ``answer.py``) are there as well.

    The library and ``weights.bin`` are for the model's own machine; a runner for another ``machine`` has weights of its
    own, ``runner-weights.bin``, because packing follows the machine's vectors. Files that are there are replaced, not
    written over: who runs them goes on with the old ones. Without ``texts`` those of an earlier export's texts go.

    Raises:
        StoreError: the directory cannot be made or written.
    """
    in_library, in_runner = (
        (NOTHING, NOTHING) if texts is None else (texts.addition(), texts.addition(*TELLING_SOURCES))
    )
    runner, library = model.runner(machine, in_runner), model.library(in_library)
    files = {"model.so": library, "pocketbert.h": RUNTIME / "pocketbert.h", "weights.bin": model.weights()}
    if texts is not None:
        files |= {name: RUNTIME / name for name in TEXT_HEADERS}
    files["runner"] = runner.executable
    if machine not in (None, model.machine) and runner.weights is not None:
        files["runner-weights.bin"] = runner.weights
    for name, file in files.items():
        with replacing(directory / name) as partial:
            shutil.copyfile(file, partial)
            partial.chmod(0o755 if name == "runner" else 0o644)
    written = {"model.h": header_source(model).encode(), "example.c": example_source(model.threads).encode()}
    if texts is not None:
        written |= {"tokenizer.bin": texts.table} | _text_examples(model.threads)
    for name, content in written.items():
        with replacing(directory / name) as partial:
            partial.write_bytes(content)
    for name in () if texts else ("tokenizer.bin", *TEXT_HEADERS, *_TEXT_EXAMPLES):
        (directory / name).unlink(missing_ok=True)
    return directory


def header_source(model: CompiledModel) -> str:
    """The C header of one model: what it takes and gives, by name, and the names of its labels."""
    return model_header(model.program, model.plan.graph, model.seq_len)


def _text_examples(threads: int) -> dict[str, bytes]:
    """The programs that ask an exported model about texts, on that many threads."""
    return {
        name: (_EXAMPLES / name).read_text(encoding="utf-8").replace(line, line.replace("2", str(threads))).encode()
        for name, line in _TEXT_EXAMPLES.items()
    }


def example_source(threads: int) -> str:
    """The C program that goes with an exported model and runs it once, on that many threads."""
    before, after = (RUNTIME / "example.c").read_text(encoding="utf-8").split(_THREADS)
    return f"{before}#define PB_THREADS {threads}{after}"
