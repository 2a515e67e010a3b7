"""Exports a compiled model for an app on Android: a library for each ABI, and one file of weights."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from data.errors import InputError
from data.kept import replacing
from fusion.build.android import app_libraries, checked_name, java_class, phones_gpu, phones_processor
from fusion.build.machine import Gpu, Machine
from fusion.build.toolchain import JAVA_SOURCES, NOTHING, RUNTIME
from fusion.compiled import CompiledModel
from fusion.emit.answer_table import Kind
from fusion.emit.model_header import model_header
from fusion.texts import TEXT_HEADERS, Texts

_APP = RUNTIME / "app" / "android"
# Of an app's Java and Kotlin, beneath the folder of its package.
_CLASSES = ("NativeModel.java", "TextModel.kt")
# An app that targets Android 12 or later reaches the driver only where its manifest names it.
_DRIVER = """
4. The GPU's driver is named in the app's manifest, within `<application>`:

       <uses-native-library android:name="libOpenCL.so" android:required="false" />
       <uses-native-library android:name="libOpenCL-pixel.so" android:required="false" />
"""
_CALLS: Mapping[Kind, str] = MappingProxyType(
    {
        "classifies": '`model.classify("...").value.first().name`',
        "finds entities": '`model.findEntities("...").value`',
        "embeds": '`model.embed("...").value`',
    }
)


def export_android(
    model: CompiledModel,
    directory: Path,
    name: str = "model",
    gpu_family: str | None = None,
    texts: Texts | None = None,
    machine: Machine | None = None,
) -> Path:
    """What goes into an app's ``src/main``: ``jniLibs/ABI/libNAME.so`` for arm64-v8a and x86_64, for both of them
    ``assets/NAME.weights``, and in ``include/`` what C++ of the app includes: ``pocketbert.h``, and ``NAME.h`` with the
    model's names and sizes.

    A model that was compiled for the GPU has kernels for a ``gpu_family`` (``adreno``, ``mali`` or ``other``, for any);
    else it runs on the processor; or on a ``machine`` of phones that is given. With ``texts`` the library takes texts;
    then there are as well ``assets/NAME.tokenizer``, ``include/pocketbert_app.h`` and ``pocketbert_text.h``, a Kotlin
    class in ``java/``, and beside these folders ``README-NAME.md`` and ``proguard-NAME.pro``. Files that are there are
    replaced.

    Raises:
        InputError: ``name`` is none for a library, or ``gpu_family`` unknown or given for the processor.
        StoreError: the directory cannot be made or written.
        ToolchainError: the C compiler failed.
    """
    checked_name(name)
    machine = machine or _machine(model, gpu_family)
    program = model.program_for(machine)
    header = model_header(program, model.plan.graph, model.seq_len)
    addition = NOTHING if texts is None else texts.addition(*JAVA_SOURCES, java_class=java_class(name))
    for abi, library in app_libraries(program, machine, name, addition).items():
        _write(directory / "jniLibs" / abi / f"lib{name}.so", library)
    _write(directory / "include" / "pocketbert.h", (RUNTIME / "pocketbert.h").read_bytes())
    _write(directory / "include" / f"{name}.h", header.encode())
    with replacing(directory / "assets" / f"{name}.weights") as partial:
        shutil.copyfile(model.weights(machine), partial)
    if texts is not None:
        _write_texts(model, directory, name, texts, on_gpu=isinstance(machine, Gpu))
    else:
        (directory / "assets" / f"{name}.tokenizer").unlink(missing_ok=True)
    return directory


def _write_texts(model: CompiledModel, directory: Path, name: str, texts: Texts, *, on_gpu: bool) -> None:
    _write(directory / "assets" / f"{name}.tokenizer", texts.table)
    for header in TEXT_HEADERS:
        _write(directory / "include" / header, (RUNTIME / header).read_bytes())
    package = (directory / "java" / java_class(name)).parent
    places = {file: package / file for file in _CLASSES}
    places |= {"README.md": directory / f"README-{name}.md", "proguard.pro": directory / f"proguard-{name}.pro"}
    filled = {"NAME": name, "PB_THREADS": str(model.threads), "ANSWER": _CALLS[texts.answers.kind]}
    filled |= {"GPU_DRIVER\n": _DRIVER if on_gpu else ""}
    for file, place in places.items():
        text = (_APP / file).read_text(encoding="utf-8")
        for word, value in filled.items():
            text = text.replace(word, value)
        _write(place, text.encode())


def _write(path: Path, content: bytes) -> None:
    with replacing(path) as partial:
        partial.write_bytes(content)


def _machine(model: CompiledModel, gpu_family: str | None) -> Machine:
    if model.unit == "gpu":
        return phones_gpu("other" if gpu_family is None else gpu_family)
    if gpu_family is not None:
        raise InputError("a family of GPUs is for models that are compiled for the GPU")
    return phones_processor(model.precision)
