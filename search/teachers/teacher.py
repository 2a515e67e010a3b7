"""The teacher: a pre-trained BERT, fine-tuned on the task once and kept on disk."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from data.errors import InputError
from data.home import home
from data.progress import Progress, ProgressEvent, no_progress
from data.tasks import Task
from search.teachers.source import content_hash, load_source, resolve_teacher

if TYPE_CHECKING:
    from search.learning.encoding import Encoded

_RECORD = "teacher.json"
_RECIPE = 1  # raised when fine-tuning changes, so that teachers made otherwise are not reused
_BATCH_SIZE = 32
_LEARNING_RATE = 1e-4
_CHECKPOINT_STEPS = 100


@dataclass(frozen=True)
class Teacher:
    """A fine-tuned teacher: a Hugging Face directory (checkpoint and tokenizer), its sizes and dev scores.

    ``score`` is the task's metric, ``scores`` all of them; ``seq_len`` is the length in tokens to which texts are cut.
    """

    directory: Path
    layers: int
    hidden: int
    heads: int
    intermediate: int
    vocab_size: int
    max_positions: int
    seq_len: int
    score: float
    scores: dict[str, float]


def prepare_teacher(
    task: Task,
    teacher: str | None = None,
    seq_len: int = 128,
    out_dir: Path | None = None,
    seed: int = 0,
    progress: Progress = no_progress,
) -> Teacher:
    """Fine-tune a teacher on the task, or take the one that an earlier call left; goes on where a kill cut it off.

    Args:
        task: What to learn.
        teacher: A Hugging Face directory or hub name of a BERT; None is all-MiniLM-L6-v2 from its package.
        seq_len: Tokens to which texts are cut.
        out_dir: Where teachers are kept, by content hash; default ``home()/teachers``.
        seed: Of the new head and the order of examples.
        progress: Told of each step.

    Raises:
        UnknownNameError: no such teacher.
        InputError: it is no BERT, is damaged or incomplete, does not suit the task (see
            :func:`~search.teachers.source.load_source`), or has fewer positions than ``seq_len``.
    """
    from filelock import FileLock

    from fusion.checkpoints.configuration import load_config

    source = resolve_teacher(teacher)
    positions = load_config(source).max_position_embeddings
    if seq_len > positions:
        raise InputError(f"seq-len {seq_len} exceeds the teacher's {positions} positions")
    key = hashlib.sha256(json.dumps([_RECIPE, task.fingerprint, content_hash(source), seq_len, seed]).encode())
    directory = (out_dir or home() / "teachers") / key.hexdigest()[:16]
    directory.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{directory}.lock"):
        if not (directory / _RECORD).exists():
            _fine_tune(task, source, directory, seq_len, seed, progress)
        return _read_record(directory)


def epochs_for(task: Task) -> int:
    """Passes over the training examples: small tasks need several, 6,000 examples or more are learnt in one or two."""
    return 4 if len(task.train) < 5000 else 3 if len(task.train) < 7000 else 1


def _fine_tune(task: Task, source: Path, directory: Path, seq_len: int, seed: int, progress: Progress) -> None:
    """Train next to ``directory`` and put the whole result there at once."""
    from fusion.checkpoints.loading import quiet_transformers
    from search.learning.encoding import encode, predict_logits
    from search.learning.training import load_checkpoint, save_checkpoint

    progress(ProgressEvent("teacher", 0, None, "loading"))
    with quiet_transformers():
        model, tokenizer = _load(source, task, seq_len, seed)
        partial = directory.with_name(directory.name + ".partial")
        _train(model, encode(tokenizer, task.train, seq_len), partial, epochs_for(task), seed, progress)
        progress(ProgressEvent("teacher", 0, None, "scoring"))
        finished = partial / "finished"
        save_checkpoint(model, tokenizer, finished)
        # Scored as saved: the model that Trainer leaves behind still computes in bfloat16.
        scores = task.score(predict_logits(load_checkpoint(finished), encode(tokenizer, task.dev, seq_len)))
    config = model.config
    record = Teacher(
        directory,
        config.num_hidden_layers,
        config.hidden_size,
        config.num_attention_heads,
        config.intermediate_size,
        config.vocab_size,
        config.max_position_embeddings,
        seq_len,
        scores[task.metric],
        scores,
    )
    (finished / _RECORD).write_text(json.dumps(asdict(record) | {"directory": directory.name}), encoding="utf-8")
    os.replace(finished, directory)
    shutil.rmtree(partial)


def _load(source: Path, task: Task, seq_len: int, seed: int) -> tuple[Any, Any]:
    import torch

    torch.manual_seed(seed)
    model, tokenizer = load_source(source, task, seq_len)
    model.config.problem_type = "regression" if task.kind == "regression" else "single_label_classification"
    return model, tokenizer


def _train(model: Any, encoded: Encoded, directory: Path, epochs: int, seed: int, progress: Progress) -> None:
    from transformers import PrinterCallback, Trainer

    from search.learning.encoding import pad, rows_of
    from search.learning.training import last_whole_checkpoint, progress_callback, training_arguments

    regression = model.config.problem_type == "regression"

    def collate(rows: list[dict[str, Any]]) -> dict[str, Any]:
        import torch

        indices = [row["index"] for row in rows]
        labels = torch.from_numpy(encoded.labels[indices])
        return pad(encoded, indices) | {"labels": labels if regression else labels.long()}

    # The word embeddings of a fine-tuned model hardly move, yet hold half of the weights that the optimiser would walk.
    model.bert.embeddings.word_embeddings.weight.requires_grad_(False)
    arguments = training_arguments(
        directory,
        seed=seed,
        batch_size=_BATCH_SIZE,
        checkpoint_steps=_CHECKPOINT_STEPS,
        num_train_epochs=epochs,
        learning_rate=_LEARNING_RATE,
        warmup_steps=0.06,
        weight_decay=0.01,
    )
    trainer = Trainer(model=model, args=arguments, train_dataset=rows_of(encoded), data_collator=collate)
    trainer.remove_callback(PrinterCallback)
    trainer.add_callback(progress_callback(progress, "teacher"))
    trainer.train(resume_from_checkpoint=last_whole_checkpoint(directory))


def _read_record(directory: Path) -> Teacher:
    from pydantic import TypeAdapter, ValidationError

    try:
        values = json.loads((directory / _RECORD).read_text(encoding="utf-8"))
        return TypeAdapter(Teacher).validate_python(values | {"directory": directory})
    except (OSError, ValueError, ValidationError, TypeError) as error:
        raise InputError(f"teacher {directory}: {_RECORD} is damaged; remove the folder to make it anew") from error
