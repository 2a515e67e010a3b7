"""Weights that an ONNX file keeps in files beside it, wherever in the file they are referred to.

ONNX's own loader refuses symbolic and hard links, which hub caches are made of. Here links are followed to regular
files, while a file may still name only what lies in its own folder or below.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath, PureWindowsPath

import google.protobuf.message
import onnx
from google.protobuf.message import Message

from data.errors import DataFileError, first_line

_LARGEST_BYTES = 1 << 33


def external_files(model: onnx.ModelProto, path: Path) -> list[Path]:
    """The files beside ``path`` that the model's tensors lie in, sorted.

    Raises:
        DataFileError: a tensor names no file, one outside the folder, or something that is no file.
    """
    return sorted({_file(tensor, _entries(tensor), path) for tensor in external_tensors(model)})


def load_external_data(model: onnx.ModelProto, path: Path) -> onnx.ModelProto:
    """The model itself, with the data of its external tensors read into it.

    Raises:
        DataFileError: as :func:`external_files`, or the file is shorter than the tensor.
    """
    for tensor in external_tensors(model):
        entries = _entries(tensor)
        tensor.raw_data = _read(tensor, entries, _file(tensor, entries, path))
        tensor.ClearField("data_location")
        del tensor.external_data[:]
    return model


def external_tensors(message: Message) -> Iterator[onnx.TensorProto]:
    """Tensors anywhere in a message whose data lies in another file: initialisers, sparse ones, attributes, graphs
    inside, functions."""
    if isinstance(message, onnx.TensorProto):
        if message.data_location == onnx.TensorProto.EXTERNAL:
            yield message
        return
    for field, value in message.ListFields():
        if field.message_type is not None:
            for inner in (value,) if isinstance(value, Message) else value:
                yield from external_tensors(inner)


def _entries(tensor: onnx.TensorProto) -> Mapping[str, str]:
    return {entry.key: entry.value for entry in tensor.external_data}


def _file(tensor: onnx.TensorProto, entries: Mapping[str, str], path: Path) -> Path:
    place = entries.get("location", "")
    parts = PurePosixPath(place.replace("\\", "/"))
    outside = parts.is_absolute() or PureWindowsPath(place).drive or ".." in parts.parts or "\0" in place
    if outside or not parts.parts:
        raise DataFileError(
            path, f"tensor {tensor.name!r} lies in {place!r}, which is no file within the model's folder; move it there"
        )
    file = path.parent / parts
    if not file.is_file():
        raise DataFileError(file, f"no such file, which holds tensor {tensor.name!r} of {path.name}; put it there")
    return file


def _read(tensor: onnx.TensorProto, entries: Mapping[str, str], file: Path) -> bytes:
    """The bytes of one tensor; without a length, all that follows the offset."""
    try:
        with file.open("rb") as stream:
            size = file.stat().st_size
            offset = int(entries.get("offset", "0"))
            length = int(entries.get("length", str(size - offset)))
            if offset < 0 or length < 0 or offset + length > size or length > _LARGEST_BYTES:
                raise DataFileError(
                    file, f"tensor {tensor.name!r} takes bytes {offset} to {offset + length}, the file has {size}"
                )
            stream.seek(offset)
            return stream.read(length)
    except ValueError as error:
        raise DataFileError(file, f"tensor {tensor.name!r} has no whole number for its place ({error})") from error
    except OSError as error:
        raise DataFileError(file, f"cannot be read ({error.strerror or error})") from error


def read_model(path: Path) -> onnx.ModelProto:
    """An ONNX file without its external data.

    Raises:
        DataFileError: it cannot be read as ONNX.
    """
    if not path.is_file():
        raise DataFileError(path, "no such ONNX file")
    try:
        return onnx.load(str(path), format="protobuf", load_external_data=False)
    except (google.protobuf.message.Error, RuntimeError, ValueError, OSError) as error:
        problem = first_line(error)
        raise DataFileError(path, f"cannot be read as ONNX ({problem})") from error
