"""What was timed before any training: predicted, timed, and how far within the budget it has to be to be trained."""

from __future__ import annotations

from typing import Any

from search.latencies import budgets_told, listed
from search.optimization.feasibility import margin, upper_ms
from search.records import Admission, Candidate
from search.reports.devices import also_document, timing_document
from search.reports.latency_source import source_mark
from search.result import SearchResult


def candidate_document(candidate: Candidate) -> dict[str, Any]:
    """A candidate, and what is predicted of it on the first device."""
    return {
        "name": candidate.architecture.name,
        "architecture": candidate.architecture.to_dict(),
        "latency": {
            "predicted_ms": candidate.predicted_ms,
            "interval_ms": [candidate.lower_ms, candidate.upper_ms],
            "probability_within": candidate.probability_within,
            "provenance": candidate.provenance,
        },
    }


def admissions_document(result: SearchResult) -> dict[str, Any]:
    """All that was timed before any training."""
    admitted = sum(each.admitted for each in result.admissions)
    return {
        "timed": len(result.admissions),
        "admitted": admitted,
        "missed": len(result.admissions) - admitted,
        "prediction_error": result.prediction_errors[0],
        "models": [admission_document(result, each) for each in result.admissions],
    }


def admission_document(result: SearchResult, admission: Admission) -> dict[str, Any]:
    """One model as it was predicted and timed on every device."""
    first, *further = (upper_ms(*each) for each in zip(admission.timings, result.outlook.laters, strict=True))
    also = also_document(result, admission.candidate, admission.also)
    return candidate_document(admission.candidate) | {
        "proposer": admission.proposer,
        "admitted": admission.admitted,
        "timing": timing_document(admission.timing),
        "upper_ms": first,
        "also": [entry | {"upper_ms": upper} for entry, upper in zip(also, further, strict=True)],
    }


def admission_line(result: SearchResult) -> str:
    """How many models were timed before training, how far predictions were off, what the winner uses, and what is
    admitted."""
    admitted, names = sum(each.admitted for each in result.admissions), [device.name for device in result.devices]
    errors, shares = result.prediction_errors, result.shares_of_budgets
    off, where, budget = f"{errors[0]:.1%} in the mean", "", "the budget"
    if result.also:
        off = listed([f"{error:.1%} on {name}" for error, name in zip(errors, names, strict=True)])
        where, budget = f" on {names[shares.index(max(shares))]}", "every device's budget"
    small = " and is small enough" if _size_options(result) else ""
    return (
        f"{len(result.admissions)} models were timed before any training: {admitted} admitted, "
        f"{len(result.admissions) - admitted} missed; predictions{source_mark(result)} were off by {off}; the winner "
        f"uses {result.share_of_budget:.0%} of the budget{where}; admitted is what has the upper bound of its median "
        f"within {budget}{small}"
    )


def admission_rule(result: SearchResult) -> str:
    """Which of the models that were timed are admitted to training, in sentences."""
    margins = [f"{margin(later):.1%}" for later in result.outlook.laters]
    if result.also:
        margins = [f"{share} on {device.name}" for share, device in zip(margins, result.devices, strict=True)]
    sentences = [
        f"Admitted to training is what has its upper bound within {budgets_told(result.options.budgets)}; a median "
        "within it is not enough."
    ]
    if options := _size_options(result):
        sentences.append(f"What is larger than {' or '.join(options)} allows is refused whatever it takes.")
    sentences.append(
        "The upper bound (95%) is that of the median which a later run will measure, the larger of two: what the "
        "medians of the visits give by their order statistics, and the median plus a margin for what medians move by "
        f"from session to session, {listed(margins)}."
    )
    return " ".join(sentences)


def _size_options(result: SearchResult) -> list[str]:
    """The options given that bound a model's size."""
    given = {"--max-size": result.options.max_bytes, "--max-memory": result.options.max_memory}
    return [option for option, most in given.items() if most is not None]
