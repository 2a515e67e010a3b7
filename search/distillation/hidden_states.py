"""The teacher's logits and hidden states over the training texts, computed once and mapped from disk.

Hidden states are stored in the basis of their principal components, so that a student of hidden size d is
given the first d columns. Every trial reads the same files; none runs the teacher again.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from data.errors import StoreError
from data.progress import Progress, ProgressEvent, no_progress
from data.tasks import Task
from search.learning.encoding import Encoded, batches_by_length, encode, pad
from search.teachers.teacher import Teacher

if TYPE_CHECKING:
    import torch

_BASIS_EXAMPLES = 384
_RECIPE = 1


@dataclass(frozen=True)
class TeacherStates:
    """What the teacher says about ``encoded``.

    ``logits`` is (n, labels) float32; ``states`` is (tokens, layers + 1, hidden) float16, mapped from disk,
    entry 0 being the embeddings' output; ``basis`` is (hidden, hidden) float32 with orthonormal columns,
    the principal components in falling order; ``variances`` (layers + 1, hidden) those of each layer along them.
    """

    encoded: Encoded
    logits: np.ndarray
    states: np.ndarray
    basis: np.ndarray
    variances: np.ndarray


def teacher_states(teacher: Teacher, encoded: Encoded, progress: Progress = no_progress) -> TeacherStates:
    """The teacher's outputs for ``encoded``, from disk or computed now; kept in the teacher's own folder.

    Raises:
        StoreError: the disk is full or cannot be written.
    """
    from filelock import FileLock

    key = hashlib.sha256(json.dumps([_RECIPE, len(encoded)]).encode())
    for part in (encoded.tokens, encoded.types, encoded.offsets):
        key.update(part.tobytes())
    directory = teacher.directory / f"states-{key.hexdigest()[:16]}"
    with FileLock(f"{directory}.lock"):
        if not directory.exists():
            try:
                _compute(teacher, encoded, directory, progress)
            except OSError as error:
                raise StoreError(
                    f"cannot write the teacher's outputs to {directory}: {error.strerror or error}"
                ) from error
    return _read(directory, encoded)


def prepare_states(teacher: Teacher, task: Task, progress: Progress = no_progress) -> None:
    """Computes the teacher's outputs for a task's training texts where that was not done yet.

    Raises:
        StoreError: the disk is full or cannot be written.
    """
    from transformers import AutoTokenizer

    from fusion.checkpoints.loading import quiet_transformers

    with quiet_transformers():
        tokenizer = AutoTokenizer.from_pretrained(teacher.directory)
        teacher_states(teacher, encode(tokenizer, task.train, teacher.seq_len), progress)


def _read(directory: Path, encoded: Encoded) -> TeacherStates:
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        small = load_file(directory / "outputs.safetensors")
        states = np.load(directory / "states.npy", mmap_mode="r", allow_pickle=False)
        found = TeacherStates(encoded, small["logits"], states, small["basis"], small["variances"])
    except (OSError, ValueError, KeyError, SafetensorError) as error:
        raise StoreError(f"{directory} is damaged; remove it to make it anew") from error
    if found.states.shape[0] != len(encoded.tokens) or len(found.logits) != len(encoded):
        raise StoreError(f"{directory} does not match its texts; remove it to make it anew")
    return found


def _compute(teacher: Teacher, encoded: Encoded, directory: Path, progress: Progress) -> None:
    from safetensors.numpy import save_file

    partial = directory.with_name(directory.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    model = load_teacher_model(teacher)
    basis = principal_basis(model, encoded)
    shape = (len(encoded.tokens), teacher.layers + 1, teacher.hidden)
    states = np.lib.format.open_memmap(partial / "states.npy", mode="w+", dtype=np.float16, shape=shape)
    logits = _fill(model, encoded, basis, states, progress)
    states.flush()
    sample = np.asarray(states[:: max(1, len(states) // 20000)], np.float32)
    save_file({"logits": logits, "basis": basis, "variances": sample.var(axis=0)}, partial / "outputs.safetensors")
    os.replace(partial, directory)


def _fill(model: Any, encoded: Encoded, basis: np.ndarray, states: np.ndarray, progress: Progress) -> np.ndarray:
    """Run the teacher over all examples, write ``states``, return the logits."""
    import torch

    device = next(model.parameters()).device
    rotation = torch.from_numpy(basis).to(device)
    logits = np.empty((len(encoded), model.config.num_labels), np.float32)
    done = 0
    for indices in batches_by_length(encoded):
        batch = {name: values.to(device) for name, values in pad(encoded, indices).items()}
        with torch.inference_mode(), autocast(device):
            output = model(**batch, output_hidden_states=True)
        layers = torch.stack([state.float() for state in output.hidden_states], dim=2) @ rotation
        logits[indices] = output.logits.float().cpu().numpy()
        rows = layers.half().cpu().numpy()
        for row, index in enumerate(indices):
            span = encoded.span(index)
            states[span] = rows[row, : span.stop - span.start]
        done += len(indices)
        progress(ProgressEvent("teacher outputs", done, len(encoded)))
    return logits


def autocast(device: torch.device) -> Any:
    """Autocast to bfloat16 where that is faster."""
    import torch

    from search.learning.training import fast_bfloat16

    return torch.autocast(device.type, torch.bfloat16, enabled=fast_bfloat16())


def load_teacher_model(teacher: Teacher) -> Any:
    """The fine-tuned teacher, ready to evaluate."""
    from fusion.checkpoints.loading import quiet_transformers
    from search.learning.training import load_checkpoint

    with quiet_transformers():
        return load_checkpoint(teacher.directory)


def principal_basis(model: Any, encoded: Encoded) -> np.ndarray:
    """Principal components of the hidden states of all layers, (hidden, hidden), in falling order.

    Pooled over the layers, each centred by itself: the residual stream carries one basis through the model.
    """
    import torch

    device = next(model.parameters()).device
    chosen = np.linspace(0, len(encoded) - 1, min(_BASIS_EXAMPLES, len(encoded))).astype(int)
    hidden = model.config.hidden_size
    covariance = torch.zeros(hidden, hidden, dtype=torch.float64)
    for indices in np.array_split(chosen[np.argsort(encoded.lengths[chosen])], max(1, len(chosen) // 64)):
        batch = {name: values.to(device) for name, values in pad(encoded, indices).items()}
        with torch.inference_mode():
            states = model(**batch, output_hidden_states=True).hidden_states
        for state in states:
            rows = state[batch["attention_mask"].bool()].double().cpu()
            rows -= rows.mean(dim=0)
            covariance += rows.T @ rows / state[..., 0].numel()
    return torch.linalg.eigh(covariance).eigenvectors.flip(1).float().numpy().copy()
