"""The principal components of a teacher's hidden states: the coordinates in which students are cut and compared."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from data.errors import StoreError
from data.tasks import Task
from search.learning.encoding import Encoded, pad
from search.learning.kept_arrays import kept_array

if TYPE_CHECKING:
    from torch import Tensor

_TEXTS = 384


@dataclass(frozen=True)
class Basis:
    """``components`` (hidden, hidden) float32 with orthonormal columns, in falling order, and ``variances``
    (layers + 1, hidden): those of each layer along them, entry 0 being the embeddings' output."""

    components: np.ndarray
    variances: np.ndarray

    def projection(self, hidden: int) -> np.ndarray:
        """(teacher hidden, hidden) projection of the residual stream.

        The principal components are turned by a fixed rotation, for LayerNorm wants coordinates of like size; at
        full width it is the identity, and the cut loses nothing.
        """
        projected = self.components[:, :hidden] @ _rotation(self.components, hidden)
        return np.asarray(projected.astype(np.float32))

    def scales(self, projection: np.ndarray) -> np.ndarray:
        """Variance of each layer's states under a projection (hidden, any), (layers + 1,)."""
        kept = np.square(self.components.T @ projection).sum(axis=1)
        return np.asarray(self.variances @ kept)


def _rotation(components: np.ndarray, hidden: int) -> np.ndarray:
    """(hidden, hidden) map from the first principal coordinates to the student's coordinates."""
    if hidden == len(components):
        return np.ascontiguousarray(components.T)
    random = np.random.default_rng(hidden).standard_normal((hidden, hidden))
    return np.asarray(np.linalg.qr(random)[0].astype(np.float32))


def kept_basis(directory: Path, model: Any, task: Task, encoded: Encoded) -> Basis:
    """The basis of the teacher in ``directory`` on ``task.train``, encoded, found where it is not in that folder yet.

    Raises:
        StoreError: what is kept is damaged, or the folder cannot be written.
    """

    def found() -> np.ndarray:
        basis = principal_basis(model, encoded)
        return np.vstack([basis.components, basis.variances])

    path, hidden = directory / f"basis-{task.fingerprint[:16]}.npy", model.config.hidden_size
    kept = kept_array(path, found)
    if kept.shape != (hidden + model.config.num_hidden_layers + 1, hidden):
        raise StoreError(f"{path} is another model's; remove it to have it made anew")
    return Basis(kept[:hidden], kept[hidden:])


def principal_basis(model: Any, encoded: Encoded) -> Basis:
    """The basis of a teacher's hidden states on some of the texts.

    Pooled over the layers, each centred by itself: the residual stream carries one basis through the model.
    """
    import torch

    device = next(model.parameters()).device
    texts = len(encoded.lengths)
    chosen = np.linspace(0, texts - 1, min(_TEXTS, texts)).astype(int)
    layers: list[list[Tensor]] = [[] for _ in range(model.config.num_hidden_layers + 1)]
    for part in np.array_split(chosen[np.argsort(encoded.lengths[chosen])], max(1, len(chosen) // 64)):
        batch = {name: values.to(device) for name, values in pad(encoded, part).items()}
        with torch.inference_mode():
            states = model(**batch, output_hidden_states=True).hidden_states
        for rows, state in zip(layers, states, strict=True):
            rows.append(state[batch["attention_mask"].bool()].cpu())
    centred = [torch.cat(rows).double() for rows in layers]
    centred = [rows - rows.mean(dim=0) for rows in centred]
    covariance = sum(rows.T @ rows / len(rows) for rows in centred)
    components = torch.linalg.eigh(covariance).eigenvectors.flip(1)
    variances = torch.stack([(rows @ components).var(dim=0) for rows in centred])
    return Basis(components.float().numpy().copy(), variances.float().numpy().copy())
