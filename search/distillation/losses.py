"""The parts of a distillation's loss: logits, hidden states and relations against the teacher's, and the labels."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from data.tasks import Kind
from search.distillation.recipe import Losses
from search.learning.encoding import MODEL_INPUTS
from search.learning.objectives import label_loss, teacher_loss
from search.learning.units import Units
from search.students.student import mapped_layers

if TYPE_CHECKING:
    from torch import Tensor

RELATIONS = ("queries", "keys", "values")
_MOST_RELATION_HEADS = 24


@dataclass(frozen=True)
class Outputs:
    """What a model gives for a batch: ``logits``, ``hidden_states`` of embeddings and all layers, (b, s, hidden) each,
    and the last layer's projections (b, s, hidden) by the names of :data:`RELATIONS`, where they are wanted."""

    logits: Tensor
    hidden_states: tuple[Tensor, ...]
    projections: dict[str, Tensor]


def run(model: Any, batch: dict[str, Any], relations: Sequence[str]) -> Outputs:
    """Runs a model of :mod:`search.learning.task_models` on padded inputs."""
    with _projections(model, relations) as seen:
        found = model(**{name: batch[name] for name in MODEL_INPUTS}, output_hidden_states=True)
    return Outputs(found.logits.float(), found.hidden_states, dict(seen))


@contextmanager
def _projections(model: Any, relations: Sequence[str]) -> Iterator[dict[str, Tensor]]:
    seen: dict[str, Tensor] = {}
    module = getattr(model, "module", model)  # what several processes wrap
    last = module.bert.encoder.layer[-1].attention.self
    modules = {"queries": last.query, "keys": last.key, "values": last.value}

    def hook(name: str) -> Any:
        return lambda module, inputs, output: seen.__setitem__(name, output)

    handles = [modules[name].register_forward_hook(hook(name)) for name in relations]
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()


@dataclass(frozen=True)
class DistillationLoss:
    """The loss of a student of so many ``layers`` against its teacher.

    ``projection`` (teacher hidden, hidden) gives the teacher's hidden states in the student's coordinates, ``scales``
    (teacher layers + 1,) what their variance then is.
    """

    kind: Kind
    weights: Losses
    units: Units
    projection: np.ndarray
    scales: np.ndarray
    layers: int

    @property
    def relations(self) -> tuple[str, ...]:
        """The relations that have a weight."""
        return tuple(name for name in RELATIONS if getattr(self.weights, name))

    @property
    def needs_teacher(self) -> bool:
        """Whether any part compares with the teacher."""
        return bool(self.weights.logits or self.weights.hidden or self.relations)

    def __call__(self, student: Outputs, teacher: Outputs | None, batch: dict[str, Any], layers_only: bool) -> Tensor:
        """Of ``batch``'s texts, whose mask and labels it holds; ``layers_only`` leaves out logits and labels.

        ``teacher`` may be None where :attr:`needs_teacher` is false.
        """
        total = student.logits.sum() * 0.0
        if teacher is not None:
            total = total + self._against(student, teacher, batch, layers_only)
        if self.weights.labels and not layers_only:
            total = total + self.weights.labels * label_loss(self.kind, student.logits, batch)
        return total

    def _against(self, student: Outputs, teacher: Outputs, batch: dict[str, Any], layers_only: bool) -> Tensor:
        weights, mask = self.weights, batch["attention_mask"]
        total = student.logits.sum() * 0.0
        if weights.hidden:
            total = total + weights.hidden * self._of_states(student, teacher, mask)
        for name in self.relations:
            part = relation_loss(student.projections[name], teacher.projections[name], mask)
            total = total + getattr(weights, name) * part
        if weights.logits and not layers_only:
            target = self.units.standardised(teacher.logits)
            total = total + weights.logits * teacher_loss(self.kind, student.logits, target, batch)
        return total

    def _of_states(self, student: Outputs, teacher: Outputs, mask: Tensor) -> Tensor:
        """Mean squared error of the mapped layers in the student's coordinates, over their variance."""
        import torch

        mapped = mapped_layers(self.layers, len(teacher.hidden_states) - 1)
        # Weights, not boolean indexing: the backward pass of indexing is slow on a CPU.
        weights = (mask / mask.sum()).unsqueeze(2)
        device = weights.device
        projection = torch.from_numpy(self.projection).to(device)
        total = torch.zeros((), device=device)
        for states, source in zip(student.hidden_states[1:], mapped, strict=True):
            difference = states.float() - teacher.hidden_states[source].float() @ projection
            total = total + (difference.square() * weights).sum() / float(self.scales[source])
        return total / len(mapped)


def relation_loss(student: Tensor, teacher: Tensor, mask: Tensor) -> Tensor:
    """Kullback-Leibler divergence of the student's relations from the teacher's.

    Relations are softmax(x x^T / sqrt(size)) of projections (b, s, hidden), split into as many heads as both widths
    allow (MiniLMv2, Wang et al. 2021); each token's counts once.
    """
    import torch

    heads = relation_heads(student.shape[2], teacher.shape[2])
    closed = (1.0 - mask.float())[:, None, None, :] * torch.finfo(torch.float32).min
    own = torch.log_softmax(_scores(student, heads) + closed, dim=3)
    with torch.no_grad():
        wanted = torch.log_softmax(_scores(teacher, heads) + closed, dim=3)
        weights = wanted.exp() * (mask / (mask.sum() * heads))[:, None, :, None]
    return (weights * (wanted - own)).sum()


def _scores(projections: Tensor, heads: int) -> Tensor:
    rows, length, width = projections.shape
    parts = projections.float().view(rows, length, heads, width // heads).transpose(1, 2)
    found: Tensor = parts @ parts.transpose(2, 3) / math.sqrt(width // heads)
    return found


def relation_heads(student: int, teacher: int) -> int:
    """The most heads, up to 24, into which both widths can be split."""
    common = math.gcd(student, teacher)
    return max(heads for heads in range(1, _MOST_RELATION_HEADS + 1) if common % heads == 0)
