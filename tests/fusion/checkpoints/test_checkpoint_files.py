"""Directories as they are found: hub caches, links, Git LFS pointers, adapters, other formats, damaged files."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.torch import load_file, save_file

from data.errors import DataFileError
from fusion import compile_model
from fusion.checkpoints.files import read_config, tensor_headers
from fusion.frontend.source import Source
from tests.fusion.checkpoints.checkpoints import save_classifier

pytestmark = pytest.mark.usefixtures("shared_home")

POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a214614ab2935c943f9e0ff69d22e\nsize 12345\n"


def hub_cache(checkpoint: Path) -> Path:
    """The files as a download leaves them: blobs by their hash, and a snapshot of links to them."""
    root = checkpoint.with_name("models--own--bert")
    snapshot = root / "snapshots" / "0123abcd"
    snapshot.mkdir(parents=True)
    (root / "blobs").mkdir()
    for number, file in enumerate(sorted(checkpoint.iterdir())):
        file.rename(root / "blobs" / f"{number:064x}")
        (snapshot / file.name).symlink_to(Path("..", "..", "blobs", f"{number:064x}"))
    return snapshot


def hard_links(checkpoint: Path) -> Path:
    linked = checkpoint.with_name("linked")
    shutil.copytree(checkpoint, linked, copy_function=os.link)
    return linked


@pytest.mark.parametrize("place", [hub_cache, hard_links])
def test_linked_files_are_compiled(place: Callable[[Path], Path], checkpoint: Path) -> None:
    inputs = {"input_ids": np.arange(8)[None]}
    (expected,) = compile_model(checkpoint, seq_len=8, threads=1).run(inputs)
    (logits,) = compile_model(place(checkpoint), seq_len=8, threads=1).run(inputs)
    assert np.array_equal(logits, expected)


def test_a_hub_cache_names_its_snapshot_and_its_lost_blobs(checkpoint: Path) -> None:
    snapshot = hub_cache(checkpoint)
    with pytest.raises(DataFileError, match=f"no config.json, .*; give {snapshot} instead"):
        compile_model(snapshot.parents[1], seq_len=8)
    (snapshot / "model.safetensors").resolve().unlink()
    with pytest.raises(DataFileError, match=r"model\.safetensors: .*(not there|No such file)"):
        compile_model(snapshot, seq_len=8)


@pytest.mark.parametrize("name", ["model.safetensors", "config.json"])
def test_a_pointer_of_git_lfs_is_called_so(name: str, checkpoint: Path) -> None:
    (checkpoint / name).write_text(POINTER)
    with pytest.raises(DataFileError, match=rf"{name}: a Git LFS pointer, not the file itself; run `git lfs pull`"):
        compile_model(checkpoint, seq_len=8)


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("pytorch_model.bin", "pickled weights, which may run code and are never read; .*save_pretrained"),
        ("pytorch_model-00001-of-00002.bin", "pickled weights"),
        ("tf_model.h5", "TensorFlow weights"),
        ("flax_model.msgpack", "Flax weights"),
        ("model.ckpt.index", "TensorFlow or Lightning weights"),
        ("model.gguf", "llama.cpp"),
        ("model.fp16.safetensors", "is not called model.safetensors"),
        ("model.onnx", "compile that file instead"),
        ("notes.txt", "no weights: model.safetensors .* is missing"),
    ],
)
def test_weights_in_other_forms_are_named(name: str, problem: str, checkpoint: Path) -> None:
    (checkpoint / "model.safetensors").rename(checkpoint / name)
    with pytest.raises(DataFileError, match=problem):
        compile_model(checkpoint, seq_len=8)


@pytest.mark.parametrize("name", ["adapter_config.json", "modules.json"])
@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir, lambda path: path.symlink_to("lost")])
def test_what_is_no_file_is_found_beside_a_model_that_was_compiled_before(
    name: str, make: Callable[[Path], object], checkpoint: Path
) -> None:
    compile_model(checkpoint, seq_len=8, threads=1)
    make(checkpoint / name)
    with pytest.raises(DataFileError, match=rf"{name}: (no file|a link to lost)"):
        compile_model(checkpoint, seq_len=8, threads=1)


@pytest.mark.parametrize(("owner", "call"), [(Path, "is_dir"), (Path, "exists"), (os, "scandir")])
def test_a_closed_folder_is_named(owner: Any, call: str, checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Root may open everything, so what the system answers an ordinary user is given in its place."""

    def closed(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied", str(checkpoint))

    with monkeypatch.context() as patched:
        patched.setattr(owner, call, closed)
        with pytest.raises(DataFileError) as caught:
            _ = Source(checkpoint, 8).key
    assert str(caught.value) == f"{checkpoint}: cannot be read (Permission denied)"


def test_folders_that_hold_no_model_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataFileError, match=r"no config\.json, so no Hugging Face checkpoint"):
        compile_model(tmp_path, seq_len=8)
    (tmp_path / "config.json").mkdir()
    with pytest.raises(DataFileError, match=r"config\.json: .*(directory|no file)"):
        compile_model(tmp_path, seq_len=8)
    (tmp_path / "adapter_config.json").write_text('{"base_model_name_or_path": "own/base", "peft_type": "LORA"}')
    with pytest.raises(DataFileError, match="an adapter of 'own/base', no whole model; merge it"):
        read_config(tmp_path)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (b"[]", "holds a JSON list where an object"),
        (b"null", "JSON NoneType"),
        (b"{", "is not JSON"),
        (b"", "is not JSON"),
        (b'{"model_type": "bert", "model_type": "albert"}', "'model_type' is given twice"),
        (b"[" * 100_000, "is not JSON"),
        (b'{"a": ' + b"1" * 5000 + b"}", "is not JSON"),
        (b"\xff\xfe{\x00}\x00", "is not JSON"),
    ],
)
def test_a_configuration_that_is_no_object_is_refused(text: bytes, problem: str, checkpoint: Path) -> None:
    (checkpoint / "config.json").write_bytes(text)
    with pytest.raises(DataFileError, match=rf"config\.json: .*{problem}"):
        compile_model(checkpoint, seq_len=8)


