"""Whether a super-network pays: nested students learn together, are ranked as they are, and begin finals.

    python -m tests.benchmarks.supernetwork --data DIR --out OUT --networks 480000 \
        --students 6x160-h5-f128,2x224-h7-f1536 --tokens 225000

Of the band of latency in docs/results/table_sizes.txt (STS-B; what they came to after a trial and a final stands in
docs/results/table.jsonl) the sizes whose heads are 32 wide, as the teacher's are, learn as corners of one network, on
so many tokens of text as ``--networks`` says (0: none, the network as it is cut), ``--each`` of them at each step; the
teacher is the largest of the sandwich. Each is then scored, and prints Spearman's correlation with the table's finals.
``--students`` are distilled for ``--tokens`` by the default recipe, cut out of the teacher and begun with what they are
in each network. Rows are kept in OUT/supernetwork.jsonl; a killed call goes on, but a network's training begins anew.
It runs on the CPU.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file
from transformers import AutoTokenizer

from data.architecture import Architecture
from data.tasks import Task, load_task
from fusion.checkpoints.loading import quiet_transformers
from search.distillation.changes import Material, nearest_tokens
from search.distillation.distillation import distill
from search.distillation.distilled import PROJECTION
from search.distillation.recipe import default_recipe
from search.learning.divergence import divergence
from search.learning.encoding import Encoded, encode
from search.learning.evaluation import dev_predictions
from search.learning.objectives import predict
from search.learning.task_models import load_model, save_model
from search.learning.training import Schedule, batch_plan, seeded, train
from search.learning.units import Units
from search.records import Divergence
from search.students.basis import kept_basis
from search.teachers.answers import kept_answers
from search.teachers.fine_tuning import FineTuning
from search.teachers.source import head_of
from search.teachers.teacher import Teacher, prepare_teacher
from tests.benchmarks.distillation_report import spearman
from tests.benchmarks.distillation_runs import architecture_of
from tests.benchmarks.nested_students import Lessons, NestedBasis, SuperNetwork, in_turns
from tests.benchmarks.own_table import Student, students

_HEAD_SIZE, _SEQ_LEN = 32, 128
_TASK = "stsb"
_RESULTS = Path("docs/results")


@dataclass(frozen=True)
class Run:
    """What a row is of: a ``network`` (named by its tokens) as it learnt; without ``tokens``, a student in it; with
    ``tokens``, a student distilled so long, from what it is in that network or (None) from the cut."""

    network: int | None
    student: str = ""
    tokens: int = 0


class Rows:
    """The rows of OUT/supernetwork.jsonl by what they are of."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "supernetwork.jsonl"
        lines = self._path.read_text(encoding="utf-8").splitlines() if self._path.exists() else []
        self.found = {Run(**row["run"]): row for row in map(json.loads, lines)}

    def add(self, run: Run, **values: Any) -> None:
        """Keeps a row, and tells it."""
        self.found[run] = {"run": asdict(run)} | values
        line = json.dumps(self.found[run])
        with self._path.open("a", encoding="utf-8") as file:
            file.write(line + "\n")
        print(line, flush=True)


@dataclass(frozen=True)
class Bench:
    """The teacher on nine tenths of train, and the sizes that nest."""

    task: Task
    choosing: Task
    teacher: Teacher
    sizes: tuple[Architecture, ...]
    out: Path
    seed: int

    @cached_property
    def tokenizer(self) -> Any:
        """The teacher's."""
        return AutoTokenizer.from_pretrained(self.teacher.directory)

    @cached_property
    def model(self) -> Any:
        """The teacher itself."""
        with quiet_transformers():
            return load_model(self.teacher.directory, self.task.kind).requires_grad_(False)

    @cached_property
    def encoded(self) -> Encoded:
        """What is learnt from."""
        return encode(self.tokenizer, self.choosing.train, self.task.kind, self.teacher.max_tokens)

    @cached_property
    def basis(self) -> NestedBasis:
        """The teacher's, in coordinates that nest."""
        whole = kept_basis(self.teacher.directory, self.model, self.choosing, self.encoded)
        return NestedBasis(whole.components, whole.variances, tuple(sorted({size.hidden for size in self.sizes})))


