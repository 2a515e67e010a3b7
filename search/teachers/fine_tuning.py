"""How a teacher is fine-tuned, and the loss against labels that it learns by."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from data.tasks import Kind
from search.learning.encoding import MODEL_INPUTS, Encoded, pad_texts, text_of
from search.learning.objectives import disagreement, label_loss
from search.learning.training import Schedule, own_share
from search.learning.units import Units

_MOST_PASSES = 6
# Kinds for which answering the same twice was found to pay; tags and embeddings were not measured.
_CONSISTENT: tuple[Kind, ...] = ("classification", "regression")


@dataclass(frozen=True)
class FineTuning:
    """How a teacher is fine-tuned: passes over the training examples and the rest of its schedule.

    Where all passes run fewer than ``least_tokens``, there are more, six at most. ``consistency`` weighs how far two
    runs through dropout may differ on one text (R-Drop, Liang et al. 2021); 0 leaves it out and halves the cost of a
    step. At most ``compared_pairs`` are learnt at ``comparison_rate`` before (:mod:`search.teachers.comparison`).
    """

    passes: int = 3
    least_tokens: int = 1_000_000
    batch_size: int = 32
    learning_rate: float = 1e-4
    rate_decay: float = 0.9
    warmup: float = 0.1
    checkpoint_steps: int = 100
    consistency: float = 1.0
    compared_pairs: int = 8_000
    comparison_rate: float = 2e-4

    def runs(self, kind: Kind) -> int:
        """How often a step runs each text."""
        return 2 if self.consistency and kind in _CONSISTENT else 1

    def passes_over(self, tokens: float, kind: Kind) -> int:
        """How many passes over training texts of so many tokens."""
        each = max(1.0, tokens * self.runs(kind))
        return max(self.passes, min(_MOST_PASSES, round(self.least_tokens / each)))

    def schedule(self, steps: int) -> Schedule:
        """That of so many steps."""
        return Schedule(
            steps=steps,
            batch_size=self.batch_size,
            learning_rate=self.learning_rate,
            warmup=self.warmup,
            rate_decay=self.rate_decay,
            checkpoint_steps=self.checkpoint_steps,
        )

    def comparison_schedule(self, steps: int) -> Schedule:
        """That of so many steps before the first pass."""
        return Schedule(
            steps, self.batch_size, self.comparison_rate, self.warmup, checkpoint_steps=self.checkpoint_steps
        )


def fine_tuning_loss(
    encoded: Encoded, plan: list[np.ndarray], units: Units, consistency: float = 0.0
) -> Callable[[Any, int], Any]:
    """The loss of (model, step) against the labels of the plan's examples."""
    import torch

    def loss(model: Any, step: int) -> Any:
        examples = own_share(plan[step])
        device = next(model.parameters()).device
        batch = pad_texts([text_of(encoded, int(text)) for text in encoded.texts_of(examples)])
        if encoded.kind != "tokens":
            batch["labels"] = units.standardised(torch.from_numpy(encoded.labels[examples]))
        if consistency:
            batch = {name: torch.cat([values, values]) for name, values in batch.items()}
        batch = {name: values.to(device) for name, values in batch.items()}
        logits = model(**{name: batch[name] for name in MODEL_INPUTS}).logits.float()
        found = label_loss(encoded.kind, logits, batch)
        if consistency:
            one, other = logits.chunk(2)
            found = found + consistency * disagreement(encoded.kind, one, other, batch)
        return found

    return loss
