"""Distillation: a student cut out of the teacher learns its logits and the hidden states of the mapped layers.

The hidden-state loss follows TinyBERT and MobileBERT, with the principal-component projection in place of a
learnt one; hard labels take part where the example has one.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import shutil
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from data.architecture import Architecture
from data.errors import InputError, StoreError
from data.progress import Progress, ProgressEvent, no_progress
from data.tasks import Task
from search.teachers.teacher import Teacher

if TYPE_CHECKING:
    from search.distillation.hidden_states import TeacherStates
    from search.learning.encoding import Encoded

_RECORD = "distilled.json"
_RECIPE = 2  # raised when distillation changes, so that models made otherwise are not reused


@dataclass(frozen=True)
class DistillationBudget:
    """How long and how to distil.

    ``examples`` are seen in all (an example seen twice counts twice); ``checkpoint_steps`` 0 starts a killed
    distillation anew. ``hard`` is the share of the true labels in the loss of the logits, ``hidden`` the
    weight of the hidden states' loss.
    """

    examples: int
    batch_size: int = 32
    learning_rate: float = 5e-4
    checkpoint_steps: int = 0
    hard: float = 0.3
    hidden: float = 1.0


SHORT = DistillationBudget(examples=4000)
# What a student of the short distillation goes on with.
FULL = DistillationBudget(examples=12000, checkpoint_steps=100)


@dataclass(frozen=True)
class DistilledModel:
    """A distilled student: a Hugging Face directory (checkpoint and tokenizer), its dev scores, training seconds."""

    directory: Path
    score: float
    scores: dict[str, float]
    seconds: float


def distill(
    teacher: Teacher,
    task: Task,
    architecture: Architecture,
    *,
    budget: DistillationBudget = SHORT,
    seed: int = 0,
    begin: Path | None = None,
    out_dir: Path,
    progress: Progress = no_progress,
) -> DistilledModel:
    """Distil ``teacher`` into a student of the given architecture, kept in ``out_dir``.

    A finished distillation of the same teacher, task, architecture, budget, seed and beginning is returned as it is; a
    killed one goes on from its last checkpoint, or from its start where the budget keeps none.

    Args:
        begin: the folder of a student distilled before, which learns on, with the learning rate risen anew and the
            examples in another order; None cuts one out of the teacher.

    Raises:
        InputError: the architecture does not suit the teacher, the task or the beginning.
        StoreError: ``begin`` holds no distilled student, ``out_dir`` holds something else, or cannot be written.
    """
    if architecture.labels != task.labels:
        raise InputError(f"architecture has {architecture.labels} labels, task {task.name} has {task.labels}")
    key = _key(teacher, task, architecture, budget, seed, begin)
    found = _read_record(out_dir, key)
    if found is None:
        try:
            _distill(teacher, task, architecture, budget, seed, begin, out_dir, key, progress)
        except OSError as error:
            raise StoreError(f"cannot write {out_dir}: {error.strerror or error}") from error
        found = _read_record(out_dir, key)
    if found is None:
        raise StoreError(f"{out_dir}: {_RECORD} vanished while distilling")
    return found


def _key(
    teacher: Teacher,
    task: Task,
    architecture: Architecture,
    budget: DistillationBudget,
    seed: int,
    begin: Path | None,
) -> str:
    before = _key_of(begin) if begin else None
    parts = [_RECIPE, teacher.directory.name, task.fingerprint, architecture.to_dict(), asdict(budget), seed, before]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def _read_record(out_dir: Path, key: str) -> DistilledModel | None:
    from pydantic import TypeAdapter, ValidationError

    try:
        record = json.loads((out_dir / _RECORD).read_text(encoding="utf-8"))
        if record.pop("key", None) != key:
            raise StoreError(f"{out_dir} holds another model; give another folder")
        return TypeAdapter(DistilledModel).validate_python(record | {"directory": out_dir})
    except FileNotFoundError:
        return None
    except (OSError, ValueError, ValidationError, TypeError, AttributeError) as error:
        raise StoreError(f"{out_dir}: {_RECORD} is damaged; remove the folder to distil anew") from error


def _key_of(begin: Path) -> str:
    """The key of the distilled student in ``begin``."""
    try:
        return str(json.loads((begin / _RECORD).read_text(encoding="utf-8"))["key"])
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise StoreError(f"{begin} holds no distilled student to go on from") from error


def _distill(
    teacher: Teacher,
    task: Task,
    architecture: Architecture,
    budget: DistillationBudget,
    seed: int,
    begin: Path | None,
    out_dir: Path,
    key: str,
    progress: Progress,
) -> None:
    from transformers import AutoTokenizer

    from fusion.checkpoints.loading import quiet_transformers
    from search.distillation.hidden_states import load_teacher_model, teacher_states
    from search.learning.encoding import encode, predict_logits
    from search.learning.training import load_checkpoint, save_checkpoint
    from search.students.student import cut_student

    started = time.monotonic()
    partial = out_dir.with_name(out_dir.name + ".partial")
    partial.mkdir(parents=True, exist_ok=True)
    with quiet_transformers():
        tokenizer = AutoTokenizer.from_pretrained(teacher.directory)
        encoded = encode(tokenizer, task.train, teacher.seq_len)
        states = teacher_states(teacher, encoded, progress)
        if begin is None:
            progress(ProgressEvent("distillation", 0, None, f"cutting {architecture.name}"))
            student = cut_student(load_teacher_model(teacher), encoded, states.basis, architecture, seed)
        else:
            student = load_checkpoint(begin)
        _train(
            student,
            states,
            budget,
            seed if begin is None else seed + 1,
            partial,
            progress,
            regression=task.kind == "regression",
        )
        finished = partial / "finished"
        save_checkpoint(student, tokenizer, finished)
        # Scored as saved: the model that Trainer leaves behind still computes in bfloat16.
        scores = task.score(predict_logits(load_checkpoint(finished), encode(tokenizer, task.dev, teacher.seq_len)))
    record = {"key": key, "score": scores[task.metric], "scores": scores, "seconds": time.monotonic() - started}
    (finished / _RECORD).write_text(json.dumps(record), encoding="utf-8")
    os.replace(finished, out_dir)
    shutil.rmtree(partial)


def _train(
    student: Any,
    states: TeacherStates,
    budget: DistillationBudget,
    seed: int,
    directory: Path,
    progress: Progress,
    regression: bool,
) -> None:
    from transformers import PrinterCallback

    from search.learning.encoding import rows_of
    from search.learning.training import (
        TRAINING_ATTENTION,
        last_whole_checkpoint,
        progress_callback,
        training_arguments,
    )

    student.set_attn_implementation(TRAINING_ATTENTION)
    student.bert.embeddings.word_embeddings.weight.requires_grad_(False)
    arguments = training_arguments(
        directory,
        seed=seed,
        batch_size=budget.batch_size,
        checkpoint_steps=budget.checkpoint_steps,
        max_steps=math.ceil(budget.examples / budget.batch_size),
        learning_rate=budget.learning_rate,
        warmup_steps=0.05,
        weight_decay=0.01,
    )
    trainer = _distillation_trainer()(
        loss=distillation_loss(student, states, budget, regression),
        model=student,
        args=arguments,
        train_dataset=rows_of(states.encoded),
        data_collator=target_collator(student, states),
    )
    trainer.remove_callback(PrinterCallback)
    trainer.add_callback(progress_callback(progress, "distillation"))
    trainer.train(resume_from_checkpoint=last_whole_checkpoint(directory))


def _distillation_trainer() -> Any:
    """Trainer with a loss of our own (a function, for transformers is imported only when something is trained)."""
    from transformers import Trainer

    class DistillationTrainer(Trainer):
        def __init__(self, *, loss: Any, **settings: Any) -> None:
            super().__init__(**settings)
            self.distillation_loss = loss

        def compute_loss(
            self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
        ) -> Any:
            names = ("input_ids", "attention_mask", "token_type_ids")
            outputs = model(**{name: inputs[name] for name in names}, output_hidden_states=True)
            loss = self.distillation_loss(outputs, inputs)
            return (loss, outputs) if return_outputs else loss

    return DistillationTrainer


def target_collator(student: Any, states: TeacherStates) -> Any:
    """Collator of padded batches with labels, teacher_logits (b, labels) and teacher_states (b, s, layers, hidden)."""
    import torch

    from search.learning.encoding import pad
    from search.students.student import mapped_layers

    layers = list(mapped_layers(student.config.num_hidden_layers, states.states.shape[1] - 1))
    hidden = student.config.hidden_size
    encoded: Encoded = states.encoded

    def collate(rows: list[dict[str, Any]]) -> dict[str, Any]:
        indices = [row["index"] for row in rows]
        batch = pad(encoded, indices)
        targets = np.zeros((*batch["input_ids"].shape, len(layers), hidden), np.float32)
        for row, index in enumerate(indices):
            span = encoded.span(index)
            targets[row, : span.stop - span.start] = states.states[span][:, layers, :hidden]
        return batch | {
            "labels": torch.from_numpy(encoded.labels[indices]),
            "teacher_logits": torch.from_numpy(states.logits[indices]),
            "teacher_states": torch.from_numpy(targets),
        }

    return collate


def distillation_loss(student: Any, states: TeacherStates, budget: DistillationBudget, regression: bool) -> Any:
    """The loss of (student's outputs, collated inputs): logits against teacher and labels, plus hidden states."""
    import torch
    from torch.nn.functional import cross_entropy, mse_loss

    from search.students.student import mapped_layers, target_rotation

    layers = list(mapped_layers(student.config.num_hidden_layers, states.states.shape[1] - 1))
    hidden = student.config.hidden_size
    rotation = torch.from_numpy(target_rotation(states.basis, hidden)).to(student.device)
    scale = torch.from_numpy(states.variances[layers, :hidden].sum(axis=1)).to(student.device)

    def of_logits(logits: Any, inputs: dict[str, Any]) -> Any:
        if regression:
            soft, hard = mse_loss(logits, inputs["teacher_logits"]), mse_loss(logits[:, 0], inputs["labels"])
        else:
            soft = cross_entropy(logits, inputs["teacher_logits"].softmax(dim=1))
            hard = cross_entropy(logits, inputs["labels"].long())
        return budget.hard * hard + (1 - budget.hard) * soft

    def of_states(hidden_states: Any, inputs: dict[str, Any]) -> Any:
        # Weights, not boolean indexing: the backward pass of indexing is slow on a CPU.
        weights = inputs["attention_mask"] / inputs["attention_mask"].sum()  # (b, s)
        total = torch.zeros((), device=rotation.device)
        for position, states_of_layer in enumerate(hidden_states[1:]):
            difference = states_of_layer.float() - inputs["teacher_states"][:, :, position] @ rotation
            total = total + (difference.square().sum(dim=2) * weights).sum() / scale[position]
        return total / len(scale)

    def loss(outputs: Any, inputs: dict[str, Any]) -> Any:
        return of_logits(outputs.logits.float(), inputs) + budget.hidden * of_states(outputs.hidden_states, inputs)

    return loss
