"""adb's server on this machine: started where none listens, asked for the attached phones, its errors as one line."""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from data.errors import DeviceError, DeviceLostError

# Seconds: a read from the server; starting it.
_SOCKET_S, _START_S = 20.0, 20.0
_ADVICE = {
    "unauthorized": "unlock the phone and accept this computer's key, then call again",
    "authorizing": "unlock the phone and accept this computer's key, then call again",
    "offline": "unplug the phone, plug it in again, and call again",
    "no permissions": "this user may not open the USB device: see 'adb devices' for the missing udev rule",
}
READY = "device"
# What adb says when a phone is not there (any more), rather than that it refuses something.
_LOST = ("not found", "offline", "closed", "no devices", "still connecting", "connection reset", "connect to adb")


def advice_for(state: str) -> str:
    """What to do about a phone in this state of adb's."""
    return next((advice for known, advice in _ADVICE.items() if state.startswith(known)), "check 'adb devices'")


def start_server() -> None:
    """Start adb's server quietly where none listens: the library would let adb write to standard output.

    Raises:
        DeviceError: adb is not installed or its server does not start.
    """
    host, port = server_address()  # before the library, which reads the same variables as it is imported
    import adbutils

    try:
        socket.create_connection((host, port), timeout=3).close()
        return
    except OSError:
        pass  # no server yet: start one
    try:
        command = [adbutils.adb_path(), "-P", str(port), "start-server"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=_START_S, check=False)
    except (adbutils.AdbError, OSError, subprocess.TimeoutExpired) as error:
        raise DeviceError(f"adb cannot be started ({error}): install Android's platform tools") from error
    if done.returncode:
        said = done.stderr.strip().splitlines()
        raise DeviceError(f"adb's server cannot be started: {said[-1] if said else 'no message'}")


def server_address() -> tuple[str, int]:
    """Host and port of adb's server, from the variables that adb itself reads.

    Raises:
        DeviceError: the port is not a number.
    """
    port = os.environ.get("ANDROID_ADB_SERVER_PORT", "5037")
    if not port.isdecimal():
        raise DeviceError(f"ANDROID_ADB_SERVER_PORT={port!r} is not a port: unset it, or set a number")
    return os.environ.get("ANDROID_ADB_SERVER_HOST", "127.0.0.1"), int(port)


def attached_phones() -> Mapping[str, str]:
    """State by serial number of every phone that adb knows; ``device`` means ready.

    Raises:
        DeviceError: there is no adb, or what listens on its port is something else.
    """
    start_server()
    import adbutils

    with clear_errors("adb"):
        return {info.serial: info.state for info in adbutils.AdbClient(socket_timeout=_SOCKET_S).list()}


@contextmanager
def clear_errors(what: str) -> Iterator[None]:
    """Turn adb's errors into one line; ``DeviceLostError`` where the phone or the server went away."""
    import adbutils

    try:
        yield
    except adbutils.AdbTimeout as error:
        raise DeviceError(f"{what}: no answer in time; check the cable and call again") from error
    except TimeoutError as error:
        raise DeviceError(f"{what}: no answer in time; check the cable and call again") from error
    except (adbutils.AdbError, OSError, EOFError, ValueError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        if isinstance(error, OSError | EOFError) or any(sign in reason.lower() for sign in _LOST):
            raise DeviceLostError(f"{what}: the connection was lost ({reason}); plug it in and call again") from error
        raise DeviceError(f"{what}: adb failed ({reason}); check 'adb devices'") from error
