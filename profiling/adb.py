"""A phone over adb: the runner is pushed to /data/local/tmp and started through ``taskset`` in the phone's shell.

The processor has static runners; the GPU dynamic ones, which load its driver, and a folder for the kernels' binaries.

Needs no root. Every call has a wall-clock limit on the phone's side (``timeout``) and on this one; a connection that
breaks is waited for; every error of adb becomes one line that says what to do.
"""

from __future__ import annotations

import hashlib
import os
import platform
import re
import uuid
from collections.abc import Callable
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, TypeVar

from data.device_spec import DeviceSpec
from data.errors import DeviceError, DeviceLostError
from data.measurement import Provenance
from data.processor import shared_flags
from data.progress import Progress, no_progress
from profiling import phone_readings as readings
from profiling.device import DeviceDescription, DeviceState, RawSamples, Round, parse_round
from profiling.kernels import build_kernels
from profiling.phone_choice import choose
from profiling.phone_gpu import ask_gpu, describing_runner, kernels_setting
from profiling.phone_identity import own_serial, refuse_other, refuse_unfit
from profiling.phone_link import Finished, PhoneLink
from profiling.phone_start import CANNOT_EXECUTE, make_executable, start_advice

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from fusion import Machine, Runner, Target

REMOTE_ROOT = "/data/local/tmp"
_PREFIX = "pocketbert-"
# The round's visits, beside the runner.
_ROUND_FILE = "round"
# Only these names are ever removed; nothing in them means anything to a shell or to a pattern.
_FOLDER = re.compile(rf"{_PREFIX}[A-Za-z0-9-]+")
# Seconds by which two readings of the moment a process began may differ.
_SAME_PROCESS_S = 3.0
# Seconds: how long a phone that went away is waited for; a push, with so much added for each megabyte.
RETURN_S, _PUSH_S, _PUSH_S_PER_MB = 60.0, 30.0, 1.0
_IDENTITY = ("ro.product.model", "ro.soc.model", "ro.board.platform", "ro.build.fingerprint")
_SEPARATOR = "-- pocketbert --"
_STATE_LINE = f"; echo '{_SEPARATOR}'; ".join(
    (readings.RESIDENCY_LINE, readings.CLOCK_LINE, "dumpsys thermalservice", "dumpsys battery")
)
# Folders on phones that devices of this process use now.
_IN_USE: set[str] = set()
Result = TypeVar("Result")


