"""Searches at several budgets, each winner measured again in a later process: ``python -m tests.benchmarks.budgets``.

Says how much of each budget the winner uses, whether it keeps it later on, and what was timed, admitted and trained.
Takes about ten minutes a budget; killed, it goes on where it was.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

import click

from data.architecture import Architecture
from data.errors import PocketBertError
from search.commands._options import Command, console, emit_json, run_command
from search.commands.standard_output import write_out
from search.options import SearchOptions
from search.passes.bench import now
from search.profiles.on_device import compile_model, time_model
from search.real_stages import open_device
from search.study import atomic_write
from tests.benchmarks.provenance import ROOT, provenance

_BUDGETS = "1.5,2.5,4,6,8"
_HEADINGS = (
    "budget ms|winner|score|measured ms|of budget|again ms|of budget|timed|admitted|missed|off|trainings|on a miss|s"
)


@dataclass(frozen=True)
class Outcome:
    """What one search found. Times are ms; ``off`` is the mean error of predictions of what was timed, of 1."""

    budget_ms: float
    winner: str
    score: float
    measured_ms: float
    again_ms: float
    timed: int
    admitted: int
    missed: int
    off: float
    trainings: int
    on_a_miss: int
    seconds: float

    @property
    def share(self) -> float:
        """How much of the budget the winner used when it was confirmed, of 1."""
        return self.measured_ms / self.budget_ms

    @property
    def again(self) -> float:
        """How much of it the winner used in the later process."""
        return self.again_ms / self.budget_ms


@click.command(cls=Command, help=__doc__)
@click.option("--budgets", default=_BUDGETS, show_default=True, help="Milliseconds, separated by commas.")
@click.option("--device", default="host", show_default=True, help="As for search.")
@click.option("--trials", default=4, show_default=True, help="As for search.")
@click.option("--out", type=click.Path(path_type=Path), default=Path("budgets"), show_default=True, help="Folder.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of Markdown.")
@run_command
def main(budgets: str, device: str, trials: int, out: Path, as_json: bool) -> None:
    try:
        chosen = [float(text) for text in budgets.split(",")]
    except ValueError as error:
        raise click.UsageError(f"--budgets {budgets}: plain numbers of milliseconds, separated by commas") from error
    out.mkdir(parents=True, exist_ok=True)
    folders = [out.absolute() / f"{budget_ms:g}ms" for budget_ms in chosen]
    results = [search(device, budget_ms, trials, folder) for budget_ms, folder in zip(chosen, folders, strict=True)]
    # Only now, so that every winner is measured some while after its own search.
    outcomes = [outcome(each, measured_again(each, folder)) for each, folder in zip(results, folders, strict=True)]
    origin = provenance()
    atomic_write(out / "budgets.md", markdown(outcomes, origin))
    if as_json:
        emit_json({"searches": [asdict(each) for each in outcomes], "origin": origin})
    else:
        write_out(markdown(outcomes, origin))


def search(device: str, budget_ms: float, trials: int, folder: Path) -> dict[str, Any]:
    """``result.json`` of a search in a process of its own, gone on with where it was begun.

    Raises:
        PocketBertError: it failed; it has said on standard error why.
    """
    options = ["--device", device, "--budget", f"{budget_ms:g}ms", "--trials", str(trials), "--out", str(folder)]
    argv = [sys.executable, "-m", "search.commands.search", *options, "--resume", "--json"]
    done = subprocess.run(argv, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        raise PocketBertError(f"the search for {budget_ms:g} ms ended with exit code {done.returncode}")
    return dict(json.loads(done.stdout))


def measured_again(result: dict[str, Any], folder: Path) -> float:
    """Median latency of the winner, ms, compiled from ``best/`` and measured now, or by an earlier run of this."""
    record = folder / "again.json"
    if record.exists():
        return float(json.loads(record.read_text(encoding="utf-8"))["median_ms"])
    options = SearchOptions(**result["options"])
    threads, winner = result["device"]["threads"], result["winner"]
    device = open_device(options, result["device"]["provenance"] == "simulated")
    try:
        compiled = compile_model(folder / "best" / "model.onnx", options.seq_len, threads)
        timing = time_model(device, compiled, Architecture.from_dict(winner["architecture"]), threads, now())
    finally:
        device.close()
    console().print(f"{options.budget_ms:g} ms: {winner['name']} took {timing.median_ms:.3g} ms again", markup=False)
    atomic_write(record, json.dumps({"median_ms": timing.median_ms, **asdict(timing)}, indent=1))
    return timing.median_ms


def outcome(result: dict[str, Any], again_ms: float) -> Outcome:
    """The figures of one search."""
    finalists = [each for each in result["finalists"] if each["trial"] is not None]
    budget_ms, winner, admission = result["options"]["budget_ms"], result["winner"], result["admission"]
    missed = {each["trial"] for each in finalists if not each["meets_budget"]}
    if again_ms > budget_ms and winner["trial"] is not None:
        missed.add(winner["trial"])
    return Outcome(
        budget_ms=budget_ms,
        winner=winner["name"],
        score=winner["score"],
        measured_ms=winner["timing"]["median_ms"],
        again_ms=again_ms,
        timed=admission["timed"],
        admitted=admission["admitted"],
        missed=admission["missed"],
        off=admission["prediction_error"],
        trainings=len(result["trials"]) + len(finalists),
        on_a_miss=2 * len(missed),  # briefly, and fully
        seconds=sum(result["seconds"].values()),
    )


def markdown(outcomes: Sequence[Outcome], origin: dict[str, Any]) -> str:
    """The table, what the issue asks for, and where it comes from."""
    headings = _HEADINGS.split("|")
    rows = [
        f"{each.budget_ms:g} | {each.winner} | {each.score:.3f} | {each.measured_ms:.3f} | {each.share:.1%} | "
        f"{each.again_ms:.3f} | {each.again:.1%} | {each.timed} | {each.admitted} | {each.missed} | {each.off:.1%} | "
        f"{each.trainings} | {each.on_a_miss} | {each.seconds:.0f}"
        for each in outcomes
    ]
    trainings, missed = sum(each.trainings for each in outcomes), sum(each.on_a_miss for each in outcomes)
    lines = [
        f"winners use {median(each.share for each in outcomes):.1%} of the budget in the median",
        f"{sum(each.again > 1 for each in outcomes)} of {len(outcomes)} miss it when they are measured again",
        f"{missed} of {trainings} trainings were spent on a model that missed",
        f"{origin['cpu']}, {origin['cores']} cores, commit {origin['commit']}, {origin['date']}",
    ]
    table = [" | ".join(headings), " | ".join("---" for _ in headings), *rows]
    return "".join(f"| {row} |\n" for row in table) + "\n" + "".join(f"- {line}\n" for line in lines)


if __name__ == "__main__":
    main()
