"""The four commands as a person meets them: help at once, and one clear line for every mistake."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.small_world import write_reviews, write_teacher
from tests.support import COMMANDS, Completed, assert_one_error_line, command_line, environment

RunCommand = Callable[..., Completed]
HELP_SECONDS = 1.0
BARE_INTERPRETER_SECONDS = 0.05
MRPC_HEADER = "Quality\t#1 ID\t#2 ID\t#1 String\t#2 String\n"


def seconds_to_run(argv: list[str], env: dict[str, str]) -> float:
    start = time.perf_counter()
    subprocess.run(argv, env=env, check=True, capture_output=True)
    return time.perf_counter() - start


@pytest.mark.timing
@pytest.mark.parametrize("name", COMMANDS)
def test_help_answers_within_a_second(name: str, home: Path) -> None:
    env = environment(home)
    bare, full = [], []
    seconds_to_run([*command_line(name), "--help"], env)  # fills the caches: byte code, disk
    for _ in range(5):
        bare.append(seconds_to_run([sys.executable, "-c", "pass"], env))
        full.append(seconds_to_run([*command_line(name), "--help"], env))
    # On a slow machine, where even an empty interpreter starts late, the allowance grows in proportion.
    allowance = HELP_SECONDS * max(1.0, min(bare) / BARE_INTERPRETER_SECONDS)
    assert min(full) < allowance, f"--help {full}, bare interpreter {bare}"


@pytest.mark.parametrize("name", COMMANDS)
def test_help_shows_examples_and_options(name: str, run_command: RunCommand) -> None:
    shown = run_command(name, "--help")
    assert shown.returncode == 0
    assert shown.stderr == ""
    assert "xample" in shown.stdout
    assert shown.stdout.count(f"{name} ") >= 2, "the usage line and at least one example"
    assert "--json" in shown.stdout


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (("search", "--device", "s2O", "--budget", "50ms"), ("device", "s2O", "s20")),
        (("search", "--device", "host", "--budget", "50ms", "--task", "mprc"), ("task", "mprc", "mrpc")),
        (("search", "--device", "host", "--budget", "fast"), ("fast", "50ms")),
        (("search", "--device", "host", "--budget", "50"), ("50", "unit")),
        (("search", "--device", "host", "--budget", "-3ms"), ("-3ms",)),
        (("search", "--device", "host"), ("--budget",)),
        (("search", "--device", "host", "--budget", "8ms", "--teacher", "./no-such-folder"), ("teacher", "no-such")),
        (("search", "--device", "host", "--budget", "8ms", "--max-size", "25"), ("25", "unit")),
        (("search", "--device", "host", "--budget", "8ms", "--seq-len", "0"), ("seq-len",)),
        (("search", "--device", "host", "--budget", "8ms", "--budget", "9ms"), ("--budget", "2 times")),
        (("profile-device", "--list", "--threads", "1"), ("--list", "--threads")),
        (("profile-device", "--export", "rows.csv", "--threads", "1"), ("--device", "--threads")),
        (("profile-device", "--device", "host", "--serial", "A"), ("--serial", "this machine")),
        (("profile-device", "--device", "s20", "--serial", "A", "--simulated"), ("--serial", "--simulated")),
        (("profile-device", "--device", "host", "--simulated"), ("--simulated", "measured")),
        (("profile-device", "--device", "nokia"), ("device", "nokia", "host")),
        (("profile-device", "--device", "host", "--time-limit", "soon"), ("soon",)),
        (("portability-study", "--devices", "s20,nokia"), ("device", "nokia")),
        (("fuse-model", "no-such-model.onnx"), ("no-such-model.onnx",)),
        (("fuse-model", "bert-bas"), ("bert-bas",)),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) and value[0] in COMMANDS else "",
)
def test_bad_usage_is_one_line(arguments: tuple[str, ...], parts: tuple[str, ...], run_command: RunCommand) -> None:
    assert_one_error_line(run_command(*arguments), 2, *parts)


def test_a_file_that_is_no_model_is_named(tmp_path: Path, run_command: RunCommand) -> None:
    (tmp_path / "noise.onnx").write_bytes(bytes(range(256)))
    assert_one_error_line(run_command("fuse-model", "noise.onnx"), 2, "noise.onnx")


def test_a_folder_that_is_no_teacher_is_named(tmp_path: Path, run_command: RunCommand) -> None:
    (tmp_path / "teacher").mkdir()
    (tmp_path / "teacher" / "config.json").write_text("{ not json")
    failed = run_command("search", "--device", "host", "--budget", "8ms", "--teacher", "./teacher")
    assert_one_error_line(failed, 2, "teacher")


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        ("1\t5\t6\tone sentence only\n", "too few columns"),
        ("maybe\t5\t6\tone\ttwo\n", "a label that is none"),
    ],
    ids=["columns", "label"],
)
def test_a_malformed_tsv_is_named_with_its_line(
    row: str, problem: str, tmp_path: Path, run_command: RunCommand
) -> None:
    folder = tmp_path / "glue" / "MRPC"
    folder.mkdir(parents=True)
    good = "1\t1\t2\tHe said so .\tSo he said .\n" * 3
    (folder / "train.tsv").write_text(MRPC_HEADER + good + row + good)
    (folder / "dev.tsv").write_text(MRPC_HEADER + good)
    failed = run_command("search", "--device", "host", "--budget", "8ms", "--task", "mrpc", "--data-dir", "glue")
    assert_one_error_line(failed, 2, "train.tsv:5")


def test_a_missing_data_folder_is_named(run_command: RunCommand) -> None:
    failed = run_command("search", "--device", "host", "--budget", "8ms", "--task", "mrpc", "--data-dir", "nowhere")
    assert_one_error_line(failed, 2, "nowhere")


@pytest.mark.parametrize(
    "command", [("profile-device", "--device", "host"), ("search", "--device", "host", "--budget", "8ms")]
)
def test_a_damaged_store_is_named(command: tuple[str, ...], home: Path, run_command: RunCommand) -> None:
    (home / "measurements.sqlite").write_bytes(b"This is no database. " * 500)
    assert_one_error_line(run_command(*command), 1, "measurements.sqlite")


def test_a_budget_that_nothing_meets_names_the_fastest_latency(run_command: RunCommand, tmp_path: Path) -> None:
    write_reviews(tmp_path / "glue")
    write_teacher(tmp_path / "teacher", steps=1)
    world = ("--task", "sst2", "--data-dir", "glue", "--teacher", "./teacher", "--seq-len", "32")
    failed = run_command("search", "--device", "s20", "--budget", "0.001ms", *world, timeout=300)
    assert_one_error_line(failed, 3, "ms", "fastest")


def test_a_missing_phone_is_an_error_when_it_is_required(run_command: RunCommand) -> None:
    failed = run_command("search", "--device", "s20", "--budget", "50ms", "--require-device")
    assert_one_error_line(failed, 4, "s20")


@pytest.fixture
def full_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own with 256 KiB, for those who may mount one."""
    folder = tmp_path / "full"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        pytest.skip("only root, where mounting is allowed, can make a small file system")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.mark.parametrize(
    "device", [("--device", "host"), ("--device", "s20", "--simulated")], ids=["compiled", "store"]
)
def test_a_full_disk_is_one_line(device: tuple[str, ...], full_disk: Path, run_command: RunCommand) -> None:
    (full_disk / "ballast").write_bytes(b"\0" * 100_000)
    failed = run_command("profile-device", *device, "--blocks", "40", POCKETBERT_HOME=str(full_disk), timeout=300)
    assert_one_error_line(failed, 1, "full")


def test_a_full_output_is_one_line(home: Path, tmp_path: Path) -> None:
    argv = [*command_line("profile-device"), "--list", "--json"]
    with open("/dev/full", "w") as full:
        failed = subprocess.run(
            argv, cwd=tmp_path, env=environment(home), stdout=full, stderr=subprocess.PIPE, text=True, check=False
        )
    assert_one_error_line(failed, 1, "full")
