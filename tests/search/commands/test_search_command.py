"""The search command on doubles: options, outputs, and what Ctrl-C says."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from search.commands.search import main
from tests.search.doubles import World

Search = Callable[..., Result]


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path / "log.txt")


@pytest.fixture
def search(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Search:
    """Runs the command in an empty folder, with the stages of a world."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("POCKETBERT_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("COLUMNS", "200")

    def run(world: World, *arguments: str) -> Result:
        monkeypatch.setattr("search.real_stages.real_stages", world.stages)
        options = {"--device": "host", "--budget": "2ms", "--seq-len": "64", "--trials": "2", "--effort": "brief"}
        given = [word for name, value in options.items() if name not in arguments for word in (name, value)]
        return CliRunner().invoke(main, [*given, *arguments])

    return run


def test_json_is_the_content_of_result_json_and_all_else_goes_to_stderr(search: Search, world: World) -> None:
    done = search(world, "--json")
    assert done.exit_code == 0, done.output
    document = json.loads(done.stdout)
    assert document == json.loads(Path("pocketbert-host-docpairs-2ms/result.json").read_text())
    assert document["options"]["budget_ms"] == 2.0
    assert "winner" in done.stderr
    assert "trials 2/2" in done.stderr


def test_without_json_standard_output_is_empty(search: Search, world: World) -> None:
    assert search(world).stdout == ""


def test_several_budgets_are_searched_side_by_side(search: Search, world: World) -> None:
    done = search(world, "--budget", "1ms,0.0007s", "--json")
    assert done.exit_code == 0, done.output
    out = Path("pocketbert-host-docpairs-1ms-0.7ms")
    assert json.loads(done.stdout) == json.loads((out / "result.json").read_text())
    assert (out / "0.7ms" / "best" / "model.onnx").exists()
    assert "0.7ms/best" in done.stderr and f"report in {out / 'report.html'}" in done.stderr
    again = search(world, "--budget", "1ms,0.7ms")
    assert again.exit_code == 2 and "--resume" in again.stderr
    assert search(world, "--budget", "1ms,0.7ms", "--resume").exit_code == 0


def test_several_budgets_go_on_as_printed(search: Search, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    stages, shared = world.stages(), World.stages

    def interrupted(*arguments: Any) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr(World, "stages", lambda self: replace(stages, distil_full=interrupted))
    stopped = search(world, "--budget", "1ms,0.7ms", "--trials", "5", "--out", "run")
    assert stopped.exit_code == 130, stopped.stderr
    printed = stopped.stderr.splitlines()[-1].split("go on with: ")[1]
    monkeypatch.setattr(World, "stages", shared)
    monkeypatch.setattr("search.real_stages.real_stages", world.stages)
    words = shlex.split(printed)
    assert words[:2] == ["search", "--device"] and "1ms,0.7ms" in words
    done = CliRunner().invoke(main, [*words[1:], "--json"])
    assert done.exit_code == 0, done.output
    assert [entry["result"]["options"]["trials"] for entry in json.loads(done.stdout)["budgets"]] == [3, 3]


def test_pareto_is_five_budgets_from_the_one_given(search: Search, world: World) -> None:
    done = search(world, "--budget", "1.5ms", "--pareto", "--trials", "1", "--json")
    assert done.exit_code == 0, done.output
    budgets = json.loads(done.stdout)["budgets"]
    assert [entry["budget_ms"] for entry in budgets] == [0.375, 0.525, 0.75, 1.05, 1.5]
    assert len({entry["result"]["winner"]["name"] for entry in budgets}) == 5
    assert all(entry["result"]["winner"]["meets_budget"] for entry in budgets)
    refused = search(world, "--budget", "1ms,2ms", "--pareto")
    assert refused.exit_code == 2 and "--pareto takes one --budget" in refused.stderr


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ("1ms,1ms", "--budget 1ms is given twice"),
        ("4ms,8", "'8' has no unit"),
        ("4,5ms", "'4' has no unit"),
        ("4ms,,8ms", "'' is not a duration"),
        ("4ms,", "'' is not a duration"),
    ],
)
def test_budgets_are_checked_one_by_one(search: Search, world: World, given: str, told: str) -> None:
    done = search(world, "--budget", given)
    assert done.exit_code == 2
    assert told in done.stderr
    assert world.log_lines() == []


