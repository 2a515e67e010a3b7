"""Files of a Hugging Face directory: JSON objects, the files that hold the weights, and what these say they hold."""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, BinaryIO, NamedTuple, NoReturn

from data.errors import DataFileError

CONFIG = "config.json"
_WEIGHTS, _INDEX, _ADAPTER = "model.safetensors", "model.safetensors.index.json", "adapter_config.json"
_LFS_POINTER = b"version https://git-lfs.github.com/spec/"
_LONGEST_JSON = 100_000_000  # bytes; safetensors allows headers of this length
# Stored in releases of transformers as if they were weights; their values are always the same.
BUFFERS = re.compile(r"(^|\.)(position_ids|token_type_ids)$")
_FLOATS = ("F64", "F32", "F16", "BF16")
_MOST_NAMES = 3  # of tensors in a message
# Bits of an element, as safetensors names the types.
_BITS: Mapping[str, int] = MappingProxyType(
    {"BOOL": 8, "U8": 8, "I8": 8, "I16": 16, "U16": 16, "I32": 32, "U32": 32, "I64": 64, "U64": 64}
    | {"F16": 16, "BF16": 16, "F32": 32, "F64": 64, "C64": 64, "F4": 4, "F6_E2M3": 6, "F6_E3M2": 6}
    | dict.fromkeys(("F8_E4M3", "F8_E5M2", "F8_E8M0", "F8_E4M3FNUZ", "F8_E5M2FNUZ"), 8)
)
# What else may lie in the place of safetensors, by file pattern: what it is, and what to do.
_OTHER_WEIGHTS: Sequence[tuple[str, str]] = (
    ("pytorch_model*.bin", "holds pickled weights, which may run code and are never read; {resave}"),
    ("*.pt", "holds pickled weights, which may run code and are never read; {resave}"),
    ("*.pth", "holds pickled weights, which may run code and are never read; {resave}"),
    ("tf_model*.h5", "holds TensorFlow weights; {resave} (from_tf=True, with transformers 4)"),
    ("*.ckpt*", "holds TensorFlow or Lightning weights; {resave}"),
    ("flax_model*.msgpack", "holds Flax weights; {resave} (from_flax=True, with transformers 4)"),
    ("*.gguf", "holds weights for llama.cpp; take the checkpoint that it was made from"),
    ("*.safetensors", "is not called model.safetensors; rename it if it holds the whole model"),
    ("*.onnx", "is a model of its own; compile that file instead of the directory"),
    ("onnx/*.onnx", "is a model of its own; compile that file instead of the directory"),
)
_RESAVE = "load them where you trust them, and write model.safetensors with save_pretrained"


class TensorHeader(NamedTuple):
    """A stored tensor: its element type as safetensors names it (``F32``, ``BF16``, ``I64``), its shape, its file."""

    dtype: str
    shape: tuple[int, ...]
    file: Path


def read_config(directory: Path) -> Mapping[str, Any]:
    """The object in ``config.json``, which is JSON, though not yet known to describe a model.

    Raises:
        DataFileError: there is none, or it is no JSON object; the directory is an adapter or the root of a hub cache.
    """
    adapter, path = directory / _ADAPTER, directory / CONFIG
    if is_there(adapter):
        base = read_object(adapter).get("base_model_name_or_path")
        raise DataFileError(
            adapter, f"an adapter of {base!r}, no whole model; merge it (merge_and_unload) and save that"
        )
    if not is_there(path):
        raise DataFileError(directory, f"no {CONFIG}, so no Hugging Face checkpoint{_hint(directory)}")
    return read_object(path)


def read_object(path: Path) -> Mapping[str, Any]:
    """A JSON file whose value is an object without repeated keys.

    Raises:
        DataFileError: it cannot be read, is a Git LFS pointer, or holds anything else.
    """
    return _as_object(_read_json(path), path, "")


def read_objects(path: Path) -> Sequence[Mapping[str, Any]]:
    """A JSON file whose value is a list of objects. Errors as :func:`read_object`."""
    value = _read_json(path)
    if not isinstance(value, list):
        raise DataFileError(path, f"holds a JSON {type(value).__name__} where a list is expected")
    return [_as_object(entry, path, f"entry {index} ") for index, entry in enumerate(value)]


