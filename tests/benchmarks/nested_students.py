"""A super-network: students of several sizes that share their matrices, each of them corners of a bank of layers.

Coordinates nest: the teacher's principal components in falling order, turned within the blocks between two widths only.
Heads (all of one size), feed-forward neurons and pooled features stand by what they contribute. A layer of the bank has
one task, from one layer of the teacher to another, and students share it where they have that task in common. Each has
vectors of its own (LayerNorms, biases, the classifier). All begins as least squares fit it to the teacher.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from data.architecture import Architecture
from data.errors import InputError
from search.distillation.changes import Material, changed_batch
from search.distillation.losses import DistillationLoss, run
from search.distillation.recipe import Recipe
from search.learning.encoding import Encoded, pad_texts
from search.learning.task_models import new_model
from search.learning.units import Units
from search.students.basis import Basis
from search.students.calibration import calibration_batch
from search.students.student import student_config
from tests.benchmarks.nested_fit import Fit, jobs, union


@dataclass(frozen=True)
class NestedBasis(Basis):
    """A basis in which a narrow student's coordinates are the first of a wider one's, for these ``widths``."""

    widths: tuple[int, ...]

    def projection(self, hidden: int) -> np.ndarray:
        """(teacher hidden, hidden), the first columns of every wider projection."""
        edges = [0, *(width for width in sorted(self.widths) if width <= hidden)]
        if edges[-1] != hidden:
            raise InputError(f"{hidden} is not among the widths that nest")
        blocks = [self.components[:, start:end] @ _turn(end - start, end) for start, end in pairwise(edges)]
        return np.concatenate(blocks, axis=1).astype(np.float32)


def _turn(size: int, seed: int) -> np.ndarray:
    return np.linalg.qr(np.random.default_rng(seed).standard_normal((size, size)))[0]


class SuperNetwork(nn.Module):
    """Students of these ``sizes`` in one; ``bank`` holds the layers that they share corners of, one for each job."""

    def __init__(
        self, teacher: Any, encoded: Encoded, basis: NestedBasis, sizes: Sequence[Architecture], seed: int
    ) -> None:
        super().__init__()
        whole, count = union(sizes), teacher.config.num_hidden_layers
        jobs_of = {each.name: jobs(each.layers, count) for each in sizes}
        order = sorted({job for found in jobs_of.values() for job in found})
        kind, config = encoded.kind, teacher.config
        self.bank = new_model(student_config(config, replace(whole, layers=len(order))), kind).requires_grad_(False)
        self.config = self.bank.config
        self._shells = {
            each.name: new_model(student_config(config, each), kind).requires_grad_(False).eval() for each in sizes
        }
        self._layers = {name: [order.index(job) for job in found] for name, found in jobs_of.items()}
        self.own = nn.ModuleDict()
        with torch.no_grad():
            fit = Fit(teacher, calibration_batch(encoded, seed, torch.device("cpu")), sizes)
            projections = {each.hidden: torch.from_numpy(basis.projection(each.hidden)) for each in sizes}
            fit.bank(self.bank, order, sorted(jobs_of.values(), key=len, reverse=True), projections[whole.hidden])
            for size in sizes:
                shell = self.student(size.name)
                fit.corner(shell, projections[size.hidden])
                vectors = {name: value for name, value in shell.named_parameters() if _is_own(name, value)}
                self.own[size.name] = nn.ParameterDict({_key(name): value.clone() for name, value in vectors.items()})
        for name, parameter in self.bank.named_parameters():
            parameter.requires_grad_(not _is_own(name, parameter) and "word_embeddings" not in name)

    def _in_bank(self, size: str, name: str) -> str:
        """The name in the bank of one of a student's parameters."""
        before, layer, after = name.partition("encoder.layer.")
        number, _, rest = after.partition(".")
        return f"{before}{layer}{self._layers[size][int(number)]}.{rest}" if layer else name

    def tensors(self, size: str) -> dict[str, Tensor]:
        """A student's parameters: corners of the bank's matrices, and vectors of its own."""
        bank = dict(self.bank.named_parameters())
        own = {name.replace("/", "."): value for name, value in self.own[size].items()} if size in self.own else {}
        found = {}
        for name, parameter in self._shells[size].named_parameters():
            corner = tuple(slice(0, length) for length in parameter.shape)
            found[name] = own[name] if name in own else bank[self._in_bank(size, name)][corner]
        return found

    def student(self, size: str) -> Any:
        """An ordinary model with that student's weights as they are now; the next call for it changes them."""
        tensors = self.tensors(size)
        with torch.no_grad():
            for name, parameter in self._shells[size].named_parameters():
                parameter.copy_(tensors[name])
        return self._shells[size]

    def view(self, size: str) -> Any:
        """What :func:`~search.distillation.losses.run` runs as that student, with gradients to the shared weights."""
        return _View(self._shells[size], self.tensors(size))

    def heads(self) -> Iterator[Any]:
        """The students' classifiers, as :class:`~search.learning.units.Units` takes them."""
        for own in self.own.values():
            classifier = SimpleNamespace(weight=own["classifier/weight"], bias=own["classifier/bias"])
            yield SimpleNamespace(classifier=classifier)