def test_a_second_search_in_the_same_folder_is_told_of_resume(search: Search, world: World) -> None:
    assert search(world, "--out", "run").exit_code == 0
    again = search(world, "--out", "run")
    assert again.exit_code == 2
    assert "--resume" in again.stderr
    assert search(world, "--out", "run", "--resume").exit_code == 0
    other = search(world, "--out", "run", "--resume", "--seed", "7")
    assert other.exit_code == 2
    assert "seed was 0, now 7" in other.stderr


def test_a_simulated_phone_is_announced_and_the_completing_command_printed(search: Search, world: World) -> None:
    absent = replace(world, attached=False)
    done = search(absent, "--device", "s20", "--out", "run", "--json")
    assert done.exit_code == 0, done.stderr
    assert "simulated" in done.stderr
    assert json.loads(done.stdout)["confirmation"]["status"] == "pending"
    command = json.loads(done.stdout)["confirmation"]["command"]
    assert command in done.stderr
    assert search(absent, "--device", "s20", "--out", "other", "--require-device").exit_code == 4


def test_the_completing_command_works_as_printed(search: Search, world: World) -> None:
    first = search(replace(world, attached=False), "--device", "s20", "--out", "run", "--max-size", "2MB", "--json")
    words = shlex.split(json.loads(first.stdout)["confirmation"]["command"])
    assert words[0] == "search"
    completed = CliRunner().invoke(main, [*words[1:], "--json"])  # the stages are still those of an absent phone
    assert json.loads(completed.stdout)["confirmation"]["status"] == "pending"


def test_an_impossible_budget_exits_3(search: Search, world: World) -> None:
    done = search(world, "--budget", "0.001ms")
    assert done.exit_code == 3
    assert "fastest" in done.stderr.splitlines()[-1]


def test_a_failed_start_is_simply_repeated(search: Search, world: World) -> None:
    assert search(world, "--budget", "0.001ms", "--out", "run").exit_code == 3
    assert search(world, "--budget", "0.001ms", "--out", "run").exit_code == 3
    absent = replace(world, attached=False)
    for _ in range(2):
        assert search(absent, "--device", "s20", "--out", "run", "--require-device").exit_code == 4
    assert search(world, "--out", "run").exit_code == 0


def test_what_the_task_has_to_say_is_said(search: Search, world: World) -> None:
    stopped = replace(world, teacher_problem="that is all", remarks=("column 3 is the label",))
    assert "column 3 is the label" in search(stopped).stderr


def write_reviews(more: str = "") -> None:
    rows = "".join(f"text {number},{'ab'[number % 2]}\n" for number in range(40))
    Path("reviews.csv").write_text(f"text,label\n{rows}{more}")


def test_files_of_ones_own_are_options_and_name_the_folder(search: Search, world: World) -> None:
    write_reviews()
    done = search(world, "--train", "reviews.csv", "--metric", "f1", "--json")
    assert done.exit_code == 0, done.stderr
    options = json.loads(done.stdout)["options"]
    assert (options["task"], options["train"], options["metric"]) == (
        "reviews",
        str(Path("reviews.csv").absolute()),
        "f1",
    )
    assert Path("pocketbert-host-reviews-2ms/result.json").exists()
    other = search(world, "--train", "reviews.csv", "--resume", "--text", "text")
    assert other.exit_code == 2
    assert "text was None, now text" in other.stderr
    assert "metric was f1, now None" in other.stderr


