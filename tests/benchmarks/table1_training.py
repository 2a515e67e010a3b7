"""How each row of table 1 is trained and judged: on nine tenths of train, chosen by the tenth, dev read once."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from data.architecture import Architecture
from data.errors import InputError
from data.progress import Progress
from data.tasks import Task
from search.distillation.distillation import distill
from search.distillation.recipe import Changes, Losses, Recipe, default_recipe
from search.teachers.teacher import Teacher, prepare_teacher
from tests.benchmarks.provenance import provenance
from tests.benchmarks.table1_records import TRIED_SHARE, Clock, Record, Settings, Tried, keep, read_kept, record_path
from tests.benchmarks.table1_replays import Replay, bottleneck, from_random, half_depth, load_bottleneck

_LABELS_ONLY = Losses(labels=1.0, logits=0.0, hidden=0.0, queries=0.0, keys=0.0, values=0.0)
_AS_IT_IS = Changes(swapped=0.0, repaired=0.0, replaced=0.0, replaced_tokens=0.0, corpus=0.0)


@dataclass(frozen=True)
class Work:
    """One row of one task with one seed, below the folder ``out``."""

    settings: Settings
    task: Task
    row: str
    seed: int
    out: Path

    @property
    def key(self) -> str:
        """See :meth:`Settings.key`."""
        return self.settings.key(self.task, self.row, self.seed)

    @property
    def path(self) -> Path:
        """Its record's."""
        return record_path(self.out / "records", self.task.name, self.row, self.seed, self.key)

    @property
    def name(self) -> str:
        """Of its folders."""
        return self.path.stem

    @property
    def finished(self) -> Record | None:
        """Its record, where an earlier run left one."""
        return read_kept(self.path, Record)

    @property
    def tried(self) -> Tried | None:
        """The rates that an earlier run tried."""
        return read_kept(self.rates_path, Tried)

    @property
    def rates_path(self) -> Path:
        """Where the rates that were tried are kept: for all seeds of a row."""
        first = replace(self, seed=self.settings.seeds[0])
        return self.out / "rates" / f"{first.name}.json"


def finish(work: Work, progress: Progress) -> Record:
    """Trains and judges a row, or goes on with what a kill left of it; returns its record, which is kept.

    Raises:
        InputError: the row's model cannot be made from this teacher, or its training diverged.
        StoreError: something cannot be written, or is damaged.
    """
    tried = _tried(work, progress)
    rate = tried.best if tried else None
    if tried and rate is None:
        raise InputError(f"its training diverged at each rate: {', '.join(tried.scores)}")
    with _teacher_clock(work, work.seed, progress) as clock:
        teacher = _teacher(work, work.seed, clock)
        seconds = clock.seconds
    folder, held_out = teacher.directory, teacher.score
    if work.row != "teacher":
        with Clock(work.out / "clocks" / f"{work.name}.json", progress) as clock:
            folder = work.out / "models" / work.name
            held_out = _train(work, teacher, work.settings.tokens, rate, folder, clock)
            seconds = clock.seconds
    record = _judged(work, folder, held_out, rate, tried, seconds)
    keep(work.path, record)
    if work.row != "teacher" and work.seed != work.settings.seeds[0]:
        shutil.rmtree(folder)  # the first seed's are kept, to be timed
    return record


def _teacher_clock(work: Work, seed: int, progress: Progress) -> Clock:
    name = replace(work, row="teacher", seed=seed).name
    return Clock(work.out / "clocks" / f"{name}.json", progress)


def _teacher(work: Work, seed: int, progress: Progress) -> Teacher:
    settings = work.settings
    return prepare_teacher(
        work.task.held_out(),
        settings.teacher,
        settings.seq_len,
        work.out / "teachers",
        seed=seed,
        progress=progress,
        fine_tuning=settings.fine_tuning,
    )


def _tried(work: Work, progress: Progress) -> Tried | None:
    """A short training for each of the row's rates with the first seed, judged on the held-out tenth."""
    rates, seed = work.settings.rates_of(work.row), work.settings.seeds[0]
    if not rates:
        return None
    if work.tried is not None:
        return work.tried
    with _teacher_clock(work, seed, progress) as clock:
        teacher = _teacher(work, seed, clock)
    first = replace(work, seed=seed)
    scores: dict[str, float | None] = {}
    with Clock(work.out / "clocks" / f"{work.rates_path.stem}-rates.json", progress) as clock:
        for rate in rates:
            folder = work.out / "models" / f"{first.name}-rate-{rate:g}"
            scores[f"{rate:g}"] = _score_of(first, teacher, rate, folder, clock)
        found = Tried(scores, clock.seconds)
    keep(work.rates_path, found)
    for path in (work.out / "models").glob(f"{first.name}-rate-*"):
        shutil.rmtree(path)
    return found


