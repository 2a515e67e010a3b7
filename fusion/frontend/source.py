"""Where a compiled model comes from, and its canonical graph, kept so that nothing is imported twice."""

from __future__ import annotations

import hashlib
import json
import mmap
import os
import tempfile
from collections.abc import Iterable, Mapping
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import google.protobuf.message
import numpy as np
import onnx

from data.errors import DataFileError, InputError, ModelError
from data.home import home
from fusion.frontend.canonical import canonicalize
from fusion.frontend.checkpoint import checkpoint_to_onnx
from fusion.frontend.input_names import checked_renames
from fusion.frontend.onnx_import import import_onnx
from fusion.graph import Graph, Operator, TensorType, check
from fusion.rewriting.rewrite import simplify

# A graph without its weights is smaller than this, so that a larger file holds them itself.
_LARGEST_GRAPH_BYTES = 32 << 20


class Source:
    """An ONNX file or a Hugging Face checkpoint directory, read at one sequence length; ``rename`` gives inputs of
    an ONNX file our names."""

    def __init__(self, path: Path, seq_len: int, rename: Mapping[str, str] | None = None) -> None:
        self.path, self.seq_len, self.rename = path, seq_len, checked_renames(rename)
        if self.rename and path.is_dir():
            raise InputError(f"{path} is a directory; only inputs of ONNX files can be renamed")
        self._imported: Graph | None = None

    @cached_property
    def key(self) -> str:
        """Content hash of the model, the sequence length and the importing code: 32 hexadecimal digits.

        Raises:
            DataFileError: the model cannot be read.
        """
        digest = hashlib.sha256(f"{_code_digest()} {self.seq_len} {sorted(self.rename.items())}".encode())
        for file in self._files():
            digest.update(f"\0{file.name}\0".encode())
            _update(digest, file)
        return digest.hexdigest()[:32]

    def graph(self) -> Graph:
        """The canonical graph; one that has been imported before comes without the weights' values.

        Raises:
            DataFileError, ModelError, UnsupportedOperatorError: the model cannot be read, or holds what the compiler
                does not know.
        """
        file = home() / "graphs" / f"{self.key}.json"
        known = _read(file)
        if known is not None:
            return known
        self._imported = self._import()
        _write(self._imported, file)
        return self._imported

    def weighted_graph(self) -> Graph:
        """The canonical graph with its weights, which are not kept after this call. Errors as :meth:`graph`."""
        graph, self._imported = self._imported or self._import(), None
        return graph

    def _import(self) -> Graph:
        if not self.path.is_dir():
            return simplify(canonicalize(import_onnx(self.path, self.seq_len, self.rename)))
        with tempfile.TemporaryDirectory() as folder:
            path = checkpoint_to_onnx(self.path, Path(folder) / "model.onnx", self.seq_len)
            return simplify(canonicalize(import_onnx(path, self.seq_len)))

    def _files(self) -> Iterable[Path]:
        if self.path.is_dir():
            return sorted([*self.path.glob("*.json"), *self.path.glob("*.safetensors")])
        if not self.path.is_file():
            raise DataFileError(self.path, "no such ONNX file")
        return [self.path, *_external_files(self.path)]


def _external_files(path: Path) -> list[Path]:
    """Files beside an ONNX file that hold some of its weights; none when the file cannot be read, which importing
    will say."""
    if path.stat().st_size > _LARGEST_GRAPH_BYTES:
        return []  # the weights are inside
    try:
        model = onnx.load(str(path), load_external_data=False)
    except (google.protobuf.message.DecodeError, ValueError, OSError):
        return []
    entries = (entry for tensor in model.graph.initializer for entry in tensor.external_data)
    found = {path.parent / entry.value for entry in entries if entry.key == "location"}
    return sorted(file for file in found if file.is_file())


def _update(digest: Any, file: Path) -> None:
    try:
        with file.open("rb") as stream:
            if os.fstat(stream.fileno()).st_size:
                with mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as content:
                    digest.update(content)
    except OSError as error:
        raise DataFileError(file, f"cannot be read ({error.strerror or error})") from error


@cache
def _code_digest() -> str:
    """Digest of the compiler's code: what an older version imported is imported again."""
    files = sorted(Path(__file__).parents[1].rglob("*.py"))
    return hashlib.sha256(b"\0".join(file.read_bytes() for file in files)).hexdigest()


def _write(graph: Graph, file: Path) -> None:
    """Writes a graph without its constants' values; the file appears whole or not at all."""
    document = {
        "inputs": graph.inputs,
        "outputs": graph.outputs,
        "operators": [[o.kind, o.inputs, o.output, o.attributes, o.name] for o in graph.operators],
        "types": {name: [type_.shape, type_.dtype] for name, type_ in graph.types.items()},
        "constants": {name: [value.shape, str(value.dtype)] for name, value in graph.constants.items()},
        "source_operators": graph.source_operators,
        "output_shapes": graph.output_shapes,
        "renamed_inputs": graph.renamed_inputs,
        "unread_inputs": graph.unread_inputs,
    }
    file.parent.mkdir(parents=True, exist_ok=True)
    partial = file.with_name(f"{file.name}.{os.getpid()}")
    partial.write_text(json.dumps(document), encoding="utf-8")
    partial.replace(file)


def _read(file: Path) -> Graph | None:
    """A graph that was written before, its constants without values; None when there is none, or a damaged one."""
    try:
        document = json.loads(file.read_text(encoding="utf-8"))
        operators = tuple(
            Operator(kind, tuple(inputs), output, tuple((key, _attribute(value)) for key, value in attributes), name)
            for kind, inputs, output, attributes, name in document["operators"]
        )
        constants = {
            name: np.broadcast_to(np.zeros((), np.dtype(dtype)), tuple(shape))
            for name, (shape, dtype) in document["constants"].items()
        }
        types = {name: TensorType(tuple(shape), dtype) for name, (shape, dtype) in document["types"].items()}
        inputs, outputs = tuple(document["inputs"]), tuple(document["outputs"])
        shapes = tuple(tuple(shape) for shape in document["output_shapes"])
        renamed = tuple((name, ours) for name, ours in document["renamed_inputs"])
        unread, count = tuple(document["unread_inputs"]), int(document["source_operators"])
        graph = Graph(inputs, outputs, operators, types, constants, count, shapes, renamed, unread)
        return check(graph, canonical=True)
    except (OSError, ValueError, TypeError, KeyError, AttributeError, ModelError):
        return None


def _attribute(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value
