"""The measuring session: random order, warm-up, a reference block for drift, one committed row per measurement.

Whatever interrupts a session (Ctrl-C, SIGKILL, a lost phone), what was measured stays, and the next call measures only
what is missing.
"""

from __future__ import annotations

import hashlib
import uuid
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from time import monotonic
from typing import TYPE_CHECKING

import numpy as np

from data.architecture import Architecture
from data.disturbance import PREEMPTIONS, is_disturbed, most_trusted
from data.errors import DeviceError
from data.measurement import Measurement, Subject
from data.progress import Progress, ProgressEvent, no_progress
from data.store import MeasurementStore
from fusion.block import Block, make_block
from profiling.device import Device, Job, RawSamples

if TYPE_CHECKING:
    from fusion import Runner

# Weights come from L3 or DRAM in a whole model, so successive runs of a block read other copies of them.
ROTATE_BYTES = 16 << 20
# A block of middling size that both uses the vector units and reads weights: what slows models slows it.
REFERENCE_BLOCK = make_block("gemm", {"rows": 128, "inner": 256, "columns": 1024}, ("bias", "gelu"))
REFERENCE_EVERY = 12
# A tiny model whose blocks, compiled beside the reference, stand for all that the compiler generates.
_PROBE = Architecture(layers=2, hidden=64, heads=2, intermediate=128)
# A block is run until about this much work was timed, at an assumed speed, within these limits.
_WORK_MS, _ASSUMED_FLOPS_PER_MS = 20.0, 50e6
_FEWEST_RUNS, _MOST_RUNS = 15, 100
_TRIES = 2
# A reference that others disturbed is taken again; so is every other row, in further rounds, while patience lasts.
_REFERENCE_TRIES, _MODEL_TRIES, _EXTRA_ROUNDS = 3, 3, 2
_PATIENCE_S, _SETTLE_S = 30.0, 3.0
ANALYTIC_COMPILER = "analytic model"


@dataclass(frozen=True)
class Item:
    """What one row is about: the program to run and the identity under which it is stored."""

    kind: Subject
    hash: str
    signature: str
    program: str
    blocks: tuple[Block, ...]
    runs: int
    warmup: int
    rotate_bytes: int = 0

    @property
    def title(self) -> str:
        """What people read."""
        return self.blocks[0].name if self.kind == "block" else self.program


class Session:
    """One unbroken series of measurements on one device at one number of threads.

    ``reference`` is the runner of :func:`reference_runner`; None for devices that execute no code.
    """

    def __init__(
        self, device: Device, store: MeasurementStore, threads: int, reference: Runner | None, affinity: str = ""
    ) -> None:
        self.device = device
        self.store = store
        self.threads = threads
        self.id = f"{datetime.now(UTC):%Y%m%dT%H%M%S}-{uuid.uuid4().hex[:8]}"
        self._reference = reference
        self._affinity = affinity
        self._position = 0
        self._since_reference = REFERENCE_EVERY
        self._reference_ms: float | None = None
        self._disturbed = True
        self._patience_s = _PATIENCE_S

    def measure(self, item: Item, runner: Runner | None) -> Measurement:
        """Measure one item, after the reference block where that is due, and store it."""
        if self._since_reference >= REFERENCE_EVERY:
            self._measure_reference()
        self._since_reference += 1
        return self._record(item, runner)

    @property
    def patient(self) -> bool:
        """Whether waiting for quiet still makes sense: not on a machine that never calmed down."""
        return self._patience_s > 0

    def _measure_reference(self) -> None:
        self._reference_ms = None
        times = []
        for _ in range(_REFERENCE_TRIES):
            row = self._record(block_item(REFERENCE_BLOCK), self._reference)
            times.append(row.median_ms)
            if not is_disturbed(row):
                times = times[-1:]
                break
        self._reference_ms = min(times)
        self._since_reference = 0

    def _record(self, item: Item, runner: Runner | None) -> Measurement:
        job = Job(
            program=item.program,
            blocks=item.blocks,
            threads=self.threads,
            warmup=item.warmup,
            runs=item.runs,
            runner=runner,
            affinity=self._affinity,
            rotate_bytes=item.rotate_bytes,
            fill_weights=runner is not None and runner.weights is None,
        )
        self._settle()
        before = self.device.state()
        raw = self._run(job)
        after = self.device.state().to_dict()
        if raw.preemptions_per_s is not None:
            after[PREEMPTIONS] = raw.preemptions_per_s
        measurement = Measurement(
            subject=item.kind,
            subject_hash=item.hash,
            signature=item.signature,
            device=self.device.spec.name,
            fingerprint=self.device.describe().fingerprint,
            unit=self.device.unit,
            threads=self.threads,
            affinity=self._affinity,
            session=self.id,
            position=self._position,
            warmups_ms=raw.warmups_ms,
            samples_ms=raw.samples_ms,
            reference_ms=self._reference_ms,
            binary_hash=runner.binary_hash if runner else "",
            compiler=compiler_of(self._reference),
            provenance=self.device.provenance,
            created_at=datetime.now(UTC).isoformat(timespec="milliseconds"),
            state_before=before.to_dict(),
            state_after=after,
            serial=self.device.describe().details.get("serial", ""),
            cpus=raw.cpus,
        )
        self.store.add(measurement)
        self._disturbed = is_disturbed(measurement)
        self._position += 1
        return measurement

    def _settle(self) -> None:
        """After a disturbed row wait for quiet, as long as the session's patience lasts."""
        if not self._disturbed or self._patience_s <= 0:
            return
        began = monotonic()
        self.device.settle(self.threads, min(_SETTLE_S, self._patience_s))
        self._patience_s -= monotonic() - began

    def _run(self, job: Job) -> RawSamples:
        """Run a job; a device that fails once gets a second chance."""
        for _ in range(_TRIES - 1):
            try:
                return self.device.run(job)
            except DeviceError:
                continue
        return self.device.run(job)


