"""The published system's table 1, replayed: ``python -m tests.benchmarks.table1 --data DIR``, ``make table1 DATA=DIR``.

Prints, for each GLUE task whose folder lies in DIR (MRPC, STS-B, RTE, CoLA, SST-2), the scores of a fine-tuned teacher
and of its students: half depth (DistilBERT's recipe), bottleneck (MobileBERT's), deep and narrow from random weights,
cut from the teacher without distillation and with it, and a searched model (``--searched``); beside them sizes,
measured latency, seconds of training and the published figures; then the differences. What is missing is named.

Takes hours at the default length. Each finished row, task and seed is kept in OUT/records; a killed run goes on from
its last checkpoint. OUT/table1.md and OUT/table1.json are written whenever a run ends, interrupted or not. Models of
the first seed are kept in OUT/models.
"""

from __future__ import annotations

import json
import re
import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import click

from data.errors import DataFileError, InputError, PocketBertError, UnknownNameError
from data.tasks import Task, load_task
from data.tasks.glue import LAYOUTS
from search.commands._options import Command, ProgressPrinter, emit_json, run_command
from search.commands.progress import format_seconds
from search.commands.standard_output import write_out
from search.distillation.levels import EFFORTS
from search.study import atomic_write
from search.teachers.source import content_hash, resolve_teacher
from tests.benchmarks.provenance import provenance
from tests.benchmarks.table1_latency import Latencies, latencies
from tests.benchmarks.table1_left import TimeLeft, guesses, timing_seconds, tokens_of
from tests.benchmarks.table1_records import ROWS, Record, Settings, Sizes, count_others
from tests.benchmarks.table1_report import Replayed, document, markdown
from tests.benchmarks.table1_training import Work, finish

EFFORT = EFFORTS["full"]
TASKS = ("mrpc", "stsb", "rte", "cola", "sst2")
Number = TypeVar("Number", int, float)
_SIZES = re.compile(r"(\d+)x(\d+)-h(\d+)-f(\d+)")


@click.command(cls=Command, help=__doc__)
@click.option("--data", type=click.Path(path_type=Path), required=True, help="Folder that holds MRPC, STS-B and so on.")
@click.option("--out", type=click.Path(path_type=Path), default=Path("benchmark/table1"), show_default=True)
@click.option("--tasks", default=",".join(TASKS), show_default=True, help="Tasks, separated by commas.")
@click.option("--rows", default=",".join(ROWS), show_default=True, help="Rows, separated by commas.")
@click.option("--seeds", default="0,1,2", show_default=True, help="Seeds; the first chooses rates and is timed.")
@click.option("--teacher", help="Hugging Face folder or hub name.  [default: all-MiniLM-L6-v2]")
@click.option(
    "--tokens",
    type=click.IntRange(min=1),
    default=EFFORT.full_tokens,
    show_default=True,
    help="Tokens a student learns.",
)
@click.option(
    "--passes",
    type=click.IntRange(min=1),
    default=EFFORT.fine_tuning.passes,
    show_default=True,
    help="The teacher's passes over train.",
)
@click.option("--seq-len", type=click.IntRange(min=8), default=128, show_default=True, help="Texts are cut to this.")
@click.option("--deep-narrow", "deep", default="28x128-h4-f512", show_default=True, help="Sizes of the deep student.")
@click.option("--searched", help="Sizes such as 6x192-h6-f768, or the result.json of a search.")
@click.option("--rates", help="Learning rates to try, for all rows that have one of their own.  [default: three each]")
@click.option("--limit-examples", "limit", type=click.IntRange(min=20), help="First examples only, of train and dev.")
@click.option(
    "--corpus", type=click.Path(path_type=Path), help="General text, a line each, where the recipe mixes it in."
)
@click.option("--threads", type=click.IntRange(min=1), default=2, show_default=True, help="Threads of compiled models.")
@click.option(
    "--rounds",
    type=click.IntRange(min=0),
    default=10,
    show_default=True,
    help="Rounds of timing, 10 runs each; 0: none.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the figures as JSON instead of Markdown.")
