"""Processors that this process may use: its affinity, and the CPU quotas of its control groups.

``len(os.sched_getaffinity(0))`` counts all processors of a machine in a container that may use two of them: a quota
takes no processor away, it halts all threads of the group until the next period once their time is used up. Formats:
the kernel's documentation, admin-guide/cgroup-v2 (``cpu.max``), scheduler/sched-bwc (``cpu.cfs_quota_us``) and
proc_pid_mountinfo(5).
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

MOST_THREADS = 64
"""Threads that a compiled model takes: ``PB_MAX_THREADS`` of ``fusion/runtime/pocketbert.h``."""

_V1, _V2 = "cgroup", "cgroup2"
_CONTROLLER = "cpu"


@dataclass(frozen=True)
class UsableProcessors:
    """How many processors a process may run on, and how much of their time, in processors, it gets (None: all)."""

    allowed: int
    quota: float | None = None

    @property
    def count(self) -> int:
        """Threads that can all run all the time; at least 1.

        A quota of 1.5 is one thread: two use it up in three quarters of each period and are halted for the rest of it,
        in the middle of a run, so that a latency would depend on how often the model is called.
        """
        return self.allowed if self.quota is None else max(1, min(self.allowed, int(self.quota)))

    @property
    def threads(self) -> int:
        """Threads of a compiled model that uses them all."""
        return min(self.count, MOST_THREADS)


def usable_processors(process: Path = Path("/proc/self"), root: Path = Path("/")) -> UsableProcessors:
    """What this process may use now.

    Args:
        process: the folder with this process's ``cgroup`` and ``mountinfo``.
        root: where the mount points that ``mountinfo`` names begin.
    """
    allowed = len(os.sched_getaffinity(0))
    groups = list(_folders_of_groups(process, root))
    quotas = [quota for group in groups for quota in (_quota_v1(group), _quota_v2(group)) if quota is not None]
    binding = min(quotas, default=float(allowed))
    return UsableProcessors(allowed, binding if binding < allowed else None)


def _folders_of_groups(process: Path, root: Path) -> Iterator[Path]:
    """The process's group, and all above it that can be seen, in each mounted hierarchy that may hold quotas."""
    groups = dict(_groups(_text(process / "cgroup")))
    for line in _text(process / "mountinfo").splitlines():
        mount, _, filesystem = line.partition(" - ")
        kind, _, options = (filesystem.split() + ["", "", ""])[:3]
        if kind not in groups or (kind == _V1 and _CONTROLLER not in options.split(",")):
            continue
        mounted, point = (_unescaped(word) for word in mount.split()[3:5])
        top = root / point.lstrip("/")
        below = _below(groups[kind], mounted)
        yield from (top / folder for folder in (below, *below.parents))


def _groups(text: str) -> Iterator[tuple[str, str]]:
    """The file system of a hierarchy and the process's group in it, of ``number:controllers:path`` lines."""
    for line in text.splitlines():
        number, controllers, group = (line.split(":", 2) + ["", ""])[:3]
        if number == "0":
            yield _V2, group
        elif _CONTROLLER in controllers.split(","):
            yield _V1, group


def _below(group: str, mounted: str) -> PurePosixPath:
    """A group's path below the mount point; a container may see its own group only, mounted as the whole tree."""
    path = PurePosixPath(group)
    inside = path.is_relative_to(mounted) and ".." not in path.parts
    return path.relative_to(mounted) if inside else PurePosixPath()


def _quota_v1(group: Path) -> float | None:
    """Quota by period, both in microseconds; the quota is -1 where there is none."""
    return _ratio(_text(group / "cpu.cfs_quota_us"), _text(group / "cpu.cfs_period_us"))


def _quota_v2(group: Path) -> float | None:
    """``max 100000`` without a quota, ``150000 100000`` with one of one and a half processors."""
    words = _text(group / "cpu.max").split()
    return _ratio(*words) if len(words) == 2 else None


def _ratio(quota: str, period: str) -> float | None:
    numbers = [text.strip() for text in (quota, period)]
    if not all(text.isdecimal() and int(text) > 0 for text in numbers):
        return None
    return int(numbers[0]) / int(numbers[1])


def _text(path: Path) -> str:
    """A file of the kernel, empty where there is none: not every kernel, container or group has each of them."""
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _unescaped(word: str) -> str:
    """Spaces, tabs, line breaks and backslashes of paths are octal in ``mountinfo``."""
    return re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), word)
