"""What a super-network begins with: least squares to the teacher's activations, as in :mod:`search.students.student`,
but such that a corner of a matrix serves a smaller student: first inputs are fitted alone, the next to what is left.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

from torch import Tensor, nn

from data.architecture import Architecture
from data.errors import InputError
from search.students.calibration import CalibrationBatch, fit_layer_norm, fit_linear, run_layer
from search.students.heads import HeadTargets, head_targets
from search.students.student import mapped_layers

# From which of the teacher's layers to which (0: the embeddings), and a number, where surplus layers do the same.
Job = tuple[int, int, int]
_Fitting = Callable[[nn.Linear, Tensor, Tensor, Sequence[int]], None]


def union(sizes: Sequence[Architecture]) -> Architecture:
    """The smallest architecture that all of the sizes, which have heads of one size, are corners of.

    Raises:
        InputError: their heads differ.
    """
    if len({each.hidden // each.heads for each in sizes}) > 1:
        raise InputError("students nest only where their heads are of one size")
    most = {name: max(getattr(each, name) for each in sizes) for name in ("layers", "hidden", "heads", "intermediate")}
    return replace(sizes[0], **most)


def jobs(layers: int, teacher_layers: int) -> tuple[Job, ...]:
    """What each layer of a student does."""
    found: list[Job] = []
    previous = 0
    for source in mapped_layers(layers, teacher_layers):
        same = previous == source
        found.append((previous, source, found[-1][2] + 1 if same and found[-1][0] == source else 0))
        previous = source
    return tuple(found)


@dataclass(frozen=True)
class _Targets:
    """What one layer of the teacher gives at each token: its heads' projections, the most important first, and its
    feed-forward neurons, likewise, before their function; and by name the sums before its LayerNorms, and what these
    make of them, (n, hidden) each."""

    heads: HeadTargets
    inner: Tensor
    states: dict[str, Tensor]


class Fit:
    """Fits to a teacher's activations on some texts, for students of these ``sizes``, in nested coordinates."""

    def __init__(self, teacher: Any, batch: CalibrationBatch, sizes: Sequence[Architecture]) -> None:
        self._teacher, self._batch = teacher, batch
        self._widths = sorted({size.hidden for size in sizes})
        self._neurons = sorted({size.intermediate for size in sizes})
        self._expected = teacher(**batch.inputs, output_hidden_states=True)
        largest = union(sizes)
        self._layers = [self._targets(place, largest) for place in range(teacher.config.num_hidden_layers)]

    def _targets(self, place: int, largest: Architecture) -> _Targets:
        layer = self._teacher.bert.encoder.layer[place]
        found = run_layer(layer, self._expected.hidden_states[place], self._batch)
        weight, count = layer.attention.output.dense.weight, layer.attention.self.num_attention_heads
        heads = head_targets(found, weight, count, largest.heads, largest.hidden // largest.heads)
        moved = found.activation.std(dim=0) * layer.output.dense.weight.norm(dim=0)
        inner = found.inner[:, moved.argsort(descending=True)]
        names = ("attention_sum", "attended", "output_sum", "output")
        return _Targets(heads, inner, {name: getattr(found, name) for name in names})

    def bank(self, bank: Any, order: Sequence[Job], students: Sequence[Sequence[Job]], projection: Tensor) -> None:
        """Fit embeddings, head, and each layer, where it comes first in one of the students, from what comes before."""
        tables = self._teacher.bert.embeddings
        for name in ("word_embeddings", "position_embeddings", "token_type_embeddings"):
            table = getattr(tables, name).weight
            centred = (table - table.mean(dim=1, keepdim=True)) * tables.LayerNorm.weight
            getattr(bank.bert.embeddings, name).weight.copy_(centred @ projection)
        chosen = self._pooled_features()[: projection.shape[1]]
        bank.bert.pooler.dense.weight.copy_(self._teacher.bert.pooler.dense.weight[chosen] @ projection)
        bank.classifier.weight.copy_(self._teacher.classifier.weight[:, chosen])
        first = self._embed(bank.bert.embeddings, projection)
        fitted: set[Job] = set()
        for student in students:
            states = first
            last = max((place for place, job in enumerate(student) if job not in fitted), default=-1)
            for job in student[: last + 1]:
                layer = bank.bert.encoder.layer[order.index(job)]
                fit = _fit_bias if job in fitted else _fit_nested
                states = self._fit_layer(layer, states, job, projection, fit)
                fitted.add(job)

    def corner(self, student: Any, projection: Tensor) -> None:
        """Fit the vectors of one student."""
        states, layers = self._embed(student.bert.embeddings, projection), student.bert.encoder.layer
        for layer, job in zip(layers, jobs(len(layers), len(self._layers)), strict=True):
            states = self._fit_layer(layer, states, job, projection, _fit_bias)
        dense = student.bert.pooler.dense
        features = self._teacher.bert.pooler.dense(self._expected.hidden_states[-1][:, 0])
        _fit_bias(dense, states[:, 0], features[:, self._pooled_features()], ())
        _fit_bias(student.classifier, student.bert.pooler(states), self._expected.logits, ())

    def _embed(self, embeddings: Any, projection: Tensor) -> Tensor:
        valid = self._batch.valid
        inputs = {name: self._batch.inputs[name] for name in ("input_ids", "token_type_ids")}
        summed: list[Tensor] = []
        handle = embeddings.LayerNorm.register_forward_pre_hook(lambda module, given: summed.append(given[0]))
        embeddings(**inputs)
        handle.remove()
        fit_layer_norm(embeddings.LayerNorm, summed[0][valid], (self._expected.hidden_states[0] @ projection)[valid])
        states: Tensor = embeddings(**inputs)
        return states

    def _fit_layer(self, layer: Any, states: Tensor, job: Job, projection: Tensor, fit: _Fitting) -> Tensor:
        """Fit one layer from its input (b, s, hidden) on; returns its output."""
        attention, batch, (previous, source, _) = layer.attention, self._batch, job
        targets, incoming = self._layers[source - 1], states[batch.valid]
        # A surplus layer begins as the identity.
        wanted = {
            name: incoming if source == previous else value @ projection for name, value in targets.states.items()
        }
        projections = attention.self.query, attention.self.key, attention.self.value
        for module, target in zip(projections, targets.heads, strict=True):
            fit(module, incoming, target, self._widths)
        context = run_layer(layer, states, batch).context
        fit(attention.output.dense, context, wanted["attention_sum"] - incoming, self._widths)
        fit_layer_norm(attention.output.LayerNorm, incoming + attention.output.dense(context), wanted["attended"])
        attended = run_layer(layer, states, batch).attended
        fit(layer.intermediate.dense, attended, targets.inner, self._widths)
        activation = run_layer(layer, states, batch).activation
        fit(layer.output.dense, activation, wanted["output_sum"] - attended, self._neurons)
        fit_layer_norm(layer.output.LayerNorm, attended + layer.output.dense(activation), wanted["output"])
        return run_layer(layer, states, batch).states

    def _pooled_features(self) -> Tensor:
        pooled = self._teacher.bert.pooler(self._expected.hidden_states[-1])
        return (pooled.std(dim=0) * self._teacher.classifier.weight.norm(dim=0)).argsort(descending=True)


def _fit_nested(layer: nn.Linear, inputs: Tensor, targets: Tensor, edges: Sequence[int]) -> None:
    """Set a linear layer to the regression of the first of ``targets`` on the inputs up to the first edge and then, of
    what is left each time, on those up to the next edge."""
    left = targets[:, : layer.out_features]
    for start, end in pairwise([0, *edges]):
        part = nn.Linear(end - start, layer.out_features)
        fit_linear(part, inputs[:, start:end], left)
        left = left - part(inputs[:, start:end])
        layer.weight[:, start:end] = part.weight
    _fit_bias(layer, inputs, targets, edges)


def _fit_bias(layer: nn.Linear, inputs: Tensor, targets: Tensor, edges: Sequence[int]) -> None:
    """Set a linear layer's bias so that its mean is that of the first of ``targets``."""
    layer.bias.copy_(targets[:, : layer.out_features].mean(dim=0) - inputs.mean(dim=0) @ layer.weight.T)
