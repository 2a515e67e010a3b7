"""Where a benchmark's figures come from: machine, versions, code; and what must be equal for a result to be reused."""

from __future__ import annotations

import hashlib
import os
import platform
import subprocess
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
_PACKAGES = ("onnxruntime", "openvino", "nncf", "ai-edge-litert", "torch", "transformers", "ziglang", "numpy")


def provenance() -> dict[str, Any]:
    """Machine, versions, commit and date, for the reader."""
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "cpu": _cpu(),
        "cores": len(os.sched_getaffinity(0)),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "commit": _commit(),
        "versions": versions(),
    }


def versions() -> dict[str, str]:
    """Versions of the packages that matter, of those that are installed."""
    found = {}
    for package in _PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


def result_key(settings: Mapping[str, Any]) -> str:
    """Equal for runs that may be put into one table: settings, machine, versions, and the compiler's own source."""
    files = sorted(path for path in (ROOT / "fusion").rglob("*") if path.suffix in {".py", ".c", ".h"})
    digest = hashlib.sha256(repr((sorted(settings.items()), _cpu(), sorted(versions().items()))).encode())
    for path in [*files, *sorted(Path(__file__).parent.glob("*.py"))]:
        digest.update(path.name.encode() + path.read_bytes())
    return digest.hexdigest()[:16]


def _cpu() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text(encoding="utf-8").splitlines() if cpuinfo.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def _commit() -> str:
    """The checkout's commit, with ``+`` when files differ from it; empty outside a checkout."""
    try:
        command = ["git", "describe", "--always", "--abbrev=12", "--dirty=+", "--exclude=*"]
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""
