"""What is wrong with a text, a tokenizer or a question is one line, from C and from the command line."""

from __future__ import annotations

import ctypes
import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from data.errors import DataFileError, ModelError, UnsupportedTokenizerError
from fusion import compile_model, export_compiled
from fusion.texts import texts_of, texts_or_reason
from tests.fusion.app.models import save_model
from tests.fusion.build.sources import PATH, Source
from tests.support import assert_one_error_line
from tests.test_command_line import RunCommand

pytestmark = pytest.mark.usefixtures("shared_home")

SEQ_LEN = 16
ERROR_BYTES = 256


class Label(ctypes.Structure):
    """pb_label."""

    _fields_ = (("name", ctypes.c_char_p), ("index", ctypes.c_int), ("score", ctypes.c_float))


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_model(tmp_path_factory.mktemp("model") / "checkpoint", "bert", "classification")


@pytest.fixture(scope="module")
def compiled(checkpoint: Path, shared_home: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    model = compile_model(checkpoint, seq_len=SEQ_LEN)
    return export_compiled(model, tmp_path_factory.mktemp("compiled"), texts=texts_of(model, checkpoint))


def opened(folder: Path, tokenizer: Path | None = None, weights: Path | None = None) -> tuple[Any, Any, str]:
    """The library, the model that it opens, and an error."""
    library = ctypes.CDLL(str(folder / "model.so"))
    library.pb_text_open.restype = ctypes.c_void_p
    sources = [
        Source(PATH, os.fsencode(path))
        for path in (weights or folder / "weights.bin", tokenizer or folder / "tokenizer.bin")
    ]
    error = ctypes.create_string_buffer(ERROR_BYTES)
    model = library.pb_text_open(*map(ctypes.byref, sources), 1, None, error, ctypes.c_size_t(ERROR_BYTES))
    assert bool(model) != bool(error.value)
    return library, ctypes.c_void_p(model), error.value.decode()


def classified(folder: Path, text: bytes, *, cuts: bool = True, tokenizer: Path | None = None) -> str:
    """The error of a question; empty where it is answered."""
    library, model, problem = opened(folder, tokenizer)
    assert not problem
    labels, removed, error = (Label * 3)(), ctypes.c_int(), ctypes.create_string_buffer(ERROR_BYTES)
    sizes = [ctypes.c_size_t(len(text)), None, ctypes.c_size_t(0), labels, 3, ctypes.byref(removed) if cuts else None]
    count = library.pb_classify(model, text, *sizes, error, ctypes.c_size_t(ERROR_BYTES))
    library.pb_text_close(model)
    assert (count < 0) == bool(error.value)
    return error.value.decode()


def test_texts_that_cannot_be_answered_are_one_line(compiled: Path) -> None:
    assert classified(compiled, b"a great film") == ""
    assert "UTF-8" in classified(compiled, b"fine \xff") and "5" in classified(compiled, b"fine \xff")
    long = b"great " * 40
    assert classified(compiled, long) == ""
    assert "tokens" in classified(compiled, long, cuts=False)


def test_what_does_not_belong_together_is_one_line(compiled: Path, tmp_path: Path) -> None:
    assert opened(compiled, tmp_path / "missing")[2].startswith("cannot open")
    for name in ("weights.bin", "tokenizer.bin"):
        cut = tmp_path / name
        cut.write_bytes((compiled / name).read_bytes()[:-8])
        problem = opened(compiled, **{name.split(".")[0]: cut})[2]
        assert problem and "\n" not in problem
    assert opened(compiled, compiled / "weights.bin")[2]


def test_a_tokenizer_of_a_larger_vocabulary_is_found_out(compiled: Path, tmp_path: Path) -> None:
    """Its ids are beyond the model's table of embeddings, where reading would read something else."""
    larger = save_model(tmp_path / "larger", "roberta", "classification")
    table = tmp_path / "tokenizer.bin"
    table.write_bytes(texts_of(compile_model(larger, seq_len=SEQ_LEN), larger).table)
    assert "another model's" in classified(compiled, "a 北京 text: zzz".encode(), tokenizer=table)


def test_a_question_that_is_not_the_models_is_refused(compiled: Path) -> None:
    library, model, _ = opened(compiled)
    error, vector = ctypes.create_string_buffer(ERROR_BYTES), np.zeros(3, np.float32)
    words = [model, b"text", ctypes.c_size_t(4)]
    told = [None, error, ctypes.c_size_t(ERROR_BYTES)]
    assert library.pb_find_entities(*words, None, 0, *told) == -1
    assert error.value == b"the model answers with labels: ask pb_classify"
    numbers = ctypes.c_void_p(vector.ctypes.data)
    assert library.pb_embed(*words, None, ctypes.c_size_t(0), numbers, 3, *told) == -1
    assert library.pb_classify(*words, None, ctypes.c_size_t(0), None, 0, *told) == 0  # none asked for
    library.pb_text_close(model)


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (("--text", "a"), "--text needs --weights FILE and --tokenizer FILE"),
        (("--text", "a", "--fill"), "--text takes"),
        (("model", "--fill", "--pair", "b"), "--pair and --tokenizer go with --text"),
        (("--text", "a", "--weights", "weights.bin", "--tokenizer", "weights.bin"), "tokenizer"),
        (("--text", b"\xff", "--weights", "weights.bin", "--tokenizer", "tokenizer.bin"), "UTF-8"),
    ],
)
def test_the_runner_ends_with_one_line(compiled: Path, words: tuple[Any, ...], part: str) -> None:
    done = subprocess.run(["./runner", *words], cwd=compiled, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2 and not done.stdout
    assert part in done.stderr and done.stderr.startswith("error: ") and done.stderr.count("\n") == 1


def test_a_model_without_an_answer_takes_token_ids(tmp_path: Path) -> None:
    masked = save_model(tmp_path / "masked", "bert", "masked")
    model = compile_model(masked, seq_len=SEQ_LEN)
    with pytest.raises(ModelError, match="no answer is known"):
        texts_of(model, masked)
    assert "no answer is known" in str(texts_or_reason(model, masked))
    (masked / "tokenizer.json").unlink()
    assert texts_or_reason(model, masked) == "no tokenizer lies with the model"
    (tmp_path / "compiled").mkdir()
    (tmp_path / "compiled" / "tokenizer.bin").write_text("of an earlier export")
    runner = export_compiled(model, tmp_path / "compiled") / "runner"
    assert not (tmp_path / "compiled" / "tokenizer.bin").exists()
    done = subprocess.run([str(runner), "--text", "a"], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2 and "exported with their tokenizer" in done.stderr


def test_tokenizers_that_c_does_not_know_are_named(checkpoint: Path, tmp_path: Path) -> None:
    other = shutil.copytree(checkpoint, tmp_path / "other")
    parts = json.loads((other / "tokenizer.json").read_text())
    parts["pre_tokenizer"] = {"type": "Punctuation", "behavior": "Isolated"}
    (other / "tokenizer.json").write_text(json.dumps(parts))
    # A class of transformers' own would put its own parts in their place.
    settings = json.loads((other / "tokenizer_config.json").read_text())
    (other / "tokenizer_config.json").write_text(json.dumps(settings | {"tokenizer_class": "PreTrainedTokenizerFast"}))
    model = compile_model(other, seq_len=SEQ_LEN)
    with pytest.raises(UnsupportedTokenizerError, match="Punctuation"):
        texts_of(model, other)
    assert "Punctuation" in str(texts_or_reason(model, other))
    (other / "tokenizer.json").write_text("{")
    with pytest.raises(DataFileError):
        texts_or_reason(model, other)


def test_fuse_model_says_what_an_export_takes(
    checkpoint: Path, compiled: Path, tmp_path: Path, run_command: RunCommand
) -> None:
    options = ("--seq-len", str(SEQ_LEN), "--export", tmp_path / "out", "--json")
    done = run_command("fuse-model", checkpoint, *options, timeout=240)
    assert done.returncode == 0, done.stderr
    assert "takes texts: it classifies" in done.stderr and json.loads(done.stdout)["takes"] == "texts: it classifies"
    assert (tmp_path / "out" / "tokenizer.bin").read_bytes() == (compiled / "tokenizer.bin").read_bytes()
    assert_one_error_line(run_command("fuse-model", "deep-narrow", "--tokenizer", checkpoint), 2, "--tokenizer")
