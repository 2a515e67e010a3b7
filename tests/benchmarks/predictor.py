"""The latency predictors judged on seeded splits against baselines: ``python -m tests.benchmarks.predictor``.

HAT's published tables are taken from ``--hat`` where they are there; simulated phones and analytic boards always. The
part ``host`` measures this machine for about a quarter of an hour, and wants it left alone meanwhile.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import click
from threadpoolctl import threadpool_limits

from data.device_spec import load_device
from data.progress import ProgressEvent
from profiling import open_device
from search.commands._options import Command, ProgressPrinter, emit_json, run_command
from search.commands.standard_output import write_out
from tests.benchmarks.predictor_blocks import Plan, judge_blocks, measure_sessions, time_many
from tests.benchmarks.predictor_methods import METHODS, OURS
from tests.benchmarks.predictor_report import Evaluation, markdown
from tests.benchmarks.predictor_splits import Tick, held_out, noise_floor, transfers
from tests.benchmarks.predictor_tables import Table, board_tables, hat_tables, phone_tables
from tests.benchmarks.provenance import ROOT, provenance

_HAT = ROOT.parent / "shared" / "data" / "hat"
_FEW, _SAMPLES = (20, 50, 100), (0, 5, 10, 20, 50)
# Ways that need hundreds of rows are not judged by few; a forest's figures there say what XGBoost's say.
_FEW_METHODS = (OURS, "log-linear", "plain XGBoost")
# Made-up tables and transfers are averaged over dozens of tables and pairs as well, so fewer splits do.
_MADE_UP_SEEDS = 2
_PARTS = ("host", "held", "few", "transfer", "blocks")
# An analytic phone's noise is the same in every visit, so a few will do.
_SIMULATED, _SIMULATED_PLAN = "s20", Plan(visits=4)


@click.command(cls=Command, help=__doc__)
@click.option("--hat", type=click.Path(path_type=Path), default=_HAT, show_default=True, help="HAT's CSV tables.")
@click.option("--seeds", type=click.IntRange(min=1), default=5, show_default=True, help="Splits, seeded 0, 1, ...")
@click.option("--parts", default=",".join(_PARTS), show_default=True, help="What to judge.")
@click.option("--tables", default="HAT,phones,boards", show_default=True, help="Groups of tables.")
@click.option("--sessions", type=click.Path(path_type=Path), help="Keep the host's measurements here, and go on there.")
@click.option("--out", type=click.Path(path_type=Path), help="Also write predictor.md and predictor.json here.")
@click.option("--json", "as_json", is_flag=True, help="Print the figures as JSON instead of Markdown.")
@run_command
def main(
    hat: Path, seeds: int, parts: str, tables: str, sessions: Path | None, out: Path | None, as_json: bool
) -> None:
    chosen = parts.split(",")
    if not set(chosen) <= set(_PARTS):
        raise click.UsageError(f"--parts takes {', '.join(_PARTS)}, not {parts}")
    if out is not None and out.exists() and not out.is_dir():
        raise click.UsageError(f"--out {out} is a file")
    # Small matrices: threads of BLAS would wait for each other.
    with ProgressPrinter() as progress, threadpool_limits(limits=1):
        found = evaluate(hat, range(seeds), chosen, tables.split(","), sessions, progress)
    origin = provenance()
    text = markdown(found, origin)
    document = {**found.to_dict(), "origin": origin}
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        (out / "predictor.md").write_text(text, encoding="utf-8")
        (out / "predictor.json").write_text(json.dumps(document, indent=1), encoding="utf-8")
    if as_json:
        emit_json(document)
    else:
        write_out(text)


def evaluate(
    hat: Path,
    seeds: Sequence[int],
    parts: Sequence[str],
    groups: Sequence[str],
    sessions: Path | None,
    progress: ProgressPrinter,
) -> Evaluation:
    """Everything that ``parts`` names, on the tables of ``groups``."""
    found = Evaluation(settings={"seeds": list(seeds), "parts": list(parts), "groups": list(groups)})
    tables = _tables(hat, groups, found)
    tick = _counter(progress, _steps(tables, seeds, parts))
    found.provenance = {table.name: table.provenance for table in tables}
    found.groups = {table.name: table.group for table in tables}
    found.floors = {table.name: floor for table in tables if (floor := noise_floor(table)) is not None}
    if "host" in parts:
        _judge_device("host", False, Plan(), sessions, found, progress, tick)
    for table in tables:
        own = _seeds(table, seeds)
        if "held" in parts:
            found.held += held_out(table, METHODS, own, None, tick)
        if "few" in parts:
            methods = {name: METHODS[name] for name in _FEW_METHODS}
            found.few += [one for rows in _FEW for one in held_out(table, methods, own, rows, tick)]
        if "transfer" in parts:
            targets = [other for other in tables if other.group == table.group and other.name != table.name]
            found.moved += transfers(table, targets, _SAMPLES, seeds[:_MADE_UP_SEEDS], tick)
    if "blocks" in parts:
        _judge_device(_SIMULATED, True, _SIMULATED_PLAN, None, found, progress, tick)
    return found


def _judge_device(
    name: str,
    simulated: bool,
    plan: Plan,
    folder: Path | None,
    found: Evaluation,
    progress: ProgressPrinter,
    tick: Tick,
) -> None:
    """Adds what the sum of blocks is worth on a device, judged by whole models of a later session."""
    spec = load_device(name)
    device, label = open_device(spec, simulated=simulated), f"{name} cpu, {spec.default_threads} threads, by blocks"
    with TemporaryDirectory() as own:
        kept = folder or Path(own)
        kept.mkdir(parents=True, exist_ok=True)
        tick(f"{label}: sessions")
        sessions = measure_sessions(device, spec.default_threads, plan, kept, progress)
        tick(f"{label}: training")
        judged, predictor = judge_blocks(label, sessions, device.target)
    found.provenance[label] = device.provenance
    found.held.append(judged.held)
    found.floors[label] = judged.floor.mape
    found.devices.append(judged)
    found.many = found.many or time_many(predictor)


def _tables(hat: Path, groups: Sequence[str], found: Evaluation) -> list[Table]:
    tables: list[Table] = []
    if "HAT" in groups:
        tables, missing = hat_tables(hat)
        found.notes += [f"missing, so not judged: {path}" for path in missing]
    if "phones" in groups:
        tables += phone_tables()
    if "boards" in groups:
        tables += board_tables()
    return tables


def _seeds(table: Table, seeds: Sequence[int]) -> Sequence[int]:
    """All of them for what was measured."""
    return seeds if table.provenance == "published" else seeds[:_MADE_UP_SEEDS]


def _steps(tables: Sequence[Table], seeds: Sequence[int], parts: Sequence[str]) -> int:
    total = 2 * len({"blocks", "host"} & set(parts))
    for table in tables:
        own = len(_seeds(table, seeds))
        steps = {"held": own * len(METHODS), "few": own * len(_FEW) * len(_FEW_METHODS)}
        steps["transfer"] = min(len(seeds), _MADE_UP_SEEDS)
        total += sum(steps.get(part, 0) for part in parts)
    return total


def _counter(progress: ProgressPrinter, total: int) -> Tick:
    done = 0

    def tick(message: str) -> None:
        nonlocal done
        progress(ProgressEvent("evaluation", done, total, message))
        done += 1

    return tick


if __name__ == "__main__":
    main()
