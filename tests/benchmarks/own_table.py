"""What the table of really distilled students says: of judging them cheaply, and of choosing among them.

    python -m tests.benchmarks.table_sizes > SIZES
    python -m tests.benchmarks.distillation --data DIR --out OUT --tasks stsb --students SIZES --tokens 60000,300000
    python -m tests.benchmarks.own_table --rows OUT/distillation.jsonl --sizes SIZES --task stsb --replays 100

A student's trial is its distillation of the smaller length, its final that of the larger one. Prints the rank
correlation of what is cheap with the final, over all sizes and within the band of latency, beside that of one seed with
another; and replays of searches within the band: after n trials, how far the best final among what was tried lies below
the best of the band, and how far that of the student which a search returns (of the two whose trials are nearest to the
teacher, the better one by its final's held-out score). A replay hides a fifth of the band.
"""

from __future__ import annotations

import argparse
import json
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from search.distillation.levels import EFFORTS
from search.optimization.optimizer import propose, propose_cuts, trends_of
from search.optimization.space import SearchSpace
from search.real_stages import teacher_sizes
from search.records import Candidate, Cut, Divergence, Trial
from tests.benchmarks import replayed_methods
from tests.benchmarks.distillation_report import spearman
from tests.benchmarks.distillation_runs import architecture_of
from tests.benchmarks.replayed_methods import Table

SHOWN, HIDDEN = (1, 2, 4, 8, 12, 24), 0.2
_FINALISTS = 2
_FEWEST = 4  # different values of which a correlation says something
_CUTS_EACH, _LOOKS = 8, 3


@dataclass(frozen=True)
class Student:
    """One row of the table: what its cut, its trial and its final showed, the latter in hundredths; finals of further
    seeds beside the first one's."""

    candidate: Candidate
    in_band: bool
    cut: Divergence
    trial: Divergence
    trial_held_out: float
    trial_dev: float
    final: Divergence
    final_held_out: float
    final_dev: float
    further_trials: tuple[Divergence, ...] = ()
    further_finals: tuple[Divergence, ...] = ()
    further_dev: tuple[float, ...] = ()

    @property
    def dev(self) -> float:
        """The mean of all seeds."""
        return float(np.mean([self.final_dev, *self.further_dev]))


def students(rows: Iterable[Mapping[str, Any]], sizes: Sequence[str], task: str) -> list[Student]:
    """Those of the sizes whose rows are all there, in the order of ``sizes``, lines of a name, a share, and a part."""
    teacher = teacher_sizes(None)
    found = {
        (row["run"]["student"], row["run"]["tokens"], row["run"].get("student_seed") or 0): row
        for row in rows
        if row["run"]["task"] == task and row["run"]["student"] and row["run"]["recipe"] == "default"
    }
    short, long = (pick(tokens for _, tokens, _ in found) for pick in (min, max))
    made = []
    for line in sizes:
        name, share, part = line.split()
        if (name, short, 0) not in found or (name, long, 0) not in found:
            continue
        architecture = architecture_of(name, teacher, seq_len=128, labels=1 if task == "stsb" else 2)
        trial, final, metric = found[name, short, 0], found[name, long, 0], found[name, long, 0]["metric"]
        seeds = sorted(seed for other, tokens, seed in found if (other, tokens) == (name, long) and seed)
        whole = [seed for seed in seeds if (name, short, seed) in found]
        made.append(
            Student(
                candidate=Candidate(architecture, *[float(share)] * 3, probability_within=1.0, provenance="simulated"),
                in_band=part == "band",
                cut=Divergence(trial["cut_apart"], trial["cut_apart_error"]),
                trial=_apart(trial),
                trial_held_out=100 * trial["held_out"][metric],
                trial_dev=100 * trial["dev"][metric],
                final=_apart(final),
                final_held_out=100 * final["held_out"][metric],
                final_dev=100 * final["dev"][metric],
                further_trials=tuple(_apart(found[name, short, seed]) for seed in whole),
                further_finals=tuple(_apart(found[name, long, seed]) for seed in whole),
                further_dev=tuple(100 * found[name, long, seed]["dev"][metric] for seed in whole),
            )
        )
    return made


def _apart(row: Mapping[str, Any]) -> Divergence:
    return Divergence(row["apart"], row["apart_error"])


