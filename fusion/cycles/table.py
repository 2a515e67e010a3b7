"""The stored counts: cycles of each loop of each target's code on each core, as ``python -m fusion.cycles.count`` made
them; nothing is counted while anything runs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from types import MappingProxyType

from data.errors import UnknownNameError

FILE = "counts.json"
# What came of counting where it can be measured: written by tests/benchmarks/cycles.py.
CHECKED_FILE = "checked.json"
# Targets whose fp32 loops are another's: they differ in atomics, and in what narrow products use.
_SAME_FP32 = MappingProxyType(
    {
        "aarch64-lse": "aarch64-neon",
        "aarch64-dotprod": "aarch64-neon",
        "aarch64-i8mm": "aarch64-neon",
        "x86_64-avx512-vnni": "x86_64-avx512",
        "x86_64-avx2-vnni": "x86_64-avx2",
    }
)


@dataclass(frozen=True)
class Count:
    """Cycles of a step of a loop, and of entering and leaving it once."""

    step: float
    entry: float


def fp32_target(target: str) -> str:
    """The target whose fp32 loops stand for those of a target."""
    return _SAME_FP32.get(target, target)


@cache
def stored_counts(target: str, core: str) -> Mapping[str, Count]:
    """The counts of a target's loops on a core, by the loops' names.

    Raises:
        UnknownNameError: nothing was counted for such code on such a core.
    """
    document = json.loads(resources.files("fusion.cycles").joinpath(FILE).read_text(encoding="utf-8"))
    counted = document["counts"]
    fp32 = fp32_target(target)
    if fp32 not in counted:
        raise UnknownNameError("target with counts", target, counted)
    if core not in counted[fp32]:
        raise UnknownNameError("core", core, counted[fp32])
    found = {name: numbers for name, numbers in counted[fp32][core].items() if target == fp32 or "int8" not in name}
    found |= counted.get(target, {}).get(core, {})
    return MappingProxyType({name: Count(*numbers) for name, numbers in found.items()})


def method_error() -> str:
    """How far the method errs on the machine where it was measured, in words for people."""
    document = json.loads(resources.files("fusion.cycles").joinpath(CHECKED_FILE).read_text(encoding="utf-8"))
    errors = document["errors"].values()
    models, blocks = (max(error[kind] for error in errors) for kind in ("models", "blocks"))
    return f"on x86 ({document['processor']}) counted models err by {models:.0%} in the mean, blocks by {blocks:.0%}"
