"""What a phone says about itself and its state, read from the text of getprop, /proc, /sys and dumpsys."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping

# Jiffies spent at each frequency in kHz, by cpufreq policy.
Residency = Mapping[str, Mapping[int, int]]

CPUFREQ = "/sys/devices/system/cpu/cpufreq"
# Prints one `path:line` for each line of the files; phones without a file say so on standard error only.
RESIDENCY_LINE = f"grep -H . {CPUFREQ}/policy*/stats/time_in_state"
CLOCK_LINE = f"grep -H . {CPUFREQ}/policy*/scaling_cur_freq"
# Android's types of temperature sensors (android.os.Temperature), in the order of preference: the gate's limit is
# one of batteries, the skin follows within a few degrees.
_SENSOR_TYPES = ("2", "3")
_SENSOR = re.compile(r"Temperature\{mValue=(-?[\d.]+), mType=(\d+), mName=([^,]*), mStatus=(\d+)\}")
_FROM_HAL = "Current temperatures from HAL"
_STATUS = re.compile(r"Thermal Status: (\d+)")
# Sensors that are not there report values like these.
_PLAUSIBLE_C = (-30.0, 120.0)


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
    """Temperature in °C from ``dumpsys thermalservice`` (battery, else skin), else from ``dumpsys battery``."""
    current = thermal.partition(_FROM_HAL)[2] or thermal
    sensors = {kind: float(value) for value, kind, _, _ in reversed(_SENSOR.findall(current))}
    for kind in _SENSOR_TYPES:
        if kind in sensors and _PLAUSIBLE_C[0] < sensors[kind] < _PLAUSIBLE_C[1]:
            return sensors[kind]
    tenths = battery.get("temperature", "")
    return int(tenths) / 10 if tenths.removeprefix("-").isdecimal() else None


def thermal_status(thermal: str) -> float | None:
    """Android's thermal status, 0 (none) to 6 (shut down): above 1 the system slows the processor."""
    found = _STATUS.search(thermal)
    return float(found[1]) if found else None


def fields(text: str) -> dict[str, str]:
    """``name: value`` lines, as ``dumpsys battery`` and ``/proc/cpuinfo`` print them; the first of equal names."""
    found: dict[str, str] = {}
    for line in text.splitlines():
        name, colon, value = line.partition(":")
        if colon:
            found.setdefault(name.strip(), value.strip())
    return found


def properties(text: str) -> dict[str, str]:
    """What ``getprop`` without arguments prints: ``[name]: [value]`` lines."""
    return dict(re.findall(r"^\[([^\]]+)\]: \[(.*)\]$", text, flags=re.MULTILINE))


def cpu_parts(cpuinfo: str) -> dict[int, tuple[int, int]]:
    """Implementer and part number of each processor that ``/proc/cpuinfo`` lists."""
    parts: dict[int, tuple[int, int]] = {}
    for section in re.split(r"\n\s*\n", cpuinfo):
        known = fields(section)
        number, implementer, part = (known.get(name, "") for name in ("processor", "CPU implementer", "CPU part"))
        if number.isdecimal() and implementer.startswith("0x") and part.startswith("0x"):
            parts[int(number)] = (int(implementer, 16), int(part, 16))
    return parts
