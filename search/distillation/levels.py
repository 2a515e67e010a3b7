"""How much is spent on learning: for a first look, or to come as close to the teacher as time allows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from search.teachers.fine_tuning import FineTuning


@dataclass(frozen=True)
class Effort:
    """How long everything learns.

    ``fine_tuning`` of the teacher; ``cuts``, how many students are judged as they are cut; ``trial_tokens`` for a
    trial, which begins with the student as it was cut; ``full_tokens`` for a finalist, which goes on with its trial's
    student.
    """

    name: str
    fine_tuning: FineTuning
    cuts: int
    trial_tokens: int
    full_tokens: int


_BRIEF = FineTuning(passes=1, least_tokens=250_000, consistency=0.0, compared_pairs=3_000)
_EFFORTS = (Effort("brief", _BRIEF, 6, 60_000, 250_000), Effort("full", FineTuning(), 24, 60_000, 1_500_000))

EFFORTS: Mapping[str, Effort] = MappingProxyType({effort.name: effort for effort in _EFFORTS})
