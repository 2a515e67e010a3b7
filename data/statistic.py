"""The statistic of a session: which figure of a program's visits is steadiest, as the session's own halves show.

What disturbs a machine differs: on one, others only ever add time, and low quantiles are best; on another rare fast
moments make the minimum the worst; a phone's clock falls and comes back for all programs alike. No rule holds on all of
them, so the candidates are compared on the rows themselves: the rounds are halved at random, each figure is taken of
both halves, and the candidate is chosen by which the halves agree best on how programs compare. How long they take in
all is the same for every candidate: the usual time of a program is its figure times what medians usually are over it.

A candidate is a quantile of all samples of a program's visits, as they are, or after what all programs of a round share
was taken out: a two-way fit of the logarithm of time into program and round by median polish.

Source: Tukey, Exploratory Data Analysis, 1977, chapter 11 (median polish).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import median

import numpy as np

from data.measurement import Measurement

# From the plainest on: a candidate further down must be clearly better than those before it.
QUANTILES = (0.5, 0.4, 0.25, 0.1, 0.0)
_CLEARLY = 0.9
_NAMES = {0.5: "median", 0.4: "40% quantile", 0.25: "lower quartile", 0.1: "lower decile", 0.0: "minimum"}
_SPLITS, _POLISHES = 6, 6
# Fewer visits to each have no halves worth comparing; a round of fewer programs says nothing about what they share.
_FEWEST_TURNS, _FEWEST_SHARING = 4, 5
# Programs of one round scatter about what they share. Where they scatter so many times more than in the usual round,
# and more than the clock's own noise, they share nothing and the round is left out of a corrected figure.
_SCATTERED, _SMALLEST_SCATTER = 4.0, 0.01
# A normal law's standard deviation over its mean absolute deviation.
_MEAN_SCALE = 1.2533


@dataclass(frozen=True)
class Statistic:
    """A quantile of a program's samples, after the rounds' common effects were taken out where ``corrected``.

    ``agreement`` is the mean absolute difference of the usual times' logarithm between random halves of the rounds,
    ``drift`` that between the first and the second half of the session; both None where there were too few rounds.
    """

    quantile: float = 0.5
    corrected: bool = False
    agreement: float | None = None
    drift: float | None = None

    @property
    def name(self) -> str:
        """What people read."""
        plain = _NAMES.get(self.quantile, f"{self.quantile:.0%} quantile")
        return f"{plain} of all samples" + (", what all programs of a round share taken out" if self.corrected else "")

    @property
    def same_session(self) -> float | None:
        """How far the figures would lie apart (mean) if the same session were measured twice at once."""
        # Either has twice a half's rounds.
        return None if self.agreement is None else self.agreement / np.sqrt(2)

    @property
    def later_session(self) -> float | None:
        """How far a later session's figures are expected apart (mean): more rounds do not lessen a drift."""
        if self.agreement is None or self.drift is None:
            return None
        drifted = max(0.0, self.drift**2 - self.agreement**2)
        return float(np.sqrt(self.agreement**2 / 2 + drifted))


def choose_statistic(rows: Sequence[Measurement], seed: int = 0) -> Statistic:
    """The candidate by which random halves of the visits agree best; the plainer one where several do about equally.

    Of whole models, where there are any: blocks are short and noisier. The median where there are too few rounds.
    """
    models = [row for row in rows if row.subject == "model"]
    table = _Table.of(models or rows)
    if table.turns < _FEWEST_TURNS:
        return Statistic()
    random = np.random.default_rng(seed)
    splits = [_split(table.turns, random) for _ in range(_SPLITS)]
    found: list[tuple[Statistic, float]] = []
    halves = [(table.part(half), table.part(~half)) for half in splits]
    for corrected in (False, True):
        pairs = [(left.levelled(), right.levelled()) if corrected else (left, right) for left, right in halves]
        for quantile in QUANTILES:
            apart = [_apart(left.quantiles(quantile), right.quantiles(quantile), centred=True) for left, right in pairs]
            found.append((Statistic(quantile, corrected), float(np.mean(apart))))
    best, least = found[0]
    for candidate, apart_by in found[1:]:
        if apart_by < _CLEARLY * least:
            best, least = candidate, apart_by
    agreement = float(np.mean([_apart(left.usual(best), right.usual(best)) for left, right in halves]))
    return replace(best, agreement=agreement, drift=_drift(table, best))


def figures_ms(rows: Sequence[Measurement], statistic: Statistic) -> dict[str, float]:
    """Milliseconds by subject hash, by the chosen statistic over all of a subject's visits."""
    table = _Table.of(rows)
    return dict(zip(table.subjects, np.exp(table.figures(statistic)).tolist(), strict=True))


