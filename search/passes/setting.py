"""What a search works with: its devices, its task, its space, its teacher; what would fail late is tried early."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from data.errors import DeviceError, InputError
from data.progress import ProgressEvent
from search.latencies import DeviceBudget
from search.learning.judgement import nothing_learnt
from search.optimization.feasibility import small_enough
from search.optimization.space import SearchSpace
from search.options import SearchOptions
from search.passes.bench import Bench, Place, size_limits, timed
from search.passes.confirmation import compile_checked
from search.passes.units import choose_unit
from search.result import DeviceSummary, TaskSummary, TeacherSummary, UnitTiming
from search.stages import Stages
from search.study import Study
from search.teachers.source import head_of

if TYPE_CHECKING:
    from data.tasks import Task
    from profiling import Device
    from search.teachers.teacher import Teacher

# With fewer held-out examples, a teacher that has learnt well may be taken for one that has not.
_ENOUGH_TO_TELL = 60
_UNUSED = "hidden has to be a multiple of the heads"


@contextmanager
def find_devices(study: Study, stages: Stages, note: Callable[[str], None]) -> Iterator[tuple[Place, ...]]:
    """Every device that the model has to suit, open until the context ends."""
    with ExitStack() as stack:
        places = []
        for budget in study.options.budgets:
            device, units = _device_for(study, stages, budget, note)
            stack.callback(device.close)
            places.append(Place(device, study.options.threads or device.spec.default_threads, budget, units))
        yield tuple(places)


def _device_for(
    study: Study, stages: Stages, budget: DeviceBudget, note: Callable[[str], None]
) -> tuple[Device, tuple[UnitTiming, ...]]:
    """A device on the unit that is asked for, or on the faster of several, with what that was chosen by."""

    def open_unit(unit: str) -> Device:
        return _open_device(replace(study.options, device=budget.device, unit=unit), stages, note)

    if len(study.options.units) == 1:
        return open_unit(study.options.unit), ()
    device, choice = choose_unit(study, stages, budget, open_unit, note)
    return device, choice.timed


def _open_device(options: SearchOptions, stages: Stages, note: Callable[[str], None]) -> Device:
    """The device of the options, or the analytic model of it where it is not attached and need not be."""
    try:
        return stages.open_device(options, False)
    except DeviceError as error:
        if options.require_device:
            raise
        from profiling.simulated import simulated_note

        device = stages.open_device(options, True)
        where = f" on {DeviceBudget(options.device, 0.0).name}" if options.also else ""
        told = f"working from the bundled analytic model, so every latency{where} is simulated"
        note(f"{error}: {told} ({simulated_note()})")
        return device


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
    _check_corpus(bench)
    bench.progress(
        ProgressEvent("task", 1, 1, f"{task.name}: {len(task.train)} training and {len(task.dev)} dev examples")
    )
    for remark in task.remarks:
        bench.note(remark)
    return task


def _check_corpus(bench: Bench) -> None:
    """The general text is what it was when the study began.

    Raises:
        InputError: it is not, or cannot be read.
    """
    path = bench.study.options.corpus
    if path is None:
        return
    try:
        with open(path, "rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise InputError(f"cannot read --corpus {path}: {error.strerror or error}") from error
    if bench.study.load("corpus", str) not in (None, found):
        raise InputError(
            f"--corpus {path} has changed since the search in {bench.study.out} began: "
            "bring back the file, or choose another --out"
        )
    bench.study.save("corpus", found)


def hold_out(bench: Bench, task: Task) -> Task:
    """The task whose dev is a tenth of train, by which all choices are made; notes in the study what is learnt.

    Raises:
        InputError: there are too few training examples.
    """
    choosing = task.held_out()
    held_out, dev = (
        part.metric if not part.unlabelled else f"agreement with the teacher ({part.metric})"
        for part in (choosing, task)
    )
    summary = TaskSummary(
        name=task.name,
        kind=task.kind,
        metric=task.metric,
        measures=(held_out, dev),
        majority=0.0 if task.unlabelled else task.majority,
        held_out_majority=0.0 if choosing.unlabelled else choosing.majority,
        train_examples=len(choosing.train),
        held_out_examples=len(choosing.dev),
        dev_examples=len(task.dev),
        fingerprint=task.fingerprint,
    )
    bench.study.save("task", summary)
    bench.note(
        f"choices are made by {summary.held_out_examples} examples held out of train; the {summary.dev_examples} of "
        "dev are read once, at the end"
    )
    return choosing


def label_by_teacher(bench: Bench, task: Task, teacher: Teacher, name: str) -> Task:
    """The task with the teacher's own cosines as scores of dev's pairs where these have none, kept as ``name``."""
    if not task.unlabelled:
        return task
    cosines = bench.study.load(name, list[float])
    if cosines is None:
        cosines = bench.stages.cosines(teacher.directory, task, bench.study.options.seq_len)
        bench.study.save(name, cosines)
    return task.labelled_by(cosines)


def search_space(bench: Bench, task: Task) -> SearchSpace:
    """The architectures which the teacher can have for students, of which one at least must be small enough."""
    options = bench.study.options
    sizes = bench.stages.teacher_sizes(options.teacher)
    space = SearchSpace.from_teacher(
        sizes,
        seq_len=options.seq_len,
        labels=task.labels,
        head=head_of(task),
        named=options.space,
        precisions=options.precisions,
    )
    small_enough(space.architectures(), size_limits(bench))
    if options.space:
        for name, values in space.unused.items():
            bench.note(f"{options.space.path}: no candidate has {name} {', '.join(map(str, values))}: {_UNUSED}")
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
    for remark in bench.stages.material_remarks(task, bench.study.options):
        bench.note(remark)
    smallest = space.smallest
    with timed(bench.study, "compile"), TemporaryDirectory() as folder:
        checkpoint = bench.stages.untrained_student(bench.study.options, smallest, Path(folder) / "student")
        compile_checked(bench, checkpoint, smallest)
    bench.progress(ProgressEvent("check", 1, 1, "a student compiles"))


def prepare_teacher(bench: Bench, task: Task, space: SearchSpace) -> Teacher:
    """The teacher, fine-tuned on the task where that has labels; made once for all searches.

    Raises:
        InputError: it has learnt nothing, so that its students would learn nothing either. Where so few examples are
            held out that they cannot tell, that is only said.
    """
    options = bench.study.options
    with timed(bench.study, "teacher"):
        teacher = bench.stages.prepare_teacher(task, options, bench.progress)
    name = options.teacher or "default"
    problem = "" if task.unlabelled else nothing_learnt(task, teacher.scores, teacher.standard_error, "held-out")
    if problem and len(task.dev) >= _ENOUGH_TO_TELL:
        raise InputError(
            f"the {name} teacher has learnt nothing of {task.name}: {problem}; students would learn nothing from it. "
            "Try another --teacher or --seed, more training examples, or look whether the labels belong to their texts"
        )
    if problem:
        bench.note(f"so few examples cannot tell whether the teacher has learnt anything of {task.name}: {problem}")
    # Whatever its students are computed in, it taught and was scored in fp32.
    sizes = replace(space.template, precision="fp32")
    summary = TeacherSummary(name, sizes, teacher.score, dict(teacher.scores), teacher.standard_error)
    bench.study.save("teacher", summary)
    return teacher


def summarise_device(place: Place) -> DeviceSummary:
    """What the report says of a device."""
    device, description = place.device, place.device.describe()
    return DeviceSummary(
        name=device.spec.name,
        title=device.spec.title,
        unit=device.unit,
        fingerprint=description.fingerprint,
        processor=description.processor,
        target=device.machine.code,
        threads=place.threads,
        provenance=device.provenance,
        units=place.units,
    )
