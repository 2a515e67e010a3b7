"""What a search works with: its device, its task, its space, its teacher; what would fail late is tried early."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from data.errors import DeviceError, InputError
from data.progress import ProgressEvent
from search.learning.judgement import nothing_learnt
from search.optimization.feasibility import small_enough
from search.optimization.space import SearchSpace
from search.passes.bench import Bench, timed
from search.passes.confirmation import compile_checked
from search.records import DeviceSummary, TaskSummary, TeacherSummary
from search.stages import Stages
from search.study import Study

if TYPE_CHECKING:
    from data.tasks import Task
    from profiling import Device
    from search.teachers.teacher import Teacher


@contextmanager
def find_device(study: Study, stages: Stages, note: Callable[[str], None]) -> Iterator[Device]:
    """The device, or the analytic model of it where it is not attached and need not be."""
    try:
        device = stages.open_device(study.options, False)
    except DeviceError as error:
        if study.options.require_device:
            raise
        device = stages.open_device(study.options, True)
        note(f"{error}: working from the bundled analytic model, so every latency is simulated")
    try:
        yield device
    finally:
        device.close()


def load_task(bench: Bench) -> Task:
    """The labelled texts, with what is to be said of how they were read.

    Raises:
        InputError: they are other texts than those that the study began with.
    """
    options = bench.study.options
    bench.progress(ProgressEvent("task", 0, 1, options.task))
    with timed(bench.study, "task"):
        task = bench.stages.load_task(options)
    begun = bench.study.load("task", TaskSummary)
    if begun is not None and begun.fingerprint not in ("", task.fingerprint):
        raise InputError(
            f"the texts or labels of {task.name} have changed since the search in {bench.study.out} began: "
            "bring back the files, or choose another --out"
        )
    summary = TaskSummary(task.name, task.metric, task.majority, len(task.train), len(task.dev), task.fingerprint)
    bench.study.save("task", summary)
    size = f"{summary.train_examples} training and {summary.dev_examples} dev examples"
    bench.progress(ProgressEvent("task", 1, 1, f"{task.name}: {size}"))
    for remark in task.remarks:
        bench.note(remark)
    return task


def search_space(bench: Bench, task: Task) -> SearchSpace:
    """The architectures which the teacher can have for students, of which one at least must be small enough."""
    options = bench.study.options
    sizes = bench.stages.teacher_sizes(options.teacher)
    space = SearchSpace.from_teacher(sizes, seq_len=options.seq_len, labels=task.labels)
    small_enough(space.architectures(), options.max_bytes)
    return space


def check_students(bench: Bench, task: Task, space: SearchSpace) -> None:
    """Finds out before any measuring and training whether the teacher can be trained and its students be compiled.

    Raises:
        InputError: the teacher's files are damaged or do not suit the task.
        PocketBertError: an untrained student of the smallest size does not compile, or compiles wrongly.
    """
    if bench.study.load("teacher", TeacherSummary) is not None:
        return
    bench.progress(ProgressEvent("check", 0, 1, "teacher and compiler"))
    for remark in bench.stages.check_teacher(task, bench.study.options):
        bench.note(f"the teacher: {remark}")
    smallest = space.architectures()[0]
    with timed(bench.study, "compile"), TemporaryDirectory() as folder:
        checkpoint = bench.stages.untrained_student(bench.study.options, smallest, Path(folder) / "student")
        compile_checked(bench, checkpoint, smallest)
    bench.progress(ProgressEvent("check", 1, 1, "a student compiles"))


def prepare_teacher(bench: Bench, task: Task, space: SearchSpace) -> Teacher:
    """The teacher, fine-tuned on the task; made once for all searches.

    Raises:
        InputError: it has learnt nothing, so that its students would learn nothing either.
    """
    options = bench.study.options
    with timed(bench.study, "teacher"):
        teacher = bench.stages.prepare_teacher(task, options, bench.progress)
    name = options.teacher or "default"
    problem = nothing_learnt(task, teacher.scores)
    if problem:
        raise InputError(
            f"the {name} teacher has learnt nothing of {task.name}: {problem}; students would learn nothing from it. "
            "Try another --teacher or --seed, more training examples, or look whether the labels belong to their texts"
        )
    bench.study.save("teacher", TeacherSummary(name, space.template, teacher.score, dict(teacher.scores)))
    return teacher


def summarise_device(bench: Bench) -> DeviceSummary:
    """What the report says of the device."""
    description = bench.device.describe()
    return DeviceSummary(
        name=bench.device.spec.name,
        title=bench.device.spec.title,
        unit=bench.device.unit,
        fingerprint=description.fingerprint,
        processor=description.processor,
        target=bench.device.target.name,
        threads=bench.threads,
        provenance=bench.device.provenance,
    )