def weight_files(directory: Path) -> tuple[Path, ...]:
    """The safetensors files that hold the model: one, or the shards of an index.

    Raises:
        DataFileError: there are none (naming what lies there instead), or the index is damaged.
    """
    if is_there(directory / _WEIGHTS):
        return (directory / _WEIGHTS,)
    if is_there(directory / _INDEX):
        return tuple(directory / shard for shard in sorted(set(_weight_map(directory / _INDEX).values())))
    for pattern, problem in _OTHER_WEIGHTS:
        for file in sorted(directory.glob(pattern)):
            raise DataFileError(file, f"{problem.format(resave=_RESAVE)}; {_WEIGHTS} is missing")
    raise DataFileError(directory, f"no weights: {_WEIGHTS} (or {_INDEX} and its shards) is missing")


def tensor_headers(directory: Path) -> Mapping[str, TensorHeader]:
    """All stored tensors by name, read from the files' headers alone; each lies wholly in its file, by itself.

    Raises:
        DataFileError: a file is missing or damaged, a tensor is stored twice, or the index says otherwise.
    """
    files = weight_files(directory)
    found = [(name, header) for file in files for name, header in _file_headers(file)]
    twice = [name for name, count in Counter(name for name, _ in found).items() if count > 1]
    if twice:
        raise DataFileError(directory, f"holds {count_of(twice)} in more than one file; which of them counts?")
    headers = dict(found)
    if files[0].name != _WEIGHTS:
        _compare_with_index(headers, directory / _INDEX)
    return MappingProxyType(headers)


def check_floating_point(headers: Mapping[str, TensorHeader], directory: Path) -> None:
    """``DataFileError`` when weights are not floating point."""
    others = [name for name, header in headers.items() if header.dtype not in _FLOATS and not BUFFERS.search(name)]
    if others:
        types = ", ".join(sorted({headers[name].dtype for name in others}))
        raise DataFileError(
            directory,
            f"{count_of(others)} of type {types}: quantised weights, which are not read; "
            "take the model in floating point that it was made from",
        )


def count_of(names: Sequence[str], kind: str = "tensor") -> str:
    """``2 tensors (a, b)``: how many, and the first few."""
    first = sorted(names)[:_MOST_NAMES]
    return f"{len(names)} {kind}{'s' * (len(names) != 1)} ({', '.join(first)}{', ...' * (len(names) > len(first))})"


def check_finite(path: Path, bad: Sequence[str]) -> None:
    """Raises ``DataFileError`` where there are ``bad`` tensors, by their names: with numbers that are not finite."""
    if bad:
        raise DataFileError(path, f"NaN or infinite numbers in {count_of(bad)}")


def is_there(path: Path) -> bool:
    """Whether the directory has the entry, be it a link that leads nowhere."""
    return path.exists() or path.is_symlink()


def _hint(directory: Path) -> str:
    """What was probably meant instead, when a directory has no configuration."""
    for pattern in ("snapshots/*/config.json", "*/config.json", "*.onnx", "onnx/*.onnx"):
        for path in sorted(directory.glob(pattern)):
            return f"; give {path.parent if path.name == CONFIG else path} instead"
    return ""


def _open(path: Path) -> BinaryIO:
    """Opens a file that is no Git LFS pointer."""
    if path.is_symlink() and not path.exists():
        raise DataFileError(path, f"a link to {path.readlink()}, which is not there; download the model again")
    if path.exists() and not path.is_file():
        raise DataFileError(path, "no file, but a directory or a device")
    try:
        file = path.open("rb")
        if file.peek(len(_LFS_POINTER)).startswith(_LFS_POINTER):
            file.close()
            raise DataFileError(path, "a Git LFS pointer, not the file itself; run `git lfs pull`")
    except OSError as error:
        raise DataFileError(path, f"cannot be read ({error.strerror or error})") from error
    return file


def _read_json(path: Path) -> Any:
    with _open(path) as file:
        return _parsed(file.read(_LONGEST_JSON + 1), path, "")


