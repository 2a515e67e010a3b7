"""The cuts: candidates near the budget are cut out of the teacher and judged before any of them learns.

A cut takes seconds and a trial a minute, and a student that begins nearer to its teacher mostly ends nearer
(docs/decisions/cuts-tell-much.md): so the model of scores knows what the cuts show.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from data.progress import Progress, ProgressEvent
from search.distillation.levels import EFFORTS
from search.optimization.optimizer import below, near, propose_cuts
from search.passes.admission import Prospects
from search.passes.bench import Bench, timed
from search.records import Admission, Candidate, Cut, Cuts, Trial
from search.study import Study

if TYPE_CHECKING:
    from data.tasks import Task
    from search.teachers.teacher import Teacher

# Where the teacher itself fits, trials are faster than it: from the first of these shares of its latency to the last.
_FASTER_THAN_TEACHER = (0.75, 0.3)
# At most so many are cut in a round, each round where those before promise most.
_EACH = 8
_RECORD = "cuts"


def look_at_cuts(bench: Bench, prospects: Prospects, task: Task, teacher: Teacher) -> None:
    """Cuts candidates near the budget, a few rounds of them, and keeps what was found in the study."""
    kept = bench.study.load(_RECORD, Cuts) or Cuts()
    if kept.complete:
        return
    space, seed = prospects.space, bench.study.options.seed
    pool = pool_of(bench, prospects, [])
    total = min(EFFORTS[bench.study.options.effort].cuts, len(pool))
    while len(kept.cuts) < total:
        done = {cut.architecture for cut in kept.cuts}
        left = [each for each in pool if each.architecture not in done]
        known = [*bench.known.cuts, *kept.cuts]
        wanted = [each for each in left if _is_baseline(prospects, each)]
        count = min(_EACH, total - len(done)) - len(wanted)
        others = [each for each in left if each not in wanted]
        wanted += propose_cuts(space, others, known, count=count, seed=seed + len(done))
        kept = Cuts(kept.cuts + _cut(bench, task, teacher, wanted, bench.progress))
        bench.study.save(_RECORD, kept)
    bench.study.save(_RECORD, Cuts(kept.cuts, complete=True))
    if kept.cuts:
        nearest = min(kept.cuts, key=lambda cut: cut.divergence.mean)
        bench.progress(ProgressEvent("cuts", total, total, f"nearest to the teacher: {nearest.architecture.name}"))


def look_at(bench: Bench, task: Task, teacher: Teacher, candidates: Sequence[Candidate]) -> bool:
    """Cuts what is proposed for a trial, the best first, together; False where that one was cut before.

    What a model of few cuts promises of a candidate may be far from what the candidate's own cut shows, and a trial
    costs as much as half a dozen cuts.
    """
    kept = bench.study.load(_RECORD, Cuts) or Cuts()
    done = {cut.architecture for cut in (*bench.known.cuts, *kept.cuts)}
    if not candidates or candidates[0].architecture in done:
        return False
    wanted = [candidate for candidate in candidates if candidate.architecture not in done]

    def told(event: ProgressEvent) -> None:
        # A part of the trials: what is timed next is admitted to them.
        bench.progress(
            replace(event, stage="admission", message=f"cutting {event.message}" if event.message else "cut")
        )

    bench.study.save(_RECORD, Cuts(kept.cuts + _cut(bench, task, teacher, wanted, told), kept.complete))
    return True


def _cut(
    bench: Bench, task: Task, teacher: Teacher, candidates: Sequence[Candidate], progress: Progress
) -> tuple[Cut, ...]:
    architectures = [candidate.architecture for candidate in candidates]
    with timed(bench.study, "cuts"):
        found = bench.stages.cut_divergences(teacher, task, architectures, bench.study.options, progress)
    return tuple(
        Cut(candidate.architecture, divergence, candidate.predicted_ms)
        for candidate, divergence in zip(candidates, found, strict=True)
    )


def cuts_of(study: Study) -> tuple[Cut, ...]:
    """What was cut so far."""
    kept = study.load(_RECORD, Cuts)
    return kept.cuts if kept else ()


def pool_of(bench: Bench, prospects: Prospects, trials: Sequence[Trial]) -> list[Candidate]:
    """The untried candidates that use most of what may be used now: a budget, or less where the teacher fits; and the
    uniformly scaled teacher, which is worth a look however much of the budget it leaves."""
    pool, teacher = prospects.untried(trials), prospects.teacher
    if teacher:
        return below(pool, _faster_ms(teacher, len(trials), bench.study.options.trials))
    chosen = near(pool, bench.budgets_ms)
    return [*chosen, *(each for each in pool if _is_baseline(prospects, each) and each not in chosen)]


def _is_baseline(prospects: Prospects, candidate: Candidate) -> bool:
    baseline = prospects.baseline
    return baseline is not None and baseline.candidate.architecture == candidate.architecture


def _faster_ms(teacher: Admission, tried: int, total: int) -> list[float]:
    """The latencies below which the next trial should stay where the teacher itself fits, ms, on every device: ever
    less of its own."""
    first, last = _FASTER_THAN_TEACHER
    progress = min(1.0, tried / max(1, total - 1))
    return [timing.median_ms * first * (last / first) ** progress for timing in teacher.timings]
