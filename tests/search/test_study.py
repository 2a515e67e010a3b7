"""The durable state of a search: what is written is there, what is damaged or does not fit is named."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from data.architecture import Architecture
from data.errors import DataFileError, InputError
from search.options import SearchOptions
from search.records import Candidate, Trial
from search.study import Study, atomic_write, open_study

OPTIONS = SearchOptions(device="host", budget_ms=8.0, task="docpairs")
TRIAL = Trial(
    0, Candidate(Architecture(2, 64, 4, 128), 1.0, 0.9, 1.1, 0.99, "measured"), "largest", "finished", 0.7, {"f1": 0.6}
)


def begin(out: Path, *trials: Trial) -> Study:
    with open_study(out, OPTIONS, resume=False) as study:
        for trial in trials:
            study.save_trial(trial)
        return study


def test_what_was_saved_is_there_after_resuming(tmp_path: Path) -> None:
    begin(tmp_path / "out", TRIAL)
    with open_study(tmp_path / "out", OPTIONS, resume=True) as study:
        assert study.trials() == [TRIAL]
        assert study.options == OPTIONS
        assert study.load("absent", Trial) is None


def test_a_study_is_not_overwritten_without_resume(tmp_path: Path) -> None:
    begin(tmp_path / "out", TRIAL)
    with pytest.raises(InputError, match="--resume"), open_study(tmp_path / "out", OPTIONS, resume=False):
        pass


def test_resuming_where_nothing_was_begun_begins(tmp_path: Path) -> None:
    (tmp_path / "empty" / "study").mkdir(parents=True)
    for name in ("absent", "empty"):
        with open_study(tmp_path / name, OPTIONS, resume=True) as study:
            assert study.trials() == []


@pytest.mark.parametrize("resume", [False, True])
def test_a_folder_of_something_else_is_left_alone(tmp_path: Path, resume: bool) -> None:
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(InputError, match="not empty"), open_study(tmp_path, OPTIONS, resume=resume):
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "out").touch()
    with pytest.raises(InputError, match="is a file"), open_study(tmp_path / "out", OPTIONS, resume=False):
        pass


@pytest.mark.parametrize("resume", [False, True])
def test_a_search_that_failed_before_its_first_trial_is_begun_anew(tmp_path: Path, resume: bool) -> None:
    with open_study(tmp_path / "out", OPTIONS, resume=False) as study:
        study.save("seconds", {"profile": 3.0})
    other = replace(OPTIONS, budget_ms=9.0)
    with open_study(tmp_path / "out", other, resume=resume) as study:
        assert study.options == other
        assert study.load("seconds", dict[str, float]) is None


def test_a_search_without_a_winner_is_not_called_unfinished(tmp_path: Path) -> None:
    begin(tmp_path / "out", TRIAL).save_ending("none met 8 ms: the fastest took 9 ms")
    with pytest.raises(InputError, match=r"no winner .*took 9 ms"), open_study(tmp_path / "out", OPTIONS, resume=False):
        pass


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for out in (tmp_path / "file" / "out", tmp_path / ("long" * 100), Path("/proc/none/out")):
        with pytest.raises(InputError, match="cannot be written"), open_study(out, OPTIONS, resume=False):
            pass


def test_other_options_are_named(tmp_path: Path) -> None:
    begin(tmp_path / "out", TRIAL)
    other = replace(OPTIONS, budget_ms=9.0, seed=4)
    with (
        pytest.raises(InputError, match=r"budget_ms was 8.0, now 9.0; seed was 0, now 4"),
        open_study(tmp_path / "out", other, resume=True),
    ):
        pass


def test_requiring_the_device_may_change(tmp_path: Path) -> None:
    begin(tmp_path / "out")
    with open_study(tmp_path / "out", replace(OPTIONS, require_device=True), resume=True) as study:
        assert study.options.require_device


def test_two_searches_do_not_share_a_folder(tmp_path: Path) -> None:
    with open_study(tmp_path / "out", OPTIONS, resume=False):
        code = (
            "import sys; from pathlib import Path; from search.study import open_study; "
            "from search.options import SearchOptions; from data.errors import InputError\n"
            "try:\n"
            "  with open_study(Path(sys.argv[1]), SearchOptions('host', 8.0, 'docpairs'), resume=True): pass\n"
            "except InputError as error: print(error)\n"
        )
        argv = [sys.executable, "-c", code, str(tmp_path / "out")]
        root = str(Path(__file__).parents[2])
        other = subprocess.run(argv, capture_output=True, text=True, check=True, env=os.environ | {"PYTHONPATH": root})
    assert "another search is running" in other.stdout


@pytest.mark.parametrize(
    "content",
    ["", "{", "[]", "null", '{"schema": 1}', '{"schema": 1, "record": {"index": "x"}}', "\x00\x01"],
)
def test_a_damaged_record_is_named(tmp_path: Path, content: str) -> None:
    begin(tmp_path / "out", TRIAL)
    path = tmp_path / "out" / "study" / "trial-000.json"
    path.write_text(content)
    with open_study(tmp_path / "out", OPTIONS, resume=True) as study, pytest.raises(DataFileError) as error:
        study.trials()
    assert str(path) in str(error.value)


def test_impossible_sizes_are_damage(tmp_path: Path) -> None:
    begin(tmp_path / "out", TRIAL)
    path = tmp_path / "out" / "study" / "trial-000.json"
    path.write_text(path.read_text().replace('"hidden": 64', '"hidden": 65'))
    with open_study(tmp_path / "out", OPTIONS, resume=True) as study, pytest.raises(DataFileError, match="damaged"):
        study.trials()


def test_another_version_is_named(tmp_path: Path) -> None:
    begin(tmp_path / "out")
    (tmp_path / "out" / "study" / "study.json").write_text('{"schema": 99, "record": {}}')
    with pytest.raises(DataFileError, match="schema 99"), open_study(tmp_path / "out", OPTIONS, resume=True):
        pass


def test_a_missing_trial_is_named(tmp_path: Path) -> None:
    begin(tmp_path / "out", TRIAL, replace(TRIAL, index=1))
    (tmp_path / "out" / "study" / "trial-000.json").unlink()
    with (
        open_study(tmp_path / "out", OPTIONS, resume=True) as study,
        pytest.raises(DataFileError, match="trial 0 is missing"),
    ):
        study.trials()


def test_a_failed_write_leaves_the_old_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    atomic_write(tmp_path / "record.json", "old")

    def full_disk(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("search.study.os.fsync", full_disk)
    with pytest.raises(OSError, match="No space"):
        atomic_write(tmp_path / "record.json", "new")
    assert (tmp_path / "record.json").read_text() == "old"
