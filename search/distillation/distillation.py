"""Distillation: a student cut out of the teacher learns from the teacher, which runs along on texts that change."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from data.architecture import Architecture, Precision
from data.errors import InputError, StoreError
from data.progress import Progress, ProgressEvent, no_progress
from data.tasks import Example, Examples, TaggedWords, Task
from search.distillation.changes import Material, changed_batch, nearest_tokens
from search.distillation.distilled import PROJECTION, RECORD, DistilledModel, read_key, read_projection, read_record
from search.distillation.losses import DistillationLoss, run
from search.distillation.recipe import Recipe, default_recipe
from search.learning.divergence import divergence
from search.learning.encoding import NO_LABEL, Encoded, encode, pad_texts
from search.learning.training import Schedule, batch_plan, is_out_of_memory, own_share, seeded, train
from search.learning.units import Units
from search.quantisation.products import in_precision
from search.students.basis import Basis, kept_basis, principal_basis
from search.teachers.answers import kept_answers
from search.teachers.teacher import Teacher

_KEY = "key"
_RECIPE = 6  # raised when distillation changes, so that models made otherwise are not reused


@dataclass(frozen=True)
class _Work:
    """What one distillation is made of."""

    teacher: Teacher
    task: Task
    architecture: Architecture
    recipe: Recipe
    tokens: int
    seed: int
    begin: Path | None
    corpus: tuple[str, ...]
    checkpoint_steps: int

    @property
    def precision(self) -> Precision:
        """What the student is to be computed in."""
        return self.architecture.precision

    @property
    def key(self) -> str:
        before = read_key(self.begin) if self.begin else None
        corpus = hashlib.sha256("\n".join(self.corpus).encode()).hexdigest()
        parts = [_RECIPE, self.teacher.directory.name, self.task.fingerprint, self.architecture.to_dict()]
        recipe = asdict(self.recipe)
        quantised = recipe.pop("quantised")
        parts += [recipe, self.tokens, self.seed, before, corpus]
        # What is of no account in fp32 leaves its keys as they always were.
        parts += [quantised] if self.precision != "fp32" else []
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def distill(
    teacher: Teacher,
    task: Task,
    architecture: Architecture,
    *,
    tokens: int,
    recipe: Recipe | None = None,
    seed: int = 0,
    begin: Path | None = None,
    corpus: Sequence[str] = (),
    checkpoint_steps: int = 100,
    out_dir: Path,
    progress: Progress = no_progress,
) -> DistilledModel:
    """Distil ``teacher`` into a student of the given architecture, kept in ``out_dir``, and score it in that one's
    precision, in which it learns in the end, where ``recipe.quantised`` says so.

    A finished distillation of the same teacher, task, architecture, recipe, length, seed and beginning is
    returned as it is; a killed one goes on from its last checkpoint, to the same result.

    Args:
        tokens: how many to learn from in all, 0 for the student as it was cut.
        recipe: how; None is :func:`~search.distillation.recipe.default_recipe`.
        begin: the folder of a student distilled before. One of the same sizes learns on, with the learning rate risen
            anew and the examples in another order; out of a larger one the student is cut, the second of two steps.
            None cuts it out of the teacher.
        corpus: lines of general text, for recipes that mix some in.
        checkpoint_steps: after so many a checkpoint is kept.

    Raises:
        InputError: the architecture does not suit the teacher, the task or the beginning, training diverged, or there
            is not enough memory for it.
        StoreError: ``begin`` holds no distilled student, ``out_dir`` holds something else, or cannot be written.
    """
    if architecture.labels != task.labels:
        raise InputError(f"architecture has {architecture.labels} labels, task {task.name} has {task.labels}")
    chosen = recipe or default_recipe()
    lines = tuple(corpus) if chosen.changes.corpus else ()
    work = _Work(teacher, task, architecture, chosen, tokens, seed, begin, lines, checkpoint_steps)
    found = read_record(out_dir, work.key)
    if found is None:
        try:
            _distill(work, out_dir, progress)
        except OSError as error:
            raise StoreError(f"cannot write {out_dir}: {error.strerror or error}") from error
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
            raise InputError(f"{architecture.name} needs more memory for training than there is") from error
        found = read_record(out_dir, work.key)
    if found is None:
        raise StoreError(f"{out_dir}: {RECORD} vanished while distilling")
    return found


def _distill(work: _Work, out_dir: Path, progress: Progress) -> None:
    from safetensors.numpy import save_file
    from transformers import AutoTokenizer

    from fusion.checkpoints.loading import quiet_transformers
    from search.learning.objectives import predict
    from search.learning.task_models import load_model, save_model

    started = time.monotonic()
    partial = _begun(out_dir.with_name(out_dir.name + ".partial"), work.key)
    task, kind, longest = work.task, work.task.kind, work.teacher.max_tokens
    with quiet_transformers():
        tokenizer = AutoTokenizer.from_pretrained(work.teacher.directory)
        teacher = load_model(work.teacher.directory, kind)
        encoded, held = (encode(tokenizer, part, kind, longest) for part in (task.train, task.dev))
        basis = kept_basis(work.teacher.directory, teacher, task, encoded)
        verb = "cutting" if work.begin is None else "going on with"
        progress(ProgressEvent("distillation", 0, None, f"{verb} {work.architecture.name}"))
        student, projection = _beginning(work, teacher, encoded, basis)
        wanted = kept_answers(work.teacher.directory, teacher, task, held)
        with in_precision(student, work.precision):
            before = predict(student, held)
        if work.tokens:
            material = _material(work, teacher, tokenizer, encoded)
            _train(work, student, teacher, material, basis, projection, partial, progress)
        finished = partial / "finished"
        save_model(student, kind, tokenizer, finished, longest)
        save_file({"projection": projection}, finished / PROJECTION)
        # Scored as saved: what others will load.
        saved = load_model(finished, kind)
        with in_precision(saved, work.precision):
            predictions = predict(saved, held)
    scores, units = task.score(predictions), Units.of(encoded)
    done = DistilledModel(
        directory=out_dir,
        score=scores[task.metric],
        scores=scores,
        standard_error=task.standard_error(predictions),
        divergence=divergence(kind, predictions, wanted, units),
        scores_before=task.score(before),
        divergence_before=divergence(kind, before, wanted, units),
        seconds=time.monotonic() - started,
    )
    record = asdict(done) | {"key": work.key, "directory": out_dir.name}
    (finished / RECORD).write_text(json.dumps(record), encoding="utf-8")
    os.replace(finished, out_dir)
    shutil.rmtree(partial)


def _begun(folder: Path, key: str) -> Path:
    """The folder of an unfinished distillation; what a killed one of something else left there is removed."""
    begun = folder / _KEY
    if folder.exists() and not (begun.exists() and begun.read_text(encoding="utf-8") == key):
        shutil.rmtree(folder)
    folder.mkdir(parents=True, exist_ok=True)
    begun.write_text(key, encoding="utf-8")
    return folder


def _beginning(work: _Work, teacher: Any, encoded: Encoded, basis: Basis) -> tuple[Any, np.ndarray]:
    """The student before it learns, and the projection of the teacher's hidden states to its coordinates."""
    from search.learning.task_models import load_model, name_labels
    from search.students.student import cut_student

    source, projection = teacher, np.eye(len(basis.components), dtype=np.float32)
    if work.begin is not None:
        source, projection = load_model(work.begin, work.task.kind), read_projection(work.begin)
        if _has_sizes(source.config, work.architecture):
            return source, projection
        basis = principal_basis(source, encoded)
    with seeded(work.seed):
        student = cut_student(source, encoded, basis, work.architecture, work.seed)
    name_labels(student.config, work.task.label_names)
    return student, projection @ basis.projection(work.architecture.hidden)


