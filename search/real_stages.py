"""The stages of a search as they are outside tests: each binds one function of another room."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from data.architecture import Architecture, Precision
from data.progress import Progress
from fusion.compare.agreement import max_difference
from search.options import SearchOptions
from search.profiles.latency_sources import latency_sources
from search.profiles.on_device import (
    block_shares,
    compile_model,
    export_compiled,
    time_architectures,
    time_model,
)
from search.records import DevScore, Divergence, Int8Choice
from search.result import PredictorQuality
from search.stages import Stages

if TYPE_CHECKING:
    from data.tasks import Task
    from profiling import Device
    from search.distillation.distilled import DistilledModel
    from search.profiles.latency_sources import SourcePredictor
    from search.teachers.teacher import Teacher
    from surrogate import DevicePredictor


@dataclass(frozen=True)
class Sizes:
    """The sizes of a teacher taken as a BERT, read from its configuration.

    ``factorised``: its embeddings are narrower than its encoder, so that it is not compiled, unlike its students.
    """

    layers: int
    hidden: int
    heads: int
    intermediate: int
    vocab_size: int
    max_positions: int
    token_types: int
    factorised: bool


def real_stages() -> Stages:
    """The stages which the ``search`` command uses."""
    return Stages(
        open_device=open_device,
        predictor=predictor,
        latency_sources=latency_sources,
        quality=quality,
        learned=learned,
        memory_bytes=memory_bytes,
        load_task=load_task,
        teacher_sizes=teacher_sizes,
        check_teacher=check_teacher,
        material_remarks=material_remarks,
        untrained_student=untrained_student,
        prepare_teacher=prepare_teacher,
        cosines=cosines,
        cut_divergences=cut_divergences,
        int8_choice=int8_choice,
        score_on_dev=score_on_dev,
        distil_short=distil_short,
        distil_full=distil_full,
        export_onnx=export_onnx,
        compile_model=compile_model,
        max_difference=max_difference,
        time_architectures=time_architectures,
        time_model=time_model,
        block_shares=block_shares,
        export_compiled=export_compiled,
    )


def open_device(options: SearchOptions, simulated: bool) -> Device:
    from data.device_spec import load_device
    from profiling import open_device

    return open_device(load_device(options.device), simulated=simulated, unit=options.unit, seed=options.seed)


def predictor(device: Device, options: SearchOptions, threads: int, progress: Progress) -> DevicePredictor:
    from data.store import MeasurementStore
    from search.profiles.profile_pipeline import profile_and_train

    # The profile's seed is its own default, so that searches with different seeds share one profile.
    with MeasurementStore.open() as store:
        return profile_and_train(
            device,
            store,
            threads=threads,
            seq_len=options.seq_len,
            precisions=options.precisions,
            progress=progress,
        )


def quality(predictor: SourcePredictor) -> PredictorQuality:
    errors = predictor.errors
    return PredictorQuality(errors.n, errors.mape, errors.within_10, errors.spearman, predictor.held_out)


def learned(
    predictor: SourcePredictor, device: Device, architectures: Sequence[Architecture], threads: int, since: str
) -> SourcePredictor:
    """The predictor after the timings of these architectures."""
    from data.store import MeasurementStore
    from profiling.session import is_since

    wanted = {architecture.to_json() for architecture in architectures}
    with MeasurementStore.open() as store:
        rows = store.measurements(
            fingerprint=device.describe().fingerprint,
            unit=device.unit,
            subject="model",
            threads=threads,
            compiler=predictor.origin.compiler,
        )
    return predictor.learned([row for row in rows if row.signature in wanted and is_since(row, since)])


def memory_bytes(device: Device, architectures: Sequence[Architecture], threads: int) -> tuple[int, ...]:
    from fusion.emit.memory import memory_bytes
    from fusion.emit.named import emitter_named

    return memory_bytes(architectures, emitter_named(device.machine.code), threads)


def load_task(options: SearchOptions) -> Task:
    from data.tasks import OwnFiles, Wanted, load_files, load_task

    if options.train is None:
        folder = Path(options.data_dir) if options.data_dir else None
        return load_task(options.task, folder, options.seed, kind=options.kind, metric=options.metric)
    dev = Path(options.dev) if options.dev else None
    columns = Wanted(options.text, options.text_pair, options.label)
    return load_files(OwnFiles(Path(options.train), dev, columns, options.kind, options.metric, options.task))


def teacher_sizes(teacher: str | None) -> Sizes:
    """Sizes from ``config.json``; raises ``InputError`` when there is no such teacher, or one that is not compiled."""
    from search.learning.factorised_embeddings import is_factorised
    from search.teachers.families import bert_config
    from search.teachers.source import resolve_teacher

    config = bert_config(resolve_teacher(teacher))
    return Sizes(
        layers=config.num_hidden_layers,
        hidden=config.hidden_size,
        heads=config.num_attention_heads,
        intermediate=config.intermediate_size,
        vocab_size=config.vocab_size,
        max_positions=config.max_position_embeddings,
        token_types=config.type_vocab_size,
        factorised=is_factorised(config),
    )


def check_teacher(task: Task, options: SearchOptions) -> tuple[str, ...]:
    from search.teachers.source import check_teacher

    return check_teacher(task, options.teacher, options.seq_len)


def untrained_student(options: SearchOptions, architecture: Architecture, folder: Path) -> Path:
    from search.students.student import save_untrained
    from search.teachers.source import resolve_teacher

    return save_untrained(resolve_teacher(options.teacher), architecture, folder)


def material_remarks(task: Task, options: SearchOptions) -> tuple[str, ...]:
    """How many texts are cut, how many words no token stands for, and how much general text there is."""
    from search.learning.encoding import encode
    from search.teachers.source import resolve_teacher
    from search.teachers.tokenizers import load_tokenizer

    tokenizer = load_tokenizer(resolve_teacher(options.teacher), task.kind == "tokens")
    parts = [encode(tokenizer, part, task.kind, options.seq_len) for part in (task.train, task.dev)]
    cut, texts = sum(part.cut for part in parts), sum(len(part.lengths) for part in parts)
    told = (
        f"{cut} of {texts} training texts ({cut / texts:.1%}) are longer than --seq-len {options.seq_len}, and are cut"
    )
    dropped, words = sum(part.dropped for part in parts), sum(len(part.words) for part in parts)
    lost = (
        f"the teacher's tokenizer keeps nothing of {dropped} of {words} words: they get the tag O, whatever theirs is"
    )
    lines = len(read_lines(options))
    corpus = f"general text: {lines:,} lines of {options.corpus} are mixed in, 20,000 at most"
    return tuple(text for text, holds in ((told, cut), (lost, dropped), (corpus, options.corpus)) if holds)


def read_lines(options: SearchOptions) -> tuple[str, ...]:
    """The general text, nothing where none is given."""
    from search.distillation.corpus import read_corpus

    return read_corpus(Path(options.corpus)) if options.corpus else ()


def prepare_teacher(task: Task, options: SearchOptions, progress: Progress) -> Teacher:
    from search.distillation.levels import EFFORTS
    from search.teachers.teacher import prepare_teacher

    how = EFFORTS[options.effort].fine_tuning
    seq_len, seed = options.seq_len, options.seed
    return prepare_teacher(task, options.teacher, seq_len, seed=seed, progress=progress, fine_tuning=how)


def distil_short(
    teacher: Teacher,
    task: Task,
    architecture: Architecture,
    options: SearchOptions,
    folder: Path,
    progress: Progress,
) -> DistilledModel:
    from search.distillation.levels import EFFORTS

    tokens = EFFORTS[options.effort].trial_tokens
    return distil_for(teacher, task, architecture, options, tokens, None, folder, progress)


def distil_full(
    teacher: Teacher,
    task: Task,
    architecture: Architecture,
    options: SearchOptions,
    trial: Path,
    folder: Path,
    progress: Progress,
) -> DistilledModel:
    from search.distillation.levels import EFFORTS

    tokens = EFFORTS[options.effort].full_tokens
    return distil_for(teacher, task, architecture, options, tokens, trial, folder, progress)


def distil_for(
    teacher: Teacher,
    task: Task,
    architecture: Architecture,
    options: SearchOptions,
    tokens: int,
    begin: Path | None,
    folder: Path,
    progress: Progress,
) -> DistilledModel:
    """A student that learns from so many tokens, from the one of a trial on where ``begin`` names it."""
    from search.distillation.distillation import distill

    return distill(
        teacher,
        task,
        architecture,
        tokens=tokens,
        seed=options.seed,
        begin=begin,
        corpus=read_lines(options),
        out_dir=folder,
        progress=progress,
    )


def cosines(checkpoint: Path, task: Task, seq_len: int) -> list[float]:
    from search.learning.evaluation import dev_predictions

    predictions, _ = dev_predictions(checkpoint, task, seq_len)
    return [float(value) for value in predictions[:, 0]]


def cut_divergences(
    teacher: Teacher, task: Task, architectures: Sequence[Architecture], options: SearchOptions, progress: Progress
) -> tuple[Divergence, ...]:
    from search.distillation.cuts import cut_divergences

    return tuple(cut_divergences(teacher, task, architectures, seed=options.seed, progress=progress))


def int8_choice(checkpoint: Path, task: Task, seq_len: int, devices: Sequence[Device]) -> Int8Choice:
    from search.learning.int8_choice import int8_choice

    return int8_choice(checkpoint, task, seq_len, _pair_limit(devices))


def _pair_limit(devices: Sequence[Device]) -> int | None:
    """What pairs of int8 weights may sum up to on all of the devices."""
    from fusion.target import target_named

    limits = (target_named(device.machine.code).int8_pair_limit for device in devices if device.unit == "cpu")
    return min((limit for limit in limits if limit is not None), default=None)


def score_on_dev(
    checkpoint: Path,
    task: Task,
    seq_len: int,
    precision: Precision,
    fp32: Collection[str] = (),
    devices: Sequence[Device] = (),
) -> DevScore:
    from search.learning.evaluation import dev_predictions

    predictions, cut = dev_predictions(checkpoint, task, seq_len, precision, fp32, _pair_limit(devices))
    scores = task.score(predictions)
    return DevScore(scores[task.metric], scores, task.standard_error(predictions), cut)


def export_onnx(checkpoint: Path, onnx: Path, seq_len: int) -> Path:
    from fusion.checkpoints.onnx_export import checkpoint_to_onnx

    return checkpoint_to_onnx(checkpoint, onnx, seq_len)