# What is known of a student before its final, the dearest last.
_CHEAP: Mapping[str, Callable[[Student], float]] = MappingProxyType(
    {
        "latency": lambda student: student.candidate.predicted_ms,
        "size": lambda student: float(student.candidate.architecture.encoder_parameters),
        "closeness of the cut": lambda student: -student.cut.mean,
        "trial: held-out score": lambda student: student.trial_held_out,
        "trial: closeness": lambda student: -student.trial.mean,
        "trial: dev score": lambda student: student.trial_dev,
        "final: held-out score": lambda student: student.final_held_out,
        "final: closeness": lambda student: -student.final.mean,
    }
)


def correlations(table: Sequence[Student]) -> str:
    """Markdown: Spearman's with the final's closeness and dev score (the mean of its seeds), over all and the band."""
    band = [student for student in table if student.in_band]
    parts = f"all {len(table)}", f"the band's {len(band)}"
    heads = [f"final {what}, {part}" for what in ("closeness", "dev") for part in parts]
    lines = [f"| what is known | {' | '.join(heads)} |", "|" + " --- |" * 5]
    finals: tuple[Callable[[Student], float], ...] = (lambda each: -each.final.mean, lambda each: each.dev)
    for name, known in _CHEAP.items():
        cells = [_correlation(part, known, final) for final in finals for part in (table, band)]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join([*lines, _ceilings(table), _ceilings(band)])


def _ceilings(table: Sequence[Student]) -> str:
    """One seed's values with the mean of the others', over students that have several."""
    again = [student for student in table if student.further_finals]
    pairs: tuple[tuple[str, Callable[[Student], float], Callable[[Student], float]], ...] = (
        ("trial closeness", lambda each: -each.trial.mean, lambda each: -_mean(each.further_trials)),
        ("final closeness", lambda each: -each.final.mean, lambda each: -_mean(each.further_finals)),
        ("final dev", lambda each: each.final_dev, lambda each: float(np.mean(each.further_dev))),
    )
    told = ", ".join(f"{name} {_correlation(again, one, other)}" for name, one, other in pairs)
    return f"\nOne seed with the mean of others, {len(again)} of {len(table)} students: {told}"


def _mean(divergences: Sequence[Divergence]) -> float:
    return float(np.mean([each.mean for each in divergences]))


def _correlation(table: Sequence[Student], one: Callable[[Student], float], other: Callable[[Student], float]) -> str:
    values = [[value(each) for each in table] for value in (one, other)]
    if any(len(set(each)) < _FEWEST for each in values):
        return "–"
    return f"{spearman(*values):.2f}"


@dataclass(frozen=True)
class Replayer:
    """Replays of one method among students, all of them in one band."""

    method: str
    space: SearchSpace

    def order(self, left: Sequence[Student], count: int, seed: int) -> list[int]:
        """Indices of what the method tries, in order."""
        if self.method.startswith("search"):
            rounds = int(self.method.partition("-")[2] or 0)
            return self._searched(left, count, [_CUTS_EACH] * rounds, seed)
        if self.method == "brief":
            return self._searched(left, count, [EFFORTS["brief"].cuts], seed, looks=_LOOKS)
        architectures = [student.candidate.architecture for student in left]
        closeness = np.array([-np.log(student.trial.mean) for student in left])
        table = Table(self.space.encode(architectures), trends_of(self.space, architectures), closeness)
        chance = np.random.default_rng([seed, zlib.crc32(self.method.encode())])
        return replayed_methods.METHODS[self.method](table, count, chance)

    def _searched(
        self, left: Sequence[Student], count: int, rounds: Sequence[int], seed: int, looks: int = 0
    ) -> list[int]:
        """What ``search`` does: rounds of so many cuts, then one trial after another, with ``looks`` of what was cut
        itself, the first so many of what is proposed being cut before."""
        places = {student.candidate: place for place, student in enumerate(left)}
        cuts: list[Cut] = []
        for number in rounds:
            done = {cut.architecture for cut in cuts}
            whole = [each for each in places if each.architecture not in done]
            chosen = propose_cuts(self.space, whole, cuts, count=number, seed=seed + len(cuts))
            cuts.extend(Cut(each.architecture, left[places[each]].cut) for each in chosen)
        trials: list[Trial] = []
        while len(trials) < count:
            tried = {trial.candidate for trial in trials}
            offered = [each for each in places if each not in tried]
            found, proposer = propose(self.space, offered, trials, cuts=cuts, count=looks or 1, seed=seed)
            done = {cut.architecture for cut in cuts}
            if looks and found[0].architecture not in done:
                new = [each for each in found if each.architecture not in done]
                cuts.extend(Cut(each.architecture, left[places[each]].cut) for each in new)
                known = {cut.architecture for cut in cuts}
                own = [each for each in offered if each.architecture in known]
                found, proposer = propose(self.space, own, trials, cuts=cuts, count=1, seed=seed)
            best = found[0]
            shown = left[places[best]].trial
            trials.append(Trial(len(trials), best, proposer, status="finished", divergence=shown))
        return [places[trial.candidate] for trial in trials]


