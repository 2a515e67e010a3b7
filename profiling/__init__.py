"""Measuring: devices behind one protocol, the measuring session, and the choice of what to measure."""

from profiling.device import Device, DeviceDescription, DeviceState, RawSamples, Round, Visit
from profiling.opening import open_device

__all__ = ["Device", "DeviceDescription", "DeviceState", "RawSamples", "Round", "Visit", "open_device"]
