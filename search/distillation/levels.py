"""How much is spent on learning: for a first look, or to come as close to the teacher as time allows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType


@dataclass(frozen=True)
class Effort:
    """How long everything learns.

    ``teacher_passes`` over the training examples; ``trial_tokens`` for a trial, which begins with the student as it was
    cut; ``full_tokens`` for a finalist, which goes on with its trial's student.
    """

    name: str
    teacher_passes: int
    trial_tokens: int
    full_tokens: int


EFFORTS: Mapping[str, Effort] = MappingProxyType(
    {effort.name: effort for effort in (Effort("brief", 1, 60_000, 250_000), Effort("full", 4, 60_000, 1_500_000))}
)
