"""What phones are attached, and what each can be used for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from data.device_spec import DeviceSpec
from data.errors import DeviceError
from profiling.adb import refuse_unfit
from profiling.adb_server import READY, advice_for, attached_phones
from profiling.phone_link import PhoneLink
from profiling.phone_readings import properties

# Seconds for the question to one phone: a list should not take long over one that hangs.
_ASK_S = 5.0


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
    return tuple(_phone(serial, state, known) for serial, state in sorted(attached_phones().items()))


def _phone(serial: str, state: str, known: Sequence[DeviceSpec]) -> AttachedPhone:
    if state != READY:
        return AttachedPhone(serial, state, problem=f"{state}: {advice_for(state)}")
    try:
        said = properties(PhoneLink(serial, f"the phone {serial}").shell(["getprop"], _ASK_S))
    except DeviceError as error:
        return AttachedPhone(serial, state, problem=str(error))
    model = said.get("ro.product.model", "")
    device = next((spec.name for spec in known if spec.models and model.startswith(spec.models)), "")
    try:
        refuse_unfit(said, serial)
    except DeviceError as error:
        return AttachedPhone(serial, state, model, device, str(error))
    return AttachedPhone(serial, state, model, device)
