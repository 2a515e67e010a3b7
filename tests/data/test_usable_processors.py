"""What this process may use: its affinity, and the quotas of faked control groups."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import pytest

from data.device_spec import load_device
from data.usable_processors import MOST_THREADS, UsableProcessors, usable_processors
from tests.support import ROOT

# Lines of /proc/self/cgroup and /proc/self/mountinfo of a plain machine, of containers, and of both versions at once.
V2 = ("0::/user.slice/job", "31 23 0:27 / /sys/fs/cgroup rw shared:9 - cgroup2 cgroup2 rw,nsdelegate")
V1 = ("4:cpu,cpuacct:/docker/ab", "33 31 0:30 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct")
OTHER = ("5:cpuset:/docker/ab", "34 31 0:31 / /sys/fs/cgroup/cpuset rw - cgroup cgroup rw,cpuset")
INSIDE_V1 = ("4:cpu:/docker/ab", "33 31 0:30 /docker/ab /sys/fs/cgroup/cpu ro - cgroup cgroup rw,cpu")
NAMESPACED = ("0::/", "31 23 0:27 / /sys/fs/cgroup ro - cgroup2 cgroup rw")
OUTSIDE = ("0::/../../elsewhere", "31 23 0:27 / /sys/fs/cgroup ro - cgroup2 cgroup rw")
SPACED = ("0::/a:b", "31 23 0:27 / /mnt/c\\040g rw - cgroup2 cgroup2 rw")


@pytest.fixture
def sixty_four(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda pid: set(range(64)))


def found(folder: Path, hierarchies: tuple[tuple[str, str], ...], files: Mapping[str, str]) -> UsableProcessors:
    """What a process with these lines may use where these files are."""
    for name, lines in zip(("cgroup", "mountinfo"), zip(*hierarchies, strict=True), strict=True):
        (folder / name).write_text("\n".join(lines) + "\n")
    for name, text in files.items():
        path = folder / "root" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return usable_processors(folder, folder / "root")


def v1(folder: str, quota: int, period: int = 100_000) -> dict[str, str]:
    return {f"{folder}/cpu.cfs_quota_us": f"{quota}\n", f"{folder}/cpu.cfs_period_us": f"{period}\n"}


@pytest.mark.parametrize(
    ("hierarchies", "files", "quota", "count"),
    [
        ((V2,), {"sys/fs/cgroup/user.slice/job/cpu.max": "200000 100000\n"}, 2, 2),
        ((V2,), {"sys/fs/cgroup/user.slice/job/cpu.max": "max 100000\n"}, None, 64),
        ((V2,), {}, None, 64),
        (
            (V2,),
            {
                "sys/fs/cgroup/user.slice/job/cpu.max": "800000 100000\n",
                "sys/fs/cgroup/user.slice/cpu.max": "30000 10000\n",
                "sys/fs/cgroup/other.slice/cpu.max": "10000 10000\n",
            },
            3,
            3,
        ),
        ((OTHER, V1), v1("sys/fs/cgroup/cpu,cpuacct/docker/ab", 250_000), 2.5, 2),
        ((OTHER, V1), v1("sys/fs/cgroup/cpu,cpuacct/docker/ab", -1), None, 64),
        ((V1,), v1("sys/fs/cgroup/cpu,cpuacct/docker", 400_000, 50_000), 8, 8),
        ((OTHER,), v1("sys/fs/cgroup/cpuset/docker/ab", 100_000), None, 64),
        ((V1, V2), v1("sys/fs/cgroup/cpu,cpuacct", 700_000) | {"sys/fs/cgroup/cpu.max": "5000 1000"}, 5, 5),
        ((INSIDE_V1,), v1("sys/fs/cgroup/cpu", 150_000), 1.5, 1),
        ((NAMESPACED,), {"sys/fs/cgroup/cpu.max": "50000 100000"}, 0.5, 1),
        ((OUTSIDE,), {"sys/fs/cgroup/cpu.max": "400000 100000"}, 4, 4),
        ((SPACED,), {"mnt/c g/a:b/cpu.max": "700000 100000"}, 7, 7),
        ((NAMESPACED,), {"sys/fs/cgroup/cpu.max": "9600000 100000"}, None, 64),
        ((NAMESPACED,), {"sys/fs/cgroup/cpu.max": ""}, None, 64),
    ],
)
@pytest.mark.usefixtures("sixty_four")
def test_the_smallest_quota_of_all_groups_counts(
    tmp_path: Path,
    hierarchies: tuple[tuple[str, str], ...],
    files: dict[str, str],
    quota: float | None,
    count: int,
) -> None:
    usable = found(tmp_path, hierarchies, files)
    assert (usable.allowed, usable.quota, usable.count) == (64, quota, count)


@pytest.mark.usefixtures("sixty_four")
def test_a_machine_without_control_groups_has_no_quota(tmp_path: Path) -> None:
    assert usable_processors(tmp_path / "none", tmp_path) == UsableProcessors(64)


def test_no_more_threads_than_the_runtime_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    header = (ROOT / "fusion" / "runtime" / "pocketbert.h").read_text()
    assert re.search(rf"#define PB_MAX_THREADS {MOST_THREADS}\b", header)
    assert (UsableProcessors(96).count, UsableProcessors(96).threads) == (96, 64)
    monkeypatch.setattr("os.sched_getaffinity", lambda pid: set(range(96)))
    assert load_device("host").default_threads <= 64
