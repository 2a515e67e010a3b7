"""Phones over the real adb server, each a double that speaks adb's protocol: what works, and whose phone it is."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest

from data.device_spec import load_device, own_device_path
from data.errors import DeviceError, InputError
from profiling import Device, RawSamples, Round, Visit, open_device
from profiling.attached import describe_attached
from tests.profiling.adb_double import descriptions
from tests.profiling.adb_double.phone import PhoneDouble
from tests.profiling.adb_double.server import AdbServer
from tests.profiling.doubles import RECORDED, FakeRunner
from tests.support import Completed, assert_one_error_line

SPEC = load_device("s20")
Attach = Callable[..., PhoneDouble]


def shell_runner(path: Path, body: str = "", binary_hash: str = "b1n") -> FakeRunner:
    """A runner that is a shell script: at each visit ``body``, then what a real one printed."""
    before, after = json.dumps(RECORDED | {"program": "@"}).split("@")
    each = f"{body}\nprintf '%s%s%s\\n' {shlex.quote(before)} \"$program\" {shlex.quote(after)}"
    path.write_text(f'#!/bin/sh\nwhile read -r warmup runs rotate program; do\n{each}\ndone < "$1"\n')
    path.chmod(0o755)
    return FakeRunner(path, binary_hash=binary_hash)


def timed(device: Device, runner: FakeRunner, program: str = "517158f404800c91", **changes: object) -> RawSamples:
    """A round of one visit, made by a fake runner."""
    values = {"threads": 8, "time_limit_s": 5.0, **changes}
    (raw,) = device.go_round(Round((Visit(program, (), 3, 5),), runner=runner, **values))  # type: ignore[arg-type]
    return raw


def test_adb_itself_works_with_the_double(adb: AdbServer, attach: Attach, tmp_path: Path) -> None:
    phone = attach()
    assert adb.adb("-s", phone.serial, "shell", "getprop ro.product.model; exit 3").strip() == "SM-G981B"
    content = bytes(range(256)) * 1200
    (tmp_path / "sent").write_bytes(content)
    assert "1 file pushed" in adb.adb("-s", phone.serial, "push", str(tmp_path / "sent"), "/data/local/tmp/")
    assert (phone.storage / "sent").read_bytes() == content
    adb.adb("-s", phone.serial, "pull", "/data/local/tmp/sent", str(tmp_path / "got"))
    assert (tmp_path / "got").read_bytes() == content


def test_runner_is_pushed_started_and_removed(attach: Attach, tmp_path: Path) -> None:
    phone = attach()
    device = open_device(SPEC)
    runner = shell_runner(tmp_path / "runner", "taskset -p $$ >> affinity")
    raw = timed(device, runner, affinity="1")
    timed(device, runner)
    assert raw.samples_ms == tuple(RECORDED["samples_ms"])  # type: ignore[arg-type]
    (folder,) = phone.storage.iterdir()
    assert sorted(path.name for path in folder.rglob("*") if path.is_file()) == ["round", "runner"]
    started = [line for line in phone.commands if "/runner " in line]
    assert len(started) == 2 and " taskset 1 /data/local/tmp/pocketbert-" in started[0] and "taskset" not in started[1]
    masks = [line.rpartition(" ")[2] for line in (phone.root / "affinity").read_text().splitlines()]
    assert masks[0] == "1" and len(masks) == 2
    device.close()
    assert not list(phone.storage.iterdir())


def test_state_is_clock_heat_and_battery(attach: Attach) -> None:
    phone = attach()
    device = open_device(SPEC)
    device.state()
    full = (1804.8 + 2419.2 + 2841.6) / 3
    state = device.state()
    assert state.clock_mhz == pytest.approx(full, rel=1e-3)
    assert (state.temperature_c, state.battery_percent, state.thermal_status) == (31.2, 71.0, 0.0)
    phone.description.clock_share = 0.5
    assert device.state().clock_mhz == pytest.approx((1209.6 * 2 + 1420.8) / 3, rel=1e-3)
    phone.description.temperature_tenths = 405
    device.state()  # the double refreshes its answers before each command, the reading is of this one
    assert device.state().temperature_c == 40.5


def test_older_phone_hides_clocks_and_has_no_thermalservice(attach: Attach) -> None:
    attach(descriptions.s10())
    state = open_device(load_device("s10")).state()
    assert state.temperature_c == 31.2 and state.thermal_status is None
    assert state.clock_mhz == pytest.approx((1804.8 + 2419.2 + 2841.6) / 3, rel=1e-3)


def test_names_are_never_commands(attach: Attach, tmp_path: Path) -> None:
    phone = attach(descriptions.unknown())
    spec, _ = describe_attached()
    folder = tmp_path / "x; touch injected; $(touch injected)"
    folder.mkdir()
    device = open_device(spec)
    programs = ("x; touch injected", "$(touch injected)", "`touch injected`", "a'b; touch injected '")
    for number, program in enumerate(programs):
        runner = shell_runner(
            folder / "run; touch injected", f'[ {shlex.quote(program)} = "$program" ] || exit 9', f"b{number}"
        )
        timed(device, runner, program)
    with pytest.raises(DeviceError, match="no phone with serial x; touch injected"):
        open_device(spec, serial="x; touch injected")
    device.close()
    assert not [path for place in (phone.root, tmp_path) for path in place.rglob("injected")]


def test_model_that_differs_is_refused(attach: Attach) -> None:
    attach(descriptions.mali())
    with pytest.raises(DeviceError, match=r"is a TNY-AL00, not a Galaxy S20.*--allow-mismatch"):
        open_device(SPEC)
    assert open_device(SPEC, allow_mismatch=True).describe().details["ro.product.model"] == "TNY-AL00"
    assert open_device(load_device("mali")).describe().cores == 8


def test_mismatch_and_missing_serial_as_commands(attach: Attach, run_command: Callable[..., Completed]) -> None:
    phone = attach(descriptions.unknown())
    done = run_command("profile-device", "--device", "s20", "--serial", phone.serial)
    assert_one_error_line(done, 4, 'is a Pocket "7" $(touch x), not a Galaxy S20', "--allow-mismatch")
    done = run_command("profile-device", "--device", "s20", "--serial", "x; touch injected")
    assert_one_error_line(done, 4, "no phone with serial x; touch injected", phone.serial)


def test_any_phone_describes_itself(attach: Attach) -> None:
    attach(descriptions.unknown())
    spec, path = describe_attached()
    assert spec.name == "pocket-7-touch-x" and path == own_device_path(spec.name)
    assert load_device(spec.name) == load_device(path) == spec
    clusters = [
        (cluster.cores, cluster.clock_ghz, cluster.flops_per_cycle, cluster.l2_kib) for cluster in spec.clusters
    ]
    assert clusters == [(2, 2.2, 16.0, 256.0), (6, 2.0, 8.0, 64.0)]
    assert open_device(load_device(path)).describe().name == spec.name


def test_attached_as_a_command_writes_the_specification(attach: Attach, run_command: Callable[..., Completed]) -> None:
    attach(descriptions.unknown())
    for device in ("attached", "pocket-7-touch-x", str(own_device_path("pocket-7-touch-x"))):
        done = run_command("profile-device", "--device", device, "--threads", "99")
        assert done.returncode == 2 and "device pocket-7-touch-x has 8 cores" in done.stderr
        told = "".join(done.stderr.split())
        assert (str(own_device_path("pocket-7-touch-x")) in told) == (device == "attached")


def test_which_phone(attach: Attach) -> None:
    first, second = attach(), attach()
    with pytest.raises(DeviceError, match="choose one with --serial"):
        open_device(SPEC)
    with pytest.raises(DeviceError, match=r"no phone with serial C is attached; attached: 127"):
        open_device(SPEC, serial="C")
    assert open_device(SPEC, serial=second.serial).describe().details["serial"] == second.serial
    assert open_device(SPEC, [first.serial, second.serial]).describe().cores == 8
    with pytest.raises(InputError, match="named twice"):
        open_device(SPEC, [first.serial, first.serial])


def test_phones_of_two_builds_do_not_share(attach: Attach) -> None:
    other = descriptions.s20()
    other.release = "12"
    serials = [attach().serial, attach(other).serial]
    with pytest.raises(DeviceError, match="one model and build"):
        open_device(SPEC, serials)


def test_list_shows_devices_and_phones(attach: Attach, run_command: Callable[..., Completed]) -> None:
    s20, unknown, old = attach(), attach(descriptions.unknown()), attach(descriptions.old())
    locked = attach(state="unauthorized")
    done = run_command("profile-device", "--list", "--json")
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    can_be = {entry["serial"]: entry["can_be"] for entry in document["attached"]}
    assert can_be[s20.serial] == f"measured: --device s20 --serial {s20.serial}"
    assert can_be[unknown.serial] == f"measured: --device attached --serial {unknown.serial}"
    assert "not a 64-bit" in can_be[old.serial] and "accept this computer's key" in can_be[locked.serial]
    known = {entry["name"]: entry["can_be"] for entry in document["devices"]}
    assert known["s20"] == f"measured now ({s20.serial}), or simulated" and known["host"] == "measured here"
    table = run_command("profile-device", "--list").stdout
    assert s20.serial in table and "attached phone" in table


def test_no_phone_no_adb_and_a_foreign_server(adb: AdbServer, run_command: Callable[..., Completed]) -> None:
    command = ("profile-device", "--device", "s20")
    assert_one_error_line(run_command(*command), 4, "no phone is attached", "--simulated")
    nowhere = {"ANDROID_ADB_SERVER_PORT": "1", "ADBUTILS_ADB_PATH": "/nowhere/adb"}
    assert_one_error_line(run_command(*command, **nowhere), 4, "install Android's platform tools")
    assert_one_error_line(run_command(*command, ANDROID_ADB_SERVER_PORT="x"), 4, "is not a port")
    assert "install Android" in run_command("profile-device", "--list", **nowhere).stdout
    assert_one_error_line(run_command("profile-device", "--device", "attached"), 4, "no phone is attached")


@pytest.mark.parametrize(
    ("state", "advice"), [("unauthorized", "accept this computer's key"), ("offline", "plug it in again")]
)
def test_phone_that_is_not_ready(
    attach: Attach, state: str, advice: str, run_command: Callable[..., Completed]
) -> None:
    attach(state=state)
    assert_one_error_line(run_command("profile-device", "--device", "s20"), 4, f"is {state}", advice)


def test_32_bit_phone(attach: Attach) -> None:
    attach(descriptions.old())
    with pytest.raises(DeviceError, match="not a 64-bit"):
        open_device(SPEC)
    with pytest.raises(DeviceError, match="not a 64-bit"):
        describe_attached()


def test_phone_whose_adb_is_too_old(attach: Attach) -> None:
    attach(descriptions.ancient())
    with pytest.raises(DeviceError, match="Android 7 or later is needed"):
        open_device(SPEC)
