"""The exported model's own header: outputs by name and the names of labels, whatever these hold, in C and C++."""

from __future__ import annotations

import subprocess
from pathlib import Path

import numpy as np
import pytest

from data.architecture import Architecture, Head
from fusion import compile_model, export_compiled
from fusion.compiled import CompiledModel
from tests.fusion.build.gcc import NATIVE, WARNINGS, needs_gcc, needs_gxx
from tests.fusion.models import export, save_checkpoint
from tests.fusion.test_architecture_heads import masks

pytestmark = pytest.mark.usefixtures("shared_home")

TOLERANCE = 1e-4
# What C reads as something else within quotes, or ends a line, a comment or a literal with.
NASTY = (
    *('"', "\\", "a\nb", "\r\n\t", "??/", "??=", "%:", "*/", "/* ", "'", "", " ", "\\\n", "\\0", "0", "12", "\x0112"),
    *("é", "日本語", "👩‍👩‍👧", "\u202eabc", "\u2028", "B-PER", "not equivalent", "%s%n", "{", "}", "#if 0", "x" * 4095),
)
COMPILERS = [
    pytest.param(["gcc", "-std=c99"], id="C99", marks=needs_gcc),
    pytest.param(["gcc", "-std=c17"], id="C17", marks=needs_gcc),
    pytest.param(["g++", "-x", "c++", "-std=c++11"], id="C++11", marks=needs_gxx),
    pytest.param(["g++", "-x", "c++", "-std=c++20"], id="C++20", marks=needs_gxx),
]
STRICT = (*WARNINGS, "-Wtrigraphs", "-Wunused-const-variable=2")


def sized(head: Head, labels: int) -> Architecture:
    return Architecture(1, 16, 2, 16, vocab_size=30, seq_len=6, labels=labels, head=head)


def compiled(architecture: Architecture, folder: Path, names: tuple[str, ...] = ()) -> CompiledModel:
    settings = {"id2label": dict(enumerate(names))} if names else {}
    save_checkpoint(architecture, folder / "checkpoint", **settings)
    return compile_model(folder / "checkpoint", seq_len=architecture.seq_len, threads=1)


def built(source: Path, exported: Path, compiler: list[str], folder: Path) -> Path:
    program = folder / "program"
    words = [*compiler, *STRICT, "-I", str(exported), str(source), "-x", "none", str(exported / "model.so")]
    subprocess.run([*words, "-lpthread", "-o", str(program)], check=True, timeout=120)
    return program


def output_of(program: Path, *words: str) -> bytes:
    return subprocess.run([program, *words], capture_output=True, timeout=60, check=True).stdout


@pytest.mark.parametrize("compiler", COMPILERS)
@pytest.mark.parametrize("names", [NASTY, tuple(f"class {i}" for i in range(10_000))], ids=["nasty", "many"])
def test_c_has_the_names_of_the_labels(names: tuple[str, ...], compiler: list[str], tmp_path: Path) -> None:
    model = compiled(sized("sequence", len(names)), tmp_path, names)
    exported = export_compiled(model, tmp_path / "exported")
    made = output_of(built(NATIVE / "labels.c", exported, compiler, tmp_path))
    assert model.labels == names
    assert made.split(b"\0") == [*(name.encode() for name in names), b""]


@pytest.mark.parametrize("compiler", COMPILERS[1:3])
@pytest.mark.parametrize("head", ["sequence", "tokens", "embedding"])
def test_outputs_are_found_by_name_in_c(head: Head, compiler: list[str], tmp_path: Path) -> None:
    """A program made of the header's names alone runs the model for a text that is shorter than the sequence."""
    architecture = sized(head, 1 if head == "embedding" else 3)
    names = () if head == "embedding" else ("O", "B-LOC", "I-LOC")
    model = compiled(architecture, tmp_path, names)
    exported = export_compiled(model, tmp_path / "exported")
    source = NATIVE / ("embedding.c" if head == "embedding" else "logits.c")
    program = built(source, exported, compiler, tmp_path)
    ids, mask = np.array([[2, 7, 9, 3, 0, 0]]), np.array([[1, 1, 1, 1, 0, 0]])
    expected = model.run({"input_ids": ids, "attention_mask": mask})[0][0]
    lines = output_of(program, str(exported / "weights.bin")).decode().splitlines()
    if head == "embedding":
        assert lines[0] == "16 1"
        made = np.array(lines[1].split(), np.float32)
        assert np.abs(made - expected).max() < TOLERANCE and abs(float(made @ made) - 1) < TOLERANCE
        return
    rows = np.atleast_2d(expected)[: 4 if head == "tokens" else 1]
    assert lines == [names[int(row.argmax())] for row in rows]


@needs_gcc
def test_the_example_names_the_label_of_each_row(tmp_path: Path) -> None:
    exported = export_compiled(compiled(sized("tokens", 3), tmp_path, ("O", "B-LOC", "I-LOC")), tmp_path / "exported")
    program = built(exported / "example.c", exported, ["gcc", "-std=c11"], tmp_path)
    lines = output_of(program, str(exported / "weights.bin")).decode().splitlines()
    assert lines[0] == "logits [6, 3]"
    best = np.array([line.split() for line in lines[1:7]], np.float32).argmax(1)
    assert lines[7:] == [f"{row}: {('O', 'B-LOC', 'I-LOC')[label]}" for row, label in enumerate(best)]


def test_names_come_by_onnx_as_well(tmp_path: Path) -> None:
    architecture = sized("tokens", len(NASTY))
    path = export(architecture, tmp_path, id2label=dict(enumerate(NASTY)))
    (tmp_path / "checkpoint").rename(tmp_path / "gone")
    for _ in range(2):  # imported, then from the cache
        assert compile_model(path, seq_len=architecture.seq_len).labels == NASTY


def test_a_model_without_names_says_so(tmp_path: Path) -> None:
    for head, labels in (("sequence", 2), ("tokens", 1), ("embedding", 1)):
        model = compiled(sized(head, labels), tmp_path / head)  # type: ignore[arg-type]
        assert model.labels == ()
        header = (export_compiled(model, tmp_path / head / "exported") / "model.h").read_text()
        assert "#define PB_LABEL_COUNT 0\n" in header and "pb_labels" not in header


def test_every_length_of_text_gives_an_embedding_of_length_one(tmp_path: Path) -> None:
    model = compiled(sized("embedding", 1), tmp_path)
    for mask in masks(6).values():
        (vector,) = model.run({"input_ids": np.arange(6), "attention_mask": mask})
        assert abs(float(np.linalg.norm(vector)) - 1) < 1e-5
