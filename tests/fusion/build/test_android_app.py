"""An app's libraries at work: as Android's loader would take them (stand-ins, under qemu for ARM), and in C++ with
threads and under valgrind on this machine, whose C library goes by bionic's names. No phone has run them."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from fusion import compile_model, export_android
from fusion.build.android import ABIS
from fusion.compiled import CompiledModel
from fusion.emit.program import Port
from tests.fusion.build.android import make_app, make_bionic_names, make_driver
from tests.fusion.build.gcc import NATIVE, WARNINGS, needs_gxx
from tests.fusion.families import Export, export_family

pytestmark = [
    pytest.mark.usefixtures("shared_home"),
    pytest.mark.skipif(platform.machine() != "x86_64", reason="the emulator's ABI runs on x86-64 only"),
]

TOLERANCE = 1e-4
# Where this machine multiplies pairs of bytes, the largest of them are made smaller (Target.int8_pair_limit).
INT8_TOLERANCE = 0.02
SEQ_LEN = 7
NAME = "tiny"
# What an asset in an APK is aligned to, where it was not compressed.
ZIP_ALIGNMENT = 4


@pytest.fixture(scope="module")
def onnx(tmp_path_factory: pytest.TempPathFactory) -> Path:
    how = Export("bert", head="states", changes={"num_hidden_layers": 2})
    return export_family(how, tmp_path_factory.mktemp("model") / "model.onnx")


@pytest.fixture(scope="module")
def model(onnx: Path, shared_home: None) -> CompiledModel:
    return compile_model(onnx, seq_len=SEQ_LEN)


@pytest.fixture(scope="module")
def app(model: CompiledModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export_android(model, tmp_path_factory.mktemp("app"), NAME)


@pytest.fixture(scope="module")
def int8_app(onnx: Path, shared_home: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export_android(
        compile_model(onnx, seq_len=SEQ_LEN, precision="int8"), tmp_path_factory.mktemp("int8_app"), NAME
    )


def fed(port: Port) -> np.ndarray:
    """What native/app.h feeds to an input, int64 [1, rows]."""
    rows = np.arange(port.rows)[None]
    if port.name == "attention_mask":
        return np.ones_like(rows)
    return np.zeros_like(rows) if port.name == "token_type_ids" else (7 * rows + 3) % port.limit


def expected_of(model: CompiledModel) -> np.ndarray:
    outputs = model.run({port.name: fed(port) for port in model.program.inputs})
    return np.concatenate([output.ravel() for output in outputs])


def numbers(text: str) -> np.ndarray:
    return np.array(text.split(), np.float64)


def run_app(
    command: list[str], app: Path, abi: str, archive: Path, **settings: str
) -> subprocess.CompletedProcess[str]:
    """The model of an app whose archive holds its weights where zipalign may put them."""
    weights = (app / "assets" / f"{NAME}.weights").read_bytes()
    archive.write_bytes(b"x" * ZIP_ALIGNMENT + weights + b"x")
    words = [str(app / "jniLibs" / abi / f"lib{NAME}.so"), str(archive), str(ZIP_ALIGNMENT), str(len(weights)), "2"]
    environment = os.environ | settings
    return subprocess.run([*command, *words], capture_output=True, text=True, timeout=120, env=environment, check=False)


@pytest.mark.parametrize("abi", ABIS)
def test_a_library_computes_what_this_machines_does(abi: str, app: Path, model: CompiledModel, tmp_path: Path) -> None:
    done = run_app(make_app(tmp_path, abi), app, abi, tmp_path / "archive")
    assert (done.returncode, done.stderr) == (0, "")
    made, expected = numbers(done.stdout), expected_of(model)
    assert made.shape == expected.shape and np.abs(made - expected).max() < TOLERANCE
    assert np.abs(expected).max() > 0.1


@pytest.mark.parametrize(("abi", "processors"), [("x86_64", ["x86_64"]), ("arm64-v8a", ["cortex-a53", "max"])])
def test_int8_products_run_with_dot_products_and_without(
    abi: str, processors: list[str], onnx: Path, int8_app: Path, tmp_path: Path
) -> None:
    model = compile_model(onnx, seq_len=SEQ_LEN, precision="int8")
    command = make_app(tmp_path, abi)
    runs = [run_app(command, int8_app, abi, tmp_path / "archive", QEMU_CPU=name) for name in processors]
    assert [(done.returncode, done.stderr) for done in runs] == [(0, "")] * len(runs)
    made, expected = numbers(runs[0].stdout), expected_of(model)
    assert made.shape == expected.shape and np.abs(made - expected).max() < INT8_TOLERANCE
    assert {done.stdout for done in runs} == {runs[0].stdout}


@pytest.mark.parametrize("abi", ABIS)
def test_a_gpus_library_reaches_its_driver(
    abi: str, onnx: Path, stand_in: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("POCKETBERT_OPENCL", str(stand_in))
    compiled = compile_model(onnx, seq_len=SEQ_LEN, unit="gpu", precision="fp16")
    app = export_android(compiled, tmp_path / "app", NAME, gpu_family="adreno")
    driver, log = make_driver(tmp_path, abi), tmp_path / "log"
    settings = {"POCKETBERT_OPENCL": str(driver), "STAND_IN_LOG": str(log)}
    command = make_app(tmp_path, abi, driver)
    done = run_app(command, app, abi, tmp_path / "archive", **settings)
    assert (done.returncode, done.stderr) == (0, "")
    assert not numbers(done.stdout).any()  # the stand-in computes nothing
    calls = log.read_text().splitlines()
    assert calls[-1] == "live 0" and not [line for line in calls if line.startswith("error")]
    missing = run_app(command, app, abi, tmp_path / "archive", POCKETBERT_OPENCL="/nowhere/driver.so")
    assert (missing.returncode, missing.stderr) == (1, "error: no OpenCL driver: tried /nowhere/driver.so\n")


@pytest.mark.parametrize("abi", ABIS)
def test_the_loader_refuses_what_androids_does(abi: str, app: Path, tmp_path: Path) -> None:
    """So that a library which ran there kept to the rules."""
    other = shutil.copytree(app, tmp_path / "other")
    library = other / "jniLibs" / abi / f"lib{NAME}.so"
    content = library.read_bytes()
    assert b"\0pthread_join\0" in content
    library.write_bytes(content.replace(b"\0pthread_join\0", b"\0pthread_jail\0"))
    done = run_app(make_app(tmp_path, abi), other, abi, tmp_path / "archive")
    assert done.returncode == 1 and 'cannot locate symbol "pthread_jail"' in done.stderr


@pytest.fixture(scope="module")
def threads(app: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[list[str], dict[str, str]]:
    """A C++ program that is linked with the emulator's library, and the environment that it runs in."""
    folder = tmp_path_factory.mktemp("threads")
    names, library = make_bionic_names(folder), app / "jniLibs" / "x86_64" / f"lib{NAME}.so"
    words = ["g++", "-std=c++17", "-g", *WARNINGS, "-I", str(app / "include"), str(NATIVE / "app_threads.cpp")]
    words += [str(library), f"-Wl,-rpath-link,{names}", "-Wl,--allow-shlib-undefined", "-lpthread"]
    subprocess.run([*words, "-o", str(folder / "threads")], check=True, timeout=120)
    command = [str(folder / "threads"), str(app / "assets" / f"{NAME}.weights")]
    return command, os.environ | {"LD_LIBRARY_PATH": f"{names}:{library.parent}"}


@needs_gxx
def test_eight_threads_of_cpp_get_equal_numbers(
    threads: tuple[list[str], dict[str, str]], model: CompiledModel
) -> None:
    command, environment = threads
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, env=environment, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert np.abs(numbers(done.stdout) - expected_of(model)).max() < TOLERANCE


@needs_gxx
@pytest.mark.skipif(shutil.which("valgrind") is None, reason="valgrind is not installed")
def test_opening_running_and_closing_leaves_nothing(threads: tuple[list[str], dict[str, str]]) -> None:
    """One by path, then by path, descriptor and memory: each open, run and close. The program counts descriptors."""
    command, environment = threads
    words = ["valgrind", "--leak-check=full", "--error-exitcode=9", "--fair-sched=yes", *command, "1"]
    done = subprocess.run(words, capture_output=True, text=True, timeout=240, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    assert "All heap blocks were freed" in done.stderr and "ERROR SUMMARY: 0 errors" in done.stderr