def test_effort_and_general_text_are_options_and_repeated(search: Search, world: World) -> None:
    Path("wiki.txt").write_text("one text\nanother\n")
    given = ("--effort", "brief", "--corpus", "wiki.txt", "--out", "run")
    first = search(replace(world, attached=False), "--device", "s20", *given, "--json")
    options = json.loads(first.stdout)["options"]
    assert (options["effort"], options["corpus"]) == ("brief", str(Path("wiki.txt").absolute()))
    words = shlex.split(json.loads(first.stdout)["confirmation"]["command"])
    assert search(world, *words[1:]).exit_code == 0
    other = search(world, "--device", "s20", "--out", "run", "--resume", "--corpus", "wiki.txt", "--effort", "full")
    assert "effort was brief, now full" in other.stderr


def test_a_task_file_is_a_task(search: Search, world: World) -> None:
    write_reviews()
    Path("opinions.toml").write_text('train = "reviews.csv"\n')
    done = search(world, "--task", "opinions.toml", "--json")
    assert done.exit_code == 0, done.stderr
    assert json.loads(done.stdout)["options"]["task"] == str(Path("opinions.toml").absolute())
    assert Path("pocketbert-host-opinions-2ms").is_dir()


def test_the_command_to_go_on_names_the_files(search: Search, world: World) -> None:
    write_reviews()
    absent = replace(world, attached=False)
    given = ("--train", "reviews.csv", "--label", "label", "--kind", "classification")
    first = search(absent, "--device", "s20", "--out", "run", *given, "--json")
    words = shlex.split(json.loads(first.stdout)["confirmation"]["command"])
    done = search(world, *words[1:])
    assert done.exit_code == 0, done.stderr


def test_files_that_changed_are_not_gone_on_with(search: Search, world: World) -> None:
    failing = replace(world, teacher_problem="that is all")
    assert search(failing, "--out", "run").exit_code == 2
    assert search(world, "--out", "run", "--resume").exit_code == 0
    of_yore = replace(world.task, train=world.task.train[2:])
    assert search(replace(world, teacher_problem="that is all", task=of_yore), "--out", "other").exit_code == 2
    changed = search(world, "--out", "other", "--resume")
    assert changed.exit_code == 2
    assert "texts or labels of pairs have changed since the search in other began" in changed.stderr


def test_general_text_that_changed_is_not_gone_on_with(search: Search, world: World) -> None:
    Path("wiki.txt").write_text("one text\nanother\n")
    given = ("--corpus", "wiki.txt", "--out", "run")
    assert search(replace(world, teacher_problem="that is all"), *given).exit_code == 2
    Path("wiki.txt").write_text("one text\nanother\na third\n")
    changed = search(world, *given, "--resume")
    assert changed.exit_code == 2
    assert "has changed since the search in run began" in changed.stderr


def test_a_space_and_memory_are_options_and_repeated(search: Search, world: World) -> None:
    Path("deep.toml").write_text("layers = [5, 7]\nhidden = { from = 32, to = 64, step = 16 }\nheads = [2, 4]\n")
    given = ("--space", "deep.toml", "--max-memory", "3MB", "--out", "run")
    first = search(replace(world, attached=False), "--device", "s20", *given, "--json")
    assert first.exit_code == 0, first.stderr
    document = json.loads(first.stdout)
    assert document["options"]["space"]["path"] == str(Path("deep.toml").absolute())
    assert document["options"]["max_memory"] == 3_000_000
    assert document["space"]["values"]["hidden"] == [32, 48, 64]
    assert {trial["architecture"]["layers"] for trial in document["trials"]} <= {5, 7}
    words = shlex.split(document["confirmation"]["command"])
    assert search(world, *words[1:]).exit_code == 0
    other = search(world, "--device", "s20", "--out", "run", "--resume", "--max-memory", "4MB")
    assert other.exit_code == 2
    assert "space.layers was (5, 7), now None" in other.stderr
    assert "max_memory was 3000000, now 4000000" in other.stderr


