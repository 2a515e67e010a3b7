"""Our int8 beside our fp32 and other runtimes' own int8: ``python -m tests.benchmarks.int8_peers --out int8``.

All take turns in one process. Ours are compiled for each instruction set that this machine runs; what quantising rows
takes is the time of the best of them less that of the same code without it, which multiplies zeros instead.

Every finished model is kept in the output directory, for each number of threads; the same command goes on from there.
"""

from __future__ import annotations

import gc
import json
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from data.errors import EngineUnavailableError, InputError
from data.progress import ProgressEvent
from fusion.build.machine import Processor
from fusion.compare.benchmark import EngineTiming, time_in_turn
from fusion.compare.comparison import example_inputs, largest_difference
from fusion.compare.engines import EngineSettings, ModelFiles, check_engine, open_engine
from fusion.compiled import CompiledModel, compile_model
from fusion.emit.program import Program
from fusion.frontend.source import Source
from fusion.target import Target, host_target_named, host_targets
from search.commands._options import Command, ProgressPrinter, emit_json, run_command
from search.commands.standard_output import write_out
from tests.benchmarks.models import PUBLISHED, check_model, model_files
from tests.benchmarks.peers import _keep, _kept, _names, _write
from tests.benchmarks.provenance import provenance, result_key

PEERS = ("onnxruntime", "openvino", "litert")
WITHOUT = "without quantising"
_INCLUDE = '#include "int8.h"\n'
_NOTHING = (
    "#define pb_quantise_row(...) ((void)0)\n#define pb_round_rows(...) ((void)0)\n#define pb_most(most, x) (most)\n"
)
_MAGNITUDES = ", most + (r - first)}"


@click.command(cls=Command, help=__doc__)
@click.option("--models", default=",".join(PUBLISHED), show_default=True, help="Names, or 2x64-h2-f128.")
@click.option("--engines", default=",".join(PEERS), show_default=True, help="Peers to time, each in its own int8.")
@click.option("--instruction-sets", default=None, help="For example avx512-vnni,avx2; by default all but SSE.")
@click.option("--threads", default="1,2", show_default=True, help="CPU threads of each engine, one run for each.")
@click.option("--rounds", type=click.IntRange(min=1), default=20, show_default=True, help="Rounds, of 10 runs each.")
@click.option("--seq-len", type=click.IntRange(min=1), default=128, show_default=True, help="Sequence length, tokens.")
@click.option("--litert-python", type=click.Path(exists=True), help="A Python with litert-torch and ai-edge-quantizer.")
@click.option("--out", type=click.Path(path_type=Path), default=Path("int8"), show_default=True, help="Results.")
@click.option("--json", "as_json", is_flag=True, help="Print the results as JSON instead of Markdown.")
@run_command
def main(
    models: str,
    engines: str,
    instruction_sets: str | None,
    threads: str,
    rounds: int,
    seq_len: int,
    litert_python: str | None,
    out: Path,
    as_json: bool,
) -> None:
    names, peers = _names(models, check_model), _names(engines, check_engine)
    targets = _targets(instruction_sets)
    counts = [_count(word) for word in threads.split(",")]
    settings = {"engines": peers, "rounds": rounds, "seq_len": seq_len, "targets": [target.name for target in targets]}
    cases = [(name, count) for count in counts for name in names]
    results: dict[str, Any] = {}
    (out / "models").mkdir(parents=True, exist_ok=True)
    try:
        with ProgressPrinter() as progress:
            for index, (name, count) in enumerate(cases):
                case, key = f"{name}-{count}", result_key(settings | {"threads": count})
                report = _reporter(progress, case, index * rounds, len(cases) * rounds)
                report(0, rounds)
                engine_settings = EngineSettings(count, litert_python, "int8")
                results[case] = _kept(out, case, key) or _measure(name, settings, targets, engine_settings, report)
                _keep(out, case, key, results[case])
    finally:
        if results:
            _report(out, results, settings, as_json)


def _targets(words: str | None) -> list[Target]:
    """The instruction sets that int8 is compiled for, the best of them first."""
    if words is None:
        return [target for target in host_targets() if target.name != "x86_64-sse"]
    chosen = [host_target_named(word.strip()) for word in words.split(",")]
    return [target for target in host_targets() if target in chosen]


def _count(word: str) -> int:
    if not word.strip().isdigit() or not int(word):
        raise InputError(f"--threads takes numbers from 1 on, separated by commas, not {word!r}")
    return int(word)


def _reporter(progress: ProgressPrinter, name: str, before: int, total: int) -> Callable[[int, int], None]:
    return lambda done, _: progress(ProgressEvent("benchmark", before + done, total, name))


class WithoutQuantising(Processor):
    """A processor's code of which rows' bytes and scales are left as they were: zeros."""

    def sources(self, programs: Sequence[Program[Any]]) -> list[str]:
        """The same C, with nothing in the place of each call.

        Raises:
            InputError: no block quantises rows.
        """
        made = super().sources(programs)
        changed = [text.replace(_INCLUDE, _INCLUDE + _NOTHING).replace(_MAGNITUDES, "}") for text in made]
        if not any(_INCLUDE in text and re.search("pb_(quantise_row|round_rows)[(]", text) for text in made):
            raise InputError("the model has no rows that are quantised")
        return changed


