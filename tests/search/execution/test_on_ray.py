"""Trials on a Ray cluster: the same result as without, lost workers, failing trials, and what cannot be used."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from data.architecture import Architecture
from data.errors import InputError, PocketBertError
from data.progress import Progress, no_progress
from data.tasks import Task
from search.distillation.distillation import distill
from search.distillation.distilled import DistilledModel
from search.distillation.recipe import default_recipe
from search.execution.executor import Training
from search.execution.on_ray import MOST_LOSSES, RayExecutor, check_ray, ray_executor
from search.options import SearchOptions
from search.real_stages import read_lines
from search.result import SearchResult
from search.teachers.fine_tuning import FineTuning
from search.teachers.teacher import Teacher, prepare_teacher
from tests.search.doubles import OPTIONS, World, search_in
from tests.search.small_tasks import make_task, small_architecture, write_source


@pytest.fixture(scope="module")
def cluster() -> Iterator[str]:
    """The address of a cluster of two nodes with two cores each."""
    from ray.cluster_utils import Cluster

    nodes = Cluster(initialize_head=True, head_node_args={"num_cpus": 2, "include_dashboard": False})
    nodes.add_node(num_cpus=2)
    nodes.wait_for_nodes(timeout=120)
    yield nodes.address
    nodes.shutdown()


def on_ray(out: Path, world: World, cluster: str, cores: int, **options: object) -> tuple[SearchResult, list[str]]:
    """A doubled search whose trials run on the cluster, so many cores each; and what was noted."""
    notes: list[str] = []
    with ray_executor(cluster, cores, notes.append) as executor:
        return search_in(out, world, executor=executor, notes=notes, **options), notes


def told(result: SearchResult) -> list[tuple[object, ...]]:
    """What trials found."""
    return [(each.candidate, each.proposer, each.status, each.score, each.divergence) for each in result.trials]


def test_one_after_another_they_find_what_they_find_without_ray(tmp_path: Path, cluster: str) -> None:
    local = search_in(tmp_path / "local", World(tmp_path / "other.txt"))
    (tmp_path / "teacher").unlink()
    with ray_executor(cluster, 2, pytest.fail) as executor:
        result = search_in(tmp_path / "out", World(tmp_path / "log.txt"), executor=OneAfterAnother(executor))
    assert told(result) == told(local) and result.winner == local.winner
    assert [path.name for path in sorted((tmp_path / "out/study/models").glob("trial-*"))] == [
        f"trial-{number:03d}" for number in range(len(result.trials))
    ]


class OneAfterAnother:
    """The executor that it is made of, with room for one."""

    at_once = 1

    def __init__(self, executor: RayExecutor) -> None:
        self.begin, self.next_outcome = executor.begin, executor.next_outcome


def briefly(
    teacher: Teacher,
    task: Task,
    architecture: Architecture,
    options: SearchOptions,
    folder: Path,
    progress: Progress,
) -> DistilledModel:
    """A real distillation of some three batches, half of them of general text."""
    recipe = default_recipe()
    mixed = replace(recipe, changes=replace(recipe.changes, corpus=0.5))
    lines = read_lines(options)
    return distill(teacher, task, architecture, tokens=800, recipe=mixed, corpus=lines, out_dir=folder)


def test_a_real_student_is_the_same_to_the_last_bit(tmp_path: Path, cluster: str) -> None:
    task = make_task(96)
    settings, source = FineTuning(passes=1), write_source(tmp_path / "source")
    teacher = prepare_teacher(task, str(source), 24, tmp_path / "teachers", fine_tuning=settings)
    (tmp_path / "corpus.txt").write_text("the cat is the dog\na red hen\n")
    options = replace(OPTIONS, seq_len=24, corpus=str(tmp_path / "corpus.txt"))
    here = Training(0, briefly, teacher, task, small_architecture(2, 24, 2, 32), options, tmp_path / "here")
    there = replace(here, folder=tmp_path / "there")
    student = here.run(no_progress)
    with ray_executor(cluster, 2, pytest.fail) as executor:
        executor.begin(there)
        outcome = executor.next_outcome(no_progress)
    assert outcome.student is not None and outcome.student.scores == student.scores
    files = sorted(path.name for path in here.folder.iterdir())
    assert files == sorted(path.name for path in there.folder.iterdir())
    weights = "model.safetensors"
    assert (here.folder / weights).read_bytes() == (there.folder / weights).read_bytes()


def test_side_by_side_no_candidate_is_tried_twice_and_all_are_kept(tmp_path: Path, cluster: str) -> None:
    world = World(tmp_path / "log.txt", pause_s=1.0, attached=False)
    running: list[int] = []

    class Watched(OneAfterAnother):
        at_once = 4

        def __init__(self, executor: RayExecutor) -> None:
            super().__init__(executor)
            self._begin, self._executor = executor.begin, executor
            self.begin = self.watched

        def watched(self, training: object) -> None:
            self._begin(training)
            running.append(len(self._executor._running))

    with ray_executor(cluster, 1, pytest.fail) as executor:
        assert executor.at_once == 4
        result = search_in(tmp_path / "out", world, executor=Watched(executor), trials=7, device="s20")
    assert max(running) == 4
    assert [trial.status for trial in result.trials] == ["finished"] * 7
    assert len({trial.candidate.architecture for trial in result.trials}) == 7
    assert set(Counter(line for line in world.log_lines() if line.startswith("short")).values()) == {1}


def test_what_is_timed_here_is_timed_while_no_trial_runs(tmp_path: Path, cluster: str) -> None:
    world = World(tmp_path / "log.txt", pause_s=0.5)
    result, _ = on_ray(tmp_path / "out", world, cluster, 2, trials=5)
    assert [trial.status for trial in result.trials] == ["finished"] * 5
    begun = [line.split()[1] for line in world.log_lines() if line.startswith("begin short")]
    assert len(begun) == 5
    training = 0
    for line in world.log_lines():
        training += line.startswith("begin short") - line.startswith("short ")
        assert not (line.startswith("time") and " first " in line and training), "a timing beside a trial"


def test_lost_workers_trials_are_begun_again_and_nothing_is_done_twice(tmp_path: Path, cluster: str) -> None:
    local = search_in(tmp_path / "local", World(tmp_path / "other.txt"))
    (tmp_path / "teacher").unlink()
    world = World(tmp_path / "log.txt", killed=5)
    with ray_executor(cluster, 2, (notes := list[str]()).append) as executor:
        result = search_in(tmp_path / "out", world, executor=OneAfterAnother(executor), notes=notes)
    assert told(result) == told(local) and result.winner == local.winner
    assert sum("lost its worker, and is begun again" in note for note in notes) == 5
    counts = Counter(line for line in world.log_lines() if line.split()[0] in ("short", "full", "teacher"))
    assert set(counts.values()) == {1}


def test_a_trial_that_ends_its_workers_again_and_again_fails_with_that_cause(tmp_path: Path, cluster: str) -> None:
    first = search_in(tmp_path / "local", World(tmp_path / "other.txt")).trials[0].candidate.architecture.name
    world = World(tmp_path / "log.txt", killing=(first,))
    result, notes = on_ray(tmp_path / "out", world, cluster, 2)
    failed = next(trial for trial in result.trials if trial.status == "failed")
    assert failed.candidate.architecture.name == first
    assert f"{MOST_LOSSES + 1} workers were lost with it" in failed.error
    assert any(f"({first}) failed" in note for note in notes)
    assert result.winner is not None


def test_a_trial_that_cannot_be_fails_as_it_does_without_ray(tmp_path: Path, cluster: str) -> None:
    first = search_in(tmp_path / "local", World(tmp_path / "other.txt")).trials[0].candidate.architecture.name
    result, _ = on_ray(tmp_path / "out", World(tmp_path / "log.txt", failing=(first,)), cluster, 2)
    failed = next(trial for trial in result.trials if trial.status == "failed")
    assert failed.error == f"{first} cannot be cut out of the teacher"


def test_another_error_on_a_worker_ends_the_search_and_keeps_the_trial(tmp_path: Path, cluster: str) -> None:
    with pytest.raises(PocketBertError, match=r"trial \d ended on a Ray worker: cannot write"):
        on_ray(tmp_path / "out", World(tmp_path / "log.txt", disk_full=True), cluster, 2)
    result, _ = on_ray(tmp_path / "out", World(tmp_path / "log.txt"), cluster, 2, resume=True)
    assert result.trials[0].status == "finished"


def test_a_student_that_came_before_the_search_was_killed_is_taken_as_it_is(tmp_path: Path, cluster: str) -> None:
    class Killed(BaseException):
        """Stands for SIGKILL between the student and its record."""

    world = World(tmp_path / "log.txt")
    with ray_executor(cluster, 2, pytest.fail) as executor, pytest.raises(Killed):
        dying = OneAfterAnother(executor)

        def outcome(progress: object) -> object:
            executor.next_outcome(no_progress)
            raise Killed

        dying.next_outcome = outcome
        search_in(tmp_path / "out", world, executor=dying)
    result, _ = on_ray(tmp_path / "out", world, cluster, 2, resume=True)
    assert set(Counter(line for line in world.log_lines() if line.startswith("short")).values()) == {1}
    assert result.trials[0].status == "finished"


def test_more_cores_than_any_node_has_are_refused(tmp_path: Path, cluster: str) -> None:
    with pytest.raises(InputError, match="--trial-cores 64: no node"):
        on_ray(tmp_path / "out", World(tmp_path / "log.txt"), cluster, 64)


def test_where_no_cluster_is_an_address_is_refused_at_once() -> None:
    with pytest.raises(InputError, match=r"--ray-address 127\.0\.0\.1:1: no Ray cluster answers"):
        check_ray("127.0.0.1:1", None)


def test_without_an_address_the_cluster_is_the_searchs_own_whatever_runs_here(cluster: str) -> None:
    """The last of the file: a process that has had one cluster and another does not go back to the first."""
    import ray

    with ray_executor(None, 1, pytest.fail) as executor:
        executor.connect()
        assert len(ray.nodes()) == 1  # the one that runs has two
        assert ray.get_runtime_context().gcs_address != cluster
