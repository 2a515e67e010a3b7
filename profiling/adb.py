"""A phone over adb: the runner is pushed to /data/local/tmp and started through ``taskset`` in the phone's shell.

Needs no root. Every call to the phone has a wall-clock limit on the phone's side (``timeout``) and a socket limit on
this side; every error of adb becomes one line that says what to do.
"""

from __future__ import annotations

import hashlib
import os
import shlex
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from time import monotonic, sleep
from typing import TYPE_CHECKING

from data.device_spec import DeviceSpec
from data.errors import DeviceError
from data.measurement import Provenance
from profiling.device import DeviceDescription, DeviceState, Job, RawSamples, parse_runner_output

if TYPE_CHECKING:
    import adbutils

    from fusion import Runner, Target

REMOTE_ROOT = "/data/local/tmp"
# Seconds: a shell command that only reads a few files; a socket read while a file is pushed; starting adb's server.
_SHELL_S, _PUSH_S, _SERVER_S = 15.0, 60.0, 20.0
# Added to a job's own limit before this side gives up, so that the phone's `timeout` ends the program first.
_GRACE_S = 10.0
_TIMEOUT_STATUS = 124
# Battery temperature above which nothing is measured, and how long to wait before looking again.
_COOL_C, _COOLING_STEP_S = 37.0, 5.0
_STATES = {
    "unauthorized": "unlock the phone and accept this computer's key, then call again",
    "offline": "unplug the phone, plug it in again, and call again",
    "no permissions": "this user may not open the USB device: see 'adb devices' for the missing udev rule",
}


class AdbDevice:
    """One attached phone. Made by :meth:`connect`; :meth:`close` removes what was pushed."""

    def __init__(self, spec: DeviceSpec, phone: adbutils.AdbDevice) -> None:
        self.spec = spec
        self.unit = "cpu"
        self._phone = phone
        self._pushed: dict[str, str] = {}

    @classmethod
    def connect(cls, spec: DeviceSpec, serial: str | None = None) -> AdbDevice:
        """The phone with that serial number, or the only one attached.

        Raises:
            DeviceError: no adb, no phone, several phones and no serial, or one that is not ready or not 64-bit.
        """
        import adbutils

        _start_server()
        client = adbutils.AdbClient(socket_timeout=_PUSH_S)
        with _clear_errors(f"device {spec.name}"):
            attached = {info.serial: info.state for info in client.list()}
        device = cls(spec, client.device(serial=_choose(spec, attached, serial)))
        device._refuse_32_bit()
        return device

    @property
    def provenance(self) -> Provenance:
        return "measured"

    @property
    def needs_runner(self) -> bool:
        return True

    @cached_property
    def target(self) -> Target:
        from fusion import target_named

        return target_named(self.spec.target)

    def describe(self) -> DeviceDescription:
        return self._description

    @cached_property
    def _description(self) -> DeviceDescription:
        names = ("ro.product.model", "ro.soc.model", "ro.board.platform", "ro.build.fingerprint")
        details = {name: self._shell(["getprop", name]) for name in names}
        cores = self._shell(["nproc", "--all"])
        identity = "|".join([*details.values(), cores, self.target.name])
        return DeviceDescription(
            name=self.spec.name,
            fingerprint=f"{self.spec.name}-{hashlib.sha256(identity.encode()).hexdigest()[:12]}",
            processor=f"{details['ro.product.model']} ({details['ro.soc.model'] or details['ro.board.platform']})",
            cores=int(cores) if cores.isdigit() else len(self.spec.cores),
            details={**details, "serial": str(self._phone.serial)},
        )

    def prepare(self, runner: Runner) -> None:
        if runner.binary_hash in self._pushed:
            return
        folder = f"{REMOTE_ROOT}/pocketbert-{runner.binary_hash[:16]}"
        self._pushed[runner.binary_hash] = folder
        self._shell(["mkdir", "-p", folder])
        self._push(runner.executable, f"{folder}/runner", 0o755)
        if runner.weights is not None:
            self._push(runner.weights, f"{folder}/weights.bin", 0o644)

    def run(self, job: Job) -> RawSamples:
        command = replace(job, affinity="").command()  # taskset sets it, before the runner starts
        if job.runner is None:
            raise DeviceError(f"{job.program}: nothing was compiled for {self.spec.name}")
        self.prepare(job.runner)
        remote = self._on_phone(command, job.runner)
        mask = ["taskset", job.affinity] if job.affinity else []
        output = self._shell(["timeout", f"{job.time_limit_s:g}", *mask, *remote], job.time_limit_s + _GRACE_S)
        return parse_runner_output(output, job.program)

    def state(self) -> DeviceState:
        clocks = self._numbers(["cat", "/sys/devices/system/cpu/cpufreq/policy*/scaling_cur_freq"])
        lines = self._shell(["dumpsys", "battery"], check=False).splitlines()
        battery = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}
        return DeviceState(
            clock_mhz=sum(clocks) / len(clocks) / 1e3 if clocks else None,
            temperature_c=_tenths(battery.get("temperature")),
            battery_percent=float(battery["level"]) if battery.get("level", "").isdigit() else None,
        )

    def settle(self, threads: int, limit_s: float) -> None:
        """Wait until the battery is cool enough: a hot phone lowers its clocks."""
        end = monotonic() + limit_s
        while (self.state().temperature_c or 0.0) > _COOL_C and monotonic() < end:
            sleep(_COOLING_STEP_S)

    def close(self) -> None:
        for folder in self._pushed.values():
            self._shell(["rm", "-rf", folder], check=False)
        self._pushed.clear()

    def _on_phone(self, command: list[str], runner: Runner) -> list[str]:
        """The runner's arguments with this machine's paths replaced by the phone's."""
        folder = self._pushed[runner.binary_hash]
        paths = {str(runner.executable): f"{folder}/runner"}
        if runner.weights is not None:
            paths[str(runner.weights)] = f"{folder}/weights.bin"
        return [paths.get(word, word) for word in command]

    def _push(self, source: Path, destination: str, mode: int) -> None:
        with _clear_errors(f"pushing {source.name} to {self.spec.name}"):
            self._phone.sync.push(source, destination, mode, check=True)

    def _shell(self, words: list[str], limit_s: float = _SHELL_S, check: bool = True) -> str:
        """Standard output of a command on the phone; every word but a sysfs pattern is quoted."""
        line = " ".join(word if word.startswith("/sys/") else shlex.quote(word) for word in words)
        with _clear_errors(f"device {self.spec.name}"):
            done = self._phone.shell2(line, timeout=limit_s, v2=True, rstrip=True)
        if check and done.returncode == _TIMEOUT_STATUS:
            raise DeviceError(f"device {self.spec.name}: {words[-1]} did not end within {limit_s:g} s and was stopped")
        if check and done.returncode:
            said = (done.stderr or done.output).strip().splitlines() or ["no message"]
            raise DeviceError(f"device {self.spec.name}: {words[0]} ended with status {done.returncode}: {said[-1]}")
        return str(done.stdout or "").strip()

    def _numbers(self, words: list[str]) -> list[float]:
        return [float(word) for word in self._shell(words, check=False).split() if word.isdigit()]

    def _refuse_32_bit(self) -> None:
        if "arm64" not in self._shell(["getprop", "ro.product.cpu.abilist64"]):
            raise DeviceError(f"the phone {self._phone.serial} is not a 64-bit ARM device: no code for it")


