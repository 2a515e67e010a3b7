"""What a search loses that is blind to fusion: which candidates each source of latency believes near a budget.

    python -m tests.benchmarks.compiler_awareness                   the simulated Galaxy S20, CPU and GPU: a minute
    python -m tests.benchmarks.compiler_awareness --device host     this machine, as its profiles have it: no measuring

Nothing is trained. Over the default teacher's whole space, at several shares of the teacher's latency: how many of the
candidates that are believed to use 87 to 100% of the budget do (precision), how many of those that do are found
(recall), how far off beliefs are of those that do, and the largest encoder that is admitted among the eight that a
search would time first, and among these and eight more, after it has learnt from the first. Sources are made as a
search makes them, the teacher's timing included (docs/decisions/blind-to-fusion.md).

What latency really is comes from the analytic model, without noise, over the fused plan: it is simulated. On the host
it is what the profile of fused models predicts, so that ``fused`` is right by definition, and nothing is timed that a
search would learn from.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data.architecture import Architecture
from data.device_spec import load_device
from data.errors import InputError
from data.progress import no_progress
from data.store import MeasurementStore
from profiling import Device, open_device
from profiling.session import measure_models
from profiling.simulated import SimulatedDevice
from search.optimization.feasibility import admission_limit_ms, worth_timing
from search.optimization.optimizer import LEAST_SHARE, near, propose
from search.optimization.space import SearchSpace
from search.options import SearchOptions
from search.profiles.latency_sources import latency_sources
from search.profiles.profile_pipeline import load_predictor, profile_and_train
from search.real_stages import teacher_sizes
from search.records import Candidate
from search.stages import Predictor
from surrogate.blocks.plans import count_blocks
from surrogate.blocks.proportional import ProportionalPredictor, flops
from surrogate.metrics import prediction_errors

_SHARES = (12, 8, 6, 4, 2)
# The part of a budget that the search wants used, how many candidates are looked at as the first, and how far from the
# budget the order of candidates is still of interest, as a share of it.
_FIRST, _AROUND = 8, 0.25

Floats = NDArray[np.float64]
# What a source believes after some architectures were timed, the teacher among them.
Learn = Callable[[Predictor, Sequence[Architecture]], Predictor]


@dataclass(frozen=True)
class Setting:
    """A device's space with each candidate's true latency (n,) in ms and the teacher's, and the sources by name."""

    title: str
    space: SearchSpace
    candidates: tuple[Architecture, ...]
    true_ms: Floats
    teacher_ms: float
    later: float
    sources: Mapping[str, Predictor]
    remark: str
    learn: Learn | None = None


@dataclass(frozen=True)
class Outcome:
    """What one source makes of one budget: shares are fractions of 1, ``mape`` is of those that really are in the band,
    ``spearman`` of those that really are around the budget, ``admitted`` how many of the first candidates
    are, ``encoder`` the parameters of the largest of these, 0 where there are none, and ``later`` the same of the first
    and of as many again, after the first were learnt from."""

    believed: int
    precision: float
    recall: float
    mape: float
    spearman: float
    admitted: int
    encoder: int
    later: int


