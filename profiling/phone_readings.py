"""What a phone says about itself and its state, read from the text of getprop, /proc, /sys and dumpsys."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping
from math import isfinite

from data.processor import fields

# Jiffies spent at each frequency in kHz, by cpufreq policy.
Residency = Mapping[str, Mapping[int, int]]

CPUFREQ = "/sys/devices/system/cpu/cpufreq"
_PROPERTY = re.compile(r"^\[([^\]\n]+)\]: \[(.*?)\]$(?=\n\[|\s*\Z)", flags=re.MULTILINE | re.DOTALL)
# Prints one `path:line` for each line of the files; phones without a file say so on standard error only.
RESIDENCY_LINE = f"grep -H . {CPUFREQ}/policy*/stats/time_in_state"
CLOCK_LINE = f"grep -H . {CPUFREQ}/policy*/scaling_cur_freq"
# Android's types of temperature sensors (android.os.Temperature), in the order of preference, with what their names
# hold: batteries, since the gate's limit is one of batteries, and the skin, which follows within a few degrees.
_SENSOR_TYPES = ((2, ("batt",)), (3, ("skin", "shell", "back", "quiet")))
# Sensors elsewhere in the phone, which some phones report under the type of another.
_ELSEWHERE = re.compile(
    r"usb|chg|charg|wlc|wireless|cpu|gpu|npu|modem|pa_|wifi|flash|camera|display|ambient|test|dummy"
)
_SENSOR = re.compile(r"Temperature\{mValue=([^,}]*), mType=(-?\d+), mName=(.*?), mStatus=(-?\d+)\}")
_FROM_HAL = "Current temperatures from HAL"
_STATUS = re.compile(r"Thermal Status: (\d+)")
_OVERRIDDEN, _STOPPED = "IsStatusOverride: true", "UPDATES STOPPED"
# Sensors that are not there report values outside these, or exactly zero.
_PLAUSIBLE_C = (-30.0, 120.0)
# A phone shuts itself down before its battery is as hot as this.
_HOTTEST_BATTERY_C = 70.0


def residency(text: str) -> Residency:
    """Time at each clock of each policy from ``path:kHz jiffies`` lines; lines that are something else are skipped."""
    policies: dict[str, dict[int, int]] = defaultdict(dict)
    for line in text.splitlines():
        path, _, content = line.partition(":")
        words = content.split()
        if path.endswith("/time_in_state") and len(words) == 2 and all(word.isdecimal() for word in words):
            policies[path.split("/")[-3]][int(words[0])] = int(words[1])
    return policies


def mean_clock_mhz(before: Residency, after: Residency) -> float | None:
    """Mean clock in MHz between two readings, over the policies; None where no time has passed or was counted."""
    clocks = []
    for policy in sorted(before.keys() & after.keys()):
        spent = {kilohertz: count - before[policy].get(kilohertz, 0) for kilohertz, count in after[policy].items()}
        total = sum(spent.values())
        if total > 0 and min(spent.values()) >= 0:
            clocks.append(sum(kilohertz * count for kilohertz, count in spent.items()) / total / 1e3)
    return sum(clocks) / len(clocks) if clocks else None


def current_clock_mhz(text: str) -> float | None:
    """Mean of ``path:kHz`` lines of ``scaling_cur_freq`` in MHz: one moment, where time_in_state is hidden."""
    values = [line.rpartition(":") for line in text.splitlines()]
    clocks = [int(value) for path, _, value in values if path.endswith("/scaling_cur_freq") and value.isdecimal()]
    return sum(clocks) / len(clocks) / 1e3 if clocks else None


def temperature_c(thermal: str, battery: Mapping[str, str]) -> float | None:
    """Temperature in °C from ``dumpsys thermalservice`` (battery, else skin), else from ``dumpsys battery``; None where
    no sensor of the kind tells a possible one.

    Of several sensors of a kind, those count whose name says so, of them the warmest: the gate must not open for one
    that is asleep.
    """
    current = thermal.partition(_FROM_HAL)[2] or thermal
    sensors = [(int(kind), name.lower(), _sensor_c(value)) for value, kind, name, _ in _SENSOR.findall(current)]
    for wanted, words in _SENSOR_TYPES:
        found = [
            (name, value)
            for kind, name, value in sensors
            if kind == wanted and value is not None and not _ELSEWHERE.search(name)
        ]
        named = [value for name, value in found if any(word in name for word in words)]
        if found:
            return max(named or [value for _, value in found])
    return _battery_c(battery)


def thermal_status(thermal: str) -> float | None:
    """Android's thermal status, 0 (none) to 6 (shut down): above 1 the system slows the processor. None where it is
    not told, or somebody has overridden it."""
    found = _STATUS.search(thermal)
    return float(found[1]) if found and _OVERRIDDEN not in thermal else None


def battery(text: str) -> dict[str, str]:
    """What ``dumpsys battery`` prints; nothing where somebody has stopped its updates."""
    return {} if _STOPPED in text else fields(text)


def _sensor_c(text: str) -> float | None:
    """A sensor's value in °C: Android gives degrees, some phones tenths or thousandths of them."""
    value = _number(text)
    if value is None:
        return None
    divisor = 1 if value <= _PLAUSIBLE_C[1] else 10 if value <= 10 * _PLAUSIBLE_C[1] else 1000
    return _plausible(value / divisor)


def _battery_c(battery: Mapping[str, str]) -> float | None:
    """Android gives tenths of a degree, some phones degrees, hundredths or thousandths. What may be two of them is the
    higher: a battery of 3.1 °C is rarer than one of 31 °C, and only the gate's opening can do harm."""
    value = _number(battery.get("temperature", ""))
    if value is None or battery.get("present") == "false":
        return None
    scale = 1 if 0 < value <= _HOTTEST_BATTERY_C or "." in battery["temperature"] else 10
    while value / scale > _PLAUSIBLE_C[1] and scale < 1000:
        scale *= 10
    return _plausible(value / scale)


def _plausible(celsius: float) -> float | None:
    return celsius if _PLAUSIBLE_C[0] < celsius < _PLAUSIBLE_C[1] and celsius else None


def _number(text: str) -> float | None:
    """A finite number, or None."""
    try:
        value = float(text)
    except ValueError:
        return None
    return value if isfinite(value) else None


def properties(text: str) -> dict[str, str]:
    """What ``getprop`` without arguments prints: ``[name]: [value]`` lines; values may hold brackets and further
    lines."""
    return dict(_PROPERTY.findall(text.replace("\r\n", "\n")))
