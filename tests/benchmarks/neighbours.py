"""Other processes on the machine while engines are timed: one that spins and yields, or one that computes."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import MappingProxyType

_PROGRAMS: Mapping[str, str] = MappingProxyType(
    {
        "nothing": "",
        "spinning": "import os\nwhile True: os.sched_yield()",
        "computing": "while True: pass",
    }
)
NEIGHBOURS = tuple(_PROGRAMS)


@contextmanager
def beside(neighbour: str) -> Iterator[None]:
    """Runs one such process while the body runs; ``nothing`` leaves the machine as it is found."""
    if not _PROGRAMS[neighbour]:
        yield
        return
    process = subprocess.Popen([sys.executable, "-c", _PROGRAMS[neighbour]])
    try:
        yield
    finally:
        process.kill()
        process.wait()
