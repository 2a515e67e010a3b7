"""What goes wrong with phones, through the real adb server: a retry, or one clear line; nothing left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from time import monotonic, sleep

import pytest

from data.errors import DeviceError, DeviceLostError
from profiling import open_device
from profiling.adb import AdbDevice
from tests.profiling.adb_double.phone import PhoneDouble
from tests.profiling.doubles import RECORDED
from tests.profiling.test_phones import SPEC, Attach, shell_runner, timed
from tests.support import ROOT

SAMPLES = tuple(RECORDED["samples_ms"])  # type: ignore[arg-type]
# Seconds within which a fault with limits of a second or two must have become an error or a retry.
SOON_S = 60.0  # what it takes on a busy machine at most


def answering(sign: str, *answers: object) -> Callable[[str], object]:
    """Answers the first commands that contain ``sign``, in turn; a callable is called and its answer taken."""
    left = list(answers)

    def answer(line: str) -> object:
        if sign not in line or not left:
            return None
        first = left.pop(0)
        return first() if callable(first) else first

    return answer


def opened(return_limit_s: float = SOON_S) -> AdbDevice:
    device = open_device(SPEC)
    assert isinstance(device, AdbDevice)
    device.return_limit_s = return_limit_s
    return device


def wait_for(condition: Callable[[], object]) -> None:
    deadline = monotonic() + SOON_S
    while not condition():
        assert monotonic() < deadline
        sleep(0.05)


@pytest.mark.parametrize(
    ("refusal", "advice"),
    [
        ("couldn't create file: Read-only file system", "does not let adb write"),
        ("couldn't create file: Permission denied", "does not let adb write"),
        ("write failed: No space left on device", "free some space"),
    ],
)
def test_push_that_the_phone_refuses(attach: Attach, tmp_path: Path, refusal: str, advice: str) -> None:
    phone = attach()
    device = open_device(SPEC)
    phone.refusal = refusal
    with pytest.raises(DeviceError, match=rf"device s20: pushing runner: {refusal}; .*{advice}"):
        timed(device, shell_runner(tmp_path / "runner"))
    device.close()
    assert not list(phone.storage.iterdir())


def test_runner_that_lost_its_run_bit_gets_it_back(attach: Attach, tmp_path: Path) -> None:
    phone = attach()

    def lose_it(line: str) -> None:
        if "mkdir" not in line and "chmod" not in line:
            for path in phone.storage.rglob("runner"):
                path.chmod(path.stat().st_mode & ~0o111 if not any("chmod" in old for old in phone.commands) else 0o755)

    phone.on_command = lose_it
    assert timed(open_device(SPEC), shell_runner(tmp_path / "runner")).samples_ms == SAMPLES


DENIED = (126, b"", b"sh: /data/local/tmp/pocketbert-x/runner: can't execute: Permission denied")


@pytest.mark.parametrize(
    ("ls", "mounts", "answer", "advice"),
    [
        (b"-rw-rw-rw- 1 shell shell 7 /r", b"", DENIED, r"no run bit \(-rw-rw-rw-\) and chmod cannot set it"),
        (b"-rwxr-xr-x 1 shell shell 7 /r", b"d /data f2fs rw,nosuid,noexec 0 0", DENIED, "mounts /data with noexec"),
        (b"-rwxr-xr-x 1 shell shell 7 /r", b"d / ext4 ro,noexec 0 0\nd /data f2fs rw 0 0", DENIED, "SELinux policy"),
        (b"", b"", (126, b"", b"runner: not executable: 64-bit ELF file"), "does not run 64-bit ARM programs"),
        (b"", b"", (132, b"", b"Illegal instruction"), "lacks an instruction of the code: set target"),
    ],
)
def test_runner_that_cannot_be_started(
    ls: bytes, mounts: bytes, answer: tuple[int, bytes, bytes], advice: str, attach: Attach, tmp_path: Path
) -> None:
    phone = attach()
    answers = {"/runner ": answer, "ls -ld": (0, ls, b""), "/proc/mounts": (0, mounts, b"")}
    phone.on_command = lambda line: next((said for sign, said in answers.items() if sign in line), None)
    with pytest.raises(DeviceError, match=rf"517158f404800c91: .*the runner ended with status 1.*{advice}") as caught:
        timed(open_device(SPEC), shell_runner(tmp_path / "runner"))
    assert "write" not in str(caught.value)


def test_folder_that_cannot_be_made(attach: Attach, tmp_path: Path) -> None:
    phone = attach()
    phone.on_command = answering("mkdir", (1, b"", b"mkdir: '/data/local/tmp/x': Read-only file system"))  # type: ignore[assignment]
    with pytest.raises(DeviceError, match=r"mkdir ended with status 1.*restart it"):
        timed(open_device(SPEC), shell_runner(tmp_path / "runner"))


def test_push_broken_midway_is_done_again(attach: Attach, tmp_path: Path) -> None:
    phone = attach()
    device = opened()
    runner = shell_runner(tmp_path / "runner", "# " + "x" * 500_000)
    phone.cut_push_at = 200_000
    threading.Timer(1.0, phone.come_back).start()
    assert timed(device, runner).samples_ms == SAMPLES
    device.close()
    assert phone.cut_push_at is None and not list(phone.storage.iterdir())


def test_file_that_arrives_short_is_an_error(attach: Attach, tmp_path: Path) -> None:
    phone = attach()
    phone.lose_bytes = 1
    with pytest.raises(DeviceError, match=r"only \d+ of \d+ bytes arrived"):
        timed(opened(), shell_runner(tmp_path / "runner"))


def test_program_that_hangs_is_killed_on_both_sides(attach: Attach, tmp_path: Path) -> None:
    phone = attach()
    device = open_device(SPEC)
    began = monotonic()
    with pytest.raises(DeviceError, match=r"517158f404800c91: .*did not end within 0.5 s and was stopped"):
        timed(device, shell_runner(tmp_path / "runner", "trap '' TERM; while :; do sleep 0.1; done"), time_limit_s=0.5)
    assert monotonic() - began < SOON_S
    wait_for(lambda: not phone.running())
    device.close()
    assert not list(phone.storage.iterdir())


def test_phone_that_answers_no_more(attach: Attach, monkeypatch: pytest.MonkeyPatch) -> None:
    phone = attach()
    device = open_device(SPEC)
    monkeypatch.setattr("profiling.phone_link._GRACE_S", 0.0)
    monkeypatch.setattr("profiling.phone_link._KILL_S", 0)
    phone.on_command = lambda line: "exec sleep 600"
    began = monotonic()
    with pytest.raises(DeviceError, match="no answer in time; check the cable"):
        device._link.shell(["getprop"], limit_s=1.0)
    assert monotonic() - began < SOON_S


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        ((0, b'{"schema": 1, "samples_ms": [0.1, 0', b""), "printed no valid result"),
        ((0, bytes(range(256)), b""), "printed no valid result"),
        ((0, b"", b""), "printed no valid result"),
        ((1, b"", b"CANNOT LINK EXECUTABLE\nno such library"), "the runner ended with status 1: no such library"),
        ((139, b"", b""), "status 139: no message"),
    ],
)
def test_output_that_is_cut_or_garbage(attach: Attach, tmp_path: Path, answer: object, problem: str) -> None:
    phone = attach()
    device = open_device(SPEC)
    phone.on_command = answering("/runner ", answer)  # type: ignore[assignment]
    runner = shell_runner(tmp_path / "runner")
    with pytest.raises(DeviceError, match=problem):
        timed(device, runner)
    assert timed(device, runner).samples_ms == SAMPLES


def test_output_without_end(attach: Attach, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    phone = attach()
    monkeypatch.setattr("profiling.phone_link._MOST_OUTPUT", 1 << 20)
    phone.on_command = answering("/runner ", (0, bytes(2 << 20), b""))  # type: ignore[assignment]
    with pytest.raises(DeviceError, match="1 MiB of output"):
        timed(open_device(SPEC), shell_runner(tmp_path / "runner"))


def test_phone_that_is_lost_and_comes_back(attach: Attach, tmp_path: Path) -> None:
    phone = attach()
    device = opened()
    runner = shell_runner(tmp_path / "runner")
    timed(device, runner)

    def unplugged() -> str:
        threading.Timer(1.0, phone.come_back).start()
        phone.vanish()
        return "true"

    phone.on_command = answering("/runner ", unplugged)  # type: ignore[assignment]
    assert timed(device, runner).samples_ms == SAMPLES
    device.close()
    assert not list(phone.storage.iterdir())


def test_phone_that_stays_away(attach: Attach, tmp_path: Path) -> None:
    phone = attach()
    device = opened(return_limit_s=3.0)
    phone.on_command = answering("/runner ", phone.vanish)  # type: ignore[assignment]
    runner = shell_runner(tmp_path / "runner")
    with pytest.raises(DeviceLostError, match="plug it in and call again"):
        timed(device, runner)
    began = monotonic()
    with pytest.raises(DeviceLostError):
        timed(device, runner)
    assert monotonic() - began < 3.0  # it was waited for once
    device.close()


# A shell that starts tests in the background has them ignore SIGINT: the child listens to it again.
HANGING = """
import signal
import sys
from pathlib import Path
from profiling import open_device
from tests.profiling.doubles import FakeRunner
from tests.profiling.test_phones import SPEC, timed
signal.signal(signal.SIGINT, signal.default_int_handler)
device = open_device(SPEC)
try:
    timed(device, FakeRunner(Path(sys.argv[1])), time_limit_s=300.0)