def rewrite_header(path: Path, edit: Callable[[dict[str, Any]], object]) -> None:
    content = path.read_bytes()
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    edit(header)
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + content[8 + length :])


def entry(header: dict[str, Any], **values: object) -> None:
    header["classifier.bias"] |= values


DAMAGED: tuple[tuple[Callable[[dict[str, Any]], object], str], ...] = (
    (lambda header: entry(header, dtype="F7"), "'classifier.bias': unknown element type 'F7'"),
    (lambda header: entry(header, dtype=["F32"]), "unknown element type"),
    (lambda header: entry(header, shape=[4]), r"'classifier.bias': F32 of shape \[4\] cannot lie at"),
    (lambda header: entry(header, shape=[-3]), r"'classifier.bias': shape \[-3\]"),
    (lambda header: entry(header, shape="3"), "'classifier.bias': shape '3'"),
    (lambda header: entry(header, shape=[3, 2**70]), "cannot lie at"),
    (lambda header: entry(header, data_offsets=[12, 0]), "cannot lie at"),
    (lambda header: entry(header, data_offsets=[2**40, 2**40 + 12]), "leave a hole at byte"),
    (lambda header: entry(header, data_offsets=[24, 36]), "overlap|leave a hole"),
    (lambda header: header.pop("classifier.bias"), "leave a hole|bytes of tensors where its header tells of"),
    (lambda header: header["classifier.bias"].pop("dtype"), "no dtype, shape and data_offsets"),
    (lambda header: header.update({"classifier.bias": []}), "no dtype, shape and data_offsets"),
)


@pytest.mark.parametrize(("edit", "problem"), DAMAGED, ids=[problem for _, problem in DAMAGED])
def test_a_damaged_header_is_refused(edit: Callable[[dict[str, Any]], object], problem: str, checkpoint: Path) -> None:
    rewrite_header(checkpoint / "model.safetensors", edit)
    with pytest.raises(DataFileError, match=rf"model\.safetensors: .*({problem})"):
        compile_model(checkpoint, seq_len=8)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda content: b"", "no whole safetensors file: 0 bytes"),
        (lambda content: content[:100], "no whole safetensors file: 100 bytes"),
        (lambda content: content[:-100], "bytes of tensors where its header tells of"),
        (lambda content: content + b"more", "bytes of tensors where its header tells of"),
        (lambda content: (2**62).to_bytes(8, "little") + content[8:], f"with a header of {2**62}"),
        (lambda content: content[:8] + b"x" + content[9:], "the safetensors header is not JSON"),
    ],
)
def test_a_cut_or_overwritten_file_is_refused(change: Callable[[bytes], bytes], problem: str, checkpoint: Path) -> None:
    path = checkpoint / "model.safetensors"
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises(DataFileError, match=problem):
        compile_model(checkpoint, seq_len=8)


def edit_index(checkpoint: Path, edit: Callable[[dict[str, Any]], object]) -> None:
    path = checkpoint / "model.safetensors.index.json"
    index = json.loads(path.read_text())
    edit(index["weight_map"])
    path.write_text(json.dumps(index))


@pytest.mark.parametrize(
    ("edit", "problem"),
    [
        (lambda shards: shards.pop("classifier.bias"), r"does not list 1 tensor \(classifier.bias\)"),
        (lambda shards: shards.update(more=shards["classifier.bias"]), r"1 tensor \(more\) missing from the shards"),
        (lambda shards: shards.update({"classifier.bias": "../x.safetensors"}), "'../x.safetensors', no safetensors"),
        (lambda shards: shards.update({"classifier.bias": 3}), "into 3, no safetensors file"),
        (lambda shards: shards.update({"classifier.bias": "other.safetensors"}), "other.safetensors: cannot be read"),
        (lambda shards: shards.clear(), "has no weight_map"),
    ],
)
def test_an_index_that_does_not_tell_the_truth_is_refused(
    edit: Callable[[dict[str, Any]], object], problem: str, tmp_path: Path
) -> None:
    save_classifier(tmp_path, max_shard_size="60KB")
    edit_index(tmp_path, edit)
    with pytest.raises(DataFileError, match=problem):
        compile_model(tmp_path, seq_len=8)


def test_a_tensor_in_two_shards_is_refused(tmp_path: Path) -> None:
    save_classifier(tmp_path, max_shard_size="60KB")
    first, second, *_ = sorted(tmp_path.glob("model-*.safetensors"))
    save_file(load_file(first) | load_file(second), second, {"format": "pt"})
    with pytest.raises(DataFileError, match=r"holds [0-9]+ tensors? \(.*\) in more than one file"):
        tensor_headers(tmp_path)
