"""Trials on Ray (Moritz et al., OSDI 2018): each on a worker of a cluster, this machine's own or one that is there.

A worker gets the teacher's files with its training and gives back the student's, so that no file system is shared; what
it needs beside them is the same version of pocketbert. A trial whose worker is lost is begun again.
"""

from __future__ import annotations

import logging
import math
import os
import shutil
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from data.errors import InputError, PocketBertError, first_line
from data.progress import Progress, ProgressEvent, no_progress
from data.usable_processors import usable_processors
from search.execution.executor import LocalExecutor, Outcome, Training

if TYPE_CHECKING:
    from search.distillation.distilled import DistilledModel

# A trial is given up after so many lost workers: it may be the trial that ends them.
MOST_LOSSES = 5
# How often waiting looks up, and how long a cluster may take to answer, in seconds.
_TICK_S, _ANSWER_S = 1.0, 10.0
Files = Mapping[str, bytes]


def check_ray(address: str | None, cores: int | None) -> None:
    """Refuses what can be known to be wrong before any work.

    Raises:
        InputError: Ray is not installed, nobody listens at the address, or this machine, where none is given, has fewer
            cores.
    """
    if find_spec("ray") is None:
        raise InputError("--executor ray needs Ray, which is not installed: pip install 'pocketbert[ray]'")
    here = usable_processors().count
    if address is None and cores is not None and cores > here:
        raise InputError(f"--trial-cores {cores} is more than this machine has ({here}); give --ray-address or fewer")
    host, _, port = (address or "").rpartition(":")
    if host and "/" not in host and port.isdigit():
        _knock(host.strip("[]"), int(port))


def _knock(host: str, port: int) -> None:
    """Ray itself would try for minutes to reach a cluster where nobody listens."""
    try:
        socket.create_connection((host, port), timeout=_ANSWER_S).close()
    except OSError as error:
        raise InputError(f"--ray-address {host}:{port}: no Ray cluster answers: {error.strerror or error}") from error


@contextmanager
def ray_executor(address: str | None, cores: int | None, note: Callable[[str], None]) -> Iterator[RayExecutor]:
    """An executor on the cluster at ``address``, connected at once, or on one of this machine's own, which is started
    with the first training and stopped at the end; whatever still runs is given up then.

    Args:
        address: ``auto`` for the cluster that was started on this machine, or ``HOST:PORT`` of one's head; None for a
            cluster of this search's own, here.
        cores: of each trial; None for all that this machine has.
        note: told of lost workers.

    Raises:
        InputError: no cluster answers there.
    """
    executor = RayExecutor(address, cores or usable_processors().count, note)
    try:
        if address is not None:
            executor.connect()
        yield executor
    finally:
        executor.close()


@dataclass(frozen=True)
class _Running:
    """A training that a worker has: since when, and how many workers it has lost."""

    training: Training
    started: float
    losses: int = 0


