"""What is exported for an app: files where Android's build looks for them, by Python and by `fuse-model`."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from data.architecture import Architecture
from data.errors import InputError, StoreError
from fusion import compile_model, export_android
from fusion.build.android import ABIS, phones_processor
from fusion.compiled import CompiledModel
from fusion.emit.weights import are_whole
from tests.fusion.build.elf import Elf
from tests.fusion.build.gcc import WARNINGS, needs_gxx
from tests.fusion.models import export
from tests.support import assert_one_error_line
from tests.test_command_line import RunCommand

pytestmark = pytest.mark.usefixtures("shared_home")

SMALL = Architecture(2, 64, 2, 128, vocab_size=100, seq_len=16)


def files_of(name: str) -> set[str]:
    libraries = {f"jniLibs/{abi}/lib{name}.so" for abi in ABIS}
    return {*libraries, f"assets/{name}.weights", "include/pocketbert.h", f"include/{name}.h"}


def written(directory: Path) -> set[str]:
    return {str(path.relative_to(directory)) for path in directory.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def onnx(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export(SMALL, tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def model(onnx: Path, shared_home: None) -> CompiledModel:
    return compile_model(onnx, seq_len=SMALL.seq_len)


def test_an_app_finds_its_files_where_its_build_looks(model: CompiledModel, tmp_path: Path) -> None:
    assert export_android(model, tmp_path / "main", "sentiment") == tmp_path / "main"
    assert written(tmp_path / "main") == files_of("sentiment")
    program = model.program_for(phones_processor())
    assert are_whole(program, tmp_path / "main" / "assets" / "sentiment.weights")
    for abi in ABIS:
        content = (tmp_path / "main" / "jniLibs" / abi / "libsentiment.so").read_bytes()
        assert Elf(content).name == "libsentiment.so" and program.id.encode() in content


def test_an_export_takes_the_place_of_the_one_before(model: CompiledModel, tmp_path: Path) -> None:
    stale = tmp_path / "jniLibs" / "x86_64" / "libmodel.so"
    stale.parent.mkdir(parents=True)
    stale.write_text("stale")
    export_android(model, tmp_path)
    assert Elf.of(stale).name == "libmodel.so" and written(tmp_path) == files_of("model")


def test_what_cannot_be_exported_is_refused_before_anything_is_written(model: CompiledModel, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="letter"):
        export_android(model, tmp_path / "main", "my-model")
    with pytest.raises(InputError, match="compiled for the GPU"):
        export_android(model, tmp_path / "main", "model", gpu_family="mali")
    assert not (tmp_path / "main").exists()
    (tmp_path / "taken").write_text("")
    with pytest.raises(StoreError, match=r"cannot write .*taken"):
        export_android(model, tmp_path / "taken")


@needs_gxx
@pytest.mark.parametrize("language", [["gcc", "-std=c11", "-x", "c"], ["g++", "-std=c++17", "-x", "c++"]])
def test_its_headers_are_c11_and_cpp17(language: list[str], model: CompiledModel, tmp_path: Path) -> None:
    export_android(model, tmp_path, "sentiment")
    (tmp_path / "main.c").write_text('#include "sentiment.h"\nint main(void) { return PB_TOKENS - 16; }\n')
    words = [
        *language,
        *WARNINGS,
        "-I",
        str(tmp_path / "include"),
        str(tmp_path / "main.c"),
        "-o",
        str(tmp_path / "main"),
    ]
    subprocess.run(words, check=True, timeout=60)
    assert subprocess.run([str(tmp_path / "main")], check=False, timeout=60).returncode == 0


def test_fuse_model_exports_an_app(onnx: Path, tmp_path: Path, run_command: RunCommand) -> None:
    options = ("--seq-len", "16", "--export-android", tmp_path / "main", "--name", "sentiment", "--json")
    done = run_command("fuse-model", onnx, *options, timeout=240)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["export_android"] == str(tmp_path / "main")
    assert f"written to {tmp_path / 'main'}" in done.stderr
    assert written(tmp_path / "main") == files_of("sentiment")


@pytest.mark.parametrize(
    ("options", "parts"),
    [
        (("--export-android", "app", "--name", "my-model"), ("my-model", "letter")),
        (("--export-android", "app", "--name", "log"), ("liblog.so", "Android")),
        (("--name", "sentiment"), ("--name", "--export-android")),
        (("--export-android", "app", "--gpu-family", "mali"), ("--gpu-family", "--unit gpu")),
    ],
)
def test_mistakes_are_one_line(options: tuple[str, ...], parts: tuple[str, ...], run_command: RunCommand) -> None:
    assert_one_error_line(run_command("fuse-model", "deep-narrow", *options), 2, *parts)
