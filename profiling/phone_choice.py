"""Which attached phone to use: the one named, or the only one that it can be."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

from data.device_spec import DeviceSpec
from data.errors import DeviceError
from profiling.adb_server import READY, advice_for, attached_phones, serial_named
from profiling.phone_identity import Properties, is_of, own_serial
from profiling.phone_link import PhoneLink
from profiling.phone_readings import properties

# adb's own variable for the phone to use where none is named.
_VARIABLE = "ANDROID_SERIAL"
# Seconds for a question to one of several phones, and how emulators' serial numbers begin.
_ASK_S, _EMULATOR = 5.0, "emulator-"


def choose(serial: str | None, what: str, spec: DeviceSpec | None = None) -> str:
    """The serial number to use of the attached phones, or a DeviceError that says what ``what`` lacks.

    Without a serial number, ``ANDROID_SERIAL`` counts; without either, the only phone that is ready, or the only one
    among them of ``spec``'s model. A phone that is connected twice is one, over its cable.
    """
    try:
        attached = attached_phones()
    except DeviceError as error:
        raise DeviceError(f"{what} is not available: {error}") from error
    if serial is not None:
        chosen = _named(serial, attached)
    elif variable := os.environ.get(_VARIABLE):
        chosen = _named(variable, attached, f" ({_VARIABLE})")
    else:
        chosen = _only(attached, what, spec)
    if attached[chosen] != READY:
        raise DeviceError(f"{what} ({chosen}) is {attached[chosen]}: {advice_for(attached[chosen])}")
    return chosen


def ready_phones(attached: Mapping[str, str]) -> dict[str, Properties | DeviceError]:
    """What each phone that is ready says of itself, or why it does not, by serial number; cables come first."""
    found: dict[str, Properties | DeviceError] = {}
    for serial in sorted((serial for serial, state in attached.items() if state == READY), key=_by_network):
        try:
            found[serial] = properties(PhoneLink(serial, f"the phone {serial}").shell(["getprop"], _ASK_S))
        except DeviceError as error:
            found[serial] = error
    return found


def same_phone(serials: Mapping[str, Properties | DeviceError]) -> dict[str, str]:
    """Of serial numbers behind which is one phone, all but the first, and each one's first."""
    first: dict[str, str] = {}
    for serial, known in serials.items():
        if not isinstance(known, DeviceError):
            first.setdefault(own_serial(known, serial), serial)
    return {
        serial: first[own_serial(known, serial)]
        for serial, known in serials.items()
        if not isinstance(known, DeviceError) and first[own_serial(known, serial)] != serial
    }


def _named(named: str, attached: Mapping[str, str], origin: str = "") -> str:
    chosen = named if named in attached or not named else serial_named(named)
    if chosen is None or chosen not in attached:
        raise DeviceError(
            f"no phone with serial {named or repr(named)}{origin} is attached; attached: {_list(attached)}"
        )
    return chosen


def _only(attached: Mapping[str, str], what: str, spec: DeviceSpec | None) -> str:
    if len(attached) == 1:
        return next(iter(attached))
    ready = [serial for serial, state in attached.items() if state == READY]
    if not ready and attached:
        first = next(iter(attached))
        more = f"{what} is not available: no attached phone is ready; {first} is {attached[first]}"
        raise DeviceError(f"{more}: {advice_for(attached[first])} (attached: {_list(attached)})")
    if not ready:
        problem = "no phone is attached; enable USB debugging, plug it in and check 'adb devices'"
        raise DeviceError(f"{what} is not available: {problem}")
    candidates = ready if len(ready) == 1 else _candidates(attached, spec)
    if len(candidates) != 1:
        problem = f"several phones are attached ({', '.join(candidates)}): choose one with --serial"
        raise DeviceError(f"{what} is not available: {problem}")
    return candidates[0]


def _candidates(attached: Mapping[str, str], spec: DeviceSpec | None) -> Sequence[str]:
    """Different phones that are ready, only those of the model where there are such, and no emulator beside a phone."""
    phones = ready_phones(attached)
    again = same_phone(phones)
    different = [serial for serial in phones if serial not in again]
    for narrowed in (
        [serial for serial in different if spec is not None and _is_of(spec, phones[serial])],
        [serial for serial in different if not serial.startswith(_EMULATOR)],
    ):
        if narrowed:
            return narrowed
    return different


def _is_of(spec: DeviceSpec, known: Properties | DeviceError) -> bool:
    return not isinstance(known, DeviceError) and is_of(spec, known)


def _by_network(serial: str) -> tuple[bool, str]:
    """Orders phones on a cable before those over the network."""
    return ":" in serial or "._adb" in serial, serial


def _list(attached: Mapping[str, str]) -> str:
    return (
        ", ".join(serial if state == READY else f"{serial} ({state})" for serial, state in attached.items()) or "none"
    )
