"""The stages of the long commands with the seconds they are expected to take, and what they took before.

What a stage is expected to take is what it took in the last job of its kind under this state directory, or else what it
takes on two cores of an ordinary machine without bfloat16 (docs/decisions/time-left.md).
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from data.errors import StoreError
from data.home import home
from data.kept import replacing
from search.commands.time_left import StagePlan

if TYPE_CHECKING:
    from data.tasks import Kind
    from search.options import SearchOptions
    from search.teachers.fine_tuning import FineTuning

_FILE = "durations.json"
# Seconds on two AVX2 cores that others share.
_TASK_S, _GATHERED_S, _CHECK_S = 25.0, 2.0, 25.0
_COMPILE_S, _MEASURE_S, _PREDICTOR_S, _REUSED_S, _FIRST_LOOK_S = 60.0, 180.0, 15.0, 2.0, 15.0
# Loading models and cutting students; scoring on dev; tokens a second of fine-tuning and of distillation.
_CUT_S, _DEV_S, _TEACHER_TOKENS_S, _STUDENT_TOKENS_S = 12.0, 15.0, 1500.0, 2000.0
# Those of docpairs, and what a token of English takes in a file.
_TRAINING_TOKENS, _CHARACTERS_EACH = 240_000.0, 4
_TOKENS_A_PAIR = 40.0
_CUTS_S = 5.0  # a student that is cut and judged
_STUDY_DEVICE_S, _TRANSFER_S = 90.0, 60.0


@dataclass(frozen=True)
class Job:
    """What a command does from its beginning to its end: ``title`` is shown; ``kind`` tells jobs that last alike."""

    title: str
    kind: str
    stages: tuple[StagePlan, ...]


def search_job(options: SearchOptions, trials_left: Sequence[int]) -> Job:
    """The job of a search: what it finds done already is expected to take no time.

    ``trials_left`` is how many trials there are still to be, for each of several budgets that is not finished.
    """
    from data.tasks import DOCPAIRS
    from search.distillation.levels import EFFORTS

    gathered = options.task != DOCPAIRS or any((home() / "tasks").glob(f"{DOCPAIRS}-*.json"))
    task_s = _GATHERED_S if gathered else _TASK_S
    threads, effort = options.threads or "default", EFFORTS[options.effort]
    # What a stage took is remembered by its name: a simulated phone's seconds are not the host's minutes.
    profile = tuple(
        replace(stage, name=f"{stage.name} {budget.name}")
        for budget in options.budgets
        for stage in _profiles(options, budget.device)
    )
    last = min(options.finalists, options.trials)
    trial_events = frozenset(["trials", "distillation", "admission"])
    learnt = teacher_tokens(effort.fine_tuning, training_tokens(options), options.kind or "classification")
    teacher_s = _CUT_S + learnt / _TEACHER_TOKENS_S
    cuts_s = _CUTS_S * effort.cuts
    trial_s, finalist_s = (_CUT_S + tokens / _STUDENT_TOKENS_S for tokens in (effort.trial_tokens, effort.full_tokens))
    stages = (
        StagePlan("task", task_s, frozenset(["task"])),
        StagePlan("check", _CHECK_S, frozenset(["check"])),
        *profile,
        StagePlan("first look", _FIRST_LOOK_S, frozenset(["admission"])),
        StagePlan("teacher", teacher_s, frozenset(["teacher"]), counts="teacher"),
        *(
            stage
            for left in trials_left
            for stage in (
                StagePlan("cuts", cuts_s, frozenset(["cuts"])),
                StagePlan("trials", trial_s, trial_events, "trials", "distillation", left),
                StagePlan("final", finalist_s, frozenset(["final", "distillation"]), "final", "distillation", last),
                StagePlan("dev", _DEV_S, frozenset(["dev"])),
            )
        ),
    )
    how = f"{options.teacher or 'default'} {options.effort}"
    devices = " ".join(each.device for each in options.budgets)
    return expected("search", f"search {devices} {options.task} {how} {threads} {options.seq_len}", stages)


def teacher_tokens(how: FineTuning, tokens: float, kind: Kind = "classification") -> float:
    """About how many tokens a fine-tuning on training texts of so many runs through the teacher.

    What comes before it is expected for all: nothing tells pairs from single texts before the files are read.
    """
    return min(tokens, how.compared_pairs * _TOKENS_A_PAIR) + tokens * how.passes_over(tokens, kind) * how.runs(kind)


def training_tokens(options: SearchOptions) -> float:
    """About how many tokens the task's training examples have: from the size of their file, where it is of text.

    No text is longer than the sequence length, nor has a file more texts than lines.
    """
    path = _training_file(options)
    if path is None or path.suffix == ".parquet" or not os.access(path, os.R_OK) or not path.is_file():
        return _TRAINING_TOKENS
    with path.open("rb") as file:
        lines = sum(1 for _ in file)
    return min(path.stat().st_size / _CHARACTERS_EACH, float(lines * options.seq_len))


def _training_file(options: SearchOptions) -> Path | None:
    from data.tasks import is_task_file, read_task_file
    from data.tasks.glue import LAYOUTS

    if options.train is not None:
        return Path(options.train)
    if is_task_file(options.task):
        return read_task_file(Path(options.task)).train
    if options.data_dir is None or options.task not in LAYOUTS:
        return None
    return Path(options.data_dir) / LAYOUTS[options.task].folder / "train.tsv"


def profile_job(
    device: str, provenance: str, unit: str, threads: int, seq_len: int, reused: bool, limit_s: float | None
) -> Job:
    """The job of a profiling; the analytic model of a phone takes seconds, the phone itself minutes."""
    if reused:
        stages: tuple[StagePlan, ...] = (StagePlan("predictor", _REUSED_S, frozenset(["predictor"])),)
    else:
        stages = profile_stages(limit_s)
    limit = "" if limit_s is None else f" {limit_s:g}s"
    return expected("profile", f"profile {device} {provenance} {unit} {threads} {seq_len}{limit}", stages)


def profile_stages(limit_s: float | None = None) -> tuple[StagePlan, ...]:
    """What profiling a device consists of; measuring ends by the clock."""
    measure_s = _MEASURE_S if limit_s is None else min(limit_s, _MEASURE_S)
    return (
        StagePlan("compile", _COMPILE_S, frozenset(["compile models"])),
        StagePlan("measure", measure_s, frozenset(["measure models"]), counts="measure models", paced=False),
        StagePlan("predictor", _PREDICTOR_S, frozenset(["train predictor"])),
    )


def study_job(devices: int, models: int) -> Job:
    """The job of a portability study that measures its devices."""
    measured = frozenset(["compile models", "measure models"])
    stages = (
        StagePlan("devices", _STUDY_DEVICE_S, measured, items=devices, paced=False),
        StagePlan("transfer", _TRANSFER_S, frozenset(["transfer"]), counts="transfer"),
    )
    return expected("study", f"study {models}", stages)


def expected(title: str, kind: str, stages: tuple[StagePlan, ...]) -> Job:
    """The job, with each stage's seconds as they were last time where they are known."""
    known = read_durations(home() / _FILE).get(kind, {})
    planned = (replace(stage, seconds=known.get(stage.name, stage.seconds) * stage.items) for stage in stages)
    return Job(title, kind, tuple(planned))


