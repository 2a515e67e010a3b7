"""From a device's specification to the device."""

from __future__ import annotations

from data.device_spec import DeviceSpec
from data.errors import InputError
from profiling.adb import AdbDevice
from profiling.device import Device
from profiling.host import HostDevice
from profiling.simulated import SimulatedDevice


def open_device(
    spec: DeviceSpec, serial: str | None = None, simulated: bool = False, unit: str = "cpu", seed: int = 0
) -> Device:
    """The device of a specification.

    Args:
        spec: what device.
        serial: serial number of the phone, where several are attached.
        simulated: take the analytic model instead of the device itself.
        unit: ``cpu`` or ``gpu``.
        seed: seed of the analytic model's noise.

    Raises:
        InputError: the unit is not one of the device's.
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
    return AdbDevice.connect(spec, serial)