def measure_blocks(
    device: Device,
    blocks: Sequence[Block],
    *,
    threads: int,
    store: MeasurementStore,
    repeats: int = 3,
    seed: int = 0,
    time_limit_s: float | None = None,
    progress: Progress = no_progress,
) -> list[Measurement]:
    """Measure each block ``repeats`` times, spread over the session, and return all rows of these blocks.

    Rows already in the store (same device, unit, threads and compiler) count. After ``time_limit_s`` seconds nothing
    more is begun, so that every block has been measured once before any is measured twice.

    Raises:
        DeviceError: the device was lost; what was measured is stored.
        StoreError: a row could not be written.
        ToolchainError: a block could not be compiled.
    """
    runner = None
    if device.needs_runner:
        from fusion import build_suite

        runner = build_suite(tuple(blocks), device.target)
    items = {block.hash: block_item(block) for block in blocks}
    return _measure_all(device, items, runner, threads, store, repeats, seed, time_limit_s, progress, "measure blocks")


def measure_models(
    device: Device,
    architectures: Sequence[Architecture],
    *,
    threads: int,
    store: MeasurementStore,
    repeats: int = 3,
    seed: int = 0,
    time_limit_s: float | None = None,
    progress: Progress = no_progress,
) -> list[Measurement]:
    """Measure whole models with random weights ``repeats`` times each; otherwise as :func:`measure_blocks`."""
    runner = None
    if device.needs_runner:
        from fusion import build_model_suite

        runner = build_model_suite(tuple(architectures), device.target)
    items = {item.hash: item for item in map(model_item, architectures)}
    return _measure_all(device, items, runner, threads, store, repeats, seed, time_limit_s, progress, "measure models")


def measure_model(
    device: Device,
    model_runner: Runner | None,
    architecture: Architecture,
    *,
    threads: int,
    store: MeasurementStore,
    runs: int = 100,
    warmup: int = 10,
    program: str = "model",
) -> Measurement:
    """Measure one whole compiled model now, whatever the store holds, and store the row.

    A row that other programs disturbed is taken again, after waiting for quiet, up to three times; the first
    undisturbed row is returned, or else the one of the lowest median. All are stored.

    Raises:
        DeviceError: the device was lost or the program failed.
    """
    session = Session(device, store, threads, reference_runner(device))
    rows: list[Measurement] = []
    while len(rows) < _MODEL_TRIES and (not rows or is_disturbed(rows[-1])):
        rows.append(session.measure(model_item(architecture, program, runs, warmup), model_runner))
    return most_trusted(rows)