class RayExecutor:
    """Runs trainings on the workers of a Ray cluster, as many at once as it has room for."""

    def __init__(self, address: str | None, cores: int, note: Callable[[str], None]) -> None:
        self._address, self._cores, self._note = address, cores, note
        self._running: dict[Any, _Running] = {}
        self._teachers: dict[Path, Any] = {}
        self._finished = LocalExecutor()

    def connect(self) -> None:
        """Starts the cluster, or connects to the one that runs.

        Raises:
            InputError: there is none at the address.
        """
        self._ray.nodes()

    def close(self) -> None:
        """Gives up what still runs, and leaves the cluster, or stops it where it was started here."""
        if "_ray" not in vars(self):
            return
        for reference in self._running:
            self._ray.cancel(reference, force=True)
        self._running.clear()
        self._ray.shutdown()
        del self._ray

    @cached_property
    def _ray(self) -> Any:
        # Before Ray is imported, which reads it then: nothing is reported to its makers.
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        import ray

        # It would say on standard error how its token can be switched off.
        logging.getLogger("ray").setLevel(logging.ERROR)
        where = f"--ray-address {self._address}" if self._address else "a local Ray cluster"
        own: dict[str, Any] = {"num_cpus": usable_processors().count, "include_dashboard": False}
        try:
            # "local", since without an address Ray takes a cluster that runs here already, whoever's it is.
            address, settings = (self._address, {}) if self._address else ("local", own)
            ray.init(address, log_to_driver=False, configure_logging=False, **settings)
        except (ConnectionError, OSError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
            raise InputError(f"{where}: cannot be used: {first_line(error)}") from error
        return ray

    @property
    def at_once(self) -> int:
        """How many trials the nodes have room for, by their cores, and where there are GPUs by those: one a trial."""
        if self._address is None:
            return max(1, usable_processors().count // self._cores)
        return max(1, self._room()[0])

    def _room(self) -> tuple[int, int]:
        """How many trials there is room for, and how many GPUs each of them gets."""
        nodes: list[Mapping[str, float]] = [node["Resources"] for node in self._ray.nodes() if node["Alive"]]
        gpus = int(any(node.get("GPU", 0) for node in nodes))
        rooms = (min(node.get("CPU", 0) // self._cores, node.get("GPU", 0) if gpus else math.inf) for node in nodes)
        return sum(map(int, rooms)), gpus

    def begin(self, training: Training) -> None:
        """Sends a training to the cluster, but for one whose student is there: an earlier search was killed after that.

        Raises:
            InputError: no node has as many cores as a trial is to have.
        """
        if training.folder.exists():
            self._finished.begin(training)
            return
        if not self._room()[0]:
            raise InputError(f"--trial-cores {self._cores}: no node of the Ray cluster has so many")
        self._send(_Running(training, time.monotonic()))

    def _send(self, running: _Running) -> None:
        training = running.training
        folder = training.teacher.directory
        if folder not in self._teachers:
            self._teachers[folder] = self._ray.put(packed(folder))
        remote = self._ray.remote(num_cpus=self._cores, num_gpus=self._room()[1], max_retries=0)(train_elsewhere)
        corpus = Path(training.options.corpus).read_bytes() if training.options.corpus else None
        # What reads paths of this machine's is replaced there.
        sent = replace(training, folder=Path(training.folder.name))
        self._running[remote.remote(sent, self._teachers[folder], corpus, version("pocketbert"))] = running

    def next_outcome(self, progress: Progress) -> Outcome:
        """Waits for a worker, and puts its student into the training's folder; sends again what a lost one had.

        Raises:
            PocketBertError: a worker raised what says nothing about the candidate, or the cluster is lost.
        """
        if self._finished.waiting:
            return self._finished.next_outcome(progress)
        while True:
            ready, _ = self._ray.wait(list(self._running), num_returns=1, timeout=_TICK_S)
            for reference in ready:
                running = self._running.pop(reference)
                outcome = self._outcome(reference, running)
                if outcome is not None:
                    return outcome
            names = ", ".join(each.training.architecture.name for each in self._running.values())
            progress(ProgressEvent("distillation", 0, None, f"{len(self._running)} on Ray: {names}"))

    def _outcome(self, reference: Any, running: _Running) -> Outcome | None:
        """What became of a training; None where its worker was lost and another has it now."""
        errors, number = self._ray.exceptions, running.training.number
        try:
            student, files, error = self._ray.get(reference)
        except (errors.WorkerCrashedError, errors.NodeDiedError, errors.ObjectLostError, errors.OutOfMemoryError) as e:
            return self._lost(running, f"{type(e).__name__}: {first_line(e)}")
        except errors.RayError as e:
            raise PocketBertError(f"trial {number} ended on a Ray worker: {first_line(getattr(e, 'cause', e))}") from e
        seconds = time.monotonic() - running.started
        if student is None:
            return Outcome(number, seconds, error=error)
        unpack(files, running.training.folder)
        return Outcome(number, seconds, replace(student, directory=running.training.folder))

    def _lost(self, running: _Running, problem: str) -> Outcome | None:
        losses, training = running.losses + 1, running.training
        if losses > MOST_LOSSES:
            error = f"{losses} workers were lost with it, the last by {problem}"
            return Outcome(training.number, time.monotonic() - running.started, error=error)
        self._note(
            f"trial {training.number} ({training.architecture.name}) lost its worker, and is begun again: {problem}"
        )
        self._send(replace(running, losses=losses))
        return None


def train_elsewhere(
    training: Training, teacher: Files, corpus: bytes | None, sender: str
) -> tuple[DistilledModel | None, Files, str]:
    """On a worker: distils with the files that were sent; returns the student with its files, or why there is none."""
    here = version("pocketbert")
    if here != sender:
        raise PocketBertError(f"this worker has pocketbert {here}, the search {sender}: install the same")
    with TemporaryDirectory(prefix="pocketbert-") as name:
        scratch = Path(name)
        folder = scratch / training.teacher.directory.name
        unpack(teacher, folder)
        options = training.options
        if corpus is not None:
            text = scratch / "corpus.txt"
            text.write_bytes(corpus)
            options = replace(options, corpus=str(text))
        own = replace(
            training,
            teacher=replace(training.teacher, directory=folder),
            options=options,
            folder=scratch / "students" / training.folder,
        )
        try:
            student = own.run(no_progress)
        except InputError as error:
            return None, {}, str(error)
        return student, packed(student.directory), ""


def packed(folder: Path) -> dict[str, bytes]:
    """The content of a folder's files, by their paths within it."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def unpack(files: Files, folder: Path) -> None:
    """Writes files into a folder, which is there whole or not at all."""
    partial = folder.with_name(f"{folder.name}.unpacked")
    shutil.rmtree(partial, ignore_errors=True)
    for name, content in files.items():
        path = partial / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    shutil.rmtree(folder, ignore_errors=True)
    partial.rename(folder)
