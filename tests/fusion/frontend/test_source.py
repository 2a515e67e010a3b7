"""The cache: by the content of all that is read, harmless when damaged, never of a file that changed meanwhile."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest

from data.architecture import Architecture
from data.errors import DataFileError, StoreError
from fusion import compile_model
from fusion.frontend.source import Source
from tests.fusion.models import export, random_inputs, reference, save_checkpoint

SMALL = Architecture(1, 32, 2, 64, vocab_size=50, seq_len=8)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export(SMALL, tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def compiled_blocks(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The compiled blocks of the model, which spares each test's own cache the C compiler."""
    folder = tmp_path_factory.mktemp("blocks")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("POCKETBERT_HOME", str(folder))
        compile_model(model, seq_len=8).library()
    return folder / "compiled"


@pytest.fixture(autouse=True)
def home(compiled_blocks: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("POCKETBERT_HOME", str(tmp_path / "home"))
    shutil.copytree(compiled_blocks, tmp_path / "home" / "compiled")
    return tmp_path / "home"


def forbid_import(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise AssertionError("imported again")

    monkeypatch.setattr("fusion.frontend.source.import_onnx", fail)


def test_the_second_compilation_imports_nothing(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    inputs = random_inputs(SMALL, 5)
    first = compile_model(model, seq_len=8).run(inputs)[0]
    forbid_import(monkeypatch)
    assert np.array_equal(compile_model(model, seq_len=8).run(inputs)[0], first)


def test_a_copy_elsewhere_is_the_same_source_and_other_weights_are_not(model: Path, tmp_path: Path) -> None:
    (tmp_path / "copy.onnx").write_bytes(model.read_bytes())
    assert (key := Source(model, 8).key) != Source(model, 7).key
    changed = onnx.load(str(model))
    tensor = next(tensor for tensor in changed.graph.initializer if tensor.data_type == onnx.TensorProto.FLOAT)
    tensor.raw_data = bytes(len(tensor.raw_data))
    onnx.save(changed, str(tmp_path / "changed.onnx"))
    assert Source(tmp_path / "changed.onnx", 8).key != key


@pytest.mark.parametrize("ending", ["word_embeddings.weight", "LayerNorm.bias", "output.dense.bias"])
@pytest.mark.parametrize("number", [np.nan, np.inf, -np.inf])
def test_weights_that_are_no_finite_numbers_are_refused(
    number: float, ending: str, model: Path, tmp_path: Path
) -> None:
    changed = onnx.load(str(model))
    tensor = next(one for one in changed.graph.initializer if one.name.endswith(ending))
    values = onnx.numpy_helper.to_array(tensor).copy()
    values.flat[3] = number
    tensor.CopyFrom(onnx.numpy_helper.from_array(values, tensor.name))
    onnx.save(changed, str(tmp_path / "changed.onnx"))
    with pytest.raises(DataFileError, match=r"changed\.onnx: NaN or infinite numbers in 1 tensor \("):
        compile_model(tmp_path / "changed.onnx", seq_len=8)


def test_external_weights_belong_to_the_content(model: Path, tmp_path: Path) -> None:
    path = tmp_path / "split.onnx"
    onnx.save(onnx.load(str(model)), str(path), save_as_external_data=True, location="split.bin", size_threshold=16)
    key = Source(path, 8).key
    inputs = random_inputs(SMALL, 5)
    assert np.abs(compile_model(path, seq_len=8).run(inputs)[0] - reference(model, inputs)).max() < 1e-4
    data = bytearray((tmp_path / "split.bin").read_bytes())
    data[100] ^= 1
    (tmp_path / "split.bin").write_bytes(bytes(data))
    assert Source(path, 8).key != key


@pytest.mark.parametrize("content", ["", "{", "[]", '{"inputs": 3}', '{"operators": [["gemm"]], "types": {}}'])
def test_a_damaged_entry_is_made_again(content: str, model: Path, home: Path) -> None:
    inputs = random_inputs(SMALL, 5)
    first = compile_model(model, seq_len=8).run(inputs)[0]
    (entry,) = (home / "graphs").glob("*.json")
    entry.write_text(content)
    assert np.array_equal(compile_model(model, seq_len=8).run(inputs)[0], first)
    assert len(entry.read_text()) > len(content)


def test_a_checkpoint_is_exported_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoint = save_checkpoint(SMALL, tmp_path / "checkpoint")
    inputs = random_inputs(SMALL, 5)
    first = compile_model(checkpoint, seq_len=8).run(inputs)[0]
    forbid_import(monkeypatch)
    assert np.array_equal(compile_model(checkpoint, seq_len=8).run(inputs)[0], first)


def with_constant(model: Path, path: Path) -> Path:
    """The model with one weight in a ``Constant`` whose data lies in ``const.bin`` beside it."""
    changed = onnx.load(str(model))
    weight = next(one for one in changed.graph.initializer if one.data_type == onnx.TensorProto.FLOAT)
    external = onnx.TensorProto(name=weight.name, dims=weight.dims, data_type=weight.data_type)
    external.data_location = onnx.TensorProto.EXTERNAL
    external.external_data.add(key="location", value="const.bin")
    (path.parent / "const.bin").write_bytes(weight.raw_data)
    node = onnx.helper.make_node("Constant", [], [weight.name])
    node.attribute.add(name="value", type=onnx.AttributeProto.TENSOR).t.CopyFrom(external)
    changed.graph.initializer.remove(weight)
    changed.graph.node.insert(0, node)
    onnx.save(changed, str(path))
    return path


def halve(file: Path) -> None:
    file.write_bytes((np.frombuffer(file.read_bytes(), np.float32) / 2).tobytes())


def test_external_data_of_a_constant_belongs_to_the_content(model: Path, tmp_path: Path) -> None:
    path, inputs = with_constant(model, tmp_path / "model.onnx"), random_inputs(SMALL, 5)
    for _ in range(2):
        assert np.abs(compile_model(path, seq_len=8).run(inputs)[0] - reference(path, inputs)).max() < 1e-4
        halve(tmp_path / "const.bin")


def test_external_data_of_a_large_file_belongs_to_the_content(model: Path, tmp_path: Path) -> None:
    large = onnx.load(str(model))
    large.doc_string = "x" * (40 << 20)
    path = tmp_path / "large.onnx"
    onnx.save(large, str(path), save_as_external_data=True, location="large.bin", size_threshold=16)
    key = Source(path, 8).key
    halve(tmp_path / "large.bin")
    assert Source(path, 8).key != key


def external_tensor(place: str) -> onnx.TensorProto:
    tensor = onnx.TensorProto(name="outside", dims=[2], data_type=onnx.TensorProto.FLOAT)
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value=place)
    return tensor


def in_sparse(model: onnx.ModelProto, tensor: onnx.TensorProto) -> None:
    model.graph.sparse_initializer.add().values.CopyFrom(tensor)


def in_branch(model: onnx.ModelProto, tensor: onnx.TensorProto) -> None:
    model.graph.node[0].attribute.add(name="then_branch", type=onnx.AttributeProto.GRAPH).g.initializer.append(tensor)


def in_function(model: onnx.ModelProto, tensor: onnx.TensorProto) -> None:
    node = model.functions.add(name="f", domain="d").node.add(op_type="Constant")
    node.attribute.add(name="value", type=onnx.AttributeProto.TENSOR).t.CopyFrom(tensor)


@pytest.mark.parametrize("put", [in_sparse, in_branch, in_function])
def test_external_data_anywhere_belongs_to_the_content(
    put: Callable[[onnx.ModelProto, onnx.TensorProto], None], model: Path, tmp_path: Path
) -> None:
    changed = onnx.load(str(model))
    put(changed, external_tensor("inner/part.bin"))
    onnx.save(changed, str(tmp_path / "model.onnx"))
    (tmp_path / "inner").mkdir()
    part = tmp_path / "inner" / "part.bin"
    part.write_bytes(bytes(8))
    key = Source(tmp_path / "model.onnx", 8).key
    part.write_bytes(bytes(7) + b"x")
    assert Source(tmp_path / "model.onnx", 8).key != key


@pytest.mark.parametrize(
    ("place", "problem"),
    [
        ("../outside.bin", "no file within the model's folder"),
        ("inner/../../outside.bin", "no file within the model's folder"),
        ("/etc/passwd", "no file within the model's folder"),
        ("C:\\weights.bin", "no file within the model's folder"),
        ("..\\outside.bin", "no file within the model's folder"),
        ("", "no file within the model's folder"),
        (".", "no file within the model's folder"),
        ("absent.bin", "absent.bin: no such file"),
        ("device", "device: no such file"),
        ("short.bin", "takes bytes 4 to 12, the file has 8"),
    ],
)
def test_external_data_is_read_from_the_folder_alone(place: str, problem: str, model: Path, tmp_path: Path) -> None:
    (tmp_path / "outside.bin").write_bytes(bytes(8))
    folder = tmp_path / "folder"
    (folder / "inner").mkdir(parents=True)
    (folder / "device").symlink_to("/dev/zero")
    (folder / "short.bin").write_bytes(bytes(8))
    changed, tensor = onnx.load(str(model)), external_tensor(place)
    tensor.external_data.add(key="offset", value="4")
    tensor.external_data.add(key="length", value="8")
    changed.graph.initializer.append(tensor)
    onnx.save(changed, str(folder / "model.onnx"))
    with pytest.raises(DataFileError, match=problem):
        compile_model(folder / "model.onnx", seq_len=8)


def test_links_of_a_hub_cache_are_followed(model: Path, tmp_path: Path) -> None:
    """As the hub's client lays it out: snapshots of symbolic links into a folder of blobs."""
    whole, blobs, snapshot = (tmp_path / name for name in ("whole", "blobs", "snapshots"))
    for folder in (whole, blobs, snapshot):
        folder.mkdir()
    options = {"save_as_external_data": True, "location": "model.onnx_data", "size_threshold": 16}
    onnx.save(onnx.load(str(model)), str(whole / "model.onnx"), **options)
    for index, name in enumerate(("model.onnx", "model.onnx_data")):
        (whole / name).rename(blobs / str(index))
        (snapshot / name).symlink_to(f"../blobs/{index}")
    inputs = random_inputs(SMALL, 5)
    outputs = compile_model(snapshot / "model.onnx", seq_len=8).run(inputs)
    assert np.abs(outputs[0] - reference(model, inputs)).max() < 1e-4


def test_a_file_that_is_replaced_never_gives_mixed_numbers(model: Path, home: Path, tmp_path: Path) -> None:
    path, inputs = with_constant(model, tmp_path / "model.onnx"), random_inputs(SMALL, 5)
    old = reference(path, inputs)
    compiled = compile_model(path, seq_len=8)
    halve(tmp_path / "const.bin")
    new = reference(path, inputs)
    assert np.abs(old - new).max() > 1e-3
    assert np.abs(compiled.run(inputs)[0] - old).max() < 1e-4  # what was read
    assert np.abs(compile_model(path, seq_len=8).run(inputs)[0] - new).max() < 1e-4
    shutil.rmtree(home / "weights")
    late = compile_model(path, seq_len=8)  # its graph comes from the cache, its weights are read when it runs
    halve(tmp_path / "const.bin")
    with pytest.raises(DataFileError, match="changed after compiling began; compile it again"):
        late.run(inputs)
    assert not list((home / "weights").glob("*"))


@pytest.mark.parametrize("damage", ["cut", "bit", "empty"])
@pytest.mark.parametrize("place", ["graphs/*", "weights/*", "compiled/*.so"])
def test_damaged_files_of_the_cache_are_made_again(damage: str, place: str, model: Path, home: Path) -> None:
    inputs = random_inputs(SMALL, 5)
    first = compile_model(model, seq_len=8).run(inputs)[0]
    for entry in home.glob(place):
        content = bytearray(entry.read_bytes())
        content[len(content) // 2] ^= 4
        entry.unlink()  # a library that is in use is not written over
        entry.write_bytes({"cut": content[: len(content) // 2], "bit": content, "empty": b""}[damage])
    assert np.array_equal(compile_model(model, seq_len=8).run(inputs)[0], first)


def test_a_damaged_object_of_the_cache_is_made_again(model: Path, home: Path) -> None:
    inputs = random_inputs(SMALL, 5)
    first = compile_model(model, seq_len=8).run(inputs)[0]
    next(home.glob("compiled/*.so")).unlink()
    entry = next(home.glob("compiled/*.o"))
    entry.write_bytes(entry.read_bytes()[:200])
    assert np.array_equal(compile_model(model, seq_len=8).run(inputs)[0], first)


def test_two_processes_compile_at_once(model: Path, home: Path) -> None:
    shutil.rmtree(home)
    code = (
        "import sys; import numpy as np; from fusion import compile_model\n"
        "outputs = compile_model(sys.argv[1], seq_len=8).run({'input_ids': np.full((1, 8), 3)})\n"
        "print(outputs[0].tolist())"
    )
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[3])}
    words = [sys.executable, "-c", code, str(model)]
    both = [subprocess.Popen(words, env=environment, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    results = [process.communicate(timeout=240)[0] for process in both]
    assert [process.returncode for process in both] == [0, 0]
    assert results[0] == results[1] != ""


def test_configurations_in_folders_of_a_directory_belong_to_the_content(tmp_path: Path) -> None:
    checkpoint = save_checkpoint(SMALL, tmp_path / "checkpoint")
    keys = [Source(checkpoint, 8).key]
    (checkpoint / "1_Pooling").mkdir()
    for text in ("{}", '{"pooling_mode_cls_token": true}'):
        (checkpoint / "1_Pooling" / "config.json").write_text(text)
        keys.append(Source(checkpoint, 8).key)
    (checkpoint / "modules.json").write_text("[]")
    keys.append(Source(checkpoint, 8).key)
    assert len(set(keys)) == 4


def test_a_cache_that_cannot_be_written_is_named(model: Path, home: Path) -> None:
    shutil.rmtree(home)
    home.write_text("a file where the folder should be")
    with pytest.raises(StoreError, match=r"cannot write .*graphs"):
        compile_model(model, seq_len=8)