def usual_ms(rows: Sequence[Measurement], statistic: Statistic) -> dict[str, float]:
    """The figures of :func:`figures_ms` times what medians usually are over them: how long a user waits."""
    table = _Table.of(rows)
    return dict(zip(table.subjects, np.exp(table.usual(statistic)).tolist(), strict=True))


def steps_ms(rows: Sequence[Measurement], statistic: Statistic) -> dict[str, np.ndarray]:
    """(steps,) milliseconds of each block of a program by subject hash, which add up to its figure; of those that tell.

    The steps' own figures only share it out: beside other programs a run is held up in a few of its steps, now in these
    and now in those, so that no step's median knows of it.
    """
    table = _Table.of(rows)
    shared = table.shared_by_visit() if statistic.corrected else np.zeros(len(rows))
    kept: dict[str, list[np.ndarray]] = {}
    for row, factor in zip(rows, np.exp(shared), strict=True):
        if row.steps_ms and np.isfinite(factor):
            kept.setdefault(row.subject_hash, []).append(np.array(row.steps_ms) / factor)
    figures = figures_ms(rows, statistic)
    steps = {key: np.quantile(np.array(visits), statistic.quantile, axis=0) for key, visits in kept.items()}
    return {key: figures[key] * times / times.sum() for key, times in steps.items()}


def medians_ms(rows: Sequence[Measurement]) -> dict[str, float]:
    """Median over all samples of all visits, milliseconds by subject hash: what a user sees."""
    samples: dict[str, list[float]] = {}
    for row in rows:
        samples.setdefault(row.subject_hash, []).extend(row.samples_ms)
    return {subject: median(times) for subject, times in samples.items()}


def median_drift(rows: Sequence[Measurement]) -> float | None:
    """Standard deviation of the logarithm that a later session's medians are expected to have about this one's; None
    with too few rounds.

    From the first half of the session against the second, each of which stands for a shorter session.
    """
    table = _Table.of(rows)
    drift = _drift(table, Statistic()) if table.turns >= _FEWEST_TURNS else None
    return None if drift is None else _MEAN_SCALE * drift


def differences(left: Mapping[str, float], right: Mapping[str, float]) -> np.ndarray:
    """(shared subjects,) logarithm of right over left."""
    return np.log([right[key] / left[key] for key in left if key in right])