def _parsed(content: bytes, path: Path, place: str) -> Any:
    """JSON without repeated keys; ``place`` says where in the file it lies."""
    if len(content) > _LONGEST_JSON:
        raise DataFileError(path, f"{place}is longer than {_LONGEST_JSON} bytes")
    try:
        return json.loads(content.decode("utf-8"), object_pairs_hook=_unrepeated)
    except (ValueError, RecursionError) as error:
        raise DataFileError(path, f"{place}is not JSON ({error})") from error


def _as_object(value: Any, path: Path, place: str) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise DataFileError(path, f"{place}holds a JSON {type(value).__name__} where an object is expected")
    return value


def _unrepeated(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) < len(pairs):
        twice, _ = Counter(key for key, _ in pairs).most_common(1)[0]
        raise ValueError(f"the key {twice!r} is given twice")
    return value


def _weight_map(index: Path) -> Mapping[str, str]:
    """Which shard holds which tensor, by the index."""
    shards = read_object(index).get("weight_map")
    if not isinstance(shards, dict) or not shards:
        raise DataFileError(index, "has no weight_map, which says which file holds which tensor")
    for name, shard in shards.items():
        if not isinstance(shard, str) or Path(shard).name != shard or not shard.endswith(".safetensors"):
            raise DataFileError(index, f"weight_map puts {name!r} into {shard!r}, no safetensors file beside it")
    return shards


def _compare_with_index(headers: Mapping[str, TensorHeader], index: Path) -> None:
    shards = _weight_map(index)
    absent = [name for name, shard in shards.items() if name not in headers or headers[name].file.name != shard]
    unlisted = [name for name in headers if name not in shards]
    if absent:
        raise DataFileError(index, f"{count_of(absent)} missing from the shards that should hold them")
    if unlisted:
        raise DataFileError(index, f"does not list {count_of(unlisted)} of the shards")


def _file_headers(path: Path) -> Iterator[tuple[str, TensorHeader]]:
    """The tensors of one safetensors file: eight bytes that give the header's length, the header as JSON, the data."""
    with _open(path) as file:
        size = file.seek(0, 2)
        file.seek(0)
        length = int.from_bytes(file.read(8), "little")
        if size < 8 or length > min(size - 8, _LONGEST_JSON):
            raise DataFileError(path, f"no whole safetensors file: {size} bytes, with a header of {length}")
        place = "the safetensors header "
        entries = _as_object(_parsed(file.read(length), path, place), path, place)
    spans = []
    for name, entry in entries.items():
        if name != "__metadata__":
            header, span = _tensor(name, entry, path)
            spans.append(span)
            yield name, header
    _check_spans(sorted(spans), size - 8 - length, path)


def _tensor(name: str, entry: Any, path: Path) -> tuple[TensorHeader, tuple[int, int]]:
    """A tensor's header and where its data lies."""

    def refuse(problem: str) -> NoReturn:
        raise DataFileError(path, f"tensor {name!r}: {problem}; the file is damaged, download it again")

    if not isinstance(entry, dict) or not {"dtype", "shape", "data_offsets"} <= entry.keys():
        refuse("no dtype, shape and data_offsets")
    dtype, shape, span = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not isinstance(dtype, str) or dtype not in _BITS:
        refuse(f"unknown element type {dtype!r}")
    if not _are_sizes(shape):
        refuse(f"shape {shape!r}")
    if not _are_sizes(span) or len(span) != 2 or (span[1] - span[0]) * 8 != math.prod(shape) * _BITS[dtype]:
        refuse(f"{dtype} of shape {shape} cannot lie at data_offsets {span!r}")
    return TensorHeader(dtype, tuple(shape), path), (span[0], span[1])


def _are_sizes(values: Any) -> bool:
    return isinstance(values, list) and all(type(value) is int and value >= 0 for value in values)


def _check_spans(spans: Sequence[tuple[int, int]], size: int, path: Path) -> None:
    """Data lies side by side and fills the file, as the format demands: neither overlaps nor holes."""
    place = 0
    for start, end in spans:
        if start != place:
            raise DataFileError(path, f"tensors {'overlap' if start < place else 'leave a hole'} at byte {start}")
        place = end
    if place != size:
        raise DataFileError(path, f"holds {size} bytes of tensors where its header tells of {place}; download it again")
