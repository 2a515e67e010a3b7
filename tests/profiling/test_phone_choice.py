"""Which phone is used: adb's list whatever it holds, its variables, phones connected twice, phones of another chip."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from data.device_spec import load_device
from data.errors import DeviceError, InputError
from profiling import open_device
from profiling.attached import describe_attached
from tests.profiling.adb_double import descriptions
from tests.profiling.adb_double.descriptions import Description
from tests.profiling.adb_double.listing import ListingServer
from tests.profiling.adb_double.phone import PhoneDouble
from tests.profiling.adb_double.server import AdbServer
from tests.support import Completed, assert_one_error_line

SPEC = load_device("s20")
Attach = Callable[..., PhoneDouble]
UDEV = "no permissions (missing udev rules? user is in the plugdev group); see [http://developer.android.com/tools]"
SPACES = "adb-R58-abc (2)._adb-tls-connect._tcp"


@pytest.fixture
def listing(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """Has adb list these lines."""
    servers: list[ListingServer] = []

    def start(*lines: str, path: str = "") -> None:
        servers.append(ListingServer(*lines, path=path))
        if not path:
            monkeypatch.setenv("ANDROID_ADB_SERVER_PORT", str(servers[-1].port))

    yield start
    for server in servers:
        server.stop()


@pytest.mark.parametrize(
    ("serial", "state", "advice"),
    [
        ("R58", UDEV, "add a udev rule"),
        ("R58", "no permissions (user phil is not in the plugdev group); see [http://x]", "the group plugdev"),
        (SPACES, "offline", "plug it in again"),
        ("????????????", "unauthorized", "accept this computer's key"),
        ("R58", "authorizing", "accept this computer's key"),
        ("R58", "connecting", "wait until it is connected"),
        ("R58", "detached", "adb attach"),
        ("R58", "bootloader", "restart it into Android"),
        ("R58", "recovery", "restart it into Android"),
        ("R58", "sideload", "restart it into Android"),
        ("R58", "rescue", "restart it into Android"),
    ],
)
def test_each_state_has_its_advice(listing: Callable[..., None], serial: str, state: str, advice: str) -> None:
    listing(f"{serial}\t{state}")
    with pytest.raises(DeviceError) as caught:
        open_device(SPEC)
    assert f"device s20 ({serial}) is {state}: " in str(caught.value) and advice in str(caught.value)


def test_states_and_serials_with_spaces_as_a_command(
    listing: Callable[..., None], run_command: Callable[..., Completed]
) -> None:
    listing(f"R58\t{UDEV}", f"{SPACES}\tunauthorized", "(no serial number)\toffline")
    done = run_command("profile-device", "--list", "--json")
    attached = {entry["serial"]: entry["can_be"] for entry in json.loads(done.stdout)["attached"]}
    assert attached.keys() == {"R58", SPACES, "(no serial number)"}
    assert f"not measured: {UDEV}: " in attached["R58"] and "accept this computer's key" in attached[SPACES]
    done = run_command("profile-device", "--device", "s20", "--serial", SPACES)
    assert_one_error_line(done, 4, f"device s20 ({SPACES}) is unauthorized", "accept this computer's key")
    assert_one_error_line(run_command("profile-device", "--device", "s20"), 4, "no attached phone is ready", UDEV)


def test_two_phones_of_one_serial_are_told(listing: Callable[..., None]) -> None:
    listing("0123456789ABCDEF\tdevice", "0123456789ABCDEF\tdevice")
    with pytest.raises(DeviceError, match="is ambiguous: several attached phones have this serial number"):
        open_device(SPEC)


def test_servers_of_adb_by_its_own_variables(
    adb: AdbServer, attach: Attach, listing: Callable[..., None], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    serial = attach().serial
    monkeypatch.setenv("ANDROID_ADB_SERVER_PORT", "1")
    for words in (f"tcp:{adb.port}", f"tcp:localhost:{adb.port}", f"tcp:127.0.0.1:{adb.port}"):
        monkeypatch.setenv("ADB_SERVER_SOCKET", words)
        device = open_device(SPEC)
        assert device.describe().details["serial"] == serial and device.state().battery_percent == 71.0
    for kind, path in (("localfilesystem", f"{tmp_path}/adb"), ("localabstract", f"\0{tmp_path}/adb")):
        listing("LOCAL\toffline", path=path)
        monkeypatch.setenv("ADB_SERVER_SOCKET", f"{kind}:{tmp_path}/adb")
        with pytest.raises(DeviceError, match=r"\(LOCAL\) is offline"):
            open_device(SPEC)
    monkeypatch.delenv("ADB_SERVER_SOCKET")
    monkeypatch.setenv("ANDROID_ADB_SERVER_ADDRESS", "localhost")
    monkeypatch.setenv("ANDROID_ADB_SERVER_PORT", str(adb.port))
    assert open_device(SPEC).describe().details["serial"] == serial


@pytest.mark.parametrize(
    ("variable", "value", "problem"),
    [
        ("ADB_SERVER_SOCKET", "vsock:3:5037", "ADB_SERVER_SOCKET=vsock:3:5037 is no address of an adb server"),
        ("ADB_SERVER_SOCKET", "tcp:5037x", "is no address of an adb server"),
        ("ADB_SERVER_SOCKET", "tcp:localhost:99999", "is no address of an adb server"),
        ("ADB_SERVER_SOCKET", "5037", "is no address of an adb server"),
        ("ADB_SERVER_SOCKET", "tcp:host.invalid:5037", "no adb server answers at tcp:host.invalid:5037"),
        ("ANDROID_ADB_SERVER_ADDRESS", "host.invalid", "ANDROID_ADB_SERVER_ADDRESS=host.invalid"),
        ("ANDROID_ADB_SERVER_PORT", "70000", "is not a port"),
    ],
)
def test_addresses_that_lead_nowhere(variable: str, value: str, problem: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(DeviceError) as caught:
        open_device(SPEC)
    assert problem in str(caught.value) and "\n" not in str(caught.value)


def test_android_serial_chooses(attach: Attach, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = attach(), attach()
    monkeypatch.setenv("ANDROID_SERIAL", second.serial)
    assert open_device(SPEC).describe().details["serial"] == second.serial
    assert open_device(SPEC, first.serial).describe().details["serial"] == first.serial
    monkeypatch.setenv("ANDROID_SERIAL", "R58")
    with pytest.raises(DeviceError, match=r"no phone with serial '' is attached"):
        open_device(SPEC, "")
    with pytest.raises(DeviceError, match=r"no phone with serial R58 \(ANDROID_SERIAL\) is attached"):
        open_device(SPEC)


def test_the_only_phone_that_it_can_be(attach: Attach) -> None:
    attach(state="offline")
    attach(descriptions.mali())
    s20 = attach()
    assert open_device(SPEC).describe().details["serial"] == s20.serial
    with pytest.raises(DeviceError, match=r"several phones are attached.*choose one with --serial"):
        describe_attached()


def twice(attach: Attach, **properties: str) -> tuple[PhoneDouble, PhoneDouble]:
    """One phone, connected twice."""
    description = replace(descriptions.s20(), properties={"ro.serialno": "R58M12ABCDE", **properties})
    return attach(description), attach(replace(description))


def test_a_phone_that_is_connected_twice_is_one(attach: Attach, run_command: Callable[..., Completed]) -> None:
    first, second = sorted(phone.serial for phone in twice(attach))
    assert open_device(SPEC).describe().details["serial"] == first
    with pytest.raises(InputError, match=rf"--serial {second} and --serial {first} are one phone \(R58M12ABCDE\)"):
        open_device(SPEC, [second, first])
    done = run_command("profile-device", "--list", "--json")
    can_be = {entry["serial"]: entry["can_be"] for entry in json.loads(done.stdout)["attached"]}
    assert can_be[second] == f"not measured: the same phone as {first}"
    assert can_be[first] == f"measured: --device s20 --serial {first}"


@pytest.mark.parametrize("hidden", ["", "unknown"])
def test_phones_that_hide_their_serial_are_two(hidden: str, attach: Attach) -> None:
    serials = [phone.serial for phone in twice(attach, **{"ro.serialno": hidden})]
    assert open_device(SPEC, serials).describe().details["serial"] == ", ".join(serials)


def chip(base: Description, soc: str, **properties: str) -> Description:
    """The same model with another chip."""
    named = {name.replace("_", "."): value for name, value in properties.items()}
    return replace(base, soc=soc, properties={**base.properties, **named})


@pytest.mark.parametrize(
    ("device", "description", "named"),
    [
        ("s20", chip(descriptions.s20(), "", ro_board_platform="universal9830"), "universal9830"),
        ("s20", chip(descriptions.s20(), "", ro_hardware="exynos990"), "exynos990"),
        ("s20", chip(descriptions.s20(), "Exynos 990"), "Exynos 990"),
        ("s10", chip(descriptions.s10(), "", ro_hardware_chipname="exynos9820"), "exynos9820"),
        ("s10", chip(descriptions.s10(), "s5e9820"), "s5e9820"),
        ("mali", chip(descriptions.mali(), "SM6150"), "SM6150"),
        ("mali", chip(descriptions.mali(), "", ro_board_platform="sm6150"), "sm6150"),
    ],
)
def test_the_same_model_with_another_chip_is_refused(
    device: str, description: Description, named: str, attach: Attach
) -> None:
    attach(description)
    spec = load_device(device)
    with pytest.raises(DeviceError, match=rf"with the chip {named}, not a .*--allow-mismatch"):
        open_device(spec)
    assert open_device(spec, allow_mismatch=True).describe().details["ro.product.model"] == description.model


@pytest.mark.parametrize(
    "description",
    [
        chip(descriptions.s20(), "SM8250-AC"),
        chip(descriptions.s20(), "", ro_board_platform="kona", ro_hardware="qcom"),
        chip(descriptions.s20(), "", ro_board_platform="kona", ro_product_board="msm1"),
        chip(descriptions.s20(), "", ro_hardware="qcom"),
    ],
)
def test_the_chip_by_any_of_its_names(description: Description, attach: Attach) -> None:
    attach(description)
    assert open_device(SPEC).describe().cores == 8


@pytest.mark.parametrize(
    "properties",
    [
        {"ro.product.cpu.abilist": "x86_64,arm64-v8a,x86", "ro.product.cpu.abilist64": "x86_64,arm64-v8a"},
        {"ro.product.cpu.abi": "x86_64"},
        {"ro.dalvik.vm.isa.arm64": "x86_64"},
        {"ro.dalvik.vm.native.bridge": "libndk_translation.so"},
        {"ro.product.cpu.abilist": "riscv64,arm64-v8a"},
    ],
)
def test_machines_that_translate_arm_are_refused(properties: dict[str, str], attach: Attach) -> None:
    attach(replace(descriptions.s20(), properties=properties))
    for opened in (lambda: open_device(SPEC, allow_mismatch=True), describe_attached):
        with pytest.raises(DeviceError, match="translates ARM code"):
            opened()


V8, V8_2 = "fp asimd evtstrm aes crc32 cpuid", "fp asimd evtstrm aes crc32 atomics fphp asimdhp asimddp cpuid"


@pytest.mark.parametrize(
    ("features", "target"), [(V8, "aarch64-neon"), (V8_2, "aarch64-dotprod"), ("", "aarch64-neon")]
)
def test_the_best_code_that_the_phone_runs(features: str, target: str, attach: Attach) -> None:
    attach(replace(descriptions.s20(), features=features))
    assert open_device(SPEC).target.name == target
    spec, _ = describe_attached()
    assert spec.target == target and open_device(spec).target.name == target


def test_code_that_the_phone_cannot_run_is_refused(attach: Attach) -> None:
    attach(replace(descriptions.s20(), features=V8))
    with pytest.raises(DeviceError, match=r"lacks atomics, which code for aarch64-lse needs; set target = \"aarch64-n"):
        open_device(replace(SPEC, target="aarch64-lse"))


def test_x86_alone_is_no_phone_of_ours(attach: Attach) -> None:
    attach(replace(descriptions.s20(), abis64="x86_64", properties={"ro.product.cpu.abilist": "x86_64,x86"}))
    with pytest.raises(DeviceError, match=r"not a 64-bit ARM device \(its instruction sets: x86_64,x86\)"):
        open_device(SPEC)


def test_no_server_is_started_on_another_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    monkeypatch.setenv("ADB_SERVER_SOCKET", f"tcp:127.0.0.1:{port}")
    monkeypatch.setenv("ADBUTILS_ADB_PATH", "/nowhere/adb")
    with pytest.raises(DeviceError, match="install Android's platform tools"):
        open_device(SPEC)