def keep_durations(job: Job, seconds: Mapping[str, float]) -> None:
    """Keeps what the job's stages took, an item, for the next job of its kind.

    Raises:
        StoreError: the state directory cannot be written.
    """
    items = {stage.name: stage.items for stage in job.stages}
    took = {name: value / items[name] for name, value in seconds.items() if items.get(name)}
    if not took:
        return
    path = home() / _FILE
    known = read_durations(path)
    known[job.kind] = known.get(job.kind, {}) | took
    with replacing(path) as partial:
        partial.write_text(json.dumps(known, indent=1, sort_keys=True), encoding="utf-8")


def read_durations(path: Path) -> dict[str, dict[str, float]]:
    """Seconds of an item by job and stage; nothing where there is no such file, or not what was written.

    Raises:
        StoreError: it is there and cannot be read.
    """
    from pydantic import TypeAdapter, ValidationError

    try:
        return TypeAdapter(dict[str, dict[str, float]]).validate_json(path.read_bytes())
    except (FileNotFoundError, ValidationError):
        return {}
    except OSError as error:
        raise StoreError(f"cannot read {path}: {error.strerror or error}") from error


def _profiles(options: SearchOptions, device: str) -> Iterator[StagePlan]:
    """The stages of what has to be profiled on a device; none are planned where there is a profile, for candidates that
    are timed later tell the same events."""
    from search.profiles.profile_pipeline import UNFUSED_SUFFIX

    if not _profiled(device, options.unit, options.threads, options.seq_len):
        yield from profile_stages()
    unfused = options.latency_from == "unfused"
    if unfused and not _profiled(device, options.unit, options.threads, options.seq_len, UNFUSED_SUFFIX):
        yield from (replace(each, name=f"{each.name} unfused") for each in profile_stages())


def _profiled(device: str, unit: str, threads: int | None, seq_len: int, suffix: str = "") -> bool:
    """Whether a predictor is saved that is probably this device's: its fingerprint is known only once it is opened."""
    count = str(threads) if threads else "*"
    pattern = f"{Path(device).stem}-*/{unit}-{count}threads-{seq_len}tokens{suffix}"
    return any((home() / "predictors").glob(pattern))
