"""Doubles of all that is long in a search, so that the whole pipeline runs in seconds and may be killed anywhere.

Each finished piece of work appends a line to ``OUT/../log.txt``: what was done twice stands there twice.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from data.architecture import Architecture, Precision
from data.device_spec import load_device
from data.errors import DeviceError, InputError, StoreError
from data.progress import Progress, ProgressEvent, no_progress
from data.tasks import Example, Task
from search.distillation.distilled import DistilledModel
from search.execution.executor import Executor
from search.latencies import Timing
from search.optimization.space import model_bytes
from search.options import SearchOptions
from search.passes.bench import now
from search.pipeline import run_search
from search.records import BlockShare, DevScore, Divergence, Int8Choice
from search.result import PredictorQuality, SearchResult
from search.stages import Stages
from search.study import open_study
from search.teachers.teacher import Teacher

TEACHER = SimpleNamespace(
    layers=4,
    hidden=128,
    heads=4,
    intermediate=512,
    vocab_size=1000,
    max_positions=128,
    token_types=2,
    factorised=False,
    score=0.9,
    scores={"accuracy": 0.9},
)


def labelled(count: int, name: str) -> tuple[Example, ...]:
    """Texts of two classes, as many of each."""
    return tuple(Example(f"{name} {number}", None, float(number % 2)) for number in range(count))


TASK = Task("pairs", "classification", ("no", "yes"), "accuracy", labelled(1000, "text"), labelled(40, "dev"))
# The teacher itself takes 1.62 ms and does not fit.
OPTIONS = SearchOptions(device="host", budget_ms=1.0, task="pairs", trials=3, seq_len=64, effort="brief")

# What an int8 model loses against the same one in fp32.
INT8_LOSS = 0.004


def true_ms(architecture: Architecture) -> float:
    """Latency that grows with the work of an encoder, half as fast in int8."""
    a = architecture
    work = a.layers * a.hidden * (4 * a.hidden + 2 * a.intermediate)
    return 0.05 + work / (5e5 if a.precision == "fp32" else 1e6)


# Without fusion each layer takes a time of its own; by operations alone nothing else takes any.
BELIEVED_MS = {
    "fused": true_ms,
    "unfused": lambda architecture: true_ms(architecture) + 0.1 * architecture.layers,
    "flops": lambda architecture: true_ms(architecture) - 0.05,
}


def memory(architecture: Architecture) -> int:
    """Bytes that a compiled model holds, but for one a thread."""
    return model_bytes(architecture) + 100_000 * architecture.layers


def true_score(architecture: Architecture) -> float:
    """Accuracy in fp32 that grows with the latency there, a little more with depth, up to the teacher's."""
    latency_ms = true_ms(replace(architecture, precision="fp32"))
    return round(0.9 - 0.3 * float(np.exp(-latency_ms)) + 0.002 * min(architecture.layers, TEACHER.layers), 6)


def error_of(score: float, task: Task) -> float:
    """Standard error of a share of right answers."""
    return float(np.sqrt(score * (1 - score) / len(task.dev)))


@dataclass(frozen=True)
class FakePredictor:
    """Predicts ``factor`` times what the source believes, give or take a tenth; one that is blind to fusion agrees with
    the truth in the teacher."""

    factor: float = 1.0
    provenance: str = "measured"
    later: float = 0.01
    source: str = "fused"
    teacher: Architecture | None = None

    def predict(self, architectures: Sequence[Architecture]) -> np.ndarray:
        believed = np.array([BELIEVED_MS[self.source](architecture) for architecture in architectures])
        scale = true_ms(self.teacher) / BELIEVED_MS[self.source](self.teacher) if self.teacher else 1.0
        return self.factor * scale * believed

    def interval(self, architectures: Sequence[Architecture], coverage: float = 0.9) -> tuple[np.ndarray, np.ndarray]:
        return self.predict(architectures) * 0.9, self.predict(architectures) * 1.1

    def probability_within(self, architectures: Sequence[Architecture], budget_ms: float) -> np.ndarray:
        """Falls from one to nothing between the bounds of the interval."""
        return np.clip(0.5 + 5 * (budget_ms / self.predict(architectures) - 1), 0.0, 1.0)


def quality(predictor: FakePredictor) -> PredictorQuality:
    """Those that are blind to fusion are ten times as far off."""
    mape = 0.03 if predictor.source == "fused" else 0.3
    return PredictorQuality(2, mape, 1.0, 1.0, (("a", 1.0, 1.1), ("b", 2.0, 1.9)))


