"""What phones are attached, and what each can be used for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from data.device_spec import DeviceSpec
from data.errors import DeviceError
from profiling.adb_server import READY, advice_for, attached_phones
from profiling.phone_choice import ready_phones, same_phone
from profiling.phone_identity import Properties, is_of, model_of, refuse_unfit


@dataclass(frozen=True)
class AttachedPhone:
    """A phone that adb knows: its state, model and 64-bit instruction sets, which known device it is (empty: none),
    and why it cannot be measured (empty: it can)."""

    serial: str
    state: str
    model: str = ""
    device: str = ""
    problem: str = ""


def list_phones(known: Sequence[DeviceSpec]) -> tuple[AttachedPhone, ...]:
    """Every phone that adb knows, recognised among ``known`` by its model.

    Raises:
        DeviceError: there is no adb.
    """
    attached = attached_phones()
    ready = ready_phones(attached)
    again = same_phone(ready)
    return tuple(
        _ready_phone(serial, ready[serial], again.get(serial), known)
        if state == READY
        else AttachedPhone(serial, state, problem=f"{state}: {advice_for(state)}")
        for serial, state in sorted(attached.items())
    )


def _ready_phone(
    serial: str, said: Properties | DeviceError, other: str | None, known: Sequence[DeviceSpec]
) -> AttachedPhone:
    """``other`` is the serial number under which the same phone is listed already, if it is."""
    if isinstance(said, DeviceError):
        return AttachedPhone(serial, READY, problem=str(said))
    device = next((spec.name for spec in known if is_of(spec, said)), "")
    problem = f"the same phone as {other}" if other else ""
    try:
        refuse_unfit(said, serial)
    except DeviceError as error:
        problem = str(error)
    return AttachedPhone(serial, READY, model_of(said), device, problem)
