"""A doubled search killed again and again: what is lost, and what is done twice.

    python -m tests.benchmarks.kills --kills 30

The search is real but for its stages, which wait as long as they are told (tests/search/doubles.py); it is begun in a
process of its own, killed with SIGKILL after a random time, and resumed, until it has been killed so often.
"""

from __future__ import annotations

import argparse
import json
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.search.doubles import World, search_in

ROOT = Path(__file__).parents[2]
# What must not be done twice: the first words of its lines in the log.
_COSTLY = ("short", "full", "teacher")
# Seconds that each step of the doubled search takes, and within which it is killed after it has begun.
_PAUSE_S, _LATEST_S = 0.2, 1.2


@dataclass(frozen=True)
class Killed:
    """What came of a search that was killed so often: the architectures of its trials, and those of a search that was
    not; how often each costly step was done."""

    kills: int
    tried: list[str]
    undisturbed: list[str]
    done: Counter[str]


def killed(folder: Path, kills: int, trials: int, seed: int = 5) -> Killed:
    """Kills a search in ``folder`` up to so many times, and lets it end then."""
    out, log = folder / "out", folder / "log.txt"
    argv = [sys.executable, "-m", "tests.search.doubles", str(out), str(log), str(_PAUSE_S), str(trials)]
    moments, count = random.Random(seed), 0
    while count < kills:
        process = _begun(argv, out)
        time.sleep(moments.uniform(0.0, _LATEST_S))
        if process.poll() is not None:
            break
        process.send_signal(signal.SIGKILL)
        process.wait()
        count += 1
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, check=True, timeout=300)
    undisturbed = search_in(folder / "undisturbed", World(folder / "other.txt"), trials=trials)
    lines = (line for line in World(log).log_lines() if line.split()[0] in _COSTLY)
    names = [trial.candidate.architecture.name for trial in undisturbed.trials]
    return Killed(count, json.loads(done.stdout), names, Counter(lines))


def _begun(argv: list[str], out: Path) -> subprocess.Popen[str]:
    """Starts a doubled search and waits until it holds the study, since importing takes most of its time."""
    record = out / "study" / "task.json"
    before = record.stat().st_mtime_ns if record.exists() else 0
    process = subprocess.Popen(argv, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    while process.poll() is None and time.monotonic() < deadline:
        if record.exists() and record.stat().st_mtime_ns != before:
            break
        time.sleep(0.01)
    return process


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=30)
    parser.add_argument("--trials", type=int, default=24)
    given = parser.parse_args()
    with TemporaryDirectory() as name:
        found = killed(Path(name), given.kills, given.trials)
    twice = sum(count - 1 for count in found.done.values())
    same = found.tried == found.undisturbed
    print(f"{found.kills} SIGKILLs, {len(found.tried)} trials: {twice} of {len(found.done)} costly steps done again;")
    print(f"the trials are {'those' if same else 'NOT those'} of a search that was not killed")
    raise SystemExit(not same or twice > 0)


if __name__ == "__main__":
    main()
