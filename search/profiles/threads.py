"""How many threads a device's models get: as many as were asked for, or the device's own, and what limits them."""

from __future__ import annotations

from dataclasses import dataclass

from data.device_spec import DeviceSpec
from data.errors import InputError
from data.usable_processors import MOST_THREADS, UsableProcessors, usable_processors


@dataclass(frozen=True)
class ChosenThreads:
    """A number of threads, and one line for the user where it is not the one to expect, else empty."""

    count: int
    note: str = ""


def choose_threads(spec: DeviceSpec, asked: int | None, option: str) -> ChosenThreads:
    """The number of threads to use; more than the device's cores would only wait for each other.

    Args:
        asked: what the user wants; None for the device's own number.
        option: where the user said so, for messages: ``--threads 4``.

    Raises:
        InputError: more threads than cores, or than compiled models take.
    """
    usable = usable_processors() if spec.kind == "host" else UsableProcessors(len(spec.cores))
    if asked is None:
        return ChosenThreads(spec.default_threads, _why_fewer(usable, spec.default_threads))
    if asked > usable.allowed:
        raise InputError(f"{option}: device {spec.name} has {_counted(usable.allowed, 'core')}")
    if asked > MOST_THREADS:
        raise InputError(f"{option}: compiled models take at most {MOST_THREADS} threads")
    if asked <= usable.count:
        return ChosenThreads(asked)
    return ChosenThreads(
        asked, f"warning: {option}: {_quota(usable)}; beyond that the kernel halts them again and again"
    )


def _why_fewer(usable: UsableProcessors, threads: int) -> str:
    """Why the device's own number is less than its processors, unless its file says so."""
    if usable.threads == usable.allowed or threads < usable.threads:
        return ""
    used = _counted(threads, "thread")
    if usable.count > MOST_THREADS:
        return f"{used}, the most that a compiled model takes: this process may use {usable.count} processors"
    return f"{used}: {_quota(usable)}"


def _quota(usable: UsableProcessors) -> str:
    return f"a CPU quota gives this process the time of {usable.quota:g} of {usable.allowed} processors"


def _counted(count: int, thing: str) -> str:
    return f"{count} {thing}" if count == 1 else f"{count} {thing}s"