class AdbDevice:
    """One attached phone. Made by :meth:`connect`; :meth:`close` removes what was pushed.

    ``return_limit_s`` is how long a phone that went away is waited for, in seconds; ``unit`` is ``cpu`` or ``gpu``.
    """

    def __init__(self, spec: DeviceSpec, link: PhoneLink, return_limit_s: float = RETURN_S, unit: str = "cpu") -> None:
        self.spec = spec
        self.unit = unit
        self.return_limit_s = return_limit_s
        self._link = link
        self._folder = f"{REMOTE_ROOT}/{_PREFIX}{_this_process()}-{uuid.uuid4().hex[:8]}"
        self._pushed: dict[str, str] = {}
        self._residency: readings.Residency = {}
        self._begun = False
        self._built: set[str] = set()

    @classmethod
    def connect(
        cls, spec: DeviceSpec, serial: str | None = None, allow_mismatch: bool = False, unit: str = "cpu"
    ) -> AdbDevice:
        """The phone with that serial number, or the only one attached.

        Raises:
            DeviceError: no adb, no phone, several phones and no serial, or one that is not ready, not 64-bit, that
                translates ARM code, whose processor does not run the specification's target, or that is of another
                model or chip than the specification's (unless ``allow_mismatch``); its GPU has no driver for adb's
                programs.
        """
        title = f"device {spec.name}"
        device = cls(spec, PhoneLink(choose(serial, title, spec), title), unit=unit)
        refuse_unfit(device.properties, device.serial)
        if not allow_mismatch:
            refuse_other(spec, device.properties, device.serial)
        try:
            device.target  # noqa: B018 - a phone that does not run it is refused before anything is compiled
        except DeviceError as error:
            advice = 'set target = "aarch64-neon" in its file, or take --device attached'
            raise DeviceError(f"the phone {device.serial} cannot be measured as {title}: {error}; {advice}") from error
        device._refuse_without_driver()
        return device

    def _refuse_without_driver(self) -> None:
        try:
            self.machine  # noqa: B018 - a GPU is asked what it is
        except DeviceError:
            self.close()
            raise

    @property
    def serial(self) -> str:
        """The phone's serial number, as adb knows it."""
        return self._link.serial

    @property
    def provenance(self) -> Provenance:
        return "measured"

    @property
    def needs_runner(self) -> bool:
        return True

    @cached_property
    def target(self) -> Target:
        """The best that the phone reports, at least the specification's."""
        from fusion import best_target, target_named

        flags = shared_flags(self._link.script("cat /proc/cpuinfo", "cpuinfo"))
        return best_target(target_named(self.spec.target), flags)

    @cached_property
    def machine(self) -> Machine:
        from fusion import Processor

        return Processor(self.target) if self.unit == "cpu" else self._persist(self._ask_gpu)

    def _ask_gpu(self) -> Machine:
        runner = describing_runner()
        self._bring(runner)
        return ask_gpu(self._link, f"{self._pushed[runner.binary_hash]}/runner")

    @property
    def own_serial(self) -> str:
        """The phone's own serial number, equal however it is connected."""
        return own_serial(self.properties, self.serial)

    @cached_property
    def properties(self) -> Mapping[str, str]:
        """Everything that ``getprop`` says."""
        return readings.properties(self._link.shell(["getprop"]))

    def describe(self) -> DeviceDescription:
        return self._description

    @cached_property
    def _description(self) -> DeviceDescription:
        details = {name: self.properties.get(name, "") for name in _IDENTITY}
        if self.unit == "gpu":
            details |= {"unit": self.unit, "gpu": self.machine.name, **self.machine.details}
        cores = self._link.shell(["nproc", "--all"], check=False)
        identity = "|".join([*details.values(), cores, self.target.name])
        processor = f"{details['ro.product.model']} ({details['ro.soc.model'] or details['ro.board.platform']})"
        return DeviceDescription(
            name=self.spec.name,
            fingerprint=f"{self.spec.name}-{hashlib.sha256(identity.encode()).hexdigest()[:12]}",
            processor=processor if self.unit == "cpu" else f"{self.machine.name}, {processor}",
            cores=int(cores) if cores.isdecimal() else len(self.spec.cores),
            details={**details, "serial": self.serial},
        )

    def prepare(self, runner: Runner, progress: Progress = no_progress) -> None:
        self._persist(lambda: self._bring(runner))
        if self.unit == "gpu" and runner.binary_hash not in self._built:
            build_kernels(runner, lambda work: self._persist(lambda: self._go_round_once(work)), 1, progress)
            self._built.add(runner.binary_hash)

    def go_round(self, work: Round) -> tuple[RawSamples, ...]:
        """A phone that goes away and comes back in time begins the round anew."""
        if self.unit == "gpu" and work.runner is not None:
            self.prepare(work.runner)
        return self._persist(lambda: self._go_round_once(work))

    def state(self) -> DeviceState:
        """Clocks are the mean since the last call, from time_in_state; the first call gives those of the moment."""
        text = self._persist(lambda: self._link.script(_STATE_LINE, "reading the state"))
        residency_text, clocks, thermal, battery_text = (text.split(_SEPARATOR) + [""] * 3)[:4]
        battery, residency = readings.battery(battery_text), readings.residency(residency_text)
        clock = readings.mean_clock_mhz(self._residency, residency)
        self._residency = residency
        level = battery.get("level", "")
        return DeviceState(
            clock_mhz=clock if clock is not None else readings.current_clock_mhz(clocks),
            temperature_c=readings.temperature_c(thermal, battery),
            battery_percent=float(level) if level.isdecimal() else None,
            thermal_status=readings.thermal_status(thermal),
        )

    def close(self) -> None:
        """End what may still run and remove what was pushed; a phone that is gone keeps it until the next session."""
        if not self._begun:
            return
        try:
            self._clean(self._folder)
        except DeviceError:
            return  # the next session removes the folder of one that has ended
        finally:
            self._pushed.clear()
            self._built.clear()
            self._begun = False
            _IN_USE.discard(self._folder)

    def _persist(self, action: Callable[[], Result]) -> Result:
        """Do it; where the phone goes away meanwhile, wait for it and do it again, once."""
        try:
            return action()
        except DeviceLostError:
            self._pushed.clear()
            if not self._link.await_return(self.return_limit_s):
                self.return_limit_s = 0.0  # it was waited for once: whoever tries again learns at once
                raise
        return action()

    def _bring(self, runner: Runner) -> None:
        if runner.binary_hash in self._pushed:
            return
        if not self._begun:
            self._remove_leftovers()
        folder = f"{self._folder}/{runner.binary_hash[:16]}"
        self._begun = True
        _IN_USE.add(self._folder)
        self._link.shell(["mkdir", "-p", folder])
        self._push(runner.executable, f"{folder}/runner", 0o755)
        if runner.weights is not None:
            self._push(runner.weights, f"{folder}/weights.bin", 0o644)
        self._pushed[runner.binary_hash] = folder

    def _push(self, source: Path, destination: str, mode: int) -> None:
        megabytes = source.stat().st_size / 1e6
        self._link.push(source, destination, mode, _PUSH_S + _PUSH_S_PER_MB * megabytes)

    def _go_round_once(self, work: Round) -> tuple[RawSamples, ...]:
        # taskset sets the affinity, before the runner starts
        command = replace(work, affinity="").command(_ROUND_FILE)
        runner = work.runner
        assert runner is not None  # or there were no command
        self._bring(runner)
        folder = self._pushed[runner.binary_hash]
        self._link.push_content(work.lines.encode(), f"{folder}/{_ROUND_FILE}", 0o644, _PUSH_S)
        settings = kernels_setting(self._folder) if self.unit == "gpu" else []
        mask = ["taskset", work.affinity] if work.affinity else []
        try:
            output = self._output_of([*settings, *mask, *_on_phone(command, runner, folder)], work, folder)
        except DeviceError as error:
            if not isinstance(error, DeviceLostError):
                self._end_programs(self._folder)
            raise
        return parse_round(output, work)

    def _output_of(self, words: list[str], work: Round, folder: str) -> str:
        """What the runner in a folder prints; one that lost its run bit gets it back."""
        done = self._finished(words, work)
        if done.status == CANNOT_EXECUTE:
            make_executable(self._link, f"{folder}/runner")
            done = self._finished(words, work)
        if done.status:
            advice = start_advice(self._link, f"{folder}/runner", done)
            place = work.at(done.stdout.count("\n"))
            raise DeviceError(f"{place}: {self._link.title}: the runner {done.reason}{advice}")
        return done.stdout

    def _finished(self, words: list[str], work: Round) -> Finished:
        try:
            return self._link.run(words, work.time_limit_s, name="the runner")
        except DeviceLostError:
            raise
        except DeviceError as error:
            raise DeviceError(f"{work.at(0)}: {error}") from error

    def _remove_leftovers(self) -> None:
        """Remove the folders of sessions of this machine that were killed; living ones stay, others' for a day."""
        names = self._link.script(f"cd {REMOTE_ROOT} && ls", "ls").splitlines()
        old = self._link.script(f"cd {REMOTE_ROOT} && find . -maxdepth 1 -mtime +0", "find").splitlines()
        ours = {f"{REMOTE_ROOT}/{name}": name for name in names if _FOLDER.fullmatch(name)}
        for folder in ours.keys() - _IN_USE:
            if f"./{ours[folder]}" in old or is_leftover(ours[folder].removeprefix(_PREFIX)):
                self._clean(folder)

    def _clean(self, folder: str) -> None:
        self._end_programs(folder)
        self._link.shell(["rm", "-rf", folder], check=False)

    def _end_programs(self, folder: str) -> None:
        """Kill the programs that were started from a folder; the brackets keep pkill from finding its own shell."""
        name = folder.rpartition("/")[2]
        self._link.shell(["pkill", "-9", "-f", f"[{name[0]}]{name[1:]}/"], check=False)