@run_command
def main(
    data: Path,
    out: Path,
    tasks: str,
    rows: str,
    seeds: str,
    teacher: str | None,
    tokens: int,
    passes: int,
    seq_len: int,
    deep: str,
    searched: str | None,
    rates: str | None,
    limit: int | None,
    corpus: Path | None,
    threads: int,
    rounds: int,
    as_json: bool,
) -> None:
    settings = Settings(
        tasks=_named(tasks, "task", TASKS),
        rows=_named(rows, "row", tuple(ROWS)),
        seeds=_numbers(seeds, "--seeds", int),
        teacher=teacher,
        teacher_hash=content_hash(resolve_teacher(teacher)),
        tokens=tokens,
        passes=passes,
        seq_len=seq_len,
        deep_narrow=sizes(deep),
        searched=searched_sizes(searched) if searched else None,
        rates=_numbers(rates, "--rates", float) if rates else (),
        limit=limit or 0,
        corpus=_lines(corpus) if corpus else (),
        threads=threads,
        rounds=rounds,
    )
    failed = _replay(settings, data, out, as_json)
    if failed:
        title, reason = next(iter(failed.items()))
        raise PocketBertError(f"{len(failed)} rows could not be made, see {out / 'table1.md'}: {title}: {reason}")


def _named(text: str, kind: str, known: Sequence[str]) -> tuple[str, ...]:
    names = tuple(name.strip() for name in text.split(",") if name.strip())
    for name in names:
        if name not in known:
            raise UnknownNameError(kind, name, known)
    # In the order of the table, each once.
    return tuple(name for name in known if name in names)


def _numbers(text: str, option: str, kind: Callable[[str], Number]) -> tuple[Number, ...]:
    try:
        found = tuple(dict.fromkeys(kind(part) for part in text.split(",") if part.strip()))
    except ValueError as error:
        raise click.UsageError(f"{option} {text}: plain numbers, separated by commas") from error
    if not found or not all(0 <= number < 2**31 for number in found):
        raise click.UsageError(f"{option} {text}: give at least one, none of them negative")
    return found


def sizes(text: str) -> Sizes:
    """``28x128-h4-f512`` as numbers: layers, width, heads, inner width."""
    found = _SIZES.fullmatch(text)
    if found is None:
        raise InputError(f"{text!r}: write sizes like 28x128-h4-f512 (layers x width, heads, inner width)")
    layers, hidden, heads, intermediate = map(int, found.groups())
    return layers, hidden, heads, intermediate


def searched_sizes(text: str) -> Sizes:
    """Sizes as they are written, or those of the winner in a search's result.json.

    Raises:
        InputError: neither sizes nor a file that can be read.
        DataFileError: a file that holds no winner.
    """
    if _SIZES.fullmatch(text):
        return sizes(text)
    path = Path(text) / "result.json" if Path(text).is_dir() else Path(text)
    try:
        winner = json.loads(path.read_text(encoding="utf-8"))["winner"]["architecture"]
        return winner["layers"], winner["hidden"], winner["heads"], winner["intermediate"]
    except OSError as error:
        raise InputError(f"--searched {text}: neither sizes like 6x192-h6-f768 nor a result.json of search") from error
    except (ValueError, KeyError, TypeError) as error:
        raise DataFileError(path, "no result.json of search: it names no winner's architecture") from error


def _lines(path: Path) -> tuple[str, ...]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"--corpus {path}: cannot be read as UTF-8 text ({error})") from error
    return tuple(line.strip() for line in lines if line.strip())


def _replay(settings: Settings, data: Path, out: Path, as_json: bool) -> dict[str, str]:
    """Does all that is to be done, and reports; returns the rows that could not be made, and why."""
    from filelock import FileLock, Timeout

    if not data.is_dir():
        raise InputError(f"--data {data} is no folder")
    tasks, missing = load_tasks(settings, data)
    out.mkdir(parents=True, exist_ok=True)
    works = _works(settings, tasks, out)
    failed: dict[str, str] = {}
    times: Latencies | None = None
    try:
        with FileLock(out / "lock", timeout=0), ProgressPrinter() as progress:
            try:
                _train_all(works, progress, failed)
                if (trained := _kept(works)) and settings.rounds:
                    times = latencies(trained, tasks, settings, out, progress)
            finally:
                # As they lie there: an interrupt may have come between a record's writing and whatever is next.
                records = _kept(works)
                missing += _not_there(works, records, failed)
                command = shlex.join(["python", "-m", "tests.benchmarks.table1", *sys.argv[1:]])
                others = count_others(out / "records", records)
                found = Replayed(settings, tasks, records, times, missing, others, command, provenance())
                _report(found, out, as_json)
    except Timeout as error:
        raise InputError(f"another run is at work in {out}: wait for it, or give another --out") from error
    return failed