def _has_sizes(config: Any, wanted: Architecture) -> bool:
    found = (config.num_hidden_layers, config.hidden_size, config.num_attention_heads, config.intermediate_size)
    return found == (wanted.layers, wanted.hidden, wanted.heads, wanted.intermediate)


def _material(work: _Work, teacher: Any, tokenizer: Any, encoded: Encoded) -> Material:
    special = np.unique(np.asarray(tokenizer.all_special_ids, np.int64))
    used, table = np.unique(encoded.tokens), teacher.bert.embeddings.word_embeddings.weight
    replaces = work.recipe.changes.replaced > 0
    neighbours = nearest_tokens(table, used if replaces else used[:0], special)
    examples = _corpus_examples(work.corpus, work.task)
    corpus = encode(tokenizer, examples, work.task.kind, work.teacher.max_tokens) if examples else None
    return Material(encoded, neighbours, corpus, work.teacher.max_tokens)


def _corpus_examples(lines: Sequence[str], task: Task) -> Examples:
    """General text in the task's form: a line, or a line and the one after it, without labels."""
    if task.kind == "tokens":
        words = (tuple(line.split()) for line in lines)
        return tuple(TaggedWords(each, (NO_LABEL,) * len(each)) for each in words)
    if task.paired and task.kind != "similarity":
        return tuple(Example(first, second, float("nan")) for first, second in pairwise(lines))
    return tuple(Example(line, None, float("nan")) for line in lines)


