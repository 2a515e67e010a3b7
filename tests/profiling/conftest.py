"""A state home of the test's own, its store, and the real adb server with doubles of phones that it connects to."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from data.store import MeasurementStore
from tests.profiling.adb_double import descriptions
from tests.profiling.adb_double.descriptions import Description
from tests.profiling.adb_double.phone import PhoneDouble
from tests.profiling.adb_double.server import ADB, QEMU, AdbServer
from tests.support import new_home


@pytest.fixture
def state_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of all state, for this process and the commands that it starts."""
    monkeypatch.setenv("POCKETBERT_HOME", str(new_home(tmp_path / "home")))
    return tmp_path / "home"


@pytest.fixture
def store(state_home: Path) -> Iterator[MeasurementStore]:
    with MeasurementStore.open() as opened:
        yield opened


@pytest.fixture(scope="session")
def shared_adb(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AdbServer]:
    """One server for all tests of a process."""
    if ADB is None:
        pytest.skip("adb is not installed: apt-get install adb")
    server = AdbServer(tmp_path_factory.mktemp("adb"))
    yield server
    server.stop()


@pytest.fixture
def adb(shared_adb: AdbServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[AdbServer]:
    """The server, with no phone attached; this process and the commands it starts use it, and a home of their own."""
    for name, value in shared_adb.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("POCKETBERT_HOME", str(new_home(tmp_path / "home")))
    yield shared_adb
    shared_adb.forget_all()


@pytest.fixture
def attach(adb: AdbServer, tmp_path: Path) -> Iterator[Callable[..., PhoneDouble]]:
    """Attaches phones: ``attach()`` an S20, ``attach(mali())`` another, ``attach(state="offline")`` a deaf one."""
    phones: list[PhoneDouble] = []

    def attach(description: Description | None = None, state: str = "device") -> PhoneDouble:
        root = tmp_path / f"phone{len(phones)}"
        locked, silent = state == "unauthorized", state == "offline"
        phone = PhoneDouble(description or descriptions.s20(), root, locked=locked, silent=silent)
        phones.append(phone)
        adb.attach(phone, state)
        return phone

    yield attach
    for phone in phones:
        phone.stop()


@pytest.fixture
def adb_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[PhoneDouble]:
    """A phone behind a server that the test may kill."""
    if ADB is None:
        pytest.skip("adb is not installed: apt-get install adb")
    server = AdbServer(tmp_path)
    for name, value in server.environment.items():
        monkeypatch.setenv(name, value)
    phone = PhoneDouble(descriptions.s20(), tmp_path / "phone")
    server.attach(phone)
    yield phone
    phone.stop()
    server.stop()


@pytest.fixture
def qemu() -> str:
    """The emulator of aarch64 programs."""
    if QEMU is None:
        pytest.skip("qemu-aarch64-static is not installed: apt-get install qemu-user-static")
    return QEMU