def simulated(unit: str) -> Setting:
    """The simulated S20: profiled with and without fusion in a state home that ends with the process."""
    device = open_device(load_device("s20"), simulated=True, unit=unit)
    assert isinstance(device, SimulatedDevice)
    threads, space = device.spec.default_threads, default_space()
    options = SearchOptions("s20", 1.0, "none", unit=unit, latency_from="unfused")
    with MeasurementStore.open() as store:
        profiled = profile_and_train(device, store, threads=threads)
        sources = latency_sources(profiled, device, options, space.template, threads, no_progress)

    def learn(source: Any, architectures: Sequence[Architecture]) -> Predictor:
        with MeasurementStore.open() as store:
            found: Predictor = source.learned(measure_models(device, architectures, threads=threads, store=store))
        return found

    learned: dict[str, Any] = {name: learn(source, [space.template]) for name, source in sources.items()}

    def exactly(architectures: Sequence[Architecture], fuse: bool) -> Floats:
        counted = count_blocks(architectures, fuse)
        return counted.totals(np.array([device.block_ms(block, threads) for block in counted.blocks]))

    exact = ProportionalPredictor.of(profiled, lambda models: exactly(models, False), space.template)
    candidates = space.architectures()
    unfused_ms = exactly(candidates, False)
    counted = count_blocks(candidates, fuse=False)
    guesses = {
        "its own profile": learned["unfused"].measure(candidates),
        "the fused models' blocks": counted.totals(profiled.blocks.predict(counted.blocks)),
    }
    errors = {name: prediction_errors(unfused_ms, guess).mape for name, guess in guesses.items()}
    return Setting(
        f"{device.spec.title}, {unit}, simulated",
        space,
        candidates,
        exactly(candidates, True),
        float(exactly([space.template], True)[0]),
        profiled.later,
        learned | {"unfused, known exactly": learn(exact, [space.template])},
        "Latency without fusion is predicted with an error of "
        + " and ".join(f"{error:.1%} from {name}" for name, error in errors.items()),
        learn,
    )


def host(threads: int | None) -> Setting:
    """This machine by the profiles that are there; ``unfused`` where a search has asked for it before.

    Raises:
        InputError: it was not profiled.
    """
    device: Device = open_device(load_device("host"))
    threads, space = threads or device.spec.default_threads, default_space()
    profiled = load_predictor(device, threads)
    if profiled is None:
        raise InputError("this machine has no profile: profile-device --device host makes one")
    unfused = load_predictor(device, threads, fuse=False)
    measures = {"flops": flops} | ({"unfused": unfused.predict} if unfused else {})
    blind = {name: ProportionalPredictor.of(profiled, measure, space.template) for name, measure in measures.items()}
    candidates = space.architectures()
    return Setting(
        f"{device.describe().processor}, {threads} threads, as predicted from fused blocks",
        space,
        candidates,
        profiled.predict(candidates),
        float(profiled.predict([space.template])[0]),
        profiled.later,
        {"fused": profiled, **blind},
        f"On the profile's {profiled.errors.n} held-out models, which were measured: MAPE "
        + ", ".join(f"{source.errors.mape:.1%} {name}" for name, source in {"fused": profiled, **blind}.items()),
    )


def default_space() -> SearchSpace:
    """The students of the default teacher at 128 tokens."""
    return SearchSpace.from_teacher(teacher_sizes(None), seq_len=128, labels=2)


def judge(setting: Setting, source: Predictor, budget_ms: float) -> Outcome:
    """What a source makes of a budget."""
    believed_ms, true_ms = source.predict(setting.candidates), setting.true_ms
    believed, true = _in_band(believed_ms, budget_ms), _in_band(true_ms, budget_ms)
    both = int((believed & true).sum())
    around = np.abs(true_ms / budget_ms - 1) <= _AROUND
    first = proposed(setting, source, budget_ms, ())
    more: list[Architecture] = []
    if setting.learn:
        more = proposed(setting, setting.learn(source, [setting.space.template, *first]), budget_ms, first)
    limit_ms = admission_limit_ms(budget_ms, setting.later)
    latency = dict(zip(setting.candidates, true_ms, strict=True))
    sizes = [each.encoder_parameters if latency[each] <= limit_ms else 0 for each in (*first, *more)]
    return Outcome(
        believed=int(believed.sum()),
        precision=both / max(int(believed.sum()), 1),
        recall=both / max(int(true.sum()), 1),
        mape=prediction_errors(true_ms[true], believed_ms[true]).mape,
        spearman=prediction_errors(true_ms[around], believed_ms[around]).spearman,
        admitted=sum(size > 0 for size in sizes[: len(first)]),
        encoder=max(sizes[: len(first)], default=0),
        later=max(sizes, default=0),
    )