def _train(
    work: _Work,
    student: Any,
    teacher: Any,
    material: Material,
    basis: Basis,
    projection: np.ndarray,
    directory: Path,
    progress: Progress,
) -> None:
    recipe, encoded, units = work.recipe, material.encoded, Units.of(material.encoded)
    student.bert.embeddings.word_embeddings.weight.requires_grad_(False)
    teacher.requires_grad_(False)
    each = float(encoded.lengths.mean()) * encoded.texts_each * recipe.batch_size
    schedule = Schedule(
        steps=max(1, round(work.tokens / each)),
        batch_size=recipe.batch_size,
        learning_rate=recipe.learning_rate,
        warmup=recipe.warmup,
        weight_decay=recipe.weight_decay,
        rate_decay=recipe.rate_decay,
        averaged=recipe.averaged,
        checkpoint_steps=work.checkpoint_steps,
    )
    seed = work.seed if work.begin is None else work.seed + 1
    plan = batch_plan(encoded.example_lengths, schedule.batch_size, schedule.steps, seed)
    criterion = DistillationLoss(
        encoded.kind, recipe.losses, units, projection, basis.scales(projection), student.config.num_hidden_layers
    )
    units.leave(student)
    loss = distillation_step(teacher, material, plan, criterion, recipe, seed, work.precision)
    train(student, loss, schedule, seed=seed, directory=directory, progress=progress, stage="distillation")
    units.enter(student)


def distillation_step(
    teacher: Any,
    material: Material,
    plan: Sequence[np.ndarray],
    criterion: DistillationLoss,
    recipe: Recipe,
    seed: int,
    precision: Precision = "fp32",
) -> Callable[[Any, int], Any]:
    """The loss of (student, step): the step's examples, changed, as the teacher and the student see them.

    The student computes in ``precision`` in the last steps, the share of them that the recipe says.
    """
    import torch

    device = next(teacher.parameters()).device

    def loss(student: Any, step: int) -> Any:
        examples = own_share(plan[step])
        changed = changed_batch(material, examples, recipe.changes, np.random.default_rng([seed, step, 1]))
        batch = pad_texts(changed.texts)
        if material.encoded.kind != "tokens":
            labels = np.where(changed.labelled, material.encoded.labels[examples], np.nan).astype(np.float32)
            batch["labels"] = criterion.units.standardised(torch.from_numpy(labels))
        batch = {name: values.to(device) for name, values in batch.items()}
        wanted = None
        if criterion.needs_teacher:
            with torch.no_grad():
                wanted = run(teacher, batch, criterion.relations)
        layers_only = step < recipe.layers_first * len(plan)
        quantised = step >= (1 - recipe.quantised) * len(plan)
        # The model itself, where several processes have wrapped it.
        with in_precision(getattr(student, "module", student), precision if quantised else "fp32"):
            outputs = run(student, batch, criterion.relations)
        return criterion(outputs, wanted, batch, layers_only)

    return loss
