"""What the pipeline calls of the other rooms, as one object, so that tests can run the whole pipeline on doubles."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from data.architecture import Architecture, Precision
from data.progress import Progress
from search.latencies import Provenance, Timing
from search.optimization.space import EncoderSizes
from search.options import LatencySource, SearchOptions
from search.records import BlockShare, DevScore, Divergence, Int8Choice
from search.result import PredictorQuality

if TYPE_CHECKING:
    import numpy as np

    from data.tasks import Task
    from profiling import Device
    from search.distillation.distilled import DistilledModel
    from search.teachers.teacher import Teacher


class Predictor(Protocol):
    """What the pipeline needs of a latency predictor; all times in ms, all results of shape (n,), of the median that a
    later measurement gives. ``later`` is the standard deviation of the logarithm that such a median has about an
    earlier one of the same model."""

    @property
    def provenance(self) -> Provenance: ...
    @property
    def later(self) -> float: ...
    def predict(self, architectures: Sequence[Architecture]) -> np.ndarray: ...
    def interval(
        self, architectures: Sequence[Architecture], coverage: float = 0.9
    ) -> tuple[np.ndarray, np.ndarray]: ...
    def probability_within(self, architectures: Sequence[Architecture], budget_ms: float) -> np.ndarray: ...


@dataclass(frozen=True)
class Stages:
    """The long and the outward-facing steps of a search.

    Each distillation writes a Hugging Face checkpoint with its tokenizer into the given folder, and does nothing when
    it finds itself finished there.
    """

    open_device: Callable[[SearchOptions, bool], Device]
    """(options, simulated) -> the device of the options; ``DeviceError`` when it is not attached."""
    predictor: Callable[[Device, SearchOptions, int, Progress], Any]
    """(device, options, threads, progress) -> :class:`Predictor`; profiles the device where that was not done yet."""
    latency_sources: Callable[[Any, Device, SearchOptions, Architecture, int, Progress], Mapping[LatencySource, Any]]
    """(the device's predictor, device, options, teacher, threads, progress) -> a :class:`Predictor` for each source of
    latency that is at hand, the options' among them."""
    quality: Callable[[Any], PredictorQuality]
    """The predictor's error on held-out models."""
    learned: Callable[[Any, Device, Sequence[Architecture], int, str], Any]
    """(predictor, device, architectures, threads, since) -> :class:`Predictor` that knows the timings of these
    architectures after the ISO time ``since``, which :attr:`time_architectures` has left in the store."""
    memory_bytes: Callable[[Device, Sequence[Architecture], int], Sequence[int]]
    """(device, architectures, threads) -> bytes that their compiled models hold while they run."""
    load_task: Callable[[SearchOptions], Task]
    """The task that the options name, or its files hold."""
    teacher_sizes: Callable[[str | None], EncoderSizes]
    """The teacher's sizes, without training it; ``InputError`` when there is no such teacher."""
    check_teacher: Callable[[Task, SearchOptions], tuple[str, ...]]
    """(task, options): ``InputError`` when the teacher's files cannot be trained on the task."""
    material_remarks: Callable[[Task, SearchOptions], tuple[str, ...]]
    """(task, options) -> what is worth saying of the texts that are learnt from."""
    untrained_student: Callable[[SearchOptions, Architecture, Path], Path]
    """(options, architecture, folder) -> checkpoint of a student of the teacher's, with random weights."""
    prepare_teacher: Callable[[Task, SearchOptions, Progress], Teacher]
    """(task, options, progress) -> teacher, fine-tuned where the task has labels."""
    cosines: Callable[[Path, Task, int], list[float]]
    """(checkpoint of a sentence encoder, task, sequence length) -> its cosine of each of dev's pairs."""
    cut_divergences: Callable[[Teacher, Task, Sequence[Architecture], SearchOptions, Progress], tuple[Divergence, ...]]
    """(teacher, task, architectures, options, progress) -> how far each is from the teacher as it is cut out of it."""
    int8_choice: Callable[[Path, Task, int, Sequence[Device]], Int8Choice]
    """(checkpoint, task, sequence length, devices) -> which of its products stay fp32 where it is int8 on these
    devices, by training examples."""
    score_on_dev: Callable[[Path, Task, int, Precision, Collection[str], Sequence[Device]], DevScore]
    """(checkpoint, task, sequence length, precision, modules that are fp32 all the same, devices) -> its scores on the
    task's dev examples, computed so; where the devices' int8 weights differ, those that lose most."""
    distil_short: Callable[[Teacher, Task, Architecture, SearchOptions, Path, Progress], DistilledModel]
    """(teacher, task, architecture, options, folder, progress): enough to tell candidates apart."""
    distil_full: Callable[[Teacher, Task, Architecture, SearchOptions, Path, Path, Progress], DistilledModel]
    """(teacher, task, architecture, options, the briefly distilled student's folder, folder, progress): goes on with
    that student as long as it pays."""
    export_onnx: Callable[[Path, Path, int], Path]
    """(checkpoint, ONNX file, sequence length)."""
    compile_model: Callable[[Device, Path, Architecture, int, Collection[str]], Any]
    """(device, ONNX file, architecture, threads, modules that are fp32 all the same) -> compiled model that runs on
    this machine."""
    max_difference: Callable[[Any, Path, Architecture, int], float]
    """(compiled model, ONNX file, architecture, seed) -> largest |logit difference| between it and ONNX Runtime."""
    time_architectures: Callable[[Device, Sequence[Architecture], int, str, Progress], tuple[Timing, ...]]
    """(device, architectures, threads, since, progress) -> a timing of each, with random weights; one taken after the
    ISO time ``since`` and already in the store is not taken again."""
    time_model: Callable[[Device, Any, Architecture, int, str], Timing]
    """(device, compiled model, architecture, threads, since) -> timing; one taken after the ISO time ``since`` and
    already in the store is not taken again."""
    block_shares: Callable[[Device, Any, int], tuple[BlockShare, ...]]
    """(device, compiled model, threads) -> where its latency goes."""
    export_compiled: Callable[[Device, Any, Path, Path, Path], str]
    """(device, compiled model, checkpoint, folder, folder for an app) -> why it takes no texts, or nothing: shared
    library, header, static runner, weights, and the checkpoint's tokenizer for C; of a phone what goes into an app for
    Android, too."""
