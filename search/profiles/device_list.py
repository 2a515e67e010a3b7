"""``profile-device --list``: every known device and every attached phone, with what each can be used for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from data.errors import DeviceError

if TYPE_CHECKING:
    from data.device_spec import DeviceSpec
    from profiling.phone_list import AttachedPhone


def device_documents() -> dict[str, Any]:
    """Devices and attached phones as one JSON object; without adb, ``adb`` says why no phone is listed."""
    from data.device_spec import known_devices, load_device, own_devices
    from profiling.phone_list import list_phones

    specs = [load_device(name) for name in (*known_devices(), *own_devices())]
    try:
        phones, problem = list_phones(specs), ""
    except DeviceError as error:
        phones, problem = (), str(error)
    return {
        "devices": [_device(spec, phones) for spec in specs],
        "attached": [_attached(phone) for phone in phones],
        "adb": problem,
    }


def device_tables(documents: dict[str, Any]) -> str:
    """The same as two tables for people."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    output = Console(highlight=False)
    known = Table("device", "what", "units", "threads", "can be")
    for document in documents["devices"]:
        cells = (document["name"], document["title"], ", ".join(document["units"]), str(document["threads"]))
        known.add_row(*(Text(cell) for cell in (*cells, document["can_be"])))
    with output.capture() as printed:
        output.print(known)
        if documents["attached"]:
            phones = Table("attached phone", "model", "can be")
            for document in documents["attached"]:
                phones.add_row(*(Text(document[name]) for name in ("serial", "model", "can_be")))
            output.print(phones)
        else:
            output.print(documents["adb"] or "no phone is attached", markup=False)
    return printed.get().rstrip("\n")


def _device(spec: DeviceSpec, phones: Sequence[AttachedPhone]) -> dict[str, Any]:
    serials = [phone.serial for phone in phones if phone.device == spec.name and not phone.problem]
    return {
        "name": spec.name,
        "title": spec.title,
        "kind": spec.kind,
        "units": list(spec.units),
        "threads": spec.default_threads,
        "simulated": spec.analytic is not None,
        "attached": serials,
        "can_be": _device_can_be(spec, serials),
    }


def _device_can_be(spec: DeviceSpec, serials: Sequence[str]) -> str:
    if spec.kind == "host":
        return "measured here"
    measured = f"measured now ({', '.join(serials)})" if serials else "measured over adb"
    return f"{measured}, or simulated" if spec.analytic is not None else measured


def _attached(phone: AttachedPhone) -> dict[str, Any]:
    way = f"--device {phone.device or 'attached'} --serial {phone.serial}"
    return {
        "serial": phone.serial,
        "state": phone.state,
        "model": phone.model,
        "device": phone.device or None,
        "can_be": f"not measured: {phone.problem}" if phone.problem else f"measured: {way}",
    }
