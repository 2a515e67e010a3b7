"""Readings of phones that are cut, foreign or impossible give nothing rather than something wrong."""

from __future__ import annotations

import pytest

from profiling import phone_readings as readings
from profiling.attached import specification

FOLDER = "/sys/devices/system/cpu/cpufreq"


def counted(policy: int, *pairs: tuple[int, int]) -> str:
    return "".join(f"{FOLDER}/policy{policy}/stats/time_in_state:{clock} {count}\n" for clock, count in pairs)


def test_clock_is_the_mean_over_time_and_policies() -> None:
    before = readings.residency(counted(0, (500000, 10), (1000000, 10)) + counted(4, (2000000, 5)))
    after = readings.residency(counted(0, (500000, 20), (1000000, 40)) + counted(4, (2000000, 45)))
    assert readings.mean_clock_mhz(before, after) == pytest.approx((875 + 2000) / 2)


@pytest.mark.parametrize(
    "text",
    ["", "grep: Permission denied", counted(0, (500000, 3)), f"{FOLDER}/policy0/stats/time_in_state:500000", "\0:\0"],
)
def test_clocks_that_did_not_count_give_nothing(text: str) -> None:
    before = readings.residency(counted(0, (500000, 10)))
    assert readings.mean_clock_mhz(before, readings.residency(text)) is None
    assert readings.mean_clock_mhz(before, before) is None


@pytest.mark.parametrize(
    ("thermal", "battery", "expected"),
    [
        ("Temperature{mValue=31.5, mType=2, mName=b, mStatus=0}", {}, 31.5),
        ("Temperature{mValue=40.0, mType=0, mName=cpu, mStatus=0}", {"temperature": "305"}, 30.5),
        # Asleep, or not there: neither zero nor a constant of the driver is a temperature.
        (
            "Temperature{mValue=0.0, mType=2, mName=battery, mStatus=0} "
            "Temperature{mValue=41.0, mType=2, mName=battery, mStatus=0}",
            {},
            41.0,
        ),
        ("Temperature{mValue=0.0, mType=2, mName=battery, mStatus=0}", {"temperature": "412"}, 41.2),
        ("Temperature{mValue=NaN, mType=2, mName=battery, mStatus=0}", {"temperature": "412"}, 41.2),
        ("Temperature{mValue=-40.0, mType=3, mName=skin, mStatus=0}", {}, None),
        # Of another place under the same type: neither a cool connector opens the gate, nor a hot one closes it.
        (
            "Temperature{mValue=20.0, mType=2, mName=usb, mStatus=0} "
            "Temperature{mValue=41.0, mType=2, mName=battery, mStatus=0}",
            {},
            41.0,
        ),
        (
            "Temperature{mValue=31.0, mType=3, mName=VIRTUAL-SKIN, mStatus=0} "
            "Temperature{mValue=55.0, mType=3, mName=usb_pwr_therm, mStatus=3}",
            {},
            31.0,
        ),
        ("Temperature{mValue=20.0, mType=2, mName=USB, mStatus=0}", {"temperature": "412"}, 41.2),
        (
            "Temperature{mValue=25.0, mType=3, mName=xo_therm, mStatus=0} "
            "Temperature{mValue=39.0, mType=3, mName=skin1, mStatus=0} "
            "Temperature{mValue=38.0, mType=3, mName=skin2, mStatus=0}",
            {},
            39.0,
        ),
        # In other units than Android's.
        ("Temperature{mValue=31500.0, mType=2, mName=b, mStatus=0}", {}, 31.5),
        ("Temperature{mValue=315.0, mType=2, mName=b, mStatus=0}", {}, 31.5),
        ("", {"temperature": "41"}, 41.0),
        ("", {"temperature": "4120"}, 41.2),
        ("", {"temperature": "41200"}, 41.2),
        ("", {"temperature": "41.2"}, 41.2),
        ("", {"temperature": "0"}, None),
        ("", {"temperature": "2147483647"}, None),
        # A board without a battery makes one up.
        ("", {"temperature": "250", "present": "false"}, None),
        # The thresholds below the readings are none.
        (
            "Current temperatures from HAL:\n"
            "\tTemperature{mValue=31.0, mType=2, mName=battery, mStatus=0}\n"
            "Temperature static thresholds from HAL:\n"
            "\tTemperatureThreshold{mType=2, mName=battery, mHotThrottlingThresholds=[NaN, 60.0]}",
            {},
            31.0,
        ),
        ("Temperature{mValue=-273.0, mType=2, mName=b, mStatus=0}", {"temperature": "305"}, 30.5),
        ("Temperature{mValue=33.0, mType=3, mName=skin, mStatus=0}", {"temperature": "305"}, 33.0),
        ("Can't find service: thermalservice", {"temperature": "-51"}, -5.1),
        ("", {"temperature": "warm"}, None),
        ("", {}, None),
    ],
)
def test_temperature(thermal: str, battery: dict[str, str], expected: float | None) -> None:
    assert readings.temperature_c(thermal, battery) == expected


def test_readings_that_somebody_has_set_are_none() -> None:
    text = "Current Battery Service state:\n  (UPDATES STOPPED -- use 'reset' to restart)\n  temperature: 250\n"
    assert readings.battery(text) == {}
    assert readings.thermal_status("IsStatusOverride: true\nThermal Status: 0\n") is None
    assert readings.thermal_status("IsStatusOverride: false\nThermal Status: 3\n") == 3.0


def test_properties_hold_brackets_and_lines() -> None:
    text = "[a]: [Pocket [7]]\n[persist.note]: [first\n[not a name\nlast]\n[b]: []\n[c]: [x]\r\n[d]: [y]\n"
    expected = {"a": "Pocket [7]", "persist.note": "first\n[not a name\nlast", "b": "", "c": "x", "d": "y"}
    assert readings.properties(text) == expected


def test_phone_that_hides_everything_is_still_described() -> None:
    spec = specification({}, "", "grep: /sys: Permission denied")
    assert (spec.name, spec.title, len(spec.cores), spec.models) == ("phone", "a phone", 1, ())
    spec = specification({"ro.product.model": "ﾑ"}, "processor\t: 0\n\nprocessor\t: 1\nCPU part\t: x\n", "a:b:c")
    assert (spec.name, spec.models, len(spec.cores)) == ("phone", ("ﾑ",), 2)
