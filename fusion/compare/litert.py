"""LiteRT: a checkpoint converted once by litert-torch in a Python of its own, then run here by ai-edge-litert."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from data.errors import EngineUnavailableError
from data.home import home
from fusion.checkpoints.heads import MULTIPLE_CHOICE
from fusion.checkpoints.model import files_read, open_checkpoint
from fusion.checkpoints.sentence_modules import is_sentence_folder

CONVERTER = Path(__file__).with_name("convert_to_litert.py")
PYTHON_VARIABLE = "POCKETBERT_LITERT_PYTHON"
_TIME_LIMIT_S = 900
# The order in which the converter passes a model's inputs, as far as it has them.
_INPUTS = ("input_ids", "attention_mask", "token_type_ids")


def open_litert(
    checkpoint: Path, seq_len: int, threads: int, python: str | None = None, precision: str = "fp32"
) -> Callable[[Mapping[str, np.ndarray]], list[np.ndarray]]:
    """A function from int64 inputs [1, seq_len] to the model's first output, run by LiteRT with XNNPACK,
    in fp32 or with products in int8 of a dynamic range.

    Raises:
        EngineUnavailableError: the model cannot be converted, with the reason.
    """
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(str(litert_file(checkpoint, seq_len, python, precision)), num_threads=threads)
    interpreter.allocate_tensors()
    places = sorted((detail["name"], detail["index"]) for detail in interpreter.get_input_details())
    output = interpreter.get_output_details()[0]["index"]

    def call(inputs: Mapping[str, np.ndarray]) -> list[np.ndarray]:
        given = (inputs[name] for name in _INPUTS if name in inputs)
        for (_, index), values in zip(places, given, strict=True):
            interpreter.set_tensor(index, values.astype(np.int32))
        interpreter.invoke()
        return [np.asarray(interpreter.get_tensor(output))]

    return call


def litert_file(checkpoint: Path, seq_len: int, python: str | None = None, precision: str = "fp32") -> Path:
    """The checkpoint as a .tflite file of static shapes, from the cache in the state home or converted now.

    ``python`` names a Python that has litert-torch, and ai-edge-quantizer for ``precision`` ``int8``; otherwise
    ``POCKETBERT_LITERT_PYTHON`` does, or this one has it.

    Raises:
        EngineUnavailableError: no such Python, or the conversion failed; the message is one line.
    """
    path = home() / "litert" / f"{_content_hash(checkpoint, seq_len, precision)}.tflite"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f"{path.name}.{os.getpid()}")
        try:
            options = (seq_len, _architecture(checkpoint), precision)
            _convert(_converter_python(python), checkpoint, partial, *options)
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)
    return path


def _content_hash(checkpoint: Path, seq_len: int, precision: str) -> str:
    digest = hashlib.sha256(f"{seq_len}\0{precision}\0".encode() + CONVERTER.read_bytes())
    for path in filter(Path.is_file, files_read(checkpoint)):
        digest.update(path.name.encode())
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()[:32]


def _architecture(checkpoint: Path) -> str:
    """The class of transformers that the converter loads."""
    name = open_checkpoint(checkpoint).architecture
    if is_sentence_folder(checkpoint) or name.endswith(MULTIPLE_CHOICE):
        raise EngineUnavailableError("litert: sentence-transformers folders and multiple choices are not converted")
    return name


def _converter_python(python: str | None) -> str:
    chosen = python or os.environ.get(PYTHON_VARIABLE)
    if chosen:
        return chosen
    if importlib.util.find_spec("litert_torch") is not None:
        return sys.executable
    raise EngineUnavailableError(
        f"litert: needs litert-torch to convert the model, best in an environment of its own: name its Python with "
        f"--litert-python or {PYTHON_VARIABLE}"
    )


def _convert(python: str, checkpoint: Path, path: Path, seq_len: int, architecture: str, precision: str) -> None:
    # Isolated (-I): only that Python's own packages, neither PYTHONPATH nor the folder of the script.
    files = [str(file.absolute()) for file in (CONVERTER, checkpoint, path)]
    command = [python, "-I", *files, str(seq_len), architecture, precision]
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_TIME_LIMIT_S,
            check=False,
            env=os.environ | {"HF_HUB_OFFLINE": "1"},
        )
    except subprocess.TimeoutExpired as error:
        raise EngineUnavailableError(f"litert: the conversion did not end within {_TIME_LIMIT_S} s") from error
    except OSError as error:
        raise EngineUnavailableError(f"litert: {python} cannot be started ({error.strerror})") from error
    if done.returncode or not path.exists():
        lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
        reason = lines[-1] if lines else f"status {done.returncode}"
        raise EngineUnavailableError(f"litert: the conversion by {python} failed: {reason[:200]}")
