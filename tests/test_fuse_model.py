"""`fuse-model` as a person meets it: execution information, engines in turn, and Ctrl-C."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import data.device_spec
from data.architecture import Architecture
from data.device_spec import load_device
from profiling.host import HostDevice
from search.commands.fuse_model import main
from tests.fusion.models import export
from tests.support import assert_one_error_line, command_line, environment
from tests.test_command_line import RunCommand

DEVICES = Path(data.device_spec.__file__).parent / "devices"
SMALL = Architecture(2, 64, 2, 128, vocab_size=100, seq_len=16)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return export(SMALL, tmp_path)


def test_engines_and_execution_information(model: Path, run_command: RunCommand) -> None:
    options = ("--seq-len", "16", "--compare", "onnxruntime,pytorch,litert", "--unfused", "--rounds", "2", "--json")
    done = run_command("fuse-model", model.parent / "checkpoint", *options, timeout=240, POCKETBERT_LITERT_PYTHON="")
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    summary, bench = document["summary"], document["bench"]
    assert summary["operators"] > summary["blocks"] == len(summary["block_ms"])
    assert summary["saved_bytes"] > 0
    execution = summary["execution"]
    positive = ("median_ms", "min_ms", "gflops", "peak_gflops", "peak_share", "model_bytes", "process_peak_bytes")
    assert all(execution[name] > 0 for name in positive)
    assert 0 < execution["cpu_utilisation"] < 1.5
    assert [row["engine"] for row in bench["engines"]] == ["pocketbert", "pocketbert unfused", "onnxruntime", "pytorch"]
    assert bench["missing"] == ["litert"]
    assert bench["rounds"] == bench["planned_rounds"] == 2
    assert "asleep" in bench["pause"]
    shown = " ".join(done.stderr.split())
    for part in (f"{summary['operators']} operators -> {summary['blocks']} blocks", "GFLOP/s", "of the measured peak"):
        assert part in shown
    assert "left out: litert" in shown


def test_an_onnx_file_has_no_checkpoint_for_pytorch(model: Path, run_command: RunCommand) -> None:
    done = run_command("fuse-model", model, "--seq-len", "16", "--compare", "pytorch", "--rounds", "1", timeout=240)
    assert done.returncode == 0, done.stderr
    assert "left out: pytorch: runs a Hugging Face directory or a preset" in done.stderr


@pytest.mark.parametrize(
    ("options", "parts"),
    [
        (("--compare", "onxruntime"), ("onxruntime", "onnxruntime")),
        (("--litert-python", "/no/such/python"), ("/no/such/python",)),
        (("--device", "s20", "--unfused"), ("host",)),
        (("--device", "s20", "--unit", "gpu"), ("phones' GPUs", "--device host", "--unit cpu")),
        (("--unit", "gpu", "--threads", "2"), ("--threads", "--unit cpu")),
        (("--tune",), ("--tune", "--unit gpu")),
        (("--precision", "fp16"), ("--precision fp16", "does not calculate in half", "--unit gpu", "--device")),
        (("--precision", "int8", "--unit", "gpu"), ("--precision int8", "--unit cpu")),
        (("--precision", "int8", "--fusion-cost", "measured"), ("--fusion-cost", "fp32")),
    ],
)
def test_mistakes_are_one_line(options: tuple[str, ...], parts: tuple[str, ...], run_command: RunCommand) -> None:
    assert_one_error_line(run_command("fuse-model", "deep-narrow", *options), 2, *parts)


def test_half_of_a_phone_whose_file_says_nothing_of_it_tells_what_to_name(
    tmp_path: Path, run_command: RunCommand
) -> None:
    lines = (DEVICES / "s20.toml").read_text().splitlines()
    (tmp_path / "plain.toml").write_text("\n".join(line for line in lines if not line.startswith("features")))
    done = run_command("fuse-model", "deep-narrow", "--precision", "fp16", "--device", tmp_path / "plain.toml")
    parts = ("aarch64-neon does not calculate in half", "take int8", "features of s20's file name fp, asimd, atomics")
    assert_one_error_line(done, 2, *parts)


def test_the_gpu_tells_its_execution_and_who_differs(model: Path, run_command: RunCommand) -> None:
    options = ("--unit", "gpu", "--seq-len", "16", "--compare", "onnxruntime", "--unfused", "--rounds", "2", "--json")
    done = run_command("fuse-model", model, *options, "--precision", "fp16", timeout=240)
    if "no OpenCL driver" in done.stderr:
        pytest.skip("no OpenCL driver is installed")
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    summary, bench = document["summary"], document["bench"]
    assert (summary["unit"], summary["precision"]) == ("gpu", "fp16") and summary["launches"] >= summary["blocks"]
    assert 0 < summary["execution"]["gpu_utilisation"] <= 1 and summary["execution"]["cpu_utilisation"] is None
    assert len(summary["block_ms"]) == summary["blocks"] and bench["differing"] == []
    shown = " ".join(done.stderr.split())
    assert f"fp16, {summary['launches']} launches a run" in shown and "kernels ran in" in shown


def test_int8_for_a_phone_is_compiled_for_its_instructions(
    model: Path, tmp_path: Path, run_command: RunCommand
) -> None:
    options = ("--seq-len", "16", "--device", "s20", "--precision", "int8", "--export", tmp_path / "out", "--json")
    done = run_command("fuse-model", model, *options, timeout=240)
    assert done.returncode == 0, done.stderr
    summary = json.loads(done.stdout)["summary"]
    assert (summary["target"], summary["precision"]) == ("aarch64-dotprod", "int8")
    assert "aarch64-dotprod, int8, 8 threads" in done.stderr
    assert (tmp_path / "out" / "weights.bin").stat().st_size >= summary["weight_bytes"]
    assert summary["weight_bytes"] < 0.5 * model.stat().st_size


def test_without_a_driver_it_is_said_what_was_tried(model: Path, run_command: RunCommand) -> None:
    done = run_command("fuse-model", model, "--unit", "gpu", "--seq-len", "16", POCKETBERT_OPENCL="/no/libOpenCL.so")
    assert_one_error_line(done, 4, "no OpenCL driver", "/no/libOpenCL.so", "POCKETBERT_OPENCL")


def test_a_phone_tells_its_execution_too(
    model: Path, home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The host stands in for the phone: the same runner, behind the same protocol."""
    monkeypatch.setenv("POCKETBERT_HOME", str(home))
    monkeypatch.setattr("profiling.open_device", lambda _: HostDevice(load_device("host")))
    with pytest.raises(SystemExit) as ended:
        main.main([str(model), "--seq-len", "16", "--device", "s20", "--bench", "--json"], "fuse-model")
    assert not ended.value.code
    summary = json.loads(capsys.readouterr().out)["summary"]
    assert len(summary["block_ms"]) == summary["blocks"]
    assert summary["execution"]["runs"] == 100
    assert summary["execution"]["process_peak_bytes"] > 0
    assert summary["execution"]["peak_gflops"] is None