def regrets(left: Sequence[Student], order: Sequence[int]) -> tuple[list[float], list[float]]:
    """After 1, 2, ... trials: the best dev score of all, less the best that was tried; and less the returned one's."""
    best = max(student.dev for student in left)
    tried, returned = [], []
    for count in range(1, len(order) + 1):
        seen = [left[place] for place in order[:count]]
        tried.append(best - max(student.dev for student in seen))
        finalists = sorted(seen, key=lambda student: student.trial.mean)[:_FINALISTS]
        returned.append(best - max(finalists, key=lambda student: student.final_held_out).dev)
    return tried, returned


def replays(table: Sequence[Student], methods: Sequence[str], count: int, longest: int) -> Iterator[str]:
    """Markdown lines: mean regrets of each method in points, with standard errors over replays."""
    space = SearchSpace.from_teacher(teacher_sizes(None), seq_len=128, labels=table[0].candidate.architecture.labels)
    shown = [trials for trials in SHOWN if trials <= min(longest, round(len(table) * (1 - HIDDEN)))]
    yield "| method | " + " | ".join(f"{kind}, {trials}" for kind in ("tried", "returned") for trials in shown) + " |"
    yield "|" + " --- |" * (1 + 2 * len(shown))
    for method in methods:
        found = []
        for seed in range(count):
            kept = np.sort(np.random.default_rng(seed).permutation(len(table))[: round(len(table) * (1 - HIDDEN))])
            left = [table[place] for place in kept]
            found.append(regrets(left, Replayer(method, space).order(left, max(shown), seed)))
        values = np.array(found)[:, :, [trials - 1 for trials in shown]].reshape(count, -1)
        errors = values.std(axis=0) / np.sqrt(count)
        cells = [f"{mean:.2f} ± {error:.2f}" for mean, error in zip(values.mean(axis=0), errors, strict=True)]
        yield f"| {method} | {' | '.join(cells)} |"


def spread(table: Sequence[Student]) -> str:
    """How much the band's finals differ, beside what chance alone gives."""
    scores: NDArray[np.float64] = np.array([student.dev for student in table])
    again = [np.std([each.final_dev, *each.further_dev], ddof=1) for each in table if each.further_dev]
    seeds = f"; one student's over seeds {np.sqrt(np.mean(np.square(again))):.2f}" if again else ""
    largest = max(table, key=lambda student: student.candidate.architecture.encoder_parameters)
    best = max(table, key=lambda student: student.dev)
    named = ", ".join(
        f"{what} {each.candidate.architecture.name} {each.dev:.1f}"
        for what, each in (("best", best), ("largest", largest))
    )
    told = f"Finals in the band: {scores.min():.1f} to {scores.max():.1f} on dev, deviation {scores.std():.2f}{seeds}"
    top = sorted(table, key=lambda student: -student.dev)[: len(table) // 3 or 1]
    rises = (np.mean([each.dev - each.trial_dev for each in part]) for part in (table, top))
    learnt = "from trial to final dev rises by {:.1f} in the mean, of the best third by {:.1f}".format(*rises)
    return f"{told}; {named}; {learnt}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=Path, required=True)
    parser.add_argument("--sizes", type=Path, required=True)
    parser.add_argument("--task", default="stsb")
    parser.add_argument("--replays", type=int, default=100)
    parser.add_argument("--trials", type=int, default=SHOWN[-1], help="at most so many in a replay")
    parser.add_argument("--methods", default="search-1,search-3,search-0,largest,random,evolution,local,tpe")
    given = parser.parse_args()
    lines = given.rows.read_text(encoding="utf-8").splitlines()
    table = students(map(json.loads, lines), given.sizes.read_text(encoding="utf-8").splitlines(), given.task)
    band = [student for student in table if student.in_band]
    print(correlations(table), spread(band), sep="\n\n", end="\n\n", flush=True)
    for line in replays(band, given.methods.split(","), given.replays, given.trials):
        print(line, flush=True)


if __name__ == "__main__":
    main()
