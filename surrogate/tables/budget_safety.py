"""What choosing a device's models by another device's latencies costs, and how many of its own rows make it safe."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from surrogate.tables.shared_models import SharedModels, Worth
from surrogate.tables.transfer_trials import Trial, pick

# Share of the picks that must keep the budget for a number of rows to be called safe, and share of the tries in which a
# model must be picked at all: who never picks never fails.
SAFE, ANSWERED = 0.95, 0.5
# Quantiles of a device's latencies that are taken for budgets.
OWN_BUDGETS = (0.2, 0.35, 0.5, 0.65, 0.8)
SOURCE_BUDGETS = (0.25, 0.5, 0.75)


@dataclass(frozen=True)
class Overshoot:
    """What becomes of the best model within ``budget_ms`` on ``source`` when it runs on ``target``.

    ``best`` are its features, ``overshoot`` is its latency there over the budget, less one. ``given_up`` is what it
    lacks against the best model within the budget on the target itself, in points of accuracy or as a share of the
    size; None where it does not keep the budget there.
    """

    source: str
    target: str
    budget_ms: float
    best: dict[str, float]
    latency_ms: float
    overshoot: float
    given_up: float | None


@dataclass(frozen=True)
class Safety:
    """Models picked for ``target`` with ``samples`` of its rows, over all splits and budgets.

    ``tries`` is their number, ``picked`` the share in which a model seemed to keep the budget, ``within`` the share of
    those picks that really keep it, with ``mean_overshoot`` and ``worst_overshoot`` of the others (latency over budget,
    less one; 0 where there are none). ``given_up`` is the mean over the picks that keep it of what they lack against
    the target's own best. ``within`` and ``given_up`` are None where there are no such picks.
    """

    source: str
    target: str
    choice: str
    samples: int
    tries: int
    picked: float
    within: float | None
    mean_overshoot: float
    worst_overshoot: float
    given_up: float | None

    @property
    def safe(self) -> bool:
        """Whether enough of the picks keep the budget, and there are enough of them."""
        return self.within is not None and self.within >= SAFE and self.picked >= ANSWERED


@dataclass(frozen=True)
class SafeSamples:
    """The smallest number of rows from which on picks are safe, None where no tried number is; ``text`` says it."""

    source: str
    target: str
    choice: str
    samples: int | None
    text: str


def quantile_budgets(latencies_ms: np.ndarray, quantiles: Sequence[float]) -> tuple[float, ...]:
    """Measured latencies (of n,) at some quantiles, each once."""
    return tuple(sorted({float(ms) for ms in np.quantile(latencies_ms, quantiles, method="inverted_cdf")}))


def overshoots(shared: SharedModels, source: str, target: str, budgets_ms: Iterable[float]) -> list[Overshoot]:
    """The source's best model for each budget, run on the target; none for budgets that nothing keeps on the source."""
    everything = np.arange(len(shared))
    found = []
    for budget_ms in budgets_ms:
        fits = (shared.latencies[source] <= budget_ms).astype(np.float64)
        best = pick(shared, source, target, everything, fits, budget_ms)
        if best.model is None or best.latency_ms is None:
            continue
        row = shared.features.iloc[best.model]
        found.append(
            Overshoot(
                source=source,
                target=target,
                budget_ms=budget_ms,
                best={str(name): float(value) for name, value in row.items()},
                latency_ms=best.latency_ms,
                overshoot=best.overshoot,
                given_up=best.given_up,
            )
        )
    return found


def safety(trials: Sequence[Trial]) -> Safety:
    """What the trials of one pair, one way of choosing rows and one number of them come to."""
    tried = [one for trial in trials for one in trial.picks]
    made = [one for one in tried if one.latency_ms is not None]
    over = [one.overshoot for one in made if one.overshoot > 0]
    given_up = [one.given_up for one in made if one.given_up is not None]
    first = trials[0]
    return Safety(
        source=first.source,
        target=first.target,
        choice=first.choice,
        samples=first.samples,
        tries=len(tried),
        picked=len(made) / len(tried),
        within=1 - len(over) / len(made) if made else None,
        mean_overshoot=float(np.mean(over)) if over else 0.0,
        worst_overshoot=max(over, default=0.0),
        given_up=float(np.mean(given_up)) if given_up else None,
    )


def safe_samples(curve: Sequence[Safety], names: Mapping[str, str], judged_by: Worth) -> SafeSamples:
    """From one pair's safety by rising numbers of rows; ``names`` are the devices' for people.

    A number counts only if every larger one that was tried is safe as well.
    """
    smallest: Safety | None = None
    for point in reversed(curve):
        if not point.safe:
            break
        smallest = point
    last = curve[-1]
    pair = f"{names[last.source]} to {names[last.target]}"
    samples = None if smallest is None else smallest.samples
    text = f"{pair}: {_verdict(smallest, last)}: {_kept(smallest or last, judged_by)}"
    return SafeSamples(last.source, last.target, last.choice, samples, text)


def _verdict(smallest: Safety | None, last: Safety) -> str:
    if smallest is None:
        return f"not safe with up to {_rows(last)}"
    return f"safe from {_rows(smallest)} on" if smallest.samples else "safe without any row of the new device"


def _rows(point: Safety) -> str:
    kind = "" if point.choice == "random" else f" {point.choice}"
    return f"{point.samples}{kind} row{'' if point.samples == 1 else 's'}"


def _kept(point: Safety, judged_by: Worth) -> str:
    """``96% of the picks keep the budget, the worst misses it by 4%, 8% of the size given up``."""
    if point.within is None:
        return f"no model was picked in {point.tries} tries"
    parts = [f"{point.within:.0%} of the picks keep the budget"]
    if point.worst_overshoot > 0:
        parts.append(f"the worst misses it by {point.worst_overshoot:.0%}")
    if point.given_up is not None:
        points = f"{100 * point.given_up:.1f} points of accuracy"
        parts.append(f"{points if judged_by == 'accuracy' else f'{point.given_up:.0%} of the {judged_by}'} given up")
    if point.picked < 1:
        parts.append(f"a pick in {point.picked:.0%} of {point.tries} tries")
    return ", ".join(parts)
