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
) -> Device:
    """The device of a specification.

    Args:
        spec: what device.
        serial: serial number of the phone, where several are attached; several of one model share the work.
        simulated: take the analytic model instead of the device itself.
        unit: ``cpu`` or ``gpu``.
        seed: seed of the analytic model's noise.
        allow_mismatch: take a phone of another model than the specification's.

    Raises:
        InputError: the unit is not one of the device's, or a serial number is named twice.
        DeviceError: no such phone is attached, or the specification cannot be simulated.
    """
    if unit not in spec.units:
        raise InputError(f"device {spec.name} has no unit {unit!r}: it has {', '.join(spec.units)}")
    if simulated:
        return SimulatedDevice(spec, unit, seed)
    if spec.kind == "host":
        return HostDevice(spec, unit)
    if unit == "gpu":
        raise InputError(f"the GPU of {spec.name} can only be simulated: code is generated for CPUs")
    serials = [serial] if isinstance(serial, str) else list(serial or ())
    if len(set(serials)) != len(serials):
        raise InputError("a --serial is named twice")
    if len(serials) < 2:
        return AdbDevice.connect(spec, serials[0] if serials else None, allow_mismatch)
    return Fleet([AdbDevice.connect(spec, each, allow_mismatch) for each in serials])
