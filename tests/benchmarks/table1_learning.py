"""The training of a replayed student: the shared loop with another beginning and another loss."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from data.progress import Progress
from data.tasks import Task
from search.learning.encoding import Encoded, encode, pad_texts, text_of
from search.learning.training import Schedule, batch_plan, own_share, train
from search.learning.units import Units
from search.teachers.teacher import Teacher
from tests.benchmarks.table1_replays import Batch, Replay

BATCH_SIZE = 32
_CHECKPOINT_STEPS = 100
_RECORD = "learnt.json"


@dataclass(frozen=True)
class Lesson:
    """What a student learns, from whom, for how many ``tokens``, and how fast."""

    teacher: Teacher
    task: Task
    tokens: int
    seed: int
    learning_rate: float


def learn(replay: Replay, lesson: Lesson, folder: Path, progress: Progress) -> float:
    """Trains a student into ``folder``, or goes on with what a kill left; returns its score on the task's dev.

    Raises:
        InputError: the teacher does not suit, or the training diverged.
        StoreError: checkpoints cannot be written, or are damaged.
    """
    record = folder / _RECORD
    if not record.exists():
        _learn(replay, lesson, folder, progress)
    return float(json.loads(record.read_text(encoding="utf-8"))["score"])


def _learn(replay: Replay, lesson: Lesson, folder: Path, progress: Progress) -> None:
    from transformers import AutoTokenizer

    from fusion.checkpoints.loading import quiet_transformers
    from search.learning.objectives import predict
    from search.learning.task_models import load_model, save_model

    task, teacher = lesson.task, lesson.teacher
    partial = folder.with_name(f"{folder.name}.partial")
    with quiet_transformers():
        tokenizer = AutoTokenizer.from_pretrained(teacher.directory)
        model = load_model(teacher.directory, task.kind).requires_grad_(False)
        encoded, held = (encode(tokenizer, part, task.kind, teacher.max_tokens) for part in (task.train, task.dev))
        student = replay.begin(model, encoded, lesson.seed)
        _train(replay, lesson, student, model, encoded, partial, progress)
        finished = partial / "finished"
        save_model(student, task.kind, tokenizer, finished, teacher.max_tokens)
        score = task.score(predict(replay.load(finished, task.kind), held))[task.metric]
    (finished / _RECORD).write_text(json.dumps({"score": score}), encoding="utf-8")
    os.replace(finished, folder)
    shutil.rmtree(partial)


def _train(
    replay: Replay, lesson: Lesson, student: Any, teacher: Any, encoded: Encoded, directory: Path, progress: Progress
) -> None:
    units = Units.of(encoded)
    schedule = Schedule(
        steps=max(1, round(lesson.tokens / (float(encoded.lengths.mean()) * BATCH_SIZE))),
        batch_size=BATCH_SIZE,
        learning_rate=lesson.learning_rate,
        checkpoint_steps=_CHECKPOINT_STEPS,
    )
    plan = batch_plan(encoded.example_lengths, schedule.batch_size, schedule.steps, lesson.seed)
    loss = _loss(replay, teacher, encoded, plan, units)
    units.leave(student)
    train(student, loss, schedule, seed=lesson.seed, directory=directory, progress=progress, stage="replay")
    units.enter(student)


def _loss(
    replay: Replay, teacher: Any, encoded: Encoded, plan: list[np.ndarray], units: Units
) -> Callable[[Any, int], Any]:
    """The loss of (student, step)."""
    import torch

    device = next(teacher.parameters()).device

    def loss(student: Any, step: int) -> Any:
        examples = own_share(plan[step])
        values = pad_texts([text_of(encoded, int(text)) for text in encoded.texts_of(examples)])
        values["labels"] = units.standardised(torch.from_numpy(encoded.labels[examples]))
        values = {name: each.to(device) for name, each in values.items()}
        return replay.loss(student, teacher, Batch(values, step / len(plan), encoded.kind, units))

    return loss
