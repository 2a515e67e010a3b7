"""A task from files of one's own: read, understood, checked, and all that was guessed said."""

from __future__ import annotations

from typing import cast, get_args

from data.errors import InputError
from data.tasks.examples import METRICS, Example, Examples, Kind, Metric
from data.tasks.own import checks
from data.tasks.own.files import read_file
from data.tasks.own.parts import OwnFiles, Understood, name_of_files
from data.tasks.own.table import Table
from data.tasks.own.tagged import is_tagged, read_tagged
from data.tasks.own.texts import read_texts
from data.tasks.splits import divide, pair_up
from data.tasks.task import Task

_MOST_DEV, _ENOUGH = 2000, 200
_UNLABELLED = "plain sentences: students are judged by how they rank pairs of them, beside the teacher's own cosines"


def load_own(files: OwnFiles) -> Task:
    """Reads the files.

    Raises:
        InputError: a file that cannot be read, or options that do not suit it.
        DataFileError: content that cannot be learnt from, with file and row.
    """
    if files.kind is not None and files.kind not in get_args(Kind):
        raise InputError(f"kind {files.kind!r} is none of {', '.join(get_args(Kind))}")
    if files.metric is not None and files.kind is not None:
        metric_of(files.kind, files.metric)
    source = read_file(files.train, files.kind, files.columns)
    found = read_tagged(files, source) if is_tagged(files, source) else read_texts(files, cast(Table, source))
    metric = metric_of(found.kind, files.metric)
    train, dev, remarks = _parts(found)
    remarks += checks.repeated(found.train.path, found.train.rows)
    if found.dev is not None:
        remarks += checks.repeated(found.dev.path, found.dev.rows)
        remarks += checks.seen_in_train(*found.train, *found.dev)
    if files.labels and not found.label_names:
        raise InputError(f"names of labels are given ({', '.join(files.labels)}), but the kind is {found.kind}")
    if found.kind == "classification":
        remarks += checks.classes(files.train, found.label_names, train, dev)
        if metric == "f1" and len(found.label_names) == 2:
            remarks += (f"f1 is that of {found.label_names[1]!r} (labels in task.toml orders the classes)",)
    remarks += checks.few(dev)
    return Task(files.name or name_of_files(files.train), found.kind, found.label_names, metric, train, dev, remarks)


def metric_of(kind: Kind, metric: str | None) -> Metric:
    """The metric asked for, or the kind's own.

    Raises:
        InputError: the kind has no such metric.
    """
    if metric is None:
        return METRICS[kind][0]
    if metric not in METRICS[kind]:
        raise InputError(f"metric {metric!r} is none of those of {kind}: {', '.join(METRICS[kind])}")
    return metric


def _parts(found: Understood) -> tuple[Examples, Examples, tuple[str, ...]]:
    """Train, dev, and what to say: dev is taken from train where there is no file of it."""
    examples = found.train.examples
    if found.dev is not None:
        dev = found.dev.examples
        if found.kind == "similarity" and not _paired(dev):
            return examples, pair_up(cast(tuple[Example, ...], dev)), (*found.remarks, _UNLABELLED)
        return examples, dev, found.remarks
    wanted = min(_MOST_DEV, max(len(examples) / 10, min(_ENOUGH, len(examples) / 4)))
    try:
        train, dev = divide(examples, found.kind, wanted / len(examples))
    except InputError as error:
        raise InputError(f"{found.train.path}: {error}; or give --dev") from error
    how = "by class, " if found.kind == "classification" else ""
    aside = len(examples) - len(train)
    told = f"no dev file: {aside} of {len(examples)} examples are set aside to judge by ({how}fixed seed)"
    unlabelled = (_UNLABELLED,) if found.kind == "similarity" and not _paired(examples) else ()
    return train, dev, (*found.remarks, told, *unlabelled)


def _paired(examples: Examples) -> bool:
    return any(isinstance(example, Example) and example.second is not None for example in examples)
