"""Phones over adb: the real server without a phone, and a double of the phone behind adbutils' own interface."""

from __future__ import annotations

import json
import shlex
import socket
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace

import adbutils
import pytest

from data.device_spec import load_device
from data.errors import DeviceError
from profiling import Job, open_device
from tests.profiling.doubles import RECORDED, printing

SPEC = load_device("s20")


@pytest.fixture
def port(monkeypatch: pytest.MonkeyPatch) -> int:
    """A free port in place of the server's own, so that a developer's phones stay out of the tests."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        number = int(probe.getsockname()[1])
    monkeypatch.setenv("ANDROID_ADB_SERVER_PORT", str(number))
    return number


@pytest.fixture
def server(port: int) -> Iterator[int]:
    yield port
    subprocess.run([adbutils.adb_path(), "-P", str(port), "kill-server"], capture_output=True, check=False, timeout=20)


def test_no_phone_attached(server: int) -> None:
    with pytest.raises(DeviceError, match=r"no phone is attached|adb cannot be started"):
        open_device(SPEC)


def test_no_adb_at_all(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing() -> str:
        raise adbutils.AdbError("No adb exe could be found")

    monkeypatch.setattr(adbutils, "adb_path", missing)
    with pytest.raises(DeviceError, match="install Android's platform tools"):
        open_device(SPEC)


@dataclass
class Phone:
    """What adbutils gives of one phone: pushed files and the commands that were run."""

    serial: str = "R5"
    abis: str = "arm64-v8a"
    run: Callable[[list[str]], tuple[int, str, str]] = lambda words: (0, json.dumps(RECORDED), "")
    files: dict[str, bytes] = field(default_factory=dict)
    lines: list[str] = field(default_factory=list)

    @property
    def sync(self) -> SimpleNamespace:
        return SimpleNamespace(push=self._push)

    def _push(self, source: Path, destination: str, mode: int, check: bool) -> None:
        self.files[destination] = source.read_bytes()

    def shell2(self, line: str, timeout: float, v2: bool, rstrip: bool) -> SimpleNamespace:
        self.lines.append(line)
        words = shlex.split(line)
        status, out, error = 0, "", ""
        if words[0] == "timeout":
            status, out, error = self.run(words)
        elif words[:2] == ["getprop", "ro.product.cpu.abilist64"]:
            out = self.abis
        elif words[0] == "getprop":
            out = f"value of {words[1]}"
        elif words[0] == "nproc":
            out = "8"
        elif words[0] == "dumpsys":
            out = "Current Battery Service state:\n  level: 71\n  temperature: 312"
        elif words[0] == "cat":
            out = "1800000\n2400000"
        return SimpleNamespace(returncode=status, stdout=out, stderr=error, output=out + error)


@pytest.fixture
def attach(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Attach doubles: ``attach(phone, other=state)``."""
    monkeypatch.setattr("profiling.adb._start_server", lambda: None)

    def attach(phone: Phone, **states: str) -> None:
        pairs = (states or {phone.serial: "device"}).items()
        found = [SimpleNamespace(serial=name, state=state) for name, state in pairs]
        monkeypatch.setattr(adbutils.AdbClient, "list", lambda self: found)
        monkeypatch.setattr(adbutils.AdbClient, "device", lambda self, serial: phone)

    return attach


def job(tmp_path: Path, **changes: object) -> Job:
    values = {"threads": 8, "warmup": 3, "runs": 5, "runner": printing(tmp_path / "runner"), **changes}
    return Job("517158f404800c91", (), **values)  # type: ignore[arg-type]


def test_runner_is_pushed_started_and_removed(attach: Callable[..., None], tmp_path: Path) -> None:
    phone = Phone()
    attach(phone)
    device = open_device(SPEC)
    first = job(tmp_path, affinity="f0")
    raw = device.run(first)
    device.run(first)
    assert raw.samples_ms == tuple(RECORDED["samples_ms"])  # type: ignore[arg-type]
    assert list(phone.files) == ["/data/local/tmp/pocketbert-b1n/runner"]
    started = [line for line in phone.lines if line.startswith("timeout")]
    assert started[0].startswith("timeout 60 taskset f0 /data/local/tmp/pocketbert-b1n/runner 517158f404800c91")
    device.close()
    assert phone.lines[-1] == "rm -rf /data/local/tmp/pocketbert-b1n"


def test_names_cannot_inject_commands(attach: Callable[..., None], tmp_path: Path) -> None:
    phone = Phone()
    attach(phone)
    evil = "x; rm -rf $HOME"
    open_device(SPEC).run(Job(evil, (), 8, 1, 1, runner=printing(tmp_path / "runner")))  # type: ignore[arg-type]
    assert evil in shlex.split(phone.lines[-1])


def test_state_and_description(attach: Callable[..., None]) -> None:
    attach(Phone())
    device = open_device(SPEC)
    assert device.state().to_dict() == {"clock_mhz": 2100.0, "temperature_c": 31.2, "battery_percent": 71.0}
    assert device.describe().cores == 8 and device.describe().details["serial"] == "R5"
    assert device.provenance == "measured" and device.needs_runner


@pytest.mark.parametrize(
    ("outcome", "problem"),
    [
        ((124, "", ""), "did not end within"),
        ((1, "", "CANNOT LINK EXECUTABLE\nno such library"), "status 1: no such library"),
        ((0, "garb", ""), "printed no valid result"),
    ],
)
def test_failing_programs(
    attach: Callable[..., None], tmp_path: Path, outcome: tuple[int, str, str], problem: str
) -> None:
    attach(Phone(run=lambda words: outcome))
    with pytest.raises(DeviceError, match=problem):
        open_device(SPEC).run(job(tmp_path))


def test_lost_connection_is_one_line(attach: Callable[..., None], tmp_path: Path) -> None:
    def lost(words: list[str]) -> tuple[int, str, str]:
        raise adbutils.AdbError("device 'R5' not found\nmore")

    attach(Phone(run=lost))
    with pytest.raises(DeviceError, match=r"adb failed \(device 'R5' not found\)"):
        open_device(SPEC).run(job(tmp_path))


def test_which_phone(attach: Callable[..., None]) -> None:
    attach(Phone(), A="device", B="device")
    with pytest.raises(DeviceError, match="choose one with --serial"):
        open_device(SPEC)
    with pytest.raises(DeviceError, match="no phone with serial C"):
        open_device(SPEC, serial="C")
    assert open_device(SPEC, serial="B").spec == SPEC


@pytest.mark.parametrize(("state", "advice"), [("unauthorized", "unlock the phone"), ("offline", "plug it in again")])
def test_phone_that_is_not_ready(attach: Callable[..., None], state: str, advice: str) -> None:
    attach(Phone(), A=state)
    with pytest.raises(DeviceError, match=advice):
        open_device(SPEC)


def test_32_bit_phone(attach: Callable[..., None]) -> None:
    attach(Phone(abis=""))
    with pytest.raises(DeviceError, match="not a 64-bit"):
        open_device(SPEC)
