"""Several budgets in one run: a search for each, which share profile, teacher and timings, and learn from all trials.

The largest budget comes first: what its trials show of sizes is known to the searches for smaller ones. Each keeps its
study, its report and its model in a folder of its own, ``OUT/8ms``, and can be gone on with; ``OUT/result.json`` and
``OUT/report.html`` set the winners side by side.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

from data.errors import InfeasibleBudgetError, InputError
from data.progress import Progress
from search.execution.executor import Executor
from search.options import SearchOptions
from search.passes.publish import REPORT, RESULT
from search.passes.trials import FEWEST_FOR_BASELINE
from search.pipeline import run_search
from search.records import Known
from search.reports.front_report import front_document, render_front, results_of
from search.result import BudgetOutcome
from search.stages import Stages
from search.study import Study, atomic_write, open_study

# What --pareto searches for, as shares of the largest budget: further apart than the models for one budget are.
_PARETO_SHARES = (1.0, 0.7, 0.5, 0.35, 0.25)
# With several budgets each has its share of the trials, yet so many at least; the smallest has enough for the scaled
# teacher to be one of them, since that loses most there.
_FEWEST_TRIALS, _FEWEST_OF_SMALLEST = 2, FEWEST_FOR_BASELINE


def pareto_budgets(largest_ms: float) -> tuple[float, ...]:
    """Five budgets from the largest down to a quarter of it, ms, to three digits."""
    return tuple(float(f"{largest_ms * share:.3g}") for share in _PARETO_SHARES)


def options_of_each(options: SearchOptions, budgets_ms: Sequence[float]) -> tuple[SearchOptions, ...]:
    """The options of each budget's search, the largest budget first."""
    falling = sorted(budgets_ms, reverse=True)
    share = -(-options.trials // len(falling))
    fewest = [_FEWEST_TRIALS] * (len(falling) - 1) + [_FEWEST_OF_SMALLEST]
    return tuple(
        replace(options, budget_ms=budget, trials=max(least, share))
        for budget, least in zip(falling, fewest, strict=True)
    )


def folder_of(out: Path, options: SearchOptions) -> Path:
    """Where the search for one of several budgets is kept."""
    return out / f"{options.budget_ms:g}ms"


@contextmanager
def open_studies(out: Path, each: Sequence[SearchOptions], *, resume: bool) -> Iterator[tuple[Study, ...]]:
    """The studies of all budgets, begun or gone on with, and locked until the context ends.

    Raises:
        InputError: ``out`` holds something else, or searches for other budgets; and as
            :func:`~search.study.open_study`.
    """
    folders = [folder_of(out, options) for options in each]
    _refuse_others(out, folders)
    with ExitStack() as stack:
        yield tuple(
            stack.enter_context(open_study(folder, options, resume=resume))
            for folder, options in zip(folders, each, strict=True)
        )


def _refuse_others(out: Path, folders: Sequence[Path]) -> None:
    if out.exists() and not out.is_dir():
        raise InputError(f"--out {out} is a file")
    found = sorted(out.iterdir()) if out.exists() else []
    begun = [path for path in found if (path / "study").is_dir()]
    others = ", ".join(path.name for path in begun if path not in folders)
    if others:
        raise InputError(f"{out} was started with other budgets ({others}): repeat them, or choose another --out")
    if found and not begun:
        raise InputError(f"--out {out} is not empty and holds no search for several budgets: choose another --out")


def run_front(
    out: Path,
    studies: Sequence[Study],
    stages: Stages,
    progress: Progress,
    note: Callable[[str], None],
    executor: Executor | None = None,
) -> tuple[BudgetOutcome, ...]:
    """Searches for each budget in turn, and writes what sets them side by side.

    A budget that nothing fits is said and left out.

    Returns:
        What became of each, by rising budget.

    Raises:
        InfeasibleBudgetError: nothing fits any of the budgets.
        PocketBertError: whatever else a search raises; the studies keep what was finished.
    """
    outcomes: list[BudgetOutcome] = []
    known = Known()
    for number, study in enumerate(studies):
        note(f"budget {study.options.budget_ms:g} ms, {number + 1} of {len(studies)}: {study.out}")
        outcome = _search(study, stages, progress, note, known, executor)
        if outcome.result:
            known = Known(known.trials + outcome.result.trials, known.cuts + outcome.result.cuts)
        outcomes.insert(0, outcome)
    if not any(outcome.result for outcome in outcomes):
        raise InfeasibleBudgetError(outcomes[-1].problem)
    for line in surpassed(outcomes):
        note(line)
    document = front_document(outcomes, out)
    atomic_write(out / REPORT, render_front(outcomes, document))
    # Last, since whoever finds it takes all searches for finished.
    atomic_write(out / RESULT, json.dumps(document, indent=2, allow_nan=False) + "\n")
    return tuple(outcomes)


def _search(
    study: Study,
    stages: Stages,
    progress: Progress,
    note: Callable[[str], None],
    known: Known,
    executor: Executor | None,
) -> BudgetOutcome:
    budget_ms, folder = study.options.budget_ms, study.out.name
    try:
        return BudgetOutcome(budget_ms, folder, run_search(study, stages, progress, note, known, executor))
    except InfeasibleBudgetError as error:
        note(str(error))
        return BudgetOutcome(budget_ms, folder, None, str(error))


def surpassed(outcomes: Sequence[BudgetOutcome]) -> list[str]:
    """A line for each winner whose held-out score is below that of a winner of a smaller budget."""
    lines = []
    found = results_of(outcomes)
    for position, result in enumerate(found[1:], start=1):
        own = result.winning_finalist.trained
        best = max(found[:position], key=lambda other: other.winning_finalist.trained.score)
        other = best.winning_finalist.trained
        if other.score > own.score:
            lines.append(
                f"{best.winning_candidate.architecture.name}, found for {best.options.budget_ms:g} ms, is at least as "
                f"accurate as what was found for {result.options.budget_ms:g} ms ({other.score:.3f} and {own.score:.3f}"
                f" ± {own.standard_error:.3f} on the held-out tenth), and faster"
            )
    return lines