def learn(bench: Bench, rows: Rows, tokens: int, each: int) -> None:
    """Trains a network, and scores and keeps its students."""
    started, begun = time.monotonic(), time.process_time()
    recipe, encoded, units = default_recipe(), bench.encoded, Units.of(bench.encoded)
    network = made(bench)
    built = time.monotonic()
    steps = round(tokens / (float(encoded.lengths.mean()) * encoded.texts_each * recipe.batch_size))
    schedule = Schedule(steps, recipe.batch_size, recipe.learning_rate, recipe.warmup, recipe.weight_decay)
    special = np.asarray(bench.tokenizer.all_special_ids, np.int64)
    table = bench.model.bert.embeddings.word_embeddings.weight
    used = np.unique(encoded.tokens) if recipe.changes.replaced else np.zeros(0, np.int64)
    material = Material(encoded, nearest_tokens(table, used, special), None, bench.teacher.max_tokens)
    plan = batch_plan(encoded.example_lengths, schedule.batch_size, steps, bench.seed)
    turns = in_turns(bench.sizes, steps, each, bench.seed)
    lessons = Lessons(bench.model, material, bench.basis, bench.sizes, recipe, plan, turns, bench.seed)
    for head in network.heads():
        units.leave(head)
    train(
        network,
        lessons.loss(),
        schedule,
        seed=bench.seed,
        directory=bench.out,
        progress=lambda event: None,
        stage="super-network",
    )
    for head in network.heads():
        units.enter(head)
    learnt = time.monotonic()
    score(bench, rows, network, tokens)
    seconds = {"cut": built - started, "training": learnt - built, "scoring": time.monotonic() - learnt}
    seconds["processor"] = time.process_time() - begun
    rounded = {name: round(value, 1) for name, value in seconds.items()}
    rows.add(Run(tokens), steps=steps, each=each, sizes=len(bench.sizes), seconds=rounded)


def made(bench: Bench) -> SuperNetwork:
    """The network before it learns."""
    with seeded(bench.seed):
        return SuperNetwork(bench.model, bench.encoded, bench.basis, bench.sizes, bench.seed)


def score(bench: Bench, rows: Rows, network: SuperNetwork, tokens: int) -> None:
    """Judges each student on the held-out tenth, and keeps it as what a distillation can begin with."""
    task, units = bench.choosing, Units.of(bench.encoded)
    held = encode(bench.tokenizer, task.dev, task.kind, bench.teacher.max_tokens)
    wanted = kept_answers(bench.teacher.directory, bench.model, task, held)
    for size in bench.sizes:
        model = network.student(size.name)
        predictions = predict(model, held)
        apart = divergence(task.kind, predictions, wanted, units)
        folder = begin_folder(bench, tokens, size.name)
        save_model(model, task.kind, bench.tokenizer, folder, bench.teacher.max_tokens)
        save_file({"projection": bench.basis.projection(size.hidden)}, folder / PROJECTION)
        key = f"super-network {tokens} {bench.seed} {size.name}"
        (folder / "distilled.json").write_text(json.dumps({"key": key}), encoding="utf-8")
        if Run(tokens, size.name) not in rows.found:
            rows.add(Run(tokens, size.name), held_out=task.score(predictions), **_apart(apart))


def begin_folder(bench: Bench, network: int, student: str) -> Path:
    """Where a network's student is kept."""
    return bench.out / "networks" / str(network) / student


def finish(bench: Bench, rows: Rows, run: Run) -> None:
    """Distils one student, as the command ``search`` would; dev is read at the end."""
    size = next(each for each in bench.sizes if each.name == run.student)
    begun = time.process_time()
    name = f"{run.student}-{run.tokens}-{'cut' if run.network is None else run.network}"
    done = distill(
        bench.teacher,
        bench.choosing,
        size,
        tokens=run.tokens,
        seed=bench.seed,
        begin=None if run.network is None else begin_folder(bench, run.network, run.student),
        out_dir=bench.out / "students" / name,
    )
    processor = time.process_time() - begun
    predictions, _ = dev_predictions(done.directory, bench.task, _SEQ_LEN)
    rows.add(
        run,
        held_out=done.scores,
        dev=bench.task.score(predictions),
        **_apart(done.divergence),
        began_apart=done.divergence_before.mean,
        seconds={"all": round(done.seconds, 1), "processor": round(processor, 1)},
    )


