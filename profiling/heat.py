"""The temperature gate: nothing is measured on a phone that is too warm, since a hot one lowers its clocks."""

from __future__ import annotations

from collections.abc import Callable
from time import sleep

from data.errors import DeviceError
from profiling.device import Device, DeviceState

# How long to wait before looking again, in seconds.
_STEP_S = 5.0


class TemperatureGate:
    """Waits while a device is warmer than its specification allows, up to a limit for the whole session.

    ``pause`` waits for some seconds; tests put a clock of their own in its place.
    """

    def __init__(self, device: Device, pause: Callable[[float], None] = sleep) -> None:
        self._device = device
        self._pause = pause
        self._left_s = device.spec.cooling_limit_s

    def state_when_cool(self) -> DeviceState:
        """The device's state once it is cool enough, or at once where it has no limit or tells no temperature.

        Raises:
            DeviceError: it stayed too warm for as long as the specification lets a session wait.
        """
        limit_c = self._device.spec.temperature_limit_c
        state = self._device.state()
        while self.too_warm(state):
            if self._left_s <= 0:
                raise DeviceError(
                    f"device {self._device.spec.name} stays at {state.temperature_c:.1f} °C, above {limit_c:g} °C, "
                    f"after {self._device.spec.cooling_limit_s:g} s of cooling: take it out of its case and off the "
                    "charger, then call again; what was measured is kept"
                )
            step = min(_STEP_S, self._left_s)
            self._pause(step)
            self._left_s -= step
            state = self._device.state()
        return state

    def too_warm(self, state: DeviceState) -> bool:
        """Whether a state is above the specification's limit."""
        limit_c = self._device.spec.temperature_limit_c
        return limit_c is not None and state.temperature_c is not None and state.temperature_c > limit_c
