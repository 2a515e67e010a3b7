"""Pairs of default profiles of this machine, from empty stores: whether they agree, and what their intervals are worth.

``python -m tests.benchmarks.profile_pairs`` takes about six minutes a pair; blocks that are not in the cache are
compiled first. Finished profiles are kept in ``--out``: an interrupted run goes on from there.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
import numpy as np

from data.device_spec import load_device
from data.progress import ProgressEvent
from data.statistic import medians_ms
from data.store import MeasurementStore
from profiling import open_device
from profiling.sampling import SamplingRange
from search.commands._options import Command, ProgressPrinter, emit_json, run_command
from search.commands.standard_output import write_out
from search.profiles.profile_pipeline import plan_profile, profile
from surrogate.blocks.training_data import architectures_of
from tests.benchmarks.provenance import provenance, result_key

_COLUMNS = (
    ("pair", "pair"),
    ("apart, mean", "apart"),
    ("within 4%", "within_4"),
    ("within 10%", "within_10"),
    ("held-out MAPE, first / second", "mape"),
    ("against the later session", "mape_later"),
    ("over the noise floor", "ratio"),
    ("90% interval covers", "covered"),
    ("width in all", "width"),
    ("expected apart", "expected"),
    ("statistic, first / second", "statistic"),
    ("visits", "visits"),
    ("seconds, first / second", "seconds"),
)


@click.command(cls=Command, help=__doc__)
@click.option("--pairs", type=click.IntRange(min=1), default=3, show_default=True, help="Pairs of profiles.")
@click.option("--threads", type=click.IntRange(min=1), help="CPU threads.  [default: the device's own]")
@click.option("--out", type=click.Path(path_type=Path), default=Path("profile-pairs"), help="Folder of the results.")
@click.option("--json", "as_json", is_flag=True, help="Print the figures as JSON instead of a table.")
@run_command
def main(pairs: int, threads: int | None, out: Path, as_json: bool) -> None:
    spec = load_device("host")
    threads = threads or spec.default_threads
    key = result_key({"threads": threads})
    with ProgressPrinter() as progress:
        _compile_first(progress)
        made = [_profile(out / f"{key}-{number}", threads, progress) for number in range(2 * pairs)]
    judged = [_judge(number + 1, *made[2 * number : 2 * number + 2]) for number in range(pairs)]
    origin = provenance()
    document = {"pairs": judged, "mean": _mean(judged), "profiles": made, "origin": origin}
    (out / "profile-pairs.json").write_text(json.dumps(document, indent=1), encoding="utf-8")
    if as_json:
        emit_json(document)
    else:
        write_out(_table([*judged, _mean(judged)], origin, threads))


def _compile_first(progress: ProgressPrinter) -> None:
    """Brings the models of a default profile into the cache of compiled blocks."""
    from fusion import build_model_suite
    from profiling.items import compiler_for

    device = open_device(load_device("host"))
    progress(ProgressEvent("compile models", 0, None, "for all profiles"))
    compiler_for(device)
    build_model_suite(plan_profile(SamplingRange(), None, 0).models, device.machine)


def _profile(path: Path, threads: int, progress: ProgressPrinter) -> dict[str, Any]:
    """What a profile from an empty store says of its held-out models, and what it saw of them."""
    done = path.with_suffix(".json")
    if done.exists():
        return dict(json.loads(done.read_text(encoding="utf-8")))
    path.parent.mkdir(parents=True, exist_ok=True)
    store_path = path.with_suffix(".sqlite")
    for stale in path.parent.glob(f"{store_path.name}*"):
        stale.unlink()
    with MeasurementStore.open(store_path) as store:
        # Anew, whatever predictor of this machine is kept.
        found = profile(open_device(load_device("host")), store, threads=threads, again=True, progress=progress)
        rows = store.measurements(subject="model")
    predictor, quality = found.predictor, found.quality
    names = {key: architecture.name for key, architecture in architectures_of(rows).items()}
    document = {
        "held_out": predictor.held_out,
        "medians_ms": {names[key]: median for key, median in medians_ms(rows).items()},
        "interval": predictor.relative_interval(0.9),
        "mape": predictor.errors.mape,
        "statistic": predictor.statistic.name,
        "agreement": predictor.statistic.agreement,
        "later_session": predictor.statistic.later_session,
        "visits": quality.visits,
        "seconds": found.seconds,
        "warning": quality.warning,
    }
    partial = done.with_suffix(".partial")
    partial.write_text(json.dumps(document, indent=1), encoding="utf-8")
    partial.replace(done)
    return dict(json.loads(done.read_text(encoding="utf-8")))


def _judge(number: int, first: dict[str, Any], second: dict[str, Any]) -> dict[str, Any]:
    """The first profile's predictions of its held-out models, judged by the second session."""
    names = [name for name, _, _ in first["held_out"]]
    later = {name: measured for name, measured, _ in second["held_out"]}
    seen = np.array([measured for _, measured, _ in first["held_out"]])
    guesses = np.array([guess for _, _, guess in first["held_out"]])
    again, medians = (np.array([figures[name] for name in names]) for figures in (later, second["medians_ms"]))
    apart = np.abs(again / seen - 1)
    low, high = first["interval"]
    inside = (medians >= guesses * (1 + low)) & (medians <= guesses * (1 + high))
    later_error = float(np.abs(guesses / again - 1).mean())
    return {
        "pair": number,
        "models": len(names),
        "apart": float(apart.mean()),
        "within_4": float((apart <= 0.04).mean()),
        "within_10": float((apart <= 0.10).mean()),
        "mape": [first["mape"], second["mape"]],
        "mape_later": later_error,
        "ratio": later_error / float(apart.mean()),
        "covered": float(inside.mean()),
        "width": high - low,
        "expected": first["later_session"],
        "statistic": [first["statistic"], second["statistic"]],
        "visits": [first["visits"], second["visits"]],
        "seconds": [first["seconds"], second["seconds"]],
    }


def _mean(judged: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Means over the pairs, of what has one."""
    names = [name for _, name in _COLUMNS if isinstance(judged[0][name], (int, float)) and name != "pair"]
    means = {name: float(np.mean([one[name] for one in judged])) for name in names}
    halves = {name: np.mean([one[name] for one in judged], axis=0).tolist() for name in ("mape", "visits", "seconds")}
    return {"pair": "mean", **means, **halves, "statistic": ["", ""]}


def _table(rows: Sequence[dict[str, Any]], origin: dict[str, Any], threads: int) -> str:
    head = [[title for title, _ in _COLUMNS], ["---"] * len(_COLUMNS)]
    cells = [[_cell(name, row.get(name)) for _, name in _COLUMNS] for row in rows]
    lines = "".join(f"| {' | '.join(line)} |\n" for line in [*head, *cells])
    machine = f"{origin['cpu']}, {origin['cores']} processors, {threads} threads"
    code = f"pocketbert {origin['commit']}, {origin['date']}"
    return f"{lines}\n{machine}; {code}; `python -m tests.benchmarks.profile_pairs`\n"


def _cell(name: str, value: Any) -> str:
    if value is None:
        return "–"
    if isinstance(value, list):
        return " / ".join(_cell(name, each) for each in value)
    if isinstance(value, str) or name == "pair":
        return str(value)
    if name in ("visits", "seconds"):
        return f"{value:.0f}"
    return f"{value:.2f}" if name == "ratio" else f"{value:.1%}"


if __name__ == "__main__":
    main()
