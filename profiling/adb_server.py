"""What adb's server says: the attached phones and their states, what to do about each, its errors as one line."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

from data.errors import DeviceError, DeviceLostError
from profiling.adb_socket import server_address

if TYPE_CHECKING:
    from profiling.adb_client import AdbClient

# Seconds: a read from the server.
_SOCKET_S = 20.0
READY = "device"
# Two phones that share a serial number: adb refuses to speak to either.
AMBIGUOUS = "ambiguous"
_ACCEPT = "unlock the phone and accept this computer's key, then call again"
_RESTART = "restart it into Android ('adb reboot', or its own menu), then call again"
# How adb's states begin, and what to do about them.
_ADVICE = {
    "unauthorized": _ACCEPT,
    "authorizing": _ACCEPT,
    "offline": "unplug the phone, plug it in again, and call again",
    "connecting": "wait until it is connected, then call again",
    "detached": "another program holds its USB connection: run 'adb attach', then call again",
    "bootloader": _RESTART,
    "recovery": _RESTART,
    "rescue": _RESTART,
    "sideload": _RESTART,
    "host": "it is another computer, not a phone",
    AMBIGUOUS: "several attached phones have this serial number: leave only one plugged in",
    "no permissions": "this user may not open the USB device: add a udev rule for it (Debian: install "
    "android-sdk-platform-tools-common) and the user to the group plugdev, then plug it in again",
}
# What adb says when a phone is not there (any more), rather than that it refuses something.
_LOST = ("not found", "offline", "closed", "no devices", "still connecting", "connection reset", "connect to adb")


def advice_for(state: str) -> str:
    """What to do about a phone in this state of adb's."""
    return next((advice for known, advice in _ADVICE.items() if state.startswith(known)), "check 'adb devices'")


def attached_phones() -> Mapping[str, str]:
    """State by serial number of every phone that adb knows; ``device`` means ready.

    Raises:
        DeviceError: there is no adb, or what listens on its port is something else.
    """
    server_address()  # before the library, which reads the same variables as it is imported
    with clear_errors("adb"):
        return read_phones(_client().ask("host:devices"))


def read_phones(text: str) -> Mapping[str, str]:
    """State by serial number from adb's lines ``serial TAB state``, in which both may hold spaces."""
    pairs = [line.rpartition("\t") for line in text.splitlines() if "\t" in line]
    times = Counter(serial for serial, _, _ in pairs)
    return {serial: state.strip() if times[serial] == 1 else AMBIGUOUS for serial, _, state in pairs}


def serial_named(words: str) -> str | None:
    """The serial number that adb makes of another name of a phone (``usb:1-4``, ``model:SM_G981B``, a host without
    its port), or None."""
    import adbutils

    try:
        return _client().ask(f"host-serial:{words}:get-serialno")
    except (adbutils.AdbError, OSError, ValueError):
        return None


def _client() -> AdbClient:
    from profiling.adb_client import AdbClient

    return AdbClient(_SOCKET_S)


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