def _tenths(text: str | None) -> float | None:
    """Android reports battery temperature in tenths of a degree."""
    return int(text) / 10 if text and text.lstrip("-").isdigit() else None


def _choose(spec: DeviceSpec, attached: dict[str, str], serial: str | None) -> str:
    """The serial number to use, or a DeviceError that says what is missing."""
    if serial is not None and serial not in attached:
        raise DeviceError(f"no phone with serial {serial} is attached; attached: {', '.join(attached) or 'none'}")
    if serial is None and len(attached) != 1:
        found = (
            f"several phones are attached ({', '.join(attached)}): choose one with --serial"
            if attached
            else ("no phone is attached; enable USB debugging, plug it in and check 'adb devices'")
        )
        raise DeviceError(f"device {spec.name} is not available: {found}")
    chosen = serial if serial is not None else next(iter(attached))
    if attached[chosen] != "device":
        advice = _STATES.get(attached[chosen], "check 'adb devices'")
        raise DeviceError(f"device {spec.name} ({chosen}) is {attached[chosen]}: {advice}")
    return chosen


def _start_server() -> None:
    """Start adb's server quietly where none listens: the library would let adb write to standard output."""
    import adbutils

    host = os.environ.get("ANDROID_ADB_SERVER_HOST", "127.0.0.1")
    port = int(os.environ.get("ANDROID_ADB_SERVER_PORT", "5037"))
    try:
        socket.create_connection((host, port), timeout=3).close()
        return
    except OSError:
        pass  # no server yet: start one
    try:
        command = [adbutils.adb_path(), "-P", str(port), "start-server"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=_SERVER_S, check=False)
    except (adbutils.AdbError, OSError, subprocess.TimeoutExpired) as error:
        raise DeviceError(f"adb cannot be started ({error}): install Android's platform tools") from error
    if done.returncode:
        said = done.stderr.strip().splitlines()
        raise DeviceError(f"adb's server cannot be started: {said[-1] if said else 'no message'}")


@contextmanager
def _clear_errors(what: str) -> Iterator[None]:
    """Turn adb's errors into one line."""
    import adbutils

    try:
        yield
    except adbutils.AdbTimeout as error:
        raise DeviceError(f"{what}: the phone did not answer in time; check the cable and call again") from error
    except (adbutils.AdbError, OSError) as error:
        reason = str(error).strip().splitlines()
        raise DeviceError(f"{what}: adb failed ({reason[0] if reason else type(error).__name__})") from error
