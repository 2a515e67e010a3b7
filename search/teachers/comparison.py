"""An encoder of single sentences teaches itself to read two at once, before it learns what is asked of the pairs.

What it was trained for, how alike two texts are, it can tell from two embeddings, but not yet where both stand in one
input, as students read them. So it first learns its own cosines (Liu et al. 2022, Trans-Encoder: from bi-encoder to
cross-encoder), of the task's pairs, of near neighbours, and of texts that have nothing to do with each other. MRPC's
first pass without it ends where it began.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np

from data.progress import Progress, ProgressEvent
from data.tasks import Example, Task
from fusion.checkpoints.sentence_modules import is_sentence_folder
from search.learning.encoding import encode
from search.learning.objectives import text_outputs
from search.learning.task_models import class_of, sentence_encoder
from search.learning.training import accelerator, batch_plan, seeded, train
from search.learning.units import Units
from search.teachers.fine_tuning import FineTuning, fine_tuning_loss

# Shares of pairs as they are, and of pairs of near neighbours; the others are drawn by chance.
_OWN, _NEAR = 0.5, 0.25
_NEIGHBOURS, _CHUNK = 30, 1024


def compares(task: Task, source: Path) -> bool:
    """Whether the task's pairs are read together, by what was made to embed single sentences."""
    return task.kind in ("classification", "regression") and task.paired and is_sentence_folder(source)


def comparison_steps(task: Task, fine_tuning: FineTuning) -> int:
    """How many steps :func:`learn_to_compare` takes."""
    return -(-min(len(task.train), fine_tuning.compared_pairs) // fine_tuning.batch_size)


def learn_to_compare(
    model: Any,
    task: Task,
    tokenizer: Any,
    max_tokens: int,
    *,
    seed: int,
    directory: Path,
    fine_tuning: FineTuning,
    progress: Progress,
) -> None:
    """Trains the encoder and pooler of ``model``, a sequence classifier, in place; its classifier stays as it is.

    One pass over the task's training pairs, as many as are wanted at most. It goes on where a kill cut it off.
    """
    steps = comparison_steps(task, fine_tuning)
    progress(ProgressEvent("teacher", 0, steps, "embedding texts, whose pairs are compared first"))
    made = compared_pairs(model.bert, task, tokenizer, max_tokens, fine_tuning.compared_pairs, seed)
    pairs = encode(tokenizer, made, "regression", max_tokens)
    schedule = fine_tuning.comparison_schedule(steps)
    plan = batch_plan(pairs.example_lengths, schedule.batch_size, schedule.steps, seed)
    with seeded(seed):
        judge = class_of("regression")(_one_value(model.config))
    judge.to(next(model.parameters()).device)
    judge.bert = model.bert
    loss = fine_tuning_loss(pairs, plan, Units.of(pairs))
    train(judge, loss, schedule, seed=seed, directory=directory, progress=progress, stage="teacher")


def _one_value(config: Any) -> Any:
    found = deepcopy(config)
    found.num_labels = 1
    return found


def compared_pairs(bert: Any, task: Task, tokenizer: Any, max_tokens: int, most: int, seed: int) -> tuple[Example, ...]:
    """Pairs of the task's texts, ``most`` at most, either first, with the cosine of their embeddings as label."""
    random = np.random.default_rng([seed, 1])
    chosen = random.permutation(len(task.train))[:most]
    examples = [each for each in (task.train[index] for index in chosen) if isinstance(each, Example)]
    vectors = _embeddings(bert, examples, tokenizer, max_tokens)
    first, second = vectors[0::2], vectors[1::2]
    partners = _partners(first, second, random)
    cosines = (first * second[partners]).sum(axis=1)
    swapped = random.random(len(examples)) < 0.5
    pairs = [(each.first, examples[partner].second or "") for each, partner in zip(examples, partners, strict=True)]
    return tuple(
        Example(two, one, float(cosine)) if swap else Example(one, two, float(cosine))
        for (one, two), swap, cosine in zip(pairs, swapped, cosines, strict=True)
    )


def _embeddings(bert: Any, examples: Sequence[Example], tokenizer: Any, max_tokens: int) -> np.ndarray:
    """(2 n, hidden): of first and second texts in turn."""
    encoded = encode(tokenizer, tuple(examples), "similarity", max_tokens)
    with accelerator().autocast():
        return np.stack(text_outputs(sentence_encoder(deepcopy(bert)), encoded))


def _partners(first: np.ndarray, second: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """For each first text the number of the second that it is compared with, (n,)."""
    count = len(first)
    own, draws = np.arange(count), random.random(count)
    rank = random.integers(0, min(_NEIGHBOURS, count), count)
    near = np.concatenate(
        [
            np.argsort(-(first[start : start + _CHUNK] @ second.T), axis=1, kind="stable")[:, :_NEIGHBOURS]
            for start in range(0, count, _CHUNK)
        ]
    )[own, rank]
    others = np.where(draws < _OWN + _NEAR, near, random.integers(0, count, count))
    return np.asarray(np.where(draws < _OWN, own, others))