def _on_phone(command: list[str], runner: Runner, folder: str) -> list[str]:
    """The runner's arguments with this machine's paths replaced by those in a folder of the phone."""
    paths = {str(runner.executable): f"{folder}/runner", _ROUND_FILE: f"{folder}/{_ROUND_FILE}"}
    if runner.weights is not None:
        paths[str(runner.weights)] = f"{folder}/weights.bin"
    return [paths.get(word, word) for word in command]


def is_leftover(session: str) -> bool:
    """Whether a folder on the phone that is not in use by this process, named by what follows the prefix, is of a
    session here that has ended: of this process, or of one that is gone."""
    import psutil

    words = session.split("-")
    if len(words) < 3 or not all(word.isdecimal() for word in words[1:3]):
        return True  # of an earlier version, which named folders by the binary's hash
    machine, process, began = words[0], int(words[1]), int(words[2])
    if machine != _machine() or process == os.getpid():
        return machine == _machine()
    try:
        return abs(psutil.Process(process).create_time() - began) > _SAME_PROCESS_S
    except psutil.NoSuchProcess:
        return True


def _this_process() -> str:
    import psutil

    return f"{_machine()}-{os.getpid()}-{int(psutil.Process().create_time())}"


def _machine() -> str:
    """A name of this machine that differs from others' and holds nothing that a shell could take for its own."""
    return hashlib.sha256(platform.node().encode()).hexdigest()[:8]
