"""Device files: the bundled ones are sound, bad ones are refused in one line."""

from __future__ import annotations

from pathlib import Path

import pytest

from data.device_spec import known_devices, load_device
from data.errors import DataFileError, UnknownNameError

PHONE = """
name = "mine"
title = "my phone"
kind = "android"
target = "aarch64-neon"
threads = 4
[[clusters]]
name = "big"
cores = 4
clock_ghz = 2.0
flops_per_cycle = 16
l2_kib = 256
[memory]
dram_gbps = 20
"""


def test_bundled_devices() -> None:
    assert known_devices() == ("host", "mali", "s10", "s20")
    for name in known_devices():
        assert load_device(name).name == name


def test_phones_have_the_published_peak() -> None:
    # facts: 161.6 Gflop/s of the four big cores of S20 and S10, 144.6 of the Kirin 980
    for name, peak in (("s20", 161.6), ("s10", 161.6), ("mali", 144.6)):
        assert sum(load_device(name).cores[:4]) == pytest.approx(peak, rel=0.01)


def test_host_uses_the_cores_it_may(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda pid: {0, 3, 5})
    assert load_device("host").default_threads == 3


def test_users_own_file(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(PHONE)
    spec = load_device(path)
    told = (spec.name, spec.default_threads, spec.units, spec.simulated_units, len(spec.cores))
    assert told == ("mine", 4, ("cpu", "gpu"), ("cpu",), 4)


def test_unknown_name_offers_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match="Did you mean 's20'"):
        load_device("s21")


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (("cores = 4", "cores = 0"), r"clusters\.0\.cores"),
        (("clock_ghz = 2.0", "clock_ghz = -2.0"), r"clusters\.0\.clock_ghz"),
        (("dram_gbps = 20", 'dram_gbps = "fast"'), r"memory\.dram_gbps"),
        (("dram_gbps = 20", "dram_gbps = inf"), r"memory\.dram_gbps"),
        (('kind = "android"', 'kind = "toaster"'), "kind"),
        (('title = "my phone"', 'title = "my phone"\ncolour = "red"'), "colour"),
        (('name = "mine"', 'name = "../mine; rm -rf"'), "name"),
        (("[memory]\ndram_gbps = 20", ""), "needs"),
        (("threads = 4", "threads = ="), "not TOML"),
    ],
)
def test_bad_files_are_refused_in_one_line(tmp_path: Path, change: tuple[str, str], problem: str) -> None:
    path = tmp_path / "mine.toml"
    assert change[0] in PHONE
    path.write_text(PHONE.replace(*change))
    with pytest.raises(DataFileError, match=problem) as caught:
        load_device(path)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


def test_missing_and_binary_files(tmp_path: Path) -> None:
    with pytest.raises(DataFileError, match="cannot be read"):
        load_device(tmp_path / "none.toml")
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataFileError, match="UTF-8"):
        load_device(tmp_path / "binary.toml")