def _score_of(work: Work, teacher: Teacher, rate: float, folder: Path, progress: Progress) -> float | None:
    try:
        return _train(work, teacher, round(work.settings.tokens * TRIED_SHARE), rate, folder, progress)
    except InputError as error:
        if "diverged" not in str(error):
            raise
        return None


def _train(work: Work, teacher: Teacher, tokens: int, rate: float | None, folder: Path, progress: Progress) -> float:
    """Trains a student into ``folder``; returns its score on the held-out tenth."""
    from tests.benchmarks.table1_learning import Lesson, learn

    task, tokens = work.task.held_out(), max(1, tokens)
    replayed = _replay(work, teacher)
    if replayed is not None:
        assert rate is not None
        return learn(replayed, Lesson(teacher, task, tokens, work.seed, rate), folder, progress)
    recipe = labels_only_recipe(rate) if rate is not None else default_recipe()
    return distill(
        teacher,
        task,
        student_architecture(work, teacher),
        tokens=tokens,
        recipe=recipe,
        seed=work.seed,
        corpus=work.settings.corpus,
        out_dir=folder,
        progress=progress,
    ).score


def _replay(work: Work, teacher: Teacher) -> Replay | None:
    if work.row == "random":
        return from_random(student_architecture(work, teacher))
    made = {"half-depth": half_depth, "bottleneck": bottleneck}.get(work.row)
    return made() if made else None


def labels_only_recipe(rate: float) -> Recipe:
    """The default recipe's schedule at another rate, with labels as all that is learnt from."""
    return replace(default_recipe(), learning_rate=rate, layers_first=0.0, losses=_LABELS_ONLY, changes=_AS_IT_IS)


def student_architecture(work: Work, teacher: Teacher) -> Architecture:
    """The row's sizes, and all else as the teacher and the task have it."""
    sizes = work.settings.searched if work.row == "searched" else work.settings.deep_narrow
    assert sizes is not None
    return Architecture(
        *sizes,
        vocab_size=teacher.vocab_size,
        seq_len=work.settings.seq_len,
        max_positions=teacher.max_positions,
        labels=work.task.labels,
    )


def load_row(row: str, folder: Path, task: Task) -> Any:
    """A row's model, ready to evaluate."""
    from fusion.checkpoints.loading import quiet_transformers
    from search.learning.task_models import load_model

    with quiet_transformers():
        return (load_bottleneck if row == "bottleneck" else load_model)(folder, task.kind)


def _judged(
    work: Work, folder: Path, held_out: float, rate: float | None, tried: Tried | None, seconds: float
) -> Record:
    """The row's record: the one place that reads dev."""
    from transformers import AutoTokenizer

    from search.learning.encoding import encode
    from search.learning.objectives import predict

    task = work.task
    model = load_row(work.row, folder, task)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    predictions = predict(model, encode(tokenizer, task.dev, task.kind, work.settings.seq_len))
    scores = task.score(predictions)
    return Record(
        key=work.key,
        task=task.name,
        row=work.row,
        seed=work.seed,
        metric=task.metric,
        score=scores[task.metric],
        standard_error=task.standard_error(predictions),
        scores=scores,
        held_out=held_out,
        rate=rate if rate is not None else None if work.row == "teacher" else default_recipe().learning_rate,
        tried=tried.scores if tried else {},
        shape=shape_of(model.config),
        parameters=sum(parameter.numel() for parameter in model.parameters()),
        seconds=seconds,
        rate_seconds=tried.seconds if tried else 0.0,
        model=folder.relative_to(work.out).as_posix(),
        date=provenance()["date"],
    )


def shape_of(config: Any) -> str:
    """Sizes of a model, as far as they decide how long it runs."""
    narrow = getattr(config, "intra_bottleneck_size", None)
    within = f"-b{narrow}x{config.num_feedforward_networks}" if narrow else ""
    sizes = f"{config.num_hidden_layers}x{config.hidden_size}-h{config.num_attention_heads}"
    return f"{sizes}-f{config.intermediate_size}{within}"
