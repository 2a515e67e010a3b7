"""The teacher: a pre-trained encoder, fine-tuned on the task once and kept on disk."""

from __future__ import annotations

import hashlib
import json
import math
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from data.errors import InputError
from data.home import home
from data.progress import Progress, ProgressEvent, no_progress, part_of
from data.tasks import METRICS, Kind, Task
from search.learning.training import batch_plan, has_checkpoint, train
from search.learning.units import Units
from search.teachers.comparison import compares, comparison_steps, learn_to_compare
from search.teachers.families import LoadedEncoder, with_head
from search.teachers.fine_tuning import FineTuning, fine_tuning_loss
from search.teachers.source import content_hash, head_of, load_teacher, resolve_teacher, sample_texts

if TYPE_CHECKING:
    from search.learning.encoding import Encoded

_RECORD = "teacher.json"
_DEFAULT = FineTuning()
# Raised when fine-tuning changes, so that teachers made otherwise are not reused.
_RECIPES: dict[Kind, int] = {"classification": 4, "regression": 5, "tokens": 4, "similarity": 4}


@dataclass(frozen=True)
class Teacher:
    """A fine-tuned teacher: a Hugging Face directory (checkpoint and tokenizer), its sizes and scores.

    ``score`` is the task's metric on the held-out tenth of train, with its ``standard_error``, ``scores`` all of them;
    ``max_tokens`` is the length to which texts are cut. One whose task has no labels is as it came, and agrees with
    itself.
    """

    directory: Path
    kind: Kind
    layers: int
    hidden: int
    heads: int
    intermediate: int
    vocab_size: int
    max_positions: int
    max_tokens: int
    score: float
    scores: dict[str, float]
    standard_error: float


def prepare_teacher(
    task: Task,
    teacher: str | None = None,
    seq_len: int = 128,
    out_dir: Path | None = None,
    seed: int = 0,
    progress: Progress = no_progress,
    fine_tuning: FineTuning = _DEFAULT,
) -> Teacher:
    """Fine-tune a teacher on the task, or take the one that an earlier call left; goes on where a kill cut it off.

    It learns from ``task.train``; after each pass it is scored on ``task.dev``, and the best is kept, which may be the
    one that came. Give :meth:`data.tasks.Task.held_out`, so that the dev set is not read. Where the task has no labels,
    it is taken as it came.

    Args:
        task: What to learn.
        teacher: As :func:`~search.teachers.source.resolve_teacher` takes it.
        seq_len: Texts are cut to this.
        out_dir: Where teachers are kept, by content hash; default ``home()/teachers``.
        seed: Of the new head, dropout and the order of examples.
        progress: Told of each step.
        fine_tuning: How.

    Raises:
        UnknownNameError: no such teacher.
        InputError: it is no BERT, is damaged or incomplete, does not suit the task (see
            :func:`~search.teachers.source.load_teacher`), or has fewer positions than ``seq_len``.
    """
    from filelock import FileLock

    source = resolve_teacher(teacher)
    parts = [_RECIPES[task.kind], task.fingerprint, content_hash(source), seq_len, seed, asdict(fine_tuning)]
    key = hashlib.sha256(json.dumps(parts).encode())
    directory = (out_dir or home() / "teachers") / key.hexdigest()[:16]
    directory.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{directory}.lock"):
        if not (directory / _RECORD).exists():
            _fine_tune(task, source, directory, seq_len, seed, fine_tuning, progress)
        return _read_record(directory)


