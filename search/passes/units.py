"""Which unit of a device a search is for, where the user names several: the one that runs the larger model in time."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from data.errors import DeviceError
from data.progress import no_progress
from search.latencies import DeviceBudget, Timing
from search.optimization.space import SearchSpace
from search.result import UnitChoice, UnitTiming
from search.stages import Stages
from search.study import Study

if TYPE_CHECKING:
    from data.architecture import Architecture
    from profiling import Device


def choose_unit(
    study: Study,
    stages: Stages,
    budget: DeviceBudget,
    open_unit: Callable[[str], Device],
    note: Callable[[str], None],
) -> tuple[Device, UnitChoice]:
    """The device on the unit that the study chose before, or on the one that runs the largest uniformly scaled teacher
    within the budget; of equals the faster one, and where nothing is within the budget the fastest.

    Raises:
        DeviceError: no unit can be had, or not the one that was chosen before.
    """
    name = f"unit-{budget.name}"
    choice = study.load(name, UnitChoice)
    found, missing = _opened(study.options.units, open_unit)
    if not found or (choice and choice.unit not in found):
        raise DeviceError("; ".join(dict.fromkeys(missing.values())))
    for unit, problem in missing.items():
        note(f"--unit {study.options.unit}: {unit} is left out: {problem}")
    if choice is None:
        choice = _timed(study, stages, budget, found)
        study.save(name, choice)
        note(told(choice))
    for unit, device in found.items():
        if unit != choice.unit:
            device.close()
    return found[choice.unit], choice


def told(choice: UnitChoice) -> str:
    """Which unit was chosen, and why, in one line."""
    found = "; ".join(
        f"{each.unit}: {each.architecture} in {each.median_ms:.3g} ms{'' if each.within else ', beyond the budget'}"
        for each in choice.timed
    )
    return (
        f"{choice.device} runs models on its {choice.unit}, by the largest uniformly scaled teacher in time ({found})"
    )


def _opened(units: Sequence[str], open_unit: Callable[[str], Device]) -> tuple[dict[str, Device], dict[str, str]]:
    """The units that can be had, and of the others why they cannot."""
    found: dict[str, Device] = {}
    missing: dict[str, str] = {}
    for unit in units:
        try:
            device = open_unit(unit)
            device.describe()
        except DeviceError as error:
            missing[unit] = str(error)
        else:
            found[unit] = device
    return found, missing


def _timed(study: Study, stages: Stages, budget: DeviceBudget, found: Mapping[str, Device]) -> UnitChoice:
    options = study.options
    sizes = stages.teacher_sizes(options.teacher)
    # Whatever the task's labels: they cost nothing.
    space = SearchSpace.from_teacher(
        sizes, seq_len=options.seq_len, labels=1, named=options.space, precisions=options.precisions
    )
    scaled = space.uniformly_scaled() or (space.template,)
    timed = []
    for unit, device in found.items():
        threads = options.threads or device.spec.default_threads
        timings = stages.time_architectures(device, scaled, threads, study.created_at, no_progress)
        timed.append(_largest_within(unit, scaled, timings, budget.budget_ms))
    best = max(timed, key=lambda each: (each.within, each.parameters if each.within else 0, -each.median_ms))
    return UnitChoice(budget.name, best.unit, tuple(timed))


def _largest_within(
    unit: str, architectures: Sequence[Architecture], timings: Sequence[Timing], budget_ms: float
) -> UnitTiming:
    made = [
        UnitTiming(unit, each.name, each.encoder_parameters, timing.median_ms, timing.median_ms <= budget_ms)
        for each, timing in zip(architectures, timings, strict=True)
    ]
    within = [each for each in made if each.within]
    if within:
        return max(within, key=lambda each: (each.parameters, -each.median_ms))
    return min(made, key=lambda each: each.median_ms)
