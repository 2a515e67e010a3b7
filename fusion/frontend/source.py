"""Where a compiled model comes from: all that importing reads, hashed, and its canonical graph."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Mapping
from functools import cache, cached_property
from importlib import metadata
from pathlib import Path

import numpy as np

from data.errors import DataFileError, InputError
from data.home import home
from fusion.checkpoints.files import check_finite
from fusion.checkpoints.model import files_read
from fusion.checkpoints.onnx_export import checkpoint_to_onnx
from fusion.frontend.canonical import canonicalize
from fusion.frontend.kept_graph import read_graph, write_graph
from fusion.graph import Graph
from fusion.importing.external_data import external_files, read_model
from fusion.importing.input_names import checked_renames
from fusion.importing.onnx_import import import_onnx
from fusion.rewriting.rewrite import simplify

# What takes part in importing a model, besides our own code: other versions may make another graph of it.
_IMPORTERS = ("numpy", "onnx", "torch", "transformers")
# Stands before the place of each external file, whatever wrote the model: the field's tag, the length, the key.
_EXTERNAL_MARK = b"\x0a\x08location"
_BLOCK_BYTES = 1 << 20
# Operators whose constants, behind rows and mask, are tables by the number of tokens.
_MASK_READERS = frozenset({"pool", "mask_rows"})


class Source:
    """An ONNX file or a Hugging Face checkpoint directory, read at one sequence length; ``rename`` gives inputs of
    an ONNX file our names."""

    def __init__(self, path: Path, seq_len: int, rename: Mapping[str, str] | None = None) -> None:
        self.path, self.seq_len, self.rename = path, seq_len, checked_renames(rename)
        if self.rename and _is_directory(path):
            raise InputError(f"{path} is a directory; only inputs of ONNX files can be renamed")
        self._imported: Graph | None = None

    @cached_property
    def key(self) -> str:
        """Content hash of the model, the sequence length and the importing code: 32 hexadecimal digits.

        Raises:
            DataFileError: the model cannot be read.
        """
        return self._content_key()

    def graph(self) -> Graph:
        """The canonical graph; one that has been imported before comes without the weights' values.

        Raises:
            DataFileError, ModelError, UnsupportedOperatorError: the model cannot be read, or holds what the compiler
                does not know, or it changes meanwhile.
        """
        file = home() / "graphs" / f"{self.key}.json"
        known = read_graph(file)
        if known is not None:
            return known
        self._imported = self._import()
        write_graph(self._imported, file)
        return self._imported

    def weighted_graph(self) -> Graph:
        """The canonical graph with its weights, which are not kept after this call. Errors as :meth:`graph`."""
        graph, self._imported = self._imported or self._import(), None
        return graph

    def _content_key(self) -> str:
        digest = hashlib.sha256(f"{_code_digest()} {self.seq_len} {sorted(self.rename.items())}".encode())
        folder = self.path if _is_directory(self.path) else self.path.parent
        for file in self._files():
            digest.update(f"\0{file.relative_to(folder)}\0".encode())
            digest.update(_file_digest(file))
        return digest.hexdigest()[:32]

    def _import(self) -> Graph:
        """Imports the model as it was when its key was made: what follows is kept under that key."""
        key = self.key
        graph = self._read()
        if self._content_key() != key:
            raise DataFileError(self.path, "changed after compiling began; compile it again")
        return graph

    def _read(self) -> Graph:
        if not self.path.is_dir():
            graph = simplify(canonicalize(import_onnx(self.path, self.seq_len, self.rename)))
            self._check_weights(graph)
            return graph
        with tempfile.TemporaryDirectory() as folder:
            path = checkpoint_to_onnx(self.path, Path(folder) / "model.onnx", self.seq_len)
            return simplify(canonicalize(import_onnx(path, self.seq_len)))

    def _check_weights(self, graph: Graph) -> None:
        """Every weight is a finite number: what comes of others, activations and integer products would hide.

        What a mask scales rows by is no weight: the mean of no tokens is NaN.
        """
        tables = {
            name for operator in graph.operators if operator.kind in _MASK_READERS for name in operator.inputs[2:]
        }
        bad = [
            name
            for name, value in graph.constants.items()
            if value.dtype.kind == "f" and name not in tables and not np.isfinite(value).all()
        ]
        check_finite(self.path, bad)

    def _files(self) -> list[Path]:
        """All that importing reads."""
        if _is_directory(self.path):
            return files_read(self.path)
        if not self.path.is_file():
            raise DataFileError(self.path, "no such ONNX file")
        if not _mentions_external_files(self.path):
            return [self.path]
        return [self.path, *external_files(read_model(self.path), self.path)]


def _mentions_external_files(path: Path) -> bool:
    """Whether an ONNX file refers to others; few do, and only those need to be read as ONNX to know."""
    overlap = len(_EXTERNAL_MARK) - 1
    try:
        with path.open("rb") as stream:
            end = b""
            while block := stream.read(_BLOCK_BYTES):
                if _EXTERNAL_MARK in end + block:
                    return True
                end = block[-overlap:]
    except OSError as error:
        raise DataFileError(path, f"cannot be read ({error.strerror or error})") from error
    return False


def _is_directory(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError as error:
        raise DataFileError(path, f"cannot be read ({error.strerror or error})") from error


def _file_digest(file: Path) -> bytes:
    try:
        if not file.is_file():
            return b"no file"
        with file.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").digest()
    except OSError as error:
        raise DataFileError(file, f"cannot be read ({error.strerror or error})") from error


@cache
def _code_digest() -> str:
    """Digest of the compiler's code: what an older version imported is imported again."""
    files = sorted(Path(__file__).parents[1].rglob("*.py"))
    versions = [metadata.version(name).encode() for name in _IMPORTERS]
    return hashlib.sha256(b"\0".join([*versions, *(file.read_bytes() for file in files)])).hexdigest()