def test_the_source_of_latency_is_an_option_and_repeated(search: Search, world: World) -> None:
    given = ("--latency-from", "unfused", "--out", "run")
    first = search(replace(world, attached=False), "--device", "s20", "--budget", "1ms", *given, "--json")
    assert first.exit_code == 0, first.stderr
    document = json.loads(first.stdout)
    assert document["options"]["latency_from"] == document["predictor"]["source"] == "unfused"
    assert "--latency-from unfused" in first.stderr and "from the same models without fusion" in first.stderr
    words = shlex.split(document["confirmation"]["command"])
    assert search(world, *words[1:]).exit_code == 0
    other = search(world, "--device", "s20", "--budget", "1ms", "--out", "run", "--resume")
    assert other.exit_code == 2
    assert "latency_from was unfused, now fused" in other.stderr


def test_a_space_that_changed_is_not_gone_on_with(search: Search, world: World) -> None:
    given = ("--space", "space.toml", "--out", "run")
    Path("space.toml").write_text("layers = [2, 4]\n")
    assert search(replace(world, disk_full=True), *given).exit_code == 1
    Path("space.toml").write_text("layers = [2, 4, 6]\n")
    changed = search(world, *given, "--resume")
    assert changed.exit_code == 2
    assert "space.layers was (2, 4), now (2, 4, 6)" in changed.stderr
    assert changed.stderr.count("\n") == 1
    Path("space.toml").write_text("layers = {from = 2, to = 4, step = 2} # the same values\n")
    assert search(world, *given, "--resume").exit_code == 0


def test_a_space_names_precisions_and_the_printed_command_repeats_them(search: Search, world: World) -> None:
    Path("space.toml").write_text('layers = [2, 3]\nprecision = ["int8"]\n')
    given = ("--space", "space.toml", "--out", "run")
    first = search(replace(world, attached=False), "--device", "s20", *given, "--json")
    assert first.exit_code == 0, first.stderr
    document = json.loads(first.stdout)
    assert document["options"]["precision"] == document["winner"]["architecture"]["precision"] == "int8"
    assert document["space"]["values"]["precision"] == ["int8"]
    words = shlex.split(document["confirmation"]["command"])
    assert words[words.index("--precision") + 1] == "int8"
    assert search(world, *words[1:]).exit_code == 0


def test_another_precision_is_not_gone_on_with(search: Search, world: World) -> None:
    assert search(replace(world, disk_full=True), "--precision", "int8", "--out", "run").exit_code == 1
    other = search(world, "--precision", "auto", "--out", "run", "--resume")
    assert other.exit_code == 2
    assert "(precision was int8, now auto): repeat them" in other.stderr and other.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--precision", "fp32"], "--precision fp32 contradicts"),
        (["--unit", "gpu"], "space.toml: precision int8 is for --unit cpu"),
    ],
)
def test_what_contradicts_a_spaces_precision_is_told(
    search: Search, world: World, arguments: list[str], told: str
) -> None:
    Path("space.toml").write_text('precision = ["fp32", "int8"]\n')
    done = search(world, "--space", "space.toml", *arguments)
    assert done.exit_code == 2
    assert told in done.stderr and done.stderr.count("\n") == 1


def test_impossible_memory_exits_3_and_names_the_smallest(search: Search, world: World) -> None:
    done = search(world, "--max-memory", "100kB", "--out", "run")
    assert done.exit_code == 3
    assert "is small enough for --max-memory: the smallest, 1x64-h4-f128, needs 0.55 MB" in done.stderr.splitlines()[-1]


@pytest.mark.parametrize("more", [[], ["--resume"]])
def test_a_folder_whose_name_is_too_long_is_named(search: Search, world: World, more: list[str]) -> None:
    done = search(world, "--out", "x" * 300, *more)
    assert done.exit_code == 2
    assert "cannot be written: File name too long" in done.stderr
    assert done.stderr.count("\n") == 1


def test_resuming_where_nothing_was_begun_says_so(search: Search, world: World) -> None:
    done = search(world, "--out", "rnu", "--resume")
    assert done.exit_code == 0
    assert "rnu holds no search that could go on" in done.stderr