def _apart(found: Divergence) -> dict[str, float]:
    return {"apart": found.mean, "apart_error": found.standard_error}


def report(rows: Rows, table: Sequence[Student], metric: str) -> Iterator[str]:
    """Markdown: how each network ranks the students, and what they come to from each beginning."""
    known = {each.candidate.architecture.name: each for each in table}
    yield f"Spearman with the closeness of finals of 300,000 tokens, {len(table)} students:"
    finals = [-each.final.mean for each in table]
    yield f"- the cut {spearman([-each.cut.mean for each in table], finals):.3f}"
    yield f"- a trial {spearman([-each.trial.mean for each in table], finals):.3f}"
    for run, row in rows.found.items():
        if run.network is not None and not run.student:
            own = [rows.found[Run(run.network, name)]["apart"] for name in known]
            yield f"- network of {run.network} tokens {spearman([-each for each in own], finals):.3f}; {row['seconds']}"
    yield "\n| student | tokens | begun with | began apart | apart | held out | dev | processor seconds |"
    yield "|" + " --- |" * 8
    for name, each in known.items():
        scores = f"{each.final.mean:.4f} | {each.final_held_out:.1f} | {each.final_dev:.1f}"
        yield f"| {name} | table's final | cut | {each.cut.mean:.3f} | {scores} | |"
        for run, row in rows.found.items():
            if run.student == name and run.tokens:
                scores = f"{row['apart']:.4f} | {100 * row['held_out'][metric]:.1f} | {100 * row['dev'][metric]:.1f}"
                begun = "cut" if run.network is None else f"network of {run.network}"
                seconds = row["seconds"]["processor"]
                yield f"| {name} | {run.tokens} | {begun} | {row['began_apart']:.3f} | {scores} | {seconds:.0f} |"


def _numbers(text: str) -> list[int]:
    return [int(part) for part in text.split(",") if part]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with GLUE's folders")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--table", type=Path, default=_RESULTS / "table.jsonl")
    parser.add_argument("--sizes", type=Path, default=_RESULTS / "table_sizes.txt")
    parser.add_argument("--networks", default="", help="tokens of each network, 0 for the network as it is cut")
    parser.add_argument("--each", type=int, default=2, help="students that see each batch")
    parser.add_argument("--students", default="", help="which to distil")
    parser.add_argument("--tokens", default="", help="how long")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--teachers", type=Path, help="where teachers are kept  [default: OUT/teachers]")
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    rows, task = Rows(given.out), load_task(_TASK, given.data)
    lines = map(json.loads, given.table.read_text(encoding="utf-8").splitlines())
    found = students(lines, given.sizes.read_text(encoding="utf-8").splitlines(), _TASK)
    table = [each for each in found if each.in_band and _nests(each.candidate.architecture)]
    choosing, tuning = task.held_out(), FineTuning(least_tokens=0)
    folder = given.teachers or given.out / "teachers"
    teacher = prepare_teacher(choosing, None, _SEQ_LEN, folder, given.seed, fine_tuning=tuning)
    print(f"the teacher's held-out score: {teacher.score:.4f}", flush=True)
    sizes = {"labels": task.labels, "head": head_of(task), "seq_len": _SEQ_LEN}
    nested = tuple(architecture_of(each.candidate.architecture.name, teacher, **sizes) for each in table)
    bench = Bench(task, choosing, teacher, nested, given.out, given.seed)
    networks = _numbers(given.networks)
    for tokens in networks:
        if Run(tokens) not in rows.found:
            learn(bench, rows, tokens, given.each)
    names, lengths = filter(None, given.students.split(",")), _numbers(given.tokens)
    for network, name, length in product((*networks, None), names, lengths):
        if Run(network, name, length) not in rows.found:
            finish(bench, rows, Run(network, name, length))
    print("\n".join(report(rows, table, task.metric)))


def _nests(size: Architecture) -> bool:
    return size.hidden == _HEAD_SIZE * size.heads


if __name__ == "__main__":
    main()