class _View:
    """A model that runs with other tensors than its own; ``module`` is where its activations are caught."""

    def __init__(self, module: Any, tensors: dict[str, Tensor]) -> None:
        self.module, self._tensors = module, tensors

    def __call__(self, **inputs: Any) -> Any:
        return torch.func.functional_call(self.module, self._tensors, (), inputs)


def _is_own(name: str, parameter: Tensor) -> bool:
    return parameter.ndim == 1 or name.startswith("classifier")


def _key(name: str) -> str:
    return name.replace(".", "/")  # PyTorch allows no dots in a parameter's name


@dataclass(frozen=True)
class Lessons:
    """What the students of these ``sizes`` learn from: the examples of each step, ``plan``, and who sees them."""

    teacher: Any
    material: Material
    basis: NestedBasis
    sizes: Sequence[Architecture]
    recipe: Recipe
    plan: Sequence[np.ndarray]
    turns: Sequence[Sequence[Architecture]]
    seed: int

    def loss(self) -> Callable[[Any, int], Tensor]:
        """The mean loss, over a step's sizes, of (network, step), as a single student's distillation has it."""
        units = Units.of(self.material.encoded)
        criteria = {size.name: self._criterion(size, units) for size in self.sizes}
        relations = next(iter(criteria.values())).relations

        def loss(network: Any, step: int) -> Tensor:
            examples, random = self.plan[step], np.random.default_rng([self.seed, step, 1])
            changed = changed_batch(self.material, examples, self.recipe.changes, random)
            batch = pad_texts(changed.texts)
            labels = np.where(changed.labelled, self.material.encoded.labels[examples], np.nan).astype(np.float32)
            batch["labels"] = units.standardised(torch.from_numpy(labels))
            with torch.no_grad():
                wanted = run(self.teacher, batch, relations)
            parts = [
                criteria[size.name](run(network.view(size.name), batch, relations), wanted, batch, layers_only=False)
                for size in self.turns[step]
            ]
            return torch.stack(parts).mean()

        return loss

    def _criterion(self, size: Architecture, units: Units) -> DistillationLoss:
        projection = self.basis.projection(size.hidden)
        scales = self.basis.scales(projection)
        encoded = self.material.encoded
        return DistillationLoss(encoded.kind, self.recipe.losses, units, projection, scales, size.layers)


def in_turns(sizes: Sequence[Architecture], steps: int, each: int, seed: int) -> list[list[Architecture]]:
    """So many sizes for each step, in random order, each of them as often as any other."""
    random, queue, turns = np.random.default_rng([seed, 2]), [], []
    for _ in range(steps):
        while len(queue) < each:
            queue += [sizes[place] for place in random.permutation(len(sizes))]
        turns.append([queue.pop(0) for _ in range(each)])
    return turns
