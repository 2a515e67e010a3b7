"""The benchmark of distillations at toy size: in turn, several at once, and gone on with."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from data.tasks import Example
from tests.search.small_tasks import SEQ_LEN, make_task, write_source
from tests.support import ROOT, environment, new_home


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_source(tmp_path_factory.mktemp("source"))


@pytest.fixture(scope="module")
def task_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A task of one's own, in two files."""
    folder = tmp_path_factory.mktemp("task")
    task = make_task(160)
    for name, part in (("train", task.train), ("dev", task.dev)):
        pairs = [each for each in part if isinstance(each, Example)]
        lines = ["one\tother\tlabel", *(f"{each.first}\t{each.second}\tclass {each.label:.0f}" for each in pairs)]
        (folder / f"{name}.tsv").write_text("\n".join(lines) + "\n")
    (folder / "task.toml").write_text('train = "train.tsv"\ndev = "dev.tsv"\ntext = "one"\ntext_pair = "other"\n')
    return folder / "task.toml"


def run(home: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tests.benchmarks.distillation", *arguments]
    return subprocess.run(
        command, cwd=ROOT, env=environment(new_home(home)), capture_output=True, text=True, timeout=300
    )


def rows(folder: Path) -> dict[str, dict[str, object]]:
    """Rows by their run, without what depends on the time of day."""
    found = [json.loads(line) for line in (folder / "distillation.jsonl").read_text().splitlines()]
    assert all(row.pop("seconds") > 0 for row in found)
    return {json.dumps(row["run"]): row for row in found}


def test_runs_made_at_once_or_in_turn_are_equal_and_what_cannot_be_made_is_told(
    source: Path, task_file: Path, tmp_path: Path
) -> None:
    students, more, out = tmp_path / "students.txt", tmp_path / "more.txt", tmp_path / "out"
    students.write_text("2x24-h2-f32\n3x24-h2-f32 and what is said of it\n")
    chosen = f"--tasks {task_file} --passes 1"
    more.write_text(f"{chosen} --students {students} --tokens 300 --student-seeds 0,5\n{chosen} --students 2x96-h2-f32")
    common = ("--data", str(tmp_path), "--teacher", str(source), "--seq-len", str(SEQ_LEN), "--out", str(out))
    done = run(tmp_path / "home", *common, "--runs", str(more), "--processes", "2")
    assert done.returncode == 1, done.stdout + done.stderr
    assert "wider than the teacher" in next(line for line in done.stdout.splitlines() if line.startswith("error: "))
    assert done.stdout.count("| 3x24-h2-f32 | default | 300 | 2 |") == 1
    at_once = rows(out)
    assert len(at_once) == 1 + 2 * 2
    shutil.rmtree(out / "students")
    (out / "distillation.jsonl").unlink()
    wanted = (*chosen.split(), "--students", str(students), "--tokens", "300", "--student-seeds", "0,5")
    for _ in ("in turn", "again, where nothing is left to do"):
        done = run(tmp_path / "home", *common, *wanted)
        assert done.returncode == 0, done.stdout + done.stderr
        assert rows(out) == at_once