finally:
    device.close()
"""


def hanging_session(phone: PhoneDouble, folder: Path) -> subprocess.Popen[bytes]:
    """A session in a process of its own, whose program runs for minutes."""
    runner = shell_runner(folder / "hanging", "sleep 300")
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    words = [sys.executable, "-c", HANGING, str(runner.executable)]
    process = subprocess.Popen(words, cwd=ROOT, env=env, stderr=subprocess.DEVNULL)
    wait_for(lambda: any("/runner " in line for line in phone.running()))
    return process


def test_interrupted_session_leaves_nothing(attach: Attach, tmp_path: Path) -> None:
    phone = attach()
    process = hanging_session(phone, tmp_path)
    process.send_signal(signal.SIGINT)
    process.wait(SOON_S)
    wait_for(lambda: not phone.running())
    assert not list(phone.storage.iterdir())


def test_leftovers_of_a_killed_session_are_removed(attach: Attach, tmp_path: Path) -> None:
    phone = attach()
    killed = hanging_session(phone, tmp_path)
    living = open_device(SPEC)
    living.prepare(shell_runner(tmp_path / "other"))  # type: ignore[arg-type]
    assert len(list(phone.storage.iterdir())) == 2  # the other session lives
    killed.kill()
    killed.wait()
    old = phone.storage / "pocketbert-0123abcd-1-1-x"
    old.mkdir()
    os.utime(old, (0, 0))
    others = ("pocketbert-; touch injected", "pocketbert-.*", "something else")
    for name in others:
        (phone.storage / name).mkdir()
    device = open_device(SPEC)
    timed(device, shell_runner(tmp_path / "third"))
    wait_for(lambda: not phone.running())
    device.close()
    living.close()
    assert sorted(path.name for path in phone.storage.iterdir()) == sorted(others)


def test_server_that_ends_midway_is_started_again(adb_of_its_own: PhoneDouble, tmp_path: Path) -> None:
    device = opened()
    runner = shell_runner(tmp_path / "runner")
    timed(device, runner)
    subprocess.run(["adb", "kill-server"], capture_output=True, check=True, timeout=20)
    assert timed(device, runner).samples_ms == SAMPLES
    device.close()
