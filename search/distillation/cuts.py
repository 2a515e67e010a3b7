"""Students as they are cut out of the teacher, before they learn: seconds each, and they tell much of what comes later.

Everything that all cuts share (the teacher, its basis, its answers) is made once for many of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from data.architecture import Architecture
from data.progress import Progress, ProgressEvent, no_progress
from data.tasks import Task
from search.learning.divergence import divergence
from search.learning.encoding import encode
from search.learning.training import seeded
from search.learning.units import Units
from search.quantisation.products import in_precision
from search.records import Divergence
from search.students.basis import kept_basis
from search.teachers.answers import kept_answers
from search.teachers.teacher import Teacher

# A cut is so far from its teacher that fewer examples tell as much of it.
_EXAMPLES = 256


def cut_divergences(
    teacher: Teacher,
    task: Task,
    architectures: Sequence[Architecture],
    *,
    seed: int = 0,
    progress: Progress = no_progress,
) -> Iterator[Divergence]:
    """How far each student, as it is cut and in its precision, is from its teacher on the first of ``task.dev``, in the
    order given.

    The cuts are those that :func:`~search.distillation.distillation.distill` begins with.

    Raises:
        InputError: an architecture is wider than the teacher.
        StoreError: what is kept of the teacher's answers is damaged.
    """
    from transformers import AutoTokenizer

    from fusion.checkpoints.loading import quiet_transformers
    from search.learning.objectives import predict
    from search.learning.task_models import load_model
    from search.students.student import cut_student

    # Words are counted by the example, and tags by the word: whole examples are taken, and their own answers made.
    few = replace(task, dev=task.dev[:_EXAMPLES])
    with quiet_transformers():
        tokenizer = AutoTokenizer.from_pretrained(teacher.directory)
        model = load_model(teacher.directory, task.kind)
        encoded, held = (encode(tokenizer, part, task.kind, teacher.max_tokens) for part in (task.train, few.dev))
        basis, units = kept_basis(teacher.directory, model, task, encoded), Units.of(encoded)
        wanted = kept_answers(teacher.directory, model, few, held)
    for done, architecture in enumerate(architectures):
        progress(ProgressEvent("cuts", done, len(architectures), architecture.name))
        with quiet_transformers(), seeded(seed):
            student = cut_student(model, encoded, basis, architecture, seed)
            with in_precision(student, architecture.precision):
                found = divergence(task.kind, predict(student, held), wanted, units)
        yield found
    progress(ProgressEvent("cuts", len(architectures), len(architectures), ""))