def _measure_all(
    device: Device,
    items: dict[str, Item],
    runner: Runner | None,
    threads: int,
    store: MeasurementStore,
    repeats: int,
    seed: int,
    time_limit_s: float | None,
    progress: Progress,
    stage: str,
) -> list[Measurement]:
    """Measure what is missing of ``items``, round by round, each round in a random order."""
    reference = reference_runner(device)
    rows = stored(device, store, threads, compiler_of(reference), items)
    session = Session(device, store, threads, reference)
    deadline = monotonic() + time_limit_s if time_limit_s is not None else float("inf")
    for extra in range(_EXTRA_ROUNDS + 1):
        if extra and not session.patient:
            break
        good = Counter(row.subject_hash for row in rows if not is_disturbed(row))
        every = Counter(row.subject_hash for row in rows)
        # A further round is for what has been measured often enough, but never once undisturbed.
        due = _missing(items, every if extra == 0 else good, repeats if extra == 0 else 1, seed + extra)
        for done, item in enumerate(due):
            if monotonic() > deadline:
                progress(ProgressEvent(stage, done, len(due), "stopped at the time limit"))
                return rows
            rows.append(session.measure(item, runner))
            note = "" if extra == 0 else "again, undisturbed: "
            progress(ProgressEvent(stage, done + 1, len(due), f"{note}{item.title}: {rows[-1].median_ms:.3g} ms"))
    return rows


def stored(
    device: Device, store: MeasurementStore, threads: int, compiler: str, items: dict[str, Item]
) -> list[Measurement]:
    """Rows of these items that may be used again: same device, unit, threads and compiler."""
    fingerprint = device.describe().fingerprint
    rows = store.measurements(fingerprint=fingerprint, unit=device.unit, threads=threads, compiler=compiler)
    return [row for row in rows if row.subject_hash in items]


def _missing(items: dict[str, Item], counts: Counter[str], repeats: int, seed: int) -> list[Item]:
    """Items still to be measured: first those with the fewest rows, in random order within a round."""
    random = np.random.default_rng(seed)
    order: list[Item] = []
    for round_number in range(repeats):
        due = [items[key] for key in sorted(items) if counts[key] <= round_number]
        order.extend(due[index] for index in random.permutation(len(due)))
    return order


def reference_runner(device: Device) -> Runner | None:
    """The runner of the reference block and of a tiny model's blocks; None for a device that executes no code."""
    if not device.needs_runner:
        return None
    from fusion import build_suite, plan_architecture

    return build_suite((REFERENCE_BLOCK, *plan_architecture(_PROBE)), device.target)


def compiler_for(device: Device) -> str:
    """The compiler under which measurements of this device are stored now."""
    return compiler_of(reference_runner(device))


def compiler_of(reference: Runner | None) -> str:
    """Name and version of the compiler, and the hash of what it makes of the reference blocks.

    The hash changes with the code generator, the runtime, the C compiler and its flags, so that timings of code that
    is generated otherwise are never mixed.
    """
    return f"{reference.compiler}, code {reference.binary_hash[:12]}" if reference is not None else ANALYTIC_COMPILER


def block_item(block: Block) -> Item:
    """A block as an item, with a number of runs that suits its size."""
    runs = round(_WORK_MS * _ASSUMED_FLOPS_PER_MS / max(block.cost.flops, 1))
    runs = min(max(runs, _FEWEST_RUNS), _MOST_RUNS)
    return Item("block", block.hash, block.signature, block.hash, (block,), runs, max(3, runs // 10), ROTATE_BYTES)


def model_item(architecture: Architecture, program: str = "", runs: int = 20, warmup: int = 3) -> Item:
    """A whole model as an item; ``program`` is its name in the runner, by default the architecture's."""
    from fusion import plan_architecture

    text = architecture.to_json()
    digest = hashlib.sha256(text.encode()).hexdigest()[:16]
    return Item("model", digest, text, program or architecture.name, plan_architecture(architecture), runs, warmup)