def _fine_tune(
    task: Task,
    source: Path,
    directory: Path,
    max_tokens: int,
    seed: int,
    fine_tuning: FineTuning,
    progress: Progress,
) -> None:
    """Train next to ``directory`` and put the whole result there at once."""
    from fusion.checkpoints.loading import quiet_transformers
    from search.learning.encoding import encode
    from search.learning.training import training_device

    progress(ProgressEvent("teacher", 0, None, "loading"))
    partial = directory.with_name(directory.name + ".partial")
    with quiet_transformers():
        model, tokenizer, has_head = _load(source, task, max_tokens, seed)
        model.to(training_device())
        # The word embeddings of a fine-tuned model hardly move, yet hold half of the weights that the optimiser walks.
        model.bert.embeddings.word_embeddings.weight.requires_grad_(False)
        encoded, held = (encode(tokenizer, part, task.kind, max_tokens) for part in (task.train, task.dev))
        units = Units.of(encoded)
        # A new head gives values about 0: the mean, in the units that are learnt.
        if has_head:
            units.leave(model)
        best = _Best(task, held, tokenizer, units, partial / "best", max_tokens)
        if task.unlabelled:
            best.keep(model, dict.fromkeys(METRICS[task.kind], 1.0), 0.0)
        else:
            # Two runs of a model without dropout are the same.
            how = fine_tuning if model.config.hidden_dropout_prob else replace(fine_tuning, consistency=0.0)
            learning = _Learning(model, tokenizer, encoded, max_tokens, seed, partial, how)
            learning.run(task, compares(task, source) and not has_head, best, progress)
    config = model.config
    record = Teacher(
        directory=directory,
        kind=task.kind,
        layers=config.num_hidden_layers,
        hidden=config.hidden_size,
        heads=config.num_attention_heads,
        intermediate=config.intermediate_size,
        vocab_size=config.vocab_size,
        max_positions=config.max_position_embeddings,
        max_tokens=max_tokens,
        score=best.scores[task.metric],
        scores=best.scores,
        standard_error=best.standard_error,
    )
    (best.directory / _RECORD).write_text(json.dumps(asdict(record) | {"directory": directory.name}), encoding="utf-8")
    (best.directory / _SCORES).unlink()
    os.replace(best.directory, directory)
    shutil.rmtree(partial)


_SCORES = "scores.json"


class _Best:
    """The best model so far by its score on held-out examples, kept on disk with its scores."""

    def __init__(
        self, task: Task, held: Encoded, tokenizer: Any, units: Units, directory: Path, max_tokens: int
    ) -> None:
        self.directory, self.units = directory, units
        fresh = self._fresh
        if (fresh / _SCORES).exists() and not directory.exists():  # a kill came between two steps of `keep`
            os.replace(fresh, directory)
        self._task, self._held, self._tokenizer, self._max_tokens = task, held, tokenizer, max_tokens

    @property
    def scores(self) -> dict[str, float]:
        """Those of the best so far; nothing before the first."""
        return dict(self._record["scores"])

    @property
    def standard_error(self) -> float:
        """That of the main score of the best so far."""
        return float(self._record["standard_error"])

    @property
    def _record(self) -> dict[str, Any]:
        path = self.directory / _SCORES
        found: dict[str, Any] = {"scores": {}, "standard_error": 0.0}
        return found | json.loads(path.read_text(encoding="utf-8")) if path.exists() else found

    def offer(self, model: Any) -> float:
        """Scores a model and keeps it where it is better than all before; returns the score."""
        from search.learning.objectives import predict

        with self.units.entered(model):
            predictions = predict(model, self._held)
            scores = self._task.score(predictions)
            score, before = scores[self._task.metric], self.scores
            if not before or score > before[self._task.metric]:
                self.keep(model, scores, self._task.standard_error(predictions))
        return score

    def keep(self, model: Any, scores: dict[str, float], standard_error: float) -> None:
        """Writes a model with its scores in place of the one before."""
        from search.learning.task_models import save_model

        record = {"scores": scores, "standard_error": standard_error}
        save_model(model, self._task.kind, self._tokenizer, self._fresh, self._max_tokens)
        (self._fresh / _SCORES).write_text(json.dumps(record), encoding="utf-8")
        shutil.rmtree(self.directory, ignore_errors=True)
        os.replace(self._fresh, self.directory)

    @property
    def _fresh(self) -> Path:
        return self.directory.with_name("fresh")