def test_interrupting_says_what_is_kept_and_how_to_go_on(
    search: Search, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*arguments: Any) -> Any:
        raise KeyboardInterrupt

    stages = replace(world.stages(), distil_full=interrupt)
    monkeypatch.setattr(World, "stages", lambda self: stages)
    done = search(world, "--out", "run")
    assert done.exit_code == 130
    line = done.stderr.splitlines()[-1]
    assert "kept in run" in line
    assert "--out run --resume" in line


def test_trials_run_on_a_ray_cluster_that_is_started_for_them(
    search: Search, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The workers of the cluster import the doubles, wherever this command runs.
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[3]))
    done = search(world, "--executor", "ray", "--trial-cores", "1", "--json")
    assert done.exit_code == 0, done.output
    document = json.loads(done.stdout)
    assert [trial["status"] for trial in document["trials"]] == ["finished"] * 2

    def interrupt(*arguments: Any) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr("search.execution.on_ray.RayExecutor.next_outcome", interrupt)
    stopped = search(world, "--executor", "ray", "--trial-cores", "1", "--out", "run")
    assert stopped.exit_code == 130, stopped.stderr
    assert stopped.stderr.splitlines()[-1].endswith("--resume --executor ray --trial-cores 1")


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (["--executor", "dask"], "'local', 'ray'"),
        (["--ray-address", "auto"], "belongs to --executor ray"),
        (["--trial-cores", "2"], "belongs to --executor ray"),
        (["--executor", "ray", "--trial-cores", "9999"], "more than this machine has"),
        (["--executor", "ray", "--ray-address", "127.0.0.1:1"], "127.0.0.1:1: no Ray cluster answers"),
        (["--unit", "gpu", "--threads", "1"], "--threads is for --unit cpu"),
        (["--unit", "npu"], "cpu,gpu"),
        (["--task", "mprc"], "mrpc"),
        (["--device", "s2O"], "s20"),
        (["--trials", "0"], "trials"),
        (["--max-size", "25"], "25MB"),
        (["--max-memory", "60"], "unit"),
        (["--space", "nowhere.toml"], "nowhere.toml: No such file"),
        (["--space", "."], "Is a directory"),
        (["--data-dir", "nowhere"], "nowhere"),
        (["--data-dir", "."], "built in"),
        (["--threads", "100000"], "cores"),
        (["--seed", "5000000000"], "seed"),
        (["--teacher", ""], "--teacher is empty"),
        (["--seq-len", "1000"], "--seq-len 1000 exceeds the 128 positions"),
        (["--data-dir", "x" * 300, "--task", "mrpc"], "is not a folder"),
        (["--device", "x" * 300 + ".toml"], "too long"),
        (["--train", "nowhere.csv"], "nowhere.csv is not there"),
        (["--train", "."], "is a folder"),
        (["--train", "a.csv", "--task", "mrpc"], "--task mrpc: --train brings a task of its own"),
        (["--train", "a.csv", "--data-dir", "."], "--data-dir .: --train brings a task of its own"),
        (["--dev", "a.csv"], "--dev belongs to --train"),
        (["--task", "mrpc", "--label", "x"], "--label belongs to --train"),
        (["--task", "none.toml"], "cannot read none.toml"),
        (["--effort", "some"], "brief"),
        (["--latency-from", "parameters"], "unfused"),
        (["--precision", "auto", "--unit", "cpu,gpu"], "--precision auto is for --unit cpu"),
        (["--corpus", "nowhere.txt"], "nowhere.txt: No such file"),
        (["--corpus", "."], "Is a directory"),
        (["--task", "none.toml", "--data-dir", "."], "--data-dir .: none.toml describes its task"),
    ],
)
def test_bad_input_is_refused_before_anything_is_written(
    search: Search, world: World, arguments: list[str], part: str
) -> None:
    done = search(world, *arguments, "--out", "run")
    assert done.exit_code == 2
    assert part in done.stderr
    assert done.stderr.count("\n") == 1
    assert not Path("run").exists()
    assert world.log_lines() == []
