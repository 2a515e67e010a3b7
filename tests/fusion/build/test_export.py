"""What is exported: the example and the header, in C and C++, for every family and head, under sanitizers."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from data.errors import StoreError
from fusion import compile_model, export_compiled
from fusion.compiled import CompiledModel
from fusion.emit.program import Port
from fusion.export import example_source, header_source
from tests.fusion.build.gcc import NATIVE, WARNINGS, link, model_objects, needs_gcc, needs_gxx
from tests.fusion.families import FAMILIES, Export, export_family, runtime_outputs

pytestmark = pytest.mark.usefixtures("shared_home")

TOLERANCE = 1e-4
HEADS = ("classification", "regression", "tokens", "hidden", "states")
# Each family and each head at least once, and one model of more outputs than any array in the runtime.
EXPORTS = [
    *(Export(family, head=HEADS[index % len(HEADS)], seq_len=5) for index, family in enumerate(FAMILIES)),
    Export("bert", head="states", seq_len=3, changes={"num_hidden_layers": 10, "intermediate_size": 48}),
]


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory, shared_home: None) -> Path:
    """The exported files of a RoBERTa."""
    folder = tmp_path_factory.mktemp("exported")
    path = export_family(Export("roberta", seq_len=5, changes={"num_hidden_layers": 1}), folder / "model.onnx")
    return export_compiled(compile_model(path, seq_len=5), folder / "compiled")


def example_numbers(port: Port) -> np.ndarray:
    """What example.c feeds to an input, int64 [1, rows]."""
    positions = np.arange(port.rows)[None]
    if port.name == "attention_mask":
        return np.ones_like(positions)
    if port.name == "token_type_ids":
        return np.zeros_like(positions)
    return 4 + positions % (port.limit - 4) if port.limit > 8 else positions % port.limit


def printed(text: str) -> list[tuple[str, np.ndarray]]:
    """The outputs that the example prints, with their names."""
    outputs: list[tuple[str, np.ndarray]] = []
    lines = iter(text.splitlines())
    for line in lines:
        found = re.fullmatch(r"(.*) \[(\d+), (\d+)\]", line)
        assert found, line
        values = np.array([next(lines).split() for _ in range(int(found[2]))], np.float32)
        assert values.shape == (int(found[2]), int(found[3]))
        outputs.append((found[1], values))
    return outputs


def run(words: list[str], folder: Path) -> str:
    done = subprocess.run(words, cwd=folder, capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


@needs_gcc
@pytest.mark.parametrize("how", EXPORTS, ids=[f"{how}-{len(how.changes)}" for how in EXPORTS])
def test_the_example_prints_every_output(how: Export, tmp_path: Path) -> None:
    path = export_family(how, tmp_path / "model.onnx")
    model = compile_model(path, seq_len=how.seq_len)
    program = link_example(model, tmp_path)
    outputs = printed(run([str(program), str(model.weights())], tmp_path))
    inputs = {port.name: example_numbers(port) for port in model.program.inputs}
    inputs |= {name: np.zeros((1, how.seq_len), np.int64) for name in how.names if name not in inputs}
    expected = runtime_outputs(how, path, inputs)
    assert [name for name, _ in outputs] == [port.name for port in model.program.outputs]
    for (_, made), right in zip(outputs, expected, strict=True):
        assert np.abs(made.reshape(right.shape) - right).max() < TOLERANCE


def link_example(model: CompiledModel, folder: Path) -> Path:
    """The example with the model's code, all under sanitizers."""
    example = folder / "example.c"
    example.write_text(example_source(3))
    (folder / "model.h").write_text(header_source(model))
    sanitizer = "address,undefined"
    return link([*model_objects(model, sanitizer, folder), example], folder / "example", sanitizer, WARNINGS)


@needs_gcc
@pytest.mark.parametrize(
    "compiler",
    [
        pytest.param(["gcc", "-std=c99"], id="C99"),
        pytest.param(["gcc", "-std=c17"], id="C17"),
        pytest.param(["g++", "-x", "c++", "-std=c++11"], id="C++11", marks=needs_gxx),
        pytest.param(["g++", "-x", "c++", "-std=c++20"], id="C++20", marks=needs_gxx),
    ],
)
def test_the_exported_example_runs_beside_its_files(compiler: list[str], exported: Path, tmp_path: Path) -> None:
    program = str(tmp_path / "example")
    words = [*compiler, *WARNINGS, "example.c", "-x", "none", "./model.so", "-lpthread", "-o", program]
    subprocess.run(words, cwd=exported, check=True, timeout=120)
    ((_, logits),) = printed(run([program], exported))
    assert logits.shape == (1, 3) and np.isfinite(logits).all()


@pytest.mark.skipif(shutil.which("cc") is None, reason="there is no cc")
def test_the_command_in_the_example_builds_what_runs_from_any_folder(exported: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(exported, tmp_path / "copied to")
    source = (folder / "example.c").read_text()
    command = re.search(r"^ +(cc .* -o example) && (\./example weights\.bin)$", source, re.MULTILINE)
    assert command and source.startswith("/* Runs the model once"), source
    subprocess.run(["sh", "-c", command[1]], cwd=folder, check=True, timeout=120)
    beside = run(["sh", "-c", command[2]], folder)
    assert printed(beside)
    assert run([str(folder / "example"), str(folder / "weights.bin")], tmp_path) == beside


def test_the_example_runs_on_the_threads_of_its_model() -> None:
    sources = {threads: example_source(threads) for threads in (1, 2, 16)}
    for threads, source in sources.items():
        assert source.split("#ifndef PB_THREADS\n")[1].startswith(f"#define PB_THREADS {threads}\n#endif")
        assert source.count("#define") == 1
        assert source.replace(f"THREADS {threads}\n", "THREADS 2\n") == sources[2]


@needs_gxx
def test_the_header_is_for_cpp_too(exported: Path, tmp_path: Path) -> None:
    program = str(tmp_path / "header")
    sanitizers = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
    words = ["g++", "-std=c++17", *WARNINGS, "-Wold-style-cast", *sanitizers, "-I", str(exported)]
    words += [str(NATIVE / "header.cpp"), "./model.so", "-lpthread", "-o", program]
    subprocess.run(words, cwd=exported, check=True, timeout=120)
    assert run([program], exported) == "0 1 1\n"


@needs_gcc
def test_the_library_shows_what_the_header_names_only(exported: Path) -> None:
    shown = run(["nm", "-D", "--defined-only", "model.so"], exported).split()[2::3]
    declared = re.findall(r"^PB_API .*?\b(pb_\w+)\(", (exported / "pocketbert.h").read_text(), re.MULTILINE)
    assert sorted(shown) == sorted(declared)


def test_an_export_over_a_file_is_refused(exported: Path, tmp_path: Path) -> None:
    model = compile_model(exported.parent / "model.onnx", seq_len=5)
    (tmp_path / "taken").write_text("")
    with pytest.raises(StoreError, match=r"cannot write .*taken"):
        export_compiled(model, tmp_path / "taken")