@dataclass(frozen=True)
class _Table:
    """Samples as arrays: ``logs`` (n,) of the time, ``visit`` (n,) the index of its visit; ``subject_of_visit``
    (visits,) as index of ``subjects``, ``round_of_visit`` (visits,) of so many ``rounds``. ``turn_of_visit`` counts a
    subject's visits from 0, up to ``turns``: where phones share the work, a round holds some of the subjects only."""

    subjects: tuple[str, ...]
    logs: np.ndarray
    visit: np.ndarray
    subject_of_visit: np.ndarray
    round_of_visit: np.ndarray
    turn_of_visit: np.ndarray
    rounds: int
    turns: int

    @classmethod
    def of(cls, rows: Sequence[Measurement]) -> _Table:
        subjects = {key: index for index, key in enumerate(dict.fromkeys(row.subject_hash for row in rows))}
        rounds = {key: index for index, key in enumerate(sorted({(row.session, row.round) for row in rows}))}
        seen: Counter[str] = Counter()
        turns = []
        for row in rows:
            turns.append(seen[row.subject_hash])
            seen[row.subject_hash] += 1
        return cls(
            tuple(subjects),
            np.log([time for row in rows for time in row.samples_ms]),
            np.repeat(np.arange(len(rows)), [len(row.samples_ms) for row in rows]),
            np.array([subjects[row.subject_hash] for row in rows], dtype=np.int64),
            np.array([rounds[row.session, row.round] for row in rows], dtype=np.int64),
            np.array(turns, dtype=np.int64),
            len(rounds),
            max(turns, default=-1) + 1,
        )

    def part(self, chosen: np.ndarray) -> _Table:
        """The visits of the chosen turns (turns,); subjects stay as they are."""
        return self._keep(chosen[self.turn_of_visit])

    def levelled(self) -> _Table:
        """With what all programs of a round share taken out, and without rounds in which they share nothing."""
        shared = self.shared_by_visit()
        return replace(self, logs=self.logs - np.nan_to_num(shared)[self.visit])._keep(np.isfinite(shared))

    def quantiles(self, quantile: float) -> np.ndarray:
        """(subjects,) quantile of each subject's logarithms; NaN where it has none."""
        return _grouped(self.logs, self.subject_of_visit[self.visit], len(self.subjects), quantile)

    def figures(self, statistic: Statistic) -> np.ndarray:
        """(subjects,) logarithm of each subject's figure; NaN where it has no visit."""
        table = self.levelled() if statistic.corrected else self
        return table.quantiles(statistic.quantile)

    def usual(self, statistic: Statistic) -> np.ndarray:
        """(subjects,) logarithm of each subject's usual time, of which only the figures' common level is a median's."""
        figures = self.figures(statistic)
        return figures + np.nanmedian(self.quantiles(0.5) - figures)

    def shared_by_visit(self) -> np.ndarray:
        """(visits,) what a visit shares with its round; NaN where it is left out with its round. A subject that was
        visited in such rounds only keeps these visits as they are, since any figure is better than none."""
        shared = self.shared()[self.round_of_visit]
        kept = np.bincount(self.subject_of_visit[np.isfinite(shared)], minlength=len(self.subjects)) > 0
        return np.where(kept[self.subject_of_visit], shared, 0.0)

    def shared(self) -> np.ndarray:
        """(rounds,) what all programs of a round share, about 0 in the median; NaN for a round whose programs share
        nothing, 0 for one of too few programs."""
        visits = _grouped(self.logs, self.visit, len(self.subject_of_visit), 0.5)
        shared = np.zeros(self.rounds)
        sharing = np.bincount(self.round_of_visit, minlength=self.rounds) >= _FEWEST_SHARING
        for _ in range(_POLISHES):
            left = visits - shared[self.round_of_visit]
            levels = _grouped(left, self.subject_of_visit, len(self.subjects), 0.5)
            left = visits - levels[self.subject_of_visit]
            shared = np.where(sharing, _grouped(left, self.round_of_visit, self.rounds, 0.5), 0.0)
            shared -= _midmean(shared[np.isfinite(shared)])
        scatter = _grouped(np.abs(left - shared[self.round_of_visit]), self.round_of_visit, self.rounds, 0.5)
        limit = _SCATTERED * max(float(np.nanmedian(scatter)), _SMALLEST_SCATTER)
        # Without half of its rounds a session would be another one.
        return np.where(scatter > max(limit, float(np.nanmedian(scatter))), np.nan, np.nan_to_num(shared))

    def _keep(self, visits: np.ndarray) -> _Table:
        """The chosen visits (visits,) only."""
        number = np.cumsum(visits) - 1
        samples = visits[self.visit]
        return replace(
            self,
            logs=self.logs[samples],
            visit=number[self.visit[samples]],
            subject_of_visit=self.subject_of_visit[visits],
            round_of_visit=self.round_of_visit[visits],
            turn_of_visit=self.turn_of_visit[visits],
        )


def _grouped(values: np.ndarray, groups: np.ndarray, count: int, quantile: float) -> np.ndarray:
    """(count,) quantile of the values (n,) of each group (n,), interpolated; NaN for an empty one."""
    ordered = values[np.lexsort((values, groups))]
    sizes = np.bincount(groups, minlength=count)
    place = np.cumsum(sizes) - sizes + quantile * np.maximum(sizes - 1, 0)
    low = np.minimum(np.floor(place).astype(np.int64), max(len(ordered) - 1, 0))
    high = np.minimum(np.ceil(place).astype(np.int64), max(len(ordered) - 1, 0))
    if not len(ordered):
        return np.full(count, np.nan)
    found = ordered[low] + (place - low) * (ordered[high] - ordered[low])
    return np.where(sizes > 0, found, np.nan)


def _split(turns: int, random: np.random.Generator) -> np.ndarray:
    """(turns,) one half of the turns: of each two that follow one another, one at random."""
    half = np.zeros(turns, dtype=bool)
    first = np.arange(0, turns - 1, 2)
    half[first + random.integers(2, size=len(first))] = True
    return half


def _drift(table: _Table, statistic: Statistic) -> float | None:
    """Mean absolute difference of usual times between the first and the second half of the turns; None where no
    subject is in both."""
    later = np.arange(table.turns) >= table.turns // 2
    apart = _apart(table.part(~later).usual(statistic), table.part(later).usual(statistic))
    return apart if np.isfinite(apart) else None


def _apart(left: np.ndarray, right: np.ndarray, centred: bool = False) -> float:
    """Mean absolute difference over subjects (n,) that both have, but for what they share where ``centred``; infinite
    where there is none."""
    both = np.isfinite(left) & np.isfinite(right)
    if not both.any():
        return float("inf")
    difference = (left - right)[both]
    return float(np.abs(difference - (np.median(difference) if centred else 0.0)).mean())


def _midmean(values: np.ndarray) -> float:
    """Mean of the middle half of the values (n,), of all where there are two: follows a drift evenly, and is not led
    away by a few."""
    low, high = np.quantile(values, 0.25, method="lower"), np.quantile(values, 0.75, method="higher")
    return float(values[(values >= low) & (values <= high)].mean())
