"""Runners: executables that go round their programs and print JSON, the same for this machine and for phones."""

from __future__ import annotations

import hashlib
import json
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from data.architecture import Architecture
from data.errors import DeviceError, InputError, StoreError
from data.home import home
from fusion.block import Block
from fusion.build.machine import Machine
from fusion.build.toolchain import NOTHING, Addition
from fusion.emit.program import Program, block_plan
from fusion.planning.architecture_plan import architecture_plan

Result = dict[str, Any]
# Where runners on this machine keep binaries of kernels: the folder that models opened in this process use as well.
KERNELS_VARIABLE = "POCKETBERT_KERNELS"


@dataclass(frozen=True)
class Runner:
    """An executable with its programs; ``weights`` belongs to a whole model."""

    executable: Path
    weights: Path | None
    binary_hash: str
    compiler: str
    programs: tuple[str, ...]

    def command(
        self,
        program: str,
        *,
        threads: int,
        warmup: int,
        runs: int,
        affinity: str = "",
        rotate_bytes: int = 0,
        fill_weights: bool = False,
        inputs: dict[str, Sequence[int]] | None = None,
    ) -> list[str]:
        """The argument list that times a program; with ``inputs`` it prints the outputs, too."""
        words = [str(self.executable), program, "--threads", str(threads), "--warmup", str(warmup), "--runs", str(runs)]
        words += ["--fill"] if fill_weights or self.weights is None else ["--weights", str(self.weights)]
        words += ["--rotate", str(rotate_bytes)] if rotate_bytes else []
        words += ["--affinity", affinity] if affinity else []
        for name, values in (inputs or {}).items():
            words += ["--input", f"{name}={','.join(str(int(value)) for value in values)}"]
        return words

    def round_command(self, file: str, *, threads: int, affinity: str = "", fill_weights: bool = False) -> list[str]:
        """The argument list that makes the visits of a round: lines of :func:`visit_line` in a file, or ``-`` for
        standard input."""
        words = [str(self.executable), "--round", file, "--threads", str(threads)]
        words += ["--fill"] if fill_weights or self.weights is None else ["--weights", str(self.weights)]
        return words + (["--affinity", affinity] if affinity else [])


def kernels_folder() -> Path:
    """The folder of kernels' binaries in the state directory, made where it is missing: runners make no folders above.

    Raises:
        StoreError: it cannot be made.
    """
    folder = home() / "weights" / "kernels"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreError(f"cannot make {folder}: {error.strerror}") from error
    return folder


def visit_line(program: str, warmup: int, runs: int, rotate_bytes: int) -> str:
    """One program's turn, as a line of a round's file."""
    return f"{warmup} {runs} {rotate_bytes} {program}\n"


def build_suite(blocks: Sequence[Block], machine: Machine, cache_dir: Path | None = None) -> Runner:
    """One runner that holds each distinct block as a program of its own, named by its hash."""
    distinct = {block.hash: block for block in blocks}
    programs = [machine.place(block_plan(block), name) for name, block in sorted(distinct.items())]
    return link_runner(programs, machine, cache_dir)


def build_model_suite(
    architectures: Sequence[Architecture], machine: Machine, cache_dir: Path | None = None, *, fuse: bool = True
) -> Runner:
    """One runner that holds a whole model of each architecture, without weights, named by the architecture; without
    ``fuse``, one block an operator.

    Raises:
        InputError: two differ in what their names do not tell, such as labels or vocabulary.
    """
    distinct = {architecture.name: architecture for architecture in architectures}
    for architecture in architectures:
        if architecture != distinct[architecture.name]:
            raise InputError(f"two different models are called {architecture.name}: they cannot be timed together")
    programs = [
        machine.place(architecture_plan(architecture, fuse=fuse), name)
        for name, architecture in sorted(distinct.items())
    ]
    return link_runner(programs, machine, cache_dir)


def link_runner(
    programs: Sequence[Program[Any]],
    machine: Machine,
    cache_dir: Path | None = None,
    weights: Path | None = None,
    addition: Addition = NOTHING,
) -> Runner:
    """Compiles and links programs, and what else goes with them, to a runner."""
    names = tuple(program.name for program in programs)
    return runner_of(machine.executable(programs, cache_dir, addition), machine.compiler, names, weights)


def run_here(
    command: Sequence[str], read: Callable[[dict[str, Any]], float], failure: str, time_limit_s: float
) -> float:
    """A number read off the JSON object that a runner prints on this machine.

    Raises:
        DeviceError: the runner does not run here, or prints something else; the message begins with ``failure``.
    """
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=time_limit_s, check=True)
        return read(json.loads(done.stdout))
    except (OSError, subprocess.SubprocessError, ValueError, KeyError) as error:
        raise DeviceError(f"{failure}: {error}") from error


def shortest_ms(result: Result) -> float:
    """The smallest time of a runner's result, milliseconds."""
    return float(min(result["samples_ms"]))


def runner_of(executable: Path, compiler: str, programs: tuple[str, ...], weights: Path | None = None) -> Runner:
    """A runner that is compiled and linked."""
    digest = hashlib.sha256(executable.read_bytes()).hexdigest()[:32]
    return Runner(executable, weights, digest, compiler, programs)
