"""This machine as a device, its processor or its GPU: each round is one ordinary subprocess with a wall-clock limit."""

from __future__ import annotations

import hashlib
import os
import platform
import subprocess
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING

from data.device_spec import DeviceSpec
from data.errors import DeviceError
from data.measurement import Provenance
from data.progress import Progress, no_progress
from data.usable_processors import usable_processors
from profiling.device import DeviceDescription, DeviceState, RawSamples, Round, parse_round
from profiling.kernels import build_kernels

if TYPE_CHECKING:
    from fusion import Machine, Runner, Target

# Instruction sets that change what the compiler generates or how fast it runs; others don't enter the fingerprint.
_VECTOR_FLAGS = frozenset(
    ("sse2", "sse4_2", "avx", "avx2", "fma", "avx512f", "avx512_vnni", "avx512_bf16", "asimd", "asimddp", "sve")
)
_NUMBERS = ("vendor_id", "cpu family", "model", "CPU implementer", "CPU part")
# Sensors that report the processor's own temperature; the first found is used.
_SENSORS = ("k10temp", "coretemp", "zenpower", "cpu_thermal")

# What ends each visit's result.
_END = "\n"
# A process is preempted some 3 to 7 times while it starts and its threads find their cores, whoever else is there.
_STARTING_PREEMPTIONS = 8


class HostDevice:
    """The machine that pocketbert runs on.

    ``target_name`` restricts the instruction set, for example to ``x86_64-avx2``; None detects the best.
    """

    def __init__(self, spec: DeviceSpec, unit: str = "cpu", target_name: str | None = None) -> None:
        self.spec = spec
        self.unit = unit
        self._built: set[str] = set()
        self._target_name = target_name if target_name else (None if spec.target == "host" else spec.target)

    @property
    def provenance(self) -> Provenance:
        return "measured"

    @property
    def needs_runner(self) -> bool:
        return True

    @cached_property
    def target(self) -> Target:
        from fusion import host_target, host_target_named

        return host_target_named(self._target_name) if self._target_name else host_target()

    @cached_property
    def machine(self) -> Machine:
        from fusion import Processor
        from fusion.build.machine import host_gpu

        return Processor(self.target) if self.unit == "cpu" else host_gpu()

    def describe(self) -> DeviceDescription:
        return self._description

    @cached_property
    def _description(self) -> DeviceDescription:
        usable = usable_processors()
        details = _processor_details() | {"target": self.target.name}
        if usable.quota is not None:  # timings under another quota are of another device
            details["quota"] = f"{usable.quota:g}"
        if self.unit == "gpu":
            details |= {"unit": self.unit, "gpu": self.machine.name, **self.machine.details}
        known = {**details, "cores": str(usable.allowed)}
        identity = "|".join(f"{key}={value}" for key, value in sorted(known.items()))
        digest = hashlib.sha256(identity.encode()).hexdigest()[:12]
        return DeviceDescription(
            name=self.spec.name,
            fingerprint=f"{self.spec.name}-{digest}",
            processor=details["model"] if self.unit == "cpu" else self.machine.name,
            cores=usable.allowed,
            details=details,
        )

    def prepare(self, runner: Runner, progress: Progress = no_progress) -> None:
        if not os.access(runner.executable, os.X_OK):
            raise DeviceError(f"the compiled runner {runner.executable} is missing or cannot be executed")
        if self.unit == "gpu" and runner.binary_hash not in self._built:
            at_once = usable_processors().count if self.machine.on_processor else 1
            build_kernels(runner, self._printed, at_once, progress)
            self._built.add(runner.binary_hash)

    @property
    def _environment(self) -> dict[str, str]:
        """Where the GPU's runners find binaries of kernels."""
        from fusion.build.runner import KERNELS_VARIABLE, kernels_folder

        return {**os.environ, KERNELS_VARIABLE: str(kernels_folder())} if self.unit == "gpu" else dict(os.environ)

    def go_round(self, work: Round) -> tuple[RawSamples, ...]:
        if work.runner is not None and self.unit == "gpu":
            self.prepare(work.runner)
        began, switches = monotonic(), _preemptions()
        printed = self._printed(work)
        during = max(0, _preemptions() - switches - _STARTING_PREEMPTIONS)
        rate = during / max(monotonic() - began, 1e-3)
        return tuple(replace(raw, preemptions_per_s=rate) for raw in parse_round(printed, work))

    def _printed(self, work: Round) -> str:
        """What the runner's process printed.

        Raises:
            DeviceError: it could not be started, ended too late, or with another status than zero.
        """
        done = _finished(work.command("-"), work, self._environment)
        if done.returncode:
            said = done.stderr.strip().splitlines()
            reason = said[-1] if said else "without a message"
            raise DeviceError(f"{work.at(done.stdout.count(_END))} ended with status {done.returncode}: {reason}")
        return done.stdout

    def state(self) -> DeviceState:
        return DeviceState(clock_mhz=_clock_mhz(), temperature_c=_temperature_c(), load=os.getloadavg()[0])

    def close(self) -> None:
        """Nothing to clean: the runner lives in the compiler's cache."""


def _finished(command: list[str], work: Round, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """What the runner's process left, which reads the visits from its standard input."""
    limit_s = work.time_limit_s
    try:
        return subprocess.run(
            command, input=work.lines, capture_output=True, text=True, timeout=limit_s, check=False, env=environment
        )
    except subprocess.TimeoutExpired as error:
        printed = (error.stdout or b"").count(_END.encode())
        raise DeviceError(f"{work.at(printed)} did not end within {limit_s:g} s and was stopped") from error
    except OSError as error:
        raise DeviceError(f"{command[0]} cannot be started: {error.strerror}") from error


def _processor_details() -> dict[str, str]:
    """Model, family and vector instruction sets of the first core, from /proc/cpuinfo where there is one."""
    fields: dict[str, str] = {}
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        first = cpuinfo.read_text(encoding="utf-8", errors="replace").split("\n\n", 1)[0]
        fields = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in first.splitlines())}
    flags = set(fields.get("flags", fields.get("Features", "")).split())
    return {
        "model": fields.get("model name") or platform.processor() or platform.machine(),
        "numbers": "/".join(fields[key] for key in _NUMBERS if key in fields),
        "vector": " ".join(sorted(_VECTOR_FLAGS & flags)),
    }


def _preemptions() -> int:
    """Involuntary context switches of all child processes that have ended so far."""
    import resource

    return resource.getrusage(resource.RUSAGE_CHILDREN).ru_nivcsw


def _clock_mhz() -> float | None:
    """Mean clock of the cores as the kernel reports it."""
    import psutil

    clocks = psutil.cpu_freq(percpu=False)
    return float(clocks.current) if clocks and clocks.current else None


def _temperature_c() -> float | None:
    """The processor's temperature; None on machines that hide it, such as most virtual ones."""
    import psutil

    sensors = psutil.sensors_temperatures() if hasattr(psutil, "sensors_temperatures") else {}
    for name in _SENSORS:
        if sensors.get(name):
            return float(sensors[name][0].current)
    return None
