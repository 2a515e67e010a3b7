"""This machine as several devices: with fewer instructions, code compiled for them, and rows kept apart."""

from __future__ import annotations

from dataclasses import replace

import pytest

from data.architecture import Architecture
from data.device_spec import load_device
from data.errors import DeviceError, InputError, UnknownNameError
from data.store import MeasurementStore
from fusion import host_target, target, target_named
from fusion.target import host_target_named, host_targets
from profiling import open_device
from profiling.recording import Care
from profiling.session import measure_models

TINY = (Architecture(layers=2, hidden=64, heads=2, intermediate=128, vocab_size=200, seq_len=16),)
# The kernel's names of what processors have, as in /proc/cpuinfo.
NEHALEM = {"cx16", "lahf_lm", "popcnt", "pni", "ssse3", "sse4_1", "sse4_2"}
HASWELL = NEHALEM | {"xsave", "avx", "avx2", "bmi1", "bmi2", "f16c", "fma", "abm", "movbe"}
SKYLAKE_X = HASWELL | {"avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"}
CPUS = {
    "unknown": (set(), ["x86_64-sse"]),
    "nehalem": (NEHALEM, ["x86_64-sse"]),
    "a hypervisor that hides bmi2": (HASWELL - {"bmi2"}, ["x86_64-sse"]),
    "piledriver": (NEHALEM | {"xsave", "avx", "f16c", "fma", "bmi1", "abm"}, ["x86_64-sse"]),
    "haswell": (HASWELL, ["x86_64-avx2", "x86_64-sse"]),
    "knl": (HASWELL | {"avx512f", "avx512cd"}, ["x86_64-avx2", "x86_64-sse"]),
    "server": (SKYLAKE_X, ["x86_64-avx512", "x86_64-avx2", "x86_64-sse"]),
}


@pytest.mark.parametrize("cpu", CPUS)
def test_a_machine_runs_its_own_code_and_all_that_is_older(cpu: str, monkeypatch: pytest.MonkeyPatch) -> None:
    flags, expected = CPUS[cpu]
    monkeypatch.setattr(target.platform, "machine", lambda: "x86_64")
    monkeypatch.setattr(target, "_cpu_flags", lambda: flags)
    assert [one.name for one in host_targets()] == expected
    assert host_target().name == expected[0]


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ({"fp", "asimd", "crc32"}, ["aarch64-neon"]),
        ({"fp", "asimd", "atomics"}, ["aarch64-lse", "aarch64-neon"]),
        ({"fp", "asimd", "atomics", "asimddp"}, ["aarch64-lse", "aarch64-neon"]),
        ({"fp", "asimd", "atomics", "asimdhp", "asimddp"}, ["aarch64-dotprod", "aarch64-lse", "aarch64-neon"]),
        (set(), ["aarch64-neon"]),
    ],
)
def test_an_arm_runs_the_atomics_only_where_it_has_them(
    flags: set[str], expected: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(target.platform, "machine", lambda: "aarch64")
    monkeypatch.setattr(target, "_cpu_flags", lambda: flags)
    assert [one.name for one in host_targets()] == expected


@pytest.mark.parametrize("machine", ["riscv64", "ppc64le", "armv7l", "i686"])
def test_no_code_for_other_machines(machine: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(target.platform, "machine", lambda: machine)
    with pytest.raises(DeviceError, match=f"x86-64 and 64-bit ARM processors, not for {machine}"):
        host_target()


def test_an_instruction_set_is_named_shortly_or_fully(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(target.platform, "machine", lambda: "x86_64")
    monkeypatch.setattr(target, "_cpu_flags", lambda: CPUS["haswell"][0])
    assert host_target_named("avx2") is host_target_named("x86_64-avx2") is target_named("x86_64-avx2")
    with pytest.raises(UnknownNameError, match=r"instruction set 'avx3'\. Did you mean 'avx2'\?"):
        host_target_named("avx3")
    for beyond in ("avx512", "neon"):
        with pytest.raises(InputError, match=r"cannot run code for .*: it runs x86_64-avx2, x86_64-sse"):
            host_target_named(beyond)


def test_a_file_of_this_machine_may_name_its_code(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(target.platform, "machine", lambda: "x86_64")
    monkeypatch.setattr(target, "_cpu_flags", lambda: HASWELL)
    spec = load_device("host")
    assert open_device(replace(spec, target="x86_64-sse")).target.name == "x86_64-sse"
    with pytest.raises(InputError, match="cannot run code for x86_64-avx512: it runs x86_64-avx2, x86_64-sse"):
        open_device(replace(spec, target="x86_64-avx512")).describe()


def test_only_this_machine_can_be_restricted() -> None:
    for simulated in (True, False):
        with pytest.raises(InputError, match="only be chosen for this machine, not for s20"):
            open_device(load_device("s20"), simulated=simulated, instructions="neon")


def test_each_variant_is_measured_and_kept_apart(store: MeasurementStore) -> None:
    plainest = host_targets()[-1].name
    variants = {host_target().name: open_device(load_device("host"))}
    variants[plainest] = open_device(load_device("host"), instructions=plainest.partition("-")[2])
    for name, device in variants.items():
        assert device.target.name == name == device.describe().details["target"]
        rows = measure_models(device, TINY, threads=1, store=store, visits=1, care=Care(runs=3))
        assert {row.fingerprint for row in rows} == {device.describe().fingerprint}
        assert all(row.median_ms > 0 and row.provenance == "measured" for row in rows)
    models = store.measurements(subject="model")
    by_fingerprint = {row.fingerprint: row for row in models}
    assert len(by_fingerprint) == len(variants)
    assert len({row.binary_hash for row in by_fingerprint.values()}) == len(variants), "code compiled for each"