def _not_there(works: Sequence[Work], records: Sequence[Record], failed: Mapping[str, str]) -> list[str]:
    done = {(each.task, each.row, each.seed) for each in records}
    titles = [_title(each) for each in works if (each.task.name, each.row, each.seed) not in done]
    return [f"{title}: {failed.get(title, 'not finished; the same command goes on')}" for title in titles]


def load_tasks(settings: Settings, data: Path) -> tuple[dict[str, Task], list[str]]:
    """The tasks that lie in ``data``, and what is missing there."""
    tasks, missing = {}, []
    for name in settings.tasks:
        folder = data / LAYOUTS[name].folder
        if not folder.is_dir():
            missing.append(f"{name}: no folder {folder}")
            continue
        task = load_task(name, data)
        limit = settings.limit or None
        tasks[name] = replace(task, train=task.train[:limit], dev=task.dev[:limit])
    if not tasks:
        raise InputError(f"none of the tasks lies in {data}: {'; '.join(missing)}")
    if "searched" in settings.rows and settings.searched is None:
        missing.append("searched: no --searched, sizes such as 6x192-h6-f768 or a search's result.json")
    if not settings.rounds:
        missing.append("times: --rounds 0; the same command without it takes them")
    return tasks, missing


def _works(settings: Settings, tasks: dict[str, Task], out: Path) -> list[Work]:
    """Seed after seed, so that all tasks have something early on."""
    rows = [row for row in settings.rows if row != "searched" or settings.searched is not None]
    return [Work(settings, task, row, seed, out) for seed in settings.seeds for task in tasks.values() for row in rows]


def _kept(works: Sequence[Work]) -> list[Record]:
    return [record for work in works if (record := work.finished) is not None]


def _train_all(works: Sequence[Work], progress: ProgressPrinter, failed: dict[str, str]) -> None:
    kept = [work.finished for work in works]
    left = TimeLeft(guesses(works[0].settings))
    for work, record in zip(works, kept, strict=True):
        if record is not None:
            _learn_pace(left, work, record)
    for number, (work, record) in enumerate(zip(works, kept, strict=True)):
        if record is None:
            rest = [each for each, found in zip(works[number:], kept[number:], strict=True) if found is None]
            progress.note(f"{number + 1} of {len(works)}, {_title(work)}: {_told_left(left, rest)}")
            try:
                record = finish(work, progress)
            except InputError as error:
                failed[_title(work)] = str(error)
                progress.note(f"{_title(work)}: {error}")
                continue
            _learn_pace(left, work, record)
            progress.note(f"{_title(work)}: {record.metric} {record.score:.4f}")


def _learn_pace(left: TimeLeft, work: Work, record: Record) -> None:
    left.observe(work.row, tokens_of(work.settings, work.task, work.row, tries=False), record.seconds)


def _told_left(left: TimeLeft, rest: Sequence[Work]) -> str:
    """What is left to train, teachers included, and the timing at the end."""
    settings = rest[0].settings
    first = settings.seeds[0]
    parts = [
        (work.row, tokens_of(settings, work.task, work.row, tries=work.seed == first and work.tried is None))
        for work in rest
    ]
    if "teacher" not in settings.rows:
        teachers = {(work.task.name, work.seed): work.task for work in rest}
        parts += [("teacher", tokens_of(settings, task, "teacher", tries=False)) for task in teachers.values()]
    seconds = left.seconds(parts) + timing_seconds(len(settings.rows))
    return f"{'a guess: ' if left.guessed else ''}about {format_seconds(seconds)} left in all"


def _title(work: Work) -> str:
    return f"{work.task.name} {work.row}, seed {work.seed}"


def _report(found: Replayed, out: Path, as_json: bool) -> None:
    text, figures = markdown(found), document(found)
    atomic_write(out / "table1.md", text)
    atomic_write(out / "table1.json", json.dumps(figures, indent=1, allow_nan=False))
    if as_json:
        emit_json(figures)
    else:
        write_out(text)


if __name__ == "__main__":
    main()
