"""Whole searches beside simpler rules, at equal budget and with as many tokens to learn from in all.

    python -m tests.benchmarks.whole_searches --data DIR --out DIR --tasks mrpc,stsb --seeds 0,1,2,3,4

``search`` is the search itself, with one finalist; ``random`` trains as many trials of admitted candidates near the
budget, drawn at random, and goes on with the one that is nearest to the teacher; ``largest`` and ``scaled`` train one
candidate, the largest that is admitted near the budget and the largest uniformly scaled teacher, and give it all that
the trials of the others take. Every task has one teacher, that of seed 0, so that what differs between seeds is the
searches' and students'. ``--precision auto`` has the search choose between fp32 and int8 too. The budget is a share of
the teacher's latency in fp32, on the simulated S20 unless another device is named. A finished arm is a row of
OUT/whole_searches.jsonl, and a killed call goes on. Dev is read once for each arm. Several calls may share OUT, each
with arms of its own: the second to need a task's teacher waits until it is timed.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import mean, stdev
from typing import Any, Literal, get_args

import numpy as np
from filelock import FileLock

from data.architecture import Architecture
from data.errors import InputError
from data.progress import Progress, no_progress
from data.tasks import Task
from search.commands.search import DEFAULT_TRIALS
from search.distillation.distillation import distill
from search.distillation.distilled import DistilledModel
from search.distillation.levels import EFFORTS
from search.execution.executor import LocalExecutor
from search.optimization.optimizer import propose
from search.options import LatencySource, PrecisionChoice, SearchOptions
from search.passes.admission import Prospects
from search.passes.bench import Bench
from search.passes.cuts import pool_of
from search.passes.setting import find_devices, hold_out, load_task, prepare_teacher, search_space
from search.pipeline import run_search
from search.real_stages import distil_for, real_stages
from search.records import Admission, Candidate
from search.stages import Stages
from search.study import Study, open_study
from search.teachers.teacher import Teacher

Arm = Literal["search", "random", "largest", "scaled"]
Distill = Callable[..., DistilledModel]
_ROWS = "whole_searches.jsonl"
_BATCH = 3


@dataclass(frozen=True)
class Run:
    """One arm on one task with one seed."""

    task: str
    seed: int
    arm: Arm
    share: float
    trials: int
    effort: Literal["brief", "full"]
    device: str
    final_tokens: int
    latency_from: LatencySource = "fused"
    precision: PrecisionChoice = "fp32"
    threads: int | None = None

    @property
    def name(self) -> str:
        """The arm; what its predictions come from where they are blind to fusion, and its precision if not fp32."""
        parts = [self.latency_from] if self.latency_from != "fused" else []
        return ", ".join([self.arm, *parts, *([self.precision] if self.precision != "fp32" else [])])

    @property
    def tokens(self) -> int:
        """What it learns from in all."""
        return self.trials * EFFORTS[self.effort].trial_tokens + self.final_tokens


def stages_of(final_tokens: int, home_seed: int = 0) -> Stages:
    """The real stages, whose teacher is that of one seed, and whose finals are of so many tokens."""
    stages = real_stages()

    def one_teacher(task: Task, options: SearchOptions, progress: Progress) -> Teacher:
        return stages.prepare_teacher(task, replace(options, seed=home_seed), progress)

    def distil_full(
        teacher: Teacher,
        task: Task,
        architecture: Architecture,
        options: SearchOptions,
        trial: Path,
        folder: Path,
        progress: Progress,
    ) -> DistilledModel:
        return distil_for(teacher, task, architecture, options, final_tokens, trial, folder, progress)

    return replace(stages, prepare_teacher=one_teacher, distil_full=distil_full)


def make(run: Run, data: Path, out: Path, budget_ms: float, stages: Stages, go_on: Distill = distill) -> dict[str, Any]:
    """The row of an arm."""
    options = SearchOptions(
        device=run.device,
        budget_ms=budget_ms,
        task=run.task,
        data_dir=str(data.absolute()),
        trials=run.trials,
        finalists=1,
        effort=run.effort,
        seed=run.seed,
        latency_from=run.latency_from,
        precision=run.precision,
        threads=run.threads,
    )
    started = time.monotonic()
    folder = out / f"{run.task}-{run.seed}-{run.name.replace(', ', '-')}"
    with open_study(folder, options, resume=True) as study:
        found = _searched(study, stages) if run.arm == "search" else _by_rule(run, study, stages, go_on)
    return {"run": asdict(run), "budget_ms": budget_ms, **found, "seconds": round(time.monotonic() - started, 1)}


def _searched(study: Study, stages: Stages) -> dict[str, Any]:
    result = run_search(study, stages, no_progress, lambda note: None)
    winner = result.winning_finalist
    assert winner.dev is not None
    return {
        "architecture": result.winning_candidate.architecture.name,
        "latency_ms": winner.timing.median_ms,
        "held_out": winner.trained.score,
        "dev": winner.dev.score,
        "standard_error": winner.dev.standard_error,
    }


def _by_rule(run: Run, study: Study, stages: Stages, go_on: Distill) -> dict[str, Any]:
    with find_devices(study, stages, lambda note: None) as places:
        bench = Bench(study, stages, places, no_progress, lambda note: None, LocalExecutor())
        task = load_task(bench)
        choosing = hold_out(bench, task)
        space = search_space(bench, task)
        prospects = Prospects(bench, space)
        prospects.time_teacher()
        teacher = prepare_teacher(bench, choosing, space)
        chosen = choose(run, bench, prospects)
        architectures = [each.candidate.architecture for each in chosen]
        best, student = _learnt(run, study, stages, teacher, choosing, architectures, go_on)
        dev = stages.score_on_dev(student.directory, task, study.options.seq_len, "fp32", (), ())
    return {
        "architecture": architectures[best].name,
        "latency_ms": chosen[best].timing.median_ms,
        "held_out": student.score,
        "dev": dev.score,
        "standard_error": dev.standard_error,
    }


def choose(run: Run, bench: Bench, prospects: Prospects) -> list[Admission]:
    """What a rule trains: admitted on the device."""
    if run.arm == "scaled":
        prospects.time([(each, "uniform") for each in prospects.uniform()], 0)
        return [prospects.baseline] if prospects.baseline else []
    wanted = run.trials if run.arm == "random" else 1
    batches = _batches(run, bench, prospects)
    while (
        len(admitted := [each for each in prospects.admissions if each.proposer == "largest" and each.admitted])
        < wanted
    ):
        prospects.time([(each, "largest") for each in next(batches)], 0)
    return admitted[:wanted]


def _batches(run: Run, bench: Bench, prospects: Prospects) -> Iterator[list[Candidate]]:
    """Candidates near the budget in the order of the rule, a few at a time."""
    random = np.random.default_rng([run.seed, 7])
    while pool := [each for each in pool_of(bench, prospects, []) if prospects.admission(each.architecture) is None]:
        if run.arm == "largest":
            yield propose(prospects.space, pool, [], count=_BATCH, seed=run.seed)[0]
        else:
            yield [pool[int(index)] for index in random.permutation(len(pool))[:_BATCH]]


def _learnt(
    run: Run,
    study: Study,
    stages: Stages,
    teacher: Teacher,
    task: Task,
    architectures: Sequence[Architecture],
    go_on: Distill,
) -> tuple[int, DistilledModel]:
    """The nearest to the teacher of the trials: which it is, and the student after it has learnt on."""
    trials = []
    for number, architecture in enumerate(architectures):
        folder = study.models(f"trial-{number:03d}")
        trials.append(stages.distil_short(teacher, task, architecture, study.options, folder, no_progress))
    best = min(range(len(trials)), key=lambda number: trials[number].divergence.mean)
    left = run.tokens - len(trials) * EFFORTS[run.effort].trial_tokens
    begin, final = trials[best].directory, study.models("final")
    done = go_on(teacher, task, architectures[best], tokens=left, seed=run.seed, begin=begin, out_dir=final)
    return best, done


def table(rows: Sequence[dict[str, Any]]) -> str:
    """Means over seeds, and the differences from the search with the same seeds; scores in hundredths."""
    lines = [
        "| task | arm | seeds | dev | search less it (± standard error) | share of the budget | seconds | winners |",
        "| --- | --- | ---: | ---: | ---: | ---: | ---: | --- |",
    ]
    for task in dict.fromkeys(row["run"]["task"] for row in rows):
        own = [row for row in rows if row["run"]["task"] == task]
        named: dict[str, list[dict[str, Any]]] = {}
        for row in own:
            named.setdefault(Run(**row["run"]).name, []).append(row)
        searched = {row["run"]["seed"]: row["dev"] for row in named.get("search", [])}
        arms = [*get_args(Arm), *sorted(set(named) - set(get_args(Arm)))]
        lines += [_line(task, arm, named[arm], searched) for arm in arms if arm in named]
    return "\n".join(lines)


def _line(task: str, arm: str, found: Sequence[dict[str, Any]], searched: dict[int, float]) -> str:
    scores = [100 * row["dev"] for row in found]
    less = [100 * (searched[row["run"]["seed"]] - row["dev"]) for row in found if row["run"]["seed"] in searched]
    share = mean(row["latency_ms"] / row["budget_ms"] for row in found)
    seconds = mean(row["seconds"] for row in found)
    names = ", ".join(dict.fromkeys(row["architecture"] for row in found))
    difference = "" if arm == "search" else _with_error(less, len(less) ** 0.5)
    return (
        f"| {task} | {arm} | {len(found)} | {_with_error(scores, 1.0)} | {difference} | {share:.0%} | {seconds:.0f} "
        f"| {names} |"
    )


def _with_error(values: Sequence[float], divisor: float) -> str:
    if not values:
        return ""
    return f"{mean(values):.1f}" + (f" ± {stdev(values) / divisor:.1f}" if len(values) > 1 else "")


def teacher_ms(device: str, out: Path, data: Path, task: str, stages: Stages, threads: int | None = None) -> float:
    """What the teacher takes on the device in fp32; timed once for a task, so that calls that go on, or share ``out``,
    have the same budget."""
    options = SearchOptions(device=device, threads=threads, budget_ms=1e6, task=task, data_dir=str(data.absolute()))
    with (
        FileLock(out / f"{task}-teacher.lock"),
        open_study(out / f"{task}-teacher", options, resume=True) as study,
        find_devices(study, stages, lambda note: None) as places,
    ):
        bench = Bench(study, stages, places, no_progress, lambda note: None, LocalExecutor())
        prospects = Prospects(bench, search_space(bench, load_task(bench)))
        prospects.time_teacher()
        return prospects.admissions[0].timing.median_ms


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with GLUE's folders")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--tasks", default="mrpc,stsb")
    parser.add_argument("--seeds", default="0,1,2,3,4")
    parser.add_argument("--arms", default=",".join(get_args(Arm)))
    parser.add_argument("--share", type=float, default=0.125, help="of the teacher's latency: the budget")
    parser.add_argument("--trials", type=int, help="[default: those of the effort]")
    parser.add_argument("--effort", choices=["brief", "full"], default="brief")
    parser.add_argument("--latency-from", choices=get_args(LatencySource), default="fused", help="of the arm search")
    parser.add_argument("--precision", choices=get_args(PrecisionChoice), default="fp32", help="of the arm search")
    parser.add_argument("--threads", type=int, help="[default: those of the device]")
    parser.add_argument("--final-tokens", type=int, help="[default: those of the effort]")
    parser.add_argument("--device", default="s20")
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    final_tokens = given.final_tokens or EFFORTS[given.effort].full_tokens
    path, stages = given.out / _ROWS, stages_of(final_tokens)
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.exists() else []
    for seed in map(int, given.seeds.split(",")):
        for task in given.tasks.split(","):
            for arm in given.arms.split(","):
                trials = given.trials or DEFAULT_TRIALS[given.effort]
                run = Run(task, seed, arm, given.share, trials, given.effort, given.device, final_tokens)
                run = replace(run, threads=given.threads)
                if arm == "search":
                    run = replace(run, latency_from=given.latency_from, precision=given.precision)
                if any(row["run"] == asdict(run) for row in rows):
                    continue
                whole_ms = teacher_ms(given.device, given.out, given.data, task, stages, given.threads)
                budget_ms = given.share * whole_ms
                try:
                    rows.append(make(run, given.data, given.out, budget_ms, stages))
                except InputError as error:
                    sys.exit(f"error: {error}")
                with path.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(rows[-1]) + "\n")
                print(json.dumps(rows[-1]), flush=True)
    print(table(rows))


if __name__ == "__main__":
    main()