def test_a_benchmark_in_int8_shows_fp32_beside_it(
    model: Path, home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("POCKETBERT_HOME", str(home))
    with pytest.raises(SystemExit) as ended:
        main.main(
            [str(model), "--seq-len", "16", "--precision", "int8", "--bench", "--rounds", "1", "--json"], "fuse-model"
        )
    assert not ended.value.code
    output = capsys.readouterr()
    document = json.loads(output.out)
    assert document["summary"]["precision"] == "int8" and document["bench"]["differing"] == []
    assert [row["engine"] for row in document["bench"]["engines"]] == ["pocketbert", "pocketbert fp32"]
    assert 1e-5 < document["bench"]["max_abs_difference"]["pocketbert"] < 0.1
    assert "int8, " in output.err and "pocketbert fp32" in output.err


def test_ctrl_c_shows_the_finished_rounds(model: Path, tmp_path: Path, home: Path) -> None:
    argv = command_line("fuse-model")
    # A shell that started the tests in the background has this signal ignored.
    argv[2] = f"import signal; signal.signal(signal.SIGINT, signal.default_int_handler); {argv[2]}"
    argv += [str(model), "--seq-len", "16", "--compare", "onnxruntime", "--rounds", "100000", "--json"]
    pipe = subprocess.PIPE
    with subprocess.Popen(argv, cwd=tmp_path, env=environment(home), stdout=pipe, stderr=pipe, text=True) as process:
        assert process.stdout is not None and process.stderr is not None
        lines = [next(process.stderr)]
        while not lines[-1].startswith("benchmark "):
            lines.append(next(process.stderr))
        process.send_signal(signal.SIGINT)
        output, said = process.communicate(timeout=60)
    assert process.returncode == 130, said
    bench = json.loads(output)["bench"]
    assert 1 <= bench["rounds"] < bench["planned_rounds"] == 100000
    assert all(row["n"] == 10 * bench["rounds"] for row in bench["engines"])
    error = said.splitlines()[-1]
    assert error == f"error: interrupted: {bench['rounds']} of 100000 rounds were finished and are shown"


NOISE = """
import ctypes, os, sys
import fusion.frontend.source as source
from data.errors import ModelError
from search.commands.fuse_model import main
genuine = source.import_onnx
def noisy(*words):
    print("python")
    os.write(1, b"descriptor")
    ctypes.CDLL(None).puts(b"kept back by the C library")
    if sys.argv[2] == "fail":
        raise ModelError("no such model\\nand more")
    return genuine(*words)
source.import_onnx = noisy
main.main([sys.argv[1], "--seq-len", "16", "--json"], "fuse-model")
"""


@pytest.mark.parametrize("ending", ["fail", "end well"])
def test_nothing_but_the_json_object_reaches_standard_output(ending: str, model: Path, home: Path) -> None:
    words = [sys.executable, "-c", NOISE, str(model), ending]
    done = subprocess.run(words, capture_output=True, text=True, timeout=240, check=False, env=environment(home))
    if ending == "fail":
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr == "error: no such model and more\n"
    else:
        assert json.loads(done.stdout)["summary"]["blocks"] > 1