def _measure(
    name: str,
    settings: Mapping[str, Any],
    targets: Sequence[Target],
    engine_settings: EngineSettings,
    progress: Callable[[int, int], None],
) -> dict[str, Any]:
    """One model's figures with a number of threads."""
    files = model_files(name, settings["seq_len"])
    ours = _ours(files, targets, engine_settings.threads)
    best = ours[f"int8 {targets[0].name}"]
    inputs = example_inputs(best)
    reference = next(model for label, model in ours.items() if label.startswith("fp32")).run(inputs)
    calls: dict[str, Callable[[], object]] = {
        label: (lambda model=model: model.run(inputs)) for label, model in ours.items()
    }
    differences = {
        label: largest_difference(reference, model.run(inputs)) for label, model in ours.items() if label != WITHOUT
    }
    missing, how = {}, {}
    for engine in settings["engines"]:
        try:
            call = open_engine(engine, files, engine_settings)
            differences[engine] = largest_difference(reference, call(inputs))
        except EngineUnavailableError as error:
            missing[engine] = str(error)
            continue
        how[engine], calls[engine] = call.how, (lambda call=call: call(inputs))
    turns = time_in_turn(calls, settings["rounds"], progress=progress)
    if turns.rounds < turns.planned:
        raise KeyboardInterrupt(f"{name} was not finished; the models before it are kept, the same command goes on")
    for model in ours.values():
        model.close()
    gc.collect()
    timings = {timing.engine: timing for timing in turns.timings}
    return {
        "date": provenance()["date"],
        "threads": engine_settings.threads,
        "best": f"int8 {targets[0].name}",
        "weight_bytes": {label: model.summary.weight_bytes for label, model in ours.items()},
        "engines": {label: _figures(timing) for label, timing in timings.items()},
        "quantising": _share(timings[f"int8 {targets[0].name}"], timings[WITHOUT]),
        "max_abs_difference": differences,
        "missing": missing,
        "how": how,
    }


def _ours(files: ModelFiles, targets: Sequence[Target], threads: int) -> dict[str, CompiledModel]:
    """int8 for each target, fp32 for the plainest of each width of vectors, and the best int8 without quantising."""
    plainest = {target.vector_bytes: target for target in targets}
    kinds = [*(("int8", target) for target in targets), *(("fp32", target) for target in plainest.values())]
    models = {
        f"{precision} {target.name}": compile_model(
            files.onnx, seq_len=files.seq_len, threads=threads, target=target, precision=precision
        )
        for precision, target in kinds
    }
    best = models[f"int8 {targets[0].name}"]
    source = Source(files.onnx, files.seq_len, None)
    models[WITHOUT] = CompiledModel(source, threads, best.plan, WithoutQuantising(best.target), best.target)
    return models


def _figures(timing: EngineTiming) -> dict[str, Any]:
    return {
        "median_ms": timing.median_ms,
        "min_ms": timing.min_ms,
        "p90_ms": timing.p90_ms,
        "samples_ms": list(timing.samples_ms),
    }


def _share(whole: EngineTiming, without: EngineTiming) -> dict[str, float]:
    """What quantising takes of a run, by medians and by minima; negative where noise is larger."""
    return {
        "median": 1 - without.median_ms / whole.median_ms,
        "min": 1 - without.min_ms / whole.min_ms,
    }


def _report(out: Path, results: Mapping[str, Any], settings: Mapping[str, Any], as_json: bool) -> None:
    origin = provenance()
    document = {"settings": settings, "provenance": origin, "models": results}
    text = markdown(results, origin, settings)
    _write(out / "int8_peers.md", text)
    _write(out / "int8_peers.json", json.dumps(document, indent=2, allow_nan=False))
    if as_json:
        emit_json(document)
    else:
        write_out(text)


def markdown(results: Mapping[str, Any], origin: Mapping[str, Any], settings: Mapping[str, Any]) -> str:
    """One table for each model and number of threads; ratios are times over those of our best int8."""
    versions = ", ".join(f"{package} {version}" for package, version in origin["versions"].items())
    text = (
        f"{origin['cpu']}, {origin['cores']} cores, {origin['date'][:10]}, commit {origin['commit']}; {versions}. "
        f"{settings['seq_len']} tokens, {settings['rounds']} rounds of 10 runs in turn.\n"
    )
    for case, result in results.items():
        name, best = case.rpartition("-")[0], result["engines"][result["best"]]
        share = result["quantising"]
        text += f"\n### {name}, threads: {result['threads']}\n\n"
        text += (
            "| engine | median ms | min ms | p90 ms | median ratio | min ratio | p90 ratio | from fp32 | weights MB |\n"
        )
        text += "| --- |" + " ---: |" * 8 + "\n"
        for engine, row in result["engines"].items():
            times = [f"{row[word]:.3f}" for word in ("median_ms", "min_ms", "p90_ms")]
            ratios = [f"{row[word] / best[word]:.2f}" for word in ("median_ms", "min_ms", "p90_ms")]
            difference, size = result["max_abs_difference"].get(engine), result["weight_bytes"].get(engine)
            told = ["" if difference is None else f"{difference:.1e}", "" if size is None else f"{size / 1e6:.1f}"]
            text += f"| {engine} | {' | '.join([*times, *ratios, *told])} |\n"
        text += (
            f"\nQuantising rows takes {share['median']:.1%} of the median and {share['min']:.1%} of the least time.\n"
        )
        text += "".join(f"{engine}: {how}.\n" for engine, how in result["how"].items())
        text += "".join(f"Left out: {reason}\n" for reason in result["missing"].values())
    return text


if __name__ == "__main__":
    main()
