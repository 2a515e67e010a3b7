"""Our compiled models beside the runtimes that people use: ``python -m tests.benchmarks.peers --out benchmark``.

``--instruction-set avx2`` holds our code, OpenVINO and PyTorch to AVX2 on a machine that has more; ONNX Runtime and
LiteRT know no such switch and use all that the processor has.

Every finished model is kept in the output directory; the same command goes on from there after an interruption, as
long as settings, versions and the compiler's source are the same.
"""

from __future__ import annotations

import gc
import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import click

from data.errors import PocketBertError
from data.progress import ProgressEvent
from fusion.compare.comparison import compare
from fusion.compare.engines import ENGINES, EngineSettings, check_engine
from fusion.compare.full_execution import measure_execution
from fusion.compiled import compile_model
from fusion.target import host_target, host_target_named
from search.commands._options import Command, ProgressPrinter, emit_json, run_command
from search.commands.standard_output import write_out
from tests.benchmarks.models import HELD_OUT, ODD, PUBLISHED, check_model, model_files
from tests.benchmarks.neighbours import NEIGHBOURS, beside
from tests.benchmarks.provenance import provenance, result_key
from tests.benchmarks.tables import markdown


@click.command(cls=Command, help=__doc__)
@click.option(
    "--models", default=",".join([*PUBLISHED, *ODD, *HELD_OUT]), show_default=True, help="Names, or 2x64-h2-f128."
)
@click.option("--engines", default=",".join(ENGINES), show_default=True, help="Peers to time.")
@click.option("--rounds", type=click.IntRange(min=1), default=20, show_default=True, help="Rounds, of 10 runs each.")
@click.option("--threads", type=click.IntRange(min=1), default=2, show_default=True, help="CPU threads of each engine.")
@click.option("--seq-len", type=click.IntRange(min=1), default=128, show_default=True, help="Sequence length, tokens.")
@click.option("--instruction-set", default=None, help="For example avx2; by default the best that this machine has.")
@click.option(
    "--beside",
    "neighbour",
    type=click.Choice(NEIGHBOURS),
    default="nothing",
    show_default=True,
    help="A process that runs meanwhile.",
)
@click.option("--litert-python", type=click.Path(exists=True), help="A Python that has litert-torch.")
@click.option("--out", type=click.Path(path_type=Path), default=Path("benchmark"), show_default=True, help="Results.")
@click.option("--json", "as_json", is_flag=True, help="Print the results as JSON instead of Markdown.")
@run_command
def main(
    models: str,
    engines: str,
    rounds: int,
    threads: int,
    seq_len: int,
    instruction_set: str | None,
    neighbour: str,
    litert_python: str | None,
    out: Path,
    as_json: bool,
) -> None:
    names, peers = _names(models, check_model), _names(engines, check_engine)
    target = host_target_named(instruction_set) if instruction_set else host_target()
    hold_peers(target.name)
    settings = {
        "engines": peers,
        "rounds": rounds,
        "threads": threads,
        "seq_len": seq_len,
        "target": target.name,
        "beside": neighbour,
    }
    key = result_key(settings)
    results: dict[str, Any] = {}
    out.mkdir(parents=True, exist_ok=True)
    try:
        with ProgressPrinter() as progress, beside(neighbour):
            for index, name in enumerate(names):
                done = index * rounds
                progress(ProgressEvent("benchmark", done, len(names) * rounds, name))
                results[name] = _kept(out, name, key) or _measure(
                    name, settings, litert_python, _reporter(progress, name, done, len(names) * rounds)
                )
                _keep(out, name, key, results[name])
    finally:
        if results:
            _report(out, results, settings, as_json)


def hold_peers(target: str) -> None:
    """Holds those engines to AVX2 that can be held, when our code is; they read it when they are first used."""
    if target == "x86_64-avx2":
        os.environ.update(ONEDNN_MAX_CPU_ISA="AVX2", ATEN_CPU_CAPABILITY="avx2", MKL_ENABLE_INSTRUCTIONS="AVX2")


def _names(text: str, check: Callable[[str], None]) -> list[str]:
    names = [name.strip() for name in text.split(",") if name.strip()]
    for name in names:
        check(name)
    return names


def _reporter(progress: ProgressPrinter, name: str, before: int, total: int) -> Callable[[int, int], None]:
    return lambda done, _: progress(ProgressEvent("benchmark", before + done, total, name))


def _measure(
    name: str, settings: Mapping[str, Any], litert_python: str | None, progress: Callable[[int, int], None]
) -> dict[str, Any]:
    """One model's figures, or ``{"error": ...}`` when our compiler does not take it."""
    try:
        files = model_files(name, settings["seq_len"])
        common = {
            "seq_len": settings["seq_len"],
            "threads": settings["threads"],
            "target": host_target_named(settings["target"]),
        }
        fused = compile_model(files.onnx, **common)
        unfused = compile_model(files.onnx, **common, fuse=False)
        execution = measure_execution(fused)
        engine_settings = EngineSettings(settings["threads"], litert_python)
        comparison = compare(
            fused, files, settings["engines"], engine_settings, settings["rounds"], unfused, progress=progress
        )
    except PocketBertError as error:
        return {"error": str(error)}
    if comparison.interrupted:
        raise KeyboardInterrupt(f"{name} was not finished; the models before it are kept, the same command goes on")
    document = comparison.to_dict()
    summary = fused.summary
    fused.close()
    unfused.close()
    gc.collect()
    return {
        "date": provenance()["date"],
        "flops": summary.flops,
        "operators": summary.operators,
        "blocks": summary.blocks,
        "saved_bytes": summary.saved_bytes,
        "weight_bytes": summary.weight_bytes,
        "activation_bytes": summary.activation_bytes,
        "cpu_utilisation": execution.cpu_utilisation,
        "model_bytes": execution.model_bytes,
        "process_peak_bytes": execution.process_peak_bytes,
        "peak_gflops": execution.peak_gflops,
        "engines": {row.pop("engine"): row for row in document["engines"]},
        "unsteady": document["unsteady"],
        "missing": document["missing_reasons"],
        "max_abs_difference": document["max_abs_difference"],
        "pause": document["pause"],
    }


def _kept(out: Path, name: str, key: str) -> dict[str, Any] | None:
    """The model's finished result, if there is one of the same settings, versions and source."""
    path = out / "models" / f"{name}.json"
    document = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    return document["result"] if document.get("key") == key else None


def _keep(out: Path, name: str, key: str, result: Mapping[str, Any]) -> None:
    """Writes a finished result; one that failed is not kept, so that it is tried again."""
    if "error" not in result:
        _write(out / "models" / f"{name}.json", json.dumps({"key": key, "result": result}, indent=2))


def _report(out: Path, results: Mapping[str, Any], settings: Mapping[str, Any], as_json: bool) -> None:
    origin = provenance()
    text = markdown(results, settings["engines"], origin, settings)
    document = {"settings": settings, "provenance": origin, "models": results}
    _write(out / "peers.md", text)
    _write(out / "peers.json", json.dumps(document, indent=2, allow_nan=False))
    if as_json:
        emit_json(document)
    else:
        write_out(text)


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.{os.getpid()}")
    partial.write_text(text, encoding="utf-8")
    partial.replace(path)


if __name__ == "__main__":
    main()