def proposed(
    setting: Setting, source: Predictor, budget_ms: float, timed: Sequence[Architecture]
) -> list[Architecture]:
    """The candidates that a search would time next, nothing being known of their accuracy."""
    limit_ms, left = admission_limit_ms(budget_ms, setting.later), [*setting.candidates]
    for architecture in timed:
        left.remove(architecture)
    known = [
        Candidate(architecture, believed_ms, 0.0, 0.0, chance, "simulated")
        for architecture, believed_ms, chance in zip(
            left, source.predict(left).tolist(), source.probability_within(left, limit_ms).tolist(), strict=True
        )
    ]
    pool = near([candidate for candidate in known if worth_timing(candidate)], [budget_ms])
    return [each.architecture for each in propose(setting.space, pool, [], count=_FIRST, seed=0)[0]]


def _in_band(latencies_ms: Floats, budget_ms: float) -> NDArray[np.bool_]:
    return (latencies_ms >= LEAST_SHARE * budget_ms) & (latencies_ms <= budget_ms)


def table(setting: Setting) -> Iterator[str]:
    """The setting as Markdown."""
    learns = setting.learn is not None
    yield f"## {setting.title}\n"
    told = f"{len(setting.candidates)} candidates; the teacher takes {setting.teacher_ms:.3g} ms"
    yield f"{told}. {_overall(setting)}. {setting.remark}.\n"
    headings = (
        "budget",
        "source",
        f"believed at {LEAST_SHARE:.0%} to 100% of it",
        "of these are (precision)",
        "of those that are, found (recall)",
        "off there (MAPE)",
        f"Spearman within {_AROUND:.0%} of the budget",
        f"admitted of the first {_FIRST}",
        "largest encoder of these, million parameters",
        "lost to fused",
        *(("the same after as many more", "lost to fused") if learns else ()),
    )
    yield f"| {' | '.join(headings)} |"
    yield "| --- | --- |" + " ---: |" * (len(headings) - 2)
    for share in _SHARES:
        budget_ms = setting.teacher_ms / share
        outcomes = {name: judge(setting, source, budget_ms) for name, source in setting.sources.items()}
        fused = outcomes["fused"]
        for name, found in outcomes.items():
            budget = f"1/{share}: {budget_ms:.3g} ms" if name == "fused" else ""
            later = f" {_sizes(found.later, fused.later)} |" if learns else ""
            yield (
                f"| {budget} | {name} | {found.believed} | {found.precision:.0%} | {found.recall:.0%} | "
                f"{found.mape:.1%} | {found.spearman:.2f} | {found.admitted} | "
                f"{_sizes(found.encoder, fused.encoder)} |{later}"
            )
    yield ""


def _overall(setting: Setting) -> str:
    """Errors of each source over the whole space."""
    errors = {
        name: prediction_errors(setting.true_ms, source.predict(setting.candidates))
        for name, source in setting.sources.items()
    }
    return "Over the whole space: " + "; ".join(
        f"{name} off by {found.mape:.1%} (MAPE), Spearman {found.spearman:.4f}" for name, found in errors.items()
    )


def _sizes(encoder: int, fused: int) -> str:
    """Two cells: millions of parameters, and the share that is lost beside what the fused source finds."""
    size = f"{encoder / 1e6:.2f}" if encoder else "none"
    return f"{size} | {f'{1 - encoder / fused:.0%}' if fused else ''}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=("s20", "host"), default="s20")
    parser.add_argument("--threads", type=int, help="of the host [default: the device's own]")
    arguments = parser.parse_args()
    if arguments.device == "host":
        print("\n".join(table(host(arguments.threads))))
        return
    with TemporaryDirectory() as home:
        os.environ["POCKETBERT_HOME"] = home
        for unit in ("cpu", "gpu"):
            print("\n".join(table(simulated(unit))))


if __name__ == "__main__":
    main()
