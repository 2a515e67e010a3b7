"""Models of the int8 benchmarks: teachers and students of several tasks, and what each gives in fp32 and in int8."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, replace
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np

from data.tasks import DOCPAIRS, Task, load_task
from fusion.target import target_named
from search.distillation.distillation import distill
from search.distillation.recipe import default_recipe
from search.learning.divergence import divergence
from search.learning.encoding import Encoded, batches_by_length, encode, pad
from search.learning.objectives import predict
from search.learning.task_models import load_model
from search.learning.units import Units
from search.quantisation.products import in_int8, in_precision, products_of
from search.study import atomic_write
from search.teachers.source import head_of
from search.teachers.teacher import Teacher, prepare_teacher
from tests.benchmarks.distillation_runs import architecture_of
from tests.benchmarks.provenance import provenance

SEQ_LEN = 128
# The sentence encoder that teachers are made of, as it comes, on the pairs of STS-B.
SENTENCES = "sentences"
_RESAMPLES = 400


@dataclass(frozen=True)
class Case:
    """A model of a task: the teacher where ``student`` is empty, else a student of these sizes that learnt from so many
    ``tokens``, the ``quantised`` share of its last steps as an int8 model."""

    task: str
    student: str = ""
    tokens: int = 0
    quantised: float = 0.0
    seed: int = 0

    @property
    def name(self) -> str:
        """What its files are called."""
        parts = [self.student, f"{self.tokens}", f"aware-{self.quantised:g}" if self.quantised else "plain"]
        return "-".join([self.task, *(parts if self.student else ["teacher"]), f"{self.seed}"])


@dataclass(frozen=True)
class Setting:
    """Where GLUE's tasks lie, and where models and rows are kept."""

    data: Path
    out: Path


@dataclass(frozen=True)
class Model:
    """A model as it was saved, with the task whose dev is the held-out tenth of train (``choosing``), and the whole."""

    folder: Path
    choosing: Task
    whole: Task


@cache
def task_of(name: str, data: Path) -> Task:
    """A task by name."""
    if name == SENTENCES:
        return replace(load_task("stsb", data), name=name, kind="similarity", metric="spearman")
    return load_task(name, None if name == DOCPAIRS else data)


def teacher_of(case: Case, setting: Setting) -> Teacher:
    """The teacher of a task, fine-tuned as a search does it, once; of sentences as it comes, since there are no labels
    to learn from."""
    choosing = task_of(case.task, setting.data).held_out()
    if case.task == SENTENCES:
        choosing = replace(choosing, dev=tuple(replace(each, label=float("nan")) for each in choosing.dev))  # type: ignore[type-var]
    return prepare_teacher(choosing, None, SEQ_LEN, setting.out / "teachers", case.seed)


def model_of(case: Case, setting: Setting) -> Model:
    """The model of a case, made where it was not made before."""
    whole, teacher = task_of(case.task, setting.data), teacher_of(case, setting)
    choosing = whole.held_out()
    if not case.student:
        return Model(teacher.directory, choosing, whole)
    sizes = architecture_of(case.student, teacher, labels=whole.labels, head=head_of(whole), seq_len=SEQ_LEN)
    done = distill(
        teacher,
        choosing,
        replace(sizes, precision="int8" if case.quantised else "fp32"),
        tokens=case.tokens,
        recipe=replace(default_recipe(), quantised=case.quantised),
        seed=case.seed,
        out_dir=setting.out / "students" / case.name,
    )
    return Model(done.directory, choosing, whole)


def kept_row(
    case: Case, setting: Setting, room: str, make: Callable[[Case, Setting], dict[str, Any]]
) -> dict[str, Any]:
    """The row of a case, from its file where it was made before."""
    path = setting.out / room / f"{case.name}.json"
    if not path.exists():
        row = {"case": asdict(case)} | make(case, setting) | {"provenance": provenance()}
        atomic_write(path, json.dumps(row, indent=1))
    return json.loads(path.read_text(encoding="utf-8"))


def compared(case: Case, setting: Setting) -> dict[str, Any]:
    """Scores of a model in fp32, in int8, in int8 as AVX2 has it, and with its products alone in int8, and how far its
    outputs are apart."""
    from transformers import AutoTokenizer

    model = model_of(case, setting)
    kind = model.whole.kind
    tokenizer, loaded = AutoTokenizer.from_pretrained(model.folder), load_model(model.folder, kind)
    units = Units.of(encode(tokenizer, model.choosing.train, kind, SEQ_LEN))
    row: dict[str, Any] = {"metric": model.whole.metric}
    for part, task in (("held_out", model.choosing), ("dev", model.whole)):
        encoded = encode(tokenizer, task.dev, kind, SEQ_LEN)
        plain, embedded = predict(loaded, encoded), embeddings(loaded, encoded)
        found: dict[str, Any] = {"fp32": _score(task, plain), "error": task.standard_error(plain), "n": len(task.dev)}
        for name, context in _int8(loaded).items():
            with context():
                other, moved = predict(loaded, encoded), embeddings(loaded, encoded)
            cosines = _cosines(embedded, moved)
            found[name] = {
                "score": _score(task, other),
                "loss": _score(task, plain) - _score(task, other),
                "loss_error": paired_error(task, plain, other),
                "divergence": divergence(kind, other, plain, units).mean,
                "changed": _changed(plain, other),
                "embedding_cosine": [float(cosines.mean()), float(cosines.min())],
                "output_correlation": float(np.corrcoef(plain.ravel(), other.ravel())[0, 1]),
            }
        row[part] = found
    return row


def _int8(model: Any) -> dict[str, Callable[[], AbstractContextManager[None]]]:
    modules = [name for product in products_of(model) for name in product.modules]
    pairs = target_named("x86_64-avx2").int8_pair_limit
    return {
        "int8": partial(in_precision, model, "int8"),
        "pairs": partial(in_precision, model, "int8", pair_limit=pairs),
        "products": partial(in_int8, model, modules),
    }


def _score(task: Task, predictions: np.ndarray) -> float:
    return task.score(predictions)[task.metric]


def _changed(one: np.ndarray, other: np.ndarray) -> float | None:
    """The share of examples whose class is another; None where there are no classes."""
    return float((one.argmax(axis=1) != other.argmax(axis=1)).mean()) if one.shape[1] > 1 else None


def paired_error(task: Task, one: np.ndarray, other: np.ndarray) -> float:
    """Standard error of the difference of two models' scores, from resampling the examples, the same for both."""
    random = np.random.default_rng(0)
    found = []
    for _ in range(_RESAMPLES):
        rows = random.integers(0, len(task.dev), len(task.dev))
        sample = replace(task, dev=tuple(task.dev[row] for row in rows))
        found.append(_score(sample, one[rows]) - _score(sample, other[rows]))
    return float(np.std(found))


def embeddings(model: Any, encoded: Encoded) -> np.ndarray:
    """The mean of each text's last hidden states, (texts, hidden)."""
    import torch

    device = next(model.parameters()).device
    found = np.zeros((len(encoded.lengths), model.config.hidden_size), np.float32)
    with torch.inference_mode():
        for texts in batches_by_length(encoded):
            batch = {name: values.to(device) for name, values in pad(encoded, texts).items()}
            states = model.bert(**batch).last_hidden_state
            mask = batch["attention_mask"].unsqueeze(2).to(states.dtype)
            found[texts] = ((states * mask).sum(dim=1) / mask.sum(dim=1)).cpu().numpy()
    return found


def _cosines(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    lengths = np.linalg.norm(one, axis=1) * np.linalg.norm(other, axis=1)
    return np.asarray((one * other).sum(axis=1) / lengths)
