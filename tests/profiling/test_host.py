"""This machine as a device, with scripts in the runner's place."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from data.device_spec import load_device
from data.errors import DeviceError
from data.usable_processors import UsableProcessors
from profiling import Device, RawSamples, Round, Visit, open_device
from tests.profiling.doubles import RECORDED, FakeRunner, printing, script


def visited(host: Device, runner: FakeRunner | None, limit_s: float = 20.0, visits: int = 1) -> tuple[RawSamples, ...]:
    """A round of equal visits."""
    visit = Visit("p", (), warmup=3, runs=5)
    return host.go_round(Round((visit,) * visits, 2, runner, time_limit_s=limit_s))  # type: ignore[arg-type]


@pytest.fixture
def host() -> Device:
    return open_device(load_device("host"))


def test_runs_the_executable_and_reads_its_output(host: Device, tmp_path: Path) -> None:
    (raw,) = visited(host, printing(tmp_path / "runner"))
    assert raw.samples_ms == tuple(RECORDED["samples_ms"])  # type: ignore[arg-type]
    assert raw.block_ms == (("517158f404800c91", 0.328353),)
    assert raw.cpus == (0, 1)
    assert raw.preemptions_per_s is not None and raw.preemptions_per_s >= 0
    assert raw.cpu_utilisation is None and raw.process_peak_bytes is None, "this runner did not tell"


def test_what_newer_runners_tell_is_read(host: Device, tmp_path: Path) -> None:
    told = {"utilisation": 0.97, "model_bytes": 1000, "peak_memory_bytes": 9000}
    (raw,) = visited(host, printing(tmp_path / "runner", RECORDED | told))
    assert (raw.cpu_utilisation, raw.model_bytes, raw.process_peak_bytes) == (0.97, 1000, 9000)


@pytest.mark.parametrize(
    "output",
    [
        "",
        "Segmentation fault",
        "{",
        "[]",
        '{"schema": 2, "warmups_ms": [], "samples_ms": [1.0]}',
        '{"schema": 1, "warmups_ms": [], "samples_ms": []}',
        '{"schema": 1, "warmups_ms": [], "samples_ms": [0.0]}',
        '{"schema": 1, "warmups_ms": [], "samples_ms": [NaN]}',
        '{"schema": 1, "warmups_ms": [], "samples_ms": ["fast"]}',
        '{"schema": 1, "samples_ms": [1.0]}',
    ],
)
def test_garbage_is_refused_in_one_line(host: Device, tmp_path: Path, output: str) -> None:
    with pytest.raises(DeviceError, match="the runner of p printed") as caught:
        visited(host, script(tmp_path / "runner", f"print({output!r})"))
    assert "\n" not in str(caught.value)


def test_program_that_hangs_is_stopped(host: Device, tmp_path: Path) -> None:
    with pytest.raises(DeviceError, match=r"did not end within 0\.5 s"):
        visited(host, script(tmp_path / "runner", "import time; time.sleep(60)"), limit_s=0.5)


def test_program_that_fails_says_why(host: Device, tmp_path: Path) -> None:
    with pytest.raises(DeviceError, match="status 3: no memory"):
        visited(host, script(tmp_path / "runner", "print('no memory', file=sys.stderr); sys.exit(3)"))


def test_every_visit_of_a_round_gets_its_own_result(host: Device, tmp_path: Path) -> None:
    visits = tuple(Visit(program, (), warmup=3, runs=5) for program in ("p", "another one", "p"))
    raws = host.go_round(Round(visits, 2, printing(tmp_path / "runner")))  # type: ignore[arg-type]
    assert [raw.samples_ms for raw in raws] == [tuple(RECORDED["samples_ms"])] * 3  # type: ignore[arg-type]
    with pytest.raises(DeviceError, match="line break: 'x"):
        host.go_round(Round((Visit("x\n0 1 0 p", (), 0, 1),), 2, printing(tmp_path / "runner")))  # type: ignore[arg-type]
    with pytest.raises(DeviceError, match="without visits"):
        visited(host, printing(tmp_path / "runner"), visits=0)


GOOD = json.dumps(RECORDED | {"program": "p"})
BROKEN_ROUNDS = [
    (f"print({GOOD!r}); print('no memory', file=sys.stderr); sys.exit(3)", r"p \(visit 2 of 3\) ended .* 3: no memory"),
    (f"print({GOOD!r}, flush=True); import os; os.abort()", r"p \(visit 2 of 3\) ended with status -6"),
    (f"print({GOOD!r}, flush=True); import time; time.sleep(60)", r"p \(visit 2 of 3\) did not end within 2 s"),
    (f"print({GOOD!r})", "the runner of p printed no valid result: ''"),
    (f"print({GOOD!r}); print('{{'); print({GOOD!r})", "the runner of p printed no valid result: '{'"),
    (f"for i in range(4): print({GOOD!r})", r"p \(visit 3 of 3\): the runner printed no valid result"),
    (f"for i in range(3): print({GOOD!r}.replace('\"p\"', '\"q\"'))", "the result of another program"),
]


@pytest.mark.parametrize(("body", "problem"), BROKEN_ROUNDS)
def test_a_round_that_breaks_says_where(host: Device, tmp_path: Path, body: str, problem: str) -> None:
    with pytest.raises(DeviceError, match=problem) as caught:
        visited(host, script(tmp_path / "runner", body), limit_s=2.0, visits=3)
    assert "\n" not in str(caught.value)


def test_missing_runner_is_named(host: Device, tmp_path: Path) -> None:
    with pytest.raises(DeviceError, match="cannot be started"):
        visited(host, FakeRunner(tmp_path / "none"))
    with pytest.raises(DeviceError, match="missing"):
        host.prepare(FakeRunner(tmp_path / "none"))  # type: ignore[arg-type]
    with pytest.raises(DeviceError, match="nothing was compiled"):
        visited(host, None)


def test_description_is_stable_and_depends_on_the_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = (open_device(load_device("host")).describe() for _ in range(2))
    assert first == second and first.fingerprint.startswith("host-") and first.processor
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(99)))
    assert open_device(load_device("host")).describe().fingerprint != first.fingerprint


def test_timings_under_another_quota_are_of_another_device(monkeypatch: pytest.MonkeyPatch) -> None:
    found = []
    for quota in (None, 2.0, 2.5):
        monkeypatch.setattr("profiling.host.usable_processors", lambda quota=quota: UsableProcessors(8, quota))
        found.append(open_device(load_device("host")).describe())
    assert len({each.fingerprint for each in found}) == 3 and {each.cores for each in found} == {8}
    assert [each.details.get("quota") for each in found] == [None, "2", "2.5"]


def test_state_holds_only_what_can_be_read(host: Device) -> None:
    assert all(isinstance(value, float) for value in host.state().to_dict().values())
    assert "load" in host.state().to_dict()


def test_host_is_not_simulated_and_a_gpu_needs_a_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POCKETBERT_OPENCL", "/nowhere/libOpenCL.so")
    with pytest.raises(DeviceError, match=r"no OpenCL driver: tried /nowhere/libOpenCL.so; install one"):
        open_device(load_device("host"), unit="gpu").describe()
    with pytest.raises(DeviceError, match="cannot be simulated"):
        open_device(load_device("host"), simulated=True)
