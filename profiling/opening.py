"""From a device's specification to the device."""

from __future__ import annotations

from collections.abc import Sequence

from data.device_spec import DeviceSpec
from data.errors import InputError
from profiling.adb import AdbDevice
from profiling.device import Device
from profiling.fleet import Fleet
from profiling.host import HostDevice
from profiling.simulated import SimulatedDevice


def open_device(
    spec: DeviceSpec,
    serial: str | Sequence[str] | None = None,
    simulated: bool = False,
    unit: str = "cpu",
    seed: int = 0,
    allow_mismatch: bool = False,
    instructions: str | None = None,
) -> Device:
    """The device of a specification.

    Args:
        spec: what device.
        serial: serial number of the phone, where several are attached; several of one model share the work.
        simulated: take the analytic model instead of the device itself.
        unit: ``cpu`` or ``gpu``.
        seed: seed of the analytic model's noise.
        allow_mismatch: take a phone of another model than the specification's.
        instructions: restrict the compiled code of this machine to an instruction set, such as ``avx2`` or ``sse``;
            None takes the best that it has.

    Raises:
        InputError: there is no such unit, a phone is named twice, or the instruction set is
            unknown, beyond this machine, or asked of a phone or a GPU.
        DeviceError: no such phone is attached, its GPU has no driver, or the unit cannot be simulated.
    """
    if unit not in spec.units:
        raise InputError(f"device {spec.name} has no unit {unit!r}: it has {', '.join(spec.units)}")
    if instructions is not None and (simulated or spec.kind != "host" or unit == "gpu"):
        chosen_for = f"{spec.name}'s GPU" if unit == "gpu" else spec.name
        raise InputError(f"instructions {instructions!r} can only be chosen for this machine, not for {chosen_for}")
    if simulated:
        return SimulatedDevice(spec, unit, seed)
    if spec.kind == "host":
        return HostDevice(spec, unit, _host_target(instructions))
    serials = [serial] if isinstance(serial, str) else list(serial or ())
    if len(set(serials)) != len(serials):
        raise InputError("a --serial is named twice")
    if len(serials) < 2:
        return AdbDevice.connect(spec, serials[0] if serials else None, allow_mismatch, unit)
    phones = [AdbDevice.connect(spec, each, allow_mismatch, unit) for each in serials]
    _refuse_twice(phones)
    return Fleet(phones)


def _refuse_twice(phones: Sequence[AdbDevice]) -> None:
    """InputError for a phone that is named by two serial numbers: it would disturb itself."""
    first: dict[str, AdbDevice] = {}
    for phone in phones:
        other = first.setdefault(phone.own_serial, phone)
        if other is not phone:
            raise InputError(
                f"--serial {other.serial} and --serial {phone.serial} are one phone ({phone.own_serial}): name it once"
            )


def _host_target(instructions: str | None) -> str | None:
    """Name of the compiler's target for an instruction set of this machine."""
    if instructions is None:
        return None
    from fusion import host_target_named

    return host_target_named(instructions).name