@dataclass(frozen=True)
class FakeDevice:
    """A device that only says what it is, and how many times as long as the host's its latencies are."""

    options: SearchOptions
    provenance: str
    factor: float = 1.0

    @property
    def spec(self) -> Any:
        return load_device(self.options.device)

    unit: str = "cpu"
    needs_runner: bool = True

    @property
    def target(self) -> Any:
        return SimpleNamespace(name="aarch64-neon" if self.spec.kind == "android" else "x86_64-avx2")

    @property
    def machine(self) -> Any:
        return SimpleNamespace(code=self.target.name)

    def describe(self) -> Any:
        return SimpleNamespace(fingerprint=f"{self.options.device}-{self.provenance}", processor="a processor of tests")

    def close(self) -> None:
        pass


@dataclass(frozen=True)
class World:
    """What the doubles do: where they log, how long they take, what goes wrong.

    ``slower`` is the factor of measured over true latency, ``slower_in_the_end`` that of models with real weights over
    it, and ``slower_there`` the same of a device by name; ``failing`` are names of architectures that can't be
    distilled; ``attached`` is whether a phone is, but for those that are ``absent``; scores on dev grow by
    ``dev_slope`` where those on held-out examples grow by one. ``factors`` are how many times as long as the host's a
    device's latencies are, by name, which its predictor knows; on a GPU ``gpu_factor`` times that, and there are no
    ``missing_units``. One run in four takes ``slowest`` times the median. The process is killed within the first
    ``killed`` trainings, and in each of those of the architectures that are ``killing``.
    """

    log: Path
    pause_s: float = 0.0
    slower: float = 1.0
    slower_in_the_end: float = 1.0
    predictor_factor: float = 1.0
    failing: tuple[str, ...] = ()
    all_fail: bool = False
    attached: bool = True
    difference: float = 1e-6
    disk_full: bool = False
    teacher_score: float = 0.9
    teacher_problem: str = ""
    narrow_teacher: bool = False
    teacher_remarks: tuple[str, ...] = ()
    student_problem: str = ""
    remarks: tuple[str, ...] = ()
    material_remarks: tuple[str, ...] = ()
    task: Task = TASK
    dev_slope: float = 1.0
    factors: Mapping[str, float] = field(default_factory=dict)
    absent: tuple[str, ...] = ()
    slower_there: Mapping[str, float] = field(default_factory=dict)
    slowest: float = 1.05
    gpu_factor: float = 1.0
    missing_units: tuple[str, ...] = ()
    killed: int = 0
    killing: tuple[str, ...] = ()

    def done(self, what: str) -> None:
        with self.log.open("a", encoding="utf-8") as file:
            file.write(f"{what}\n")

    def log_lines(self) -> list[str]:
        return self.log.read_text(encoding="utf-8").splitlines() if self.log.exists() else []

    def stages(self) -> Stages:
        return Stages(
            open_device=self.open_device,
            predictor=self.predictor,
            latency_sources=self.latency_sources,
            quality=quality,
            learned=self.learned,
            memory_bytes=lambda device, architectures, threads: [memory(each) + threads for each in architectures],
            load_task=lambda options: replace(self.task, remarks=self.remarks),
            teacher_sizes=lambda teacher: SimpleNamespace(**vars(TEACHER) | {"factorised": self.narrow_teacher}),
            check_teacher=self.check_teacher,
            material_remarks=lambda task, options: self.material_remarks,
            untrained_student=self.untrained_student,
            prepare_teacher=self.prepare_teacher,
            cosines=self.cosines,
            cut_divergences=self.cut_divergences,
            int8_choice=self.int8_choice,
            score_on_dev=self.score_on_dev,
            distil_short=lambda *arguments: self.distil("short", *arguments),
            distil_full=lambda *arguments: self.distil("full", *arguments[:4], *arguments[5:]),
            export_onnx=self.export_onnx,
            compile_model=lambda device, source, architecture, threads, fp32_modules: SimpleNamespace(source=source),
            max_difference=lambda compiled, onnx, architecture, seed: self.difference,
            time_architectures=self.time_architectures,
            time_model=self.time_model,
            block_shares=lambda device, compiled, threads: (BlockShare("gemm 64x128x384 bias", "gemm", 4, 0.5),),
            export_compiled=self.export_compiled,
        )

    def open_device(self, options: SearchOptions, simulated: bool) -> FakeDevice:
        factor = self.factors.get(options.device, 1.0) * (self.gpu_factor if options.unit == "gpu" else 1.0)
        if simulated:
            return FakeDevice(options, "simulated", factor, options.unit)
        if options.unit in self.missing_units:
            raise DeviceError(f"no driver for the {options.unit}")
        if not self.attached or options.device in self.absent:
            raise DeviceError(f"{options.device} is not attached")
        return FakeDevice(options, "measured", factor, options.unit)

    def predictor(self, device: FakeDevice, options: SearchOptions, threads: int, progress: Progress) -> FakePredictor:
        time.sleep(self.pause_s)
        self.done(f"profile{self.where(device)}")
        return FakePredictor(self.predictor_factor * device.factor, device.provenance)

    def latency_sources(
        self, predictor: FakePredictor, device: FakeDevice, options: SearchOptions, teacher: Architecture, *_: Any
    ) -> Mapping[str, FakePredictor]:
        blind = {name: replace(predictor, source=name, teacher=teacher) for name in ("flops", options.latency_from)}
        if options.latency_from == "unfused":
            self.done("profile unfused")
        return blind | {"fused": predictor}

    def learned(
        self, predictor: FakePredictor, device: FakeDevice, seen: Sequence[Architecture], threads: int, since: str
    ) -> FakePredictor:
        """The more timings, the nearer the factor is to the true one."""
        share = len(seen) / (len(seen) + 2)
        return replace(predictor, factor=predictor.factor ** (1 - share) * (self.slower * device.factor) ** share)

    def check_teacher(self, task: Any, options: SearchOptions) -> tuple[str, ...]:
        if self.teacher_problem:
            raise InputError(self.teacher_problem)
        return self.teacher_remarks

    def untrained_student(self, options: SearchOptions, architecture: Architecture, folder: Path) -> Path:
        if self.student_problem:
            raise InputError(self.student_problem)
        folder.mkdir()
        (folder / "config.json").write_text(architecture.to_json())
        return folder

    def prepare_teacher(self, task: Any, options: SearchOptions, progress: Progress) -> Any:
        marker = self.log.with_name("teacher")
        if not marker.exists():
            time.sleep(self.pause_s)
            self.done("teacher")
            marker.touch()
        directory = self.log.with_name("teacher-checkpoint")
        directory.mkdir(exist_ok=True)
        (directory / "config.json").write_text("{}")
        (directory / "basis-0123.npy").write_bytes(b"what the search noted of its activations")
        scores = {task.metric: self.teacher_score}
        sizes = {name: getattr(TEACHER, name) for name in Teacher.__dataclass_fields__ if hasattr(TEACHER, name)}
        found = {"score": self.teacher_score, "scores": scores, "directory": directory, "kind": task.kind}
        error = error_of(self.teacher_score, task)
        return Teacher(**sizes | found, max_tokens=options.seq_len, standard_error=error)

    def cosines(self, checkpoint: Path, task: Task, seq_len: int) -> list[float]:
        self.done(f"cosines {len(task.dev)}")
        return [number / len(task.dev) for number in range(len(task.dev))]

    def cut_divergences(
        self, teacher: Any, task: Task, architectures: Sequence[Architecture], options: Any, progress: Progress
    ) -> tuple[Divergence, ...]:
        """As cut all are a tenth of accuracy further from the teacher than after a short distillation."""
        time.sleep(self.pause_s / 4)
        self.done(f"cuts {len(architectures)} {architectures[0].name}")
        return tuple(Divergence(1.15 - true_score(architecture), 0.01) for architecture in architectures)

    def int8_choice(self, checkpoint: Path, task: Task, seq_len: int, devices: Sequence[Any]) -> Int8Choice:
        self.done(f"int8 {checkpoint.name}")
        return Int8Choice(("bert.encoder.layer.0.output.dense",), 0.08, 0.004, 0.007, 0.005)

    def score_on_dev(
        self,
        checkpoint: Path,
        task: Task,
        seq_len: int,
        precision: Precision,
        fp32: Collection[str],
        devices: Sequence[Any],
    ) -> DevScore:
        self.done(f"dev {checkpoint.name}{'' if precision == 'fp32' else f' {precision}'}")
        assert bool(fp32) == (precision == "int8")
        # Of int8 finalists also on the held-out tenth.
        known = {len(self.task.dev)} | ({len(self.task.held_out().dev)} if precision == "int8" else set())
        assert not task.unlabelled and len(task.dev) in known
        stored = json.loads((checkpoint / "config.json").read_text())
        held_out = true_score(Architecture(**stored)) if stored else self.teacher_score
        score = 0.8 + self.dev_slope * (held_out - 0.8) - (INT8_LOSS if precision == "int8" else 0.0)
        return DevScore(score, {task.metric: score}, error_of(score, task))

    def distil(
        self,
        kind: str,
        teacher: Any,
        task: Any,
        architecture: Architecture,
        options: SearchOptions,
        folder: Path,
        progress: Progress,
    ) -> Any:
        if self.all_fail or architecture.name in self.failing:
            raise InputError(f"{architecture.name} cannot be cut out of the teacher")
        if self.disk_full:
            raise StoreError(f"cannot write {folder}")
        marker = folder / "config.json"
        if not marker.exists():
            self.done(f"begin {kind} {architecture.name}")
            self.die(architecture)
            for step in range(4):
                time.sleep(self.pause_s / 4)
                progress(ProgressEvent("distil", step + 1, 4))
            folder.mkdir(parents=True, exist_ok=True)
            self.done(f"{kind} {architecture.name}")
            marker.write_text(architecture.to_json())
        assert len(task.dev) < len(task.train), "learnt and scored on parts of train"
        score = true_score(architecture) - (0.05 if kind == "short" else 0.0)
        score -= INT8_LOSS if architecture.precision == "int8" else 0.0
        assert not task.unlabelled
        return DistilledModel(
            directory=folder,
            score=score,
            scores={task.metric: score},
            standard_error=error_of(score, task),
            divergence=Divergence(1.0 - score, 0.01),
            scores_before={task.metric: score - 0.1},
            divergence_before=Divergence(1.1 - score, 0.01),
            seconds=self.pause_s,
        )

    def die(self, architecture: Architecture) -> None:
        """Kills the process, where it is to die now."""
        deaths = sum(line.startswith("killed") for line in self.log_lines())
        if deaths < self.killed or architecture.name in self.killing:
            self.done(f"killed {architecture.name}")
            os.kill(os.getpid(), signal.SIGKILL)

    def export_onnx(self, checkpoint: Path, onnx: Path, seq_len: int) -> Path:
        onnx.write_text((checkpoint / "config.json").read_text())
        return onnx

    def time_model(
        self, device: FakeDevice, compiled: Any, architecture: Architecture, threads: int, since: str
    ) -> Timing:
        slower = self.slower_in_the_end * self.slower_there.get(device.options.device, 1.0)
        return self.timing("full", self.slower * slower, device, architecture, threads)

    def time_architectures(
        self, device: FakeDevice, architectures: Sequence[Architecture], threads: int, since: str, progress: Progress
    ) -> tuple[Timing, ...]:
        return tuple(self.timing("first", self.slower, device, each, threads) for each in architectures)

    def timing(self, kind: str, factor: float, device: FakeDevice, architecture: Architecture, threads: int) -> Timing:
        time.sleep(self.pause_s / 16)
        self.done(f"time {device.provenance} {kind} {architecture.name}{self.where(device)}")
        median = true_ms(architecture) * factor * device.factor
        samples = tuple(median * factor for factor in (0.98, 1.0, 1.0, self.slowest))
        fingerprint = device.describe().fingerprint
        return Timing(
            samples, (median,), device.provenance, "host", fingerprint, threads, "s", "b", now(), (median,) * 6
        )

    def where(self, device: FakeDevice) -> str:
        """What the log adds where devices differ."""
        return f" on {device.options.device}" if device.options.device in self.factors else ""

    def export_compiled(self, device: FakeDevice, compiled: Any, checkpoint: Path, folder: Path, app: Path) -> str:
        folder.mkdir()
        (folder / "runner").write_text(compiled.source.read_text())
        if device.spec.kind == "android":
            (app / "jniLibs").mkdir(parents=True)
        return "" if checkpoint.is_dir() else "no checkpoint"


def search_in(
    out: Path,
    world: World,
    *,
    resume: bool = False,
    notes: list[str] | None = None,
    executor: Executor | None = None,
    **changes: Any,
) -> SearchResult:
    """One doubled search in ``out``."""
    heard = [] if notes is None else notes
    with open_study(out, replace(OPTIONS, **changes), resume=resume) as study:
        return run_search(study, world.stages(), no_progress, heard.append, executor=executor)


if __name__ == "__main__":  # python -m tests.search.doubles OUT LOG PAUSE TRIALS: for tests.benchmarks.kills
    world = World(Path(sys.argv[2]), float(sys.argv[3]))
    finished = search_in(Path(sys.argv[1]), world, resume=True, trials=int(sys.argv[4]))
    print(json.dumps([trial.candidate.architecture.name for trial in finished.trials]))