def _load(source: Path, task: Task, max_tokens: int, seed: int) -> tuple[Any, Any, bool]:
    """The model, its tokenizer, and whether its head came with it."""
    import torch

    from fusion.checkpoints.configuration import load_config
    from search.learning.task_models import class_of, name_labels, sentence_encoder

    torch.manual_seed(seed)
    loaded = load_teacher(source, sample_texts(task), max_tokens, head_of(task), seed)
    encoder = _in_order(loaded.encoder, load_config(source).id2label or {}, task.label_names)
    name_labels(encoder.model.config, task.label_names)
    if task.kind == "similarity":
        return sentence_encoder(encoder.model), loaded.tokenizer, False
    has_head = encoder.classifier is not None and len(encoder.classifier[1]) == task.labels
    return with_head(class_of(task.kind), encoder), loaded.tokenizer, has_head


def _in_order(encoder: LoadedEncoder, own: Mapping[int, str], names: Sequence[str]) -> LoadedEncoder:
    """The encoder with its classifier's rows in the order of the task's ``names``, where its ``own`` are the same."""
    if encoder.classifier is None:
        return encoder
    numbers = {str(name).lower(): int(number) for number, name in own.items()}
    order = [numbers.get(name.lower(), -1) for name in names]
    if sorted(order) != list(range(len(encoder.classifier[1]))):
        return encoder
    weight, bias = encoder.classifier
    return replace(encoder, classifier=(weight[order], bias[order]))


@dataclass(frozen=True)
class _Learning:
    """What one fine-tuning is made of."""

    model: Any
    tokenizer: Any
    encoded: Encoded
    max_tokens: int
    seed: int
    directory: Path
    how: FineTuning

    def run(self, task: Task, compares: bool, best: _Best, progress: Progress) -> None:
        """Learns to compare, where wanted, and then the task; what is done is told in steps of ordinary cost."""
        before = comparison_steps(task, self.how) if compares else 0
        runs = self.how.runs(self.encoded.kind)
        total = before + self._steps_each * self._passes * runs
        if before and not has_checkpoint(self.directory):
            learn_to_compare(
                self.model,
                task,
                self.tokenizer,
                self.max_tokens,
                seed=self.seed,
                directory=self.directory / "comparison",
                fine_tuning=self.how,
                progress=part_of(progress, 0, 1, total),
            )
        if not best.scores:
            best.offer(self.model)
        self._train(best, part_of(progress, before, runs, total))

    def _train(self, best: _Best, progress: Progress) -> None:
        schedule = self.how.schedule(self._steps_each * self._passes)

        def score(model: Any, done: int) -> None:
            passes, rest = divmod(done, self._steps_each)
            if not rest:
                progress(ProgressEvent("teacher", done, schedule.steps, "scoring"))
                score = best.offer(model)
                told = f"{score:.3f} on the held-out tenth after {passes} of {self._passes} passes"
                progress(ProgressEvent("teacher", done, schedule.steps, told))

        plan = batch_plan(self.encoded.example_lengths, schedule.batch_size, schedule.steps, self.seed)
        consistency = self.how.consistency if self.how.runs(self.encoded.kind) > 1 else 0.0
        loss = fine_tuning_loss(self.encoded, plan, best.units, consistency)
        train(
            self.model,
            loss,
            schedule,
            seed=self.seed,
            directory=self.directory,
            progress=progress,
            stage="teacher",
            after=score,
        )

    @property
    def _passes(self) -> int:
        return self.how.passes_over(len(self.encoded.tokens), self.encoded.kind)

    @property
    def _steps_each(self) -> int:
        return math.ceil(len(self.encoded) / self.how.batch_size)


def _read_record(directory: Path) -> Teacher:
    from pydantic import TypeAdapter, ValidationError

    try:
        values = json.loads((directory / _RECORD).read_text(encoding="utf-8"))
        return TypeAdapter(Teacher).validate_python(values | {"directory": directory})
    except (OSError, ValueError, ValidationError, TypeError) as error:
        raise InputError(f"teacher {directory}: {_RECORD} is damaged; remove the folder to make it anew") from error
