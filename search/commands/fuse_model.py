"""``fuse-model``: compile a BERT-like model for a device, time it beside other runtimes, export it."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from data.architecture import PRESETS
from search.commands._options import Command, ProgressPrinter, console, emit_json, run_command

if TYPE_CHECKING:
    import numpy as np

    from data.device_spec import DeviceSpec
    from fusion.benchmark import EngineTiming
    from fusion.compiled import CompiledModel

EXAMPLES = """\b
Examples:
  fuse-model bert.onnx                                     compile for this machine, show the blocks
  fuse-model deep-narrow --bench --compare onnxruntime     time a preset with random weights beside ONNX Runtime
  fuse-model ./my-checkpoint --seq-len 64 --export out     library, header, static runner and weights
  fuse-model bert.onnx --device s20 --export out           the same for a phone
"""


@click.command(
    cls=Command,
    epilog=EXAMPLES,
    help=f"Compile MODEL: an ONNX file, a Hugging Face directory, or a preset ({', '.join(PRESETS)}).",
    context_settings={"max_content_width": 110},
)
@click.argument("model")
@click.option("--device", default="host", show_default=True, help="Device name or .toml file to compile for.")
@click.option(
    "--unit", type=click.Choice(["cpu", "gpu"]), default="cpu", show_default=True, help="Unit to compile for."
)
@click.option("--seq-len", type=click.IntRange(min=1), default=128, show_default=True, help="Sequence length, tokens.")
@click.option("--threads", type=click.IntRange(min=1), help="CPU threads.  [default: the device's own]")
@click.option("--no-fusion", is_flag=True, help="One kernel an operator, for comparison.")
@click.option("--bench", is_flag=True, help="Time the model on this machine or on the attached phone.")
@click.option("--compare", default="", help="Other engines to time in turn: onnxruntime,openvino.")
@click.option("--rounds", type=click.IntRange(min=1), default=10, show_default=True, help="Rounds of the benchmark.")
@click.option("--export", "export_dir", type=click.Path(path_type=Path), help="Write the compiled model here.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object on standard output.")
@run_command
def main(
    model: str,
    device: str,
    unit: str,
    seq_len: int,
    threads: int | None,
    no_fusion: bool,
    bench: bool,
    compare: str,
    rounds: int,
    export_dir: Path | None,
    as_json: bool,
) -> None:
    from data.device_spec import load_device
    from data.errors import InputError
    from fusion.engines import check_engine

    spec = load_device(device)
    names = [name.strip() for name in compare.split(",") if name.strip()]
    for name in names:
        check_engine(name)
    if unit == "gpu":
        raise InputError("code is generated for CPUs only; --unit cpu")
    if names and spec.kind != "host":
        raise InputError("--compare times other engines on this machine; it needs --device host")
    with tempfile.TemporaryDirectory() as folder, ProgressPrinter() as progress:
        path = _onnx_file(model, Path(folder), seq_len)
        compiled = _compile(path, spec, seq_len, threads or spec.default_threads, fuse=not no_fusion)
        document: dict[str, Any] = {"model": model, "device": spec.name, "summary": compiled.summary.to_dict()}
        if bench:
            document["bench"] = _bench(compiled, path, spec, names, rounds, progress)
            document["summary"] = compiled.summary.to_dict()
        if export_dir is not None:
            compiled.export(export_dir)
            document["export"] = str(export_dir)
    _show(document)
    if as_json:
        emit_json(document)


def _onnx_file(model: str, folder: Path, seq_len: int) -> Path:
    """The ONNX file of a model given as a file, a directory or a preset."""
    from data.errors import UnknownNameError
    from fusion.checkpoint import checkpoint_to_onnx
    from fusion.presets import preset_to_onnx

    path = Path(model)
    if path.is_dir():
        return checkpoint_to_onnx(path, folder / "model.onnx", seq_len)
    if path.suffix == ".onnx" or path.exists():
        return path
    if model not in PRESETS:
        raise UnknownNameError("model (neither a file, a directory nor a preset)", model, PRESETS)
    return preset_to_onnx(model, folder, seq_len)


def _compile(path: Path, spec: DeviceSpec, seq_len: int, threads: int, fuse: bool) -> CompiledModel:
    from fusion import compile_model, host_target, target_named

    target = host_target() if spec.kind == "host" else target_named(spec.target)
    return compile_model(path, seq_len=seq_len, threads=threads, fuse=fuse, target=target)


def _bench(
    compiled: CompiledModel, path: Path, spec: DeviceSpec, names: list[str], rounds: int, progress: ProgressPrinter
) -> dict[str, Any]:
    """Raw times of our model and, on the host, of the other engines, with the largest difference of outputs."""
    if spec.kind != "host":
        return _bench_on_phone(compiled, spec)
    from data.progress import ProgressEvent
    from fusion.benchmark import time_in_turn
    from fusion.engines import is_installed, open_engine

    inputs = _example_inputs(compiled)
    compiled.time()
    ours = compiled.run(inputs)
    calls = {"pocketbert": lambda: compiled.run(inputs)}
    missing, differences = [], {}
    for name in names:
        if not is_installed(name):
            missing.append(name)
            console().print(f"{name} is not installed: left out (pip install {name})", markup=False)
            continue
        engine = open_engine(name, path, compiled.threads)
        differences[name] = max(float(abs(a - b).max()) for a, b in zip(ours, engine(inputs), strict=True))
        calls[name] = lambda engine=engine: engine(inputs)  # type: ignore[misc]
    timings = time_in_turn(
        calls, rounds, progress=lambda done, total: progress(ProgressEvent("benchmark", done, total))
    )
    return {
        "threads": compiled.threads,
        "provenance": "measured",
        "engines": [_timing(timing, timings[0]) for timing in timings],
        "missing": missing,
        "max_abs_difference": differences,
    }


def _bench_on_phone(compiled: CompiledModel, spec: DeviceSpec) -> dict[str, Any]:
    from fusion.benchmark import EngineTiming
    from profiling import open_device
    from profiling.device import Job

    device = open_device(spec)
    try:
        runner = compiled.runner(device.target)
        device.prepare(runner)
        samples = device.run(Job("model", compiled.blocks, compiled.threads, warmup=10, runs=100, runner=runner))
        timing = EngineTiming("pocketbert", samples.samples_ms)
        return {
            "threads": compiled.threads,
            "provenance": device.provenance,
            "engines": [_timing(timing, timing)],
            "missing": [],
            "max_abs_difference": {},
        }
    finally:
        device.close()


def _example_inputs(compiled: CompiledModel) -> dict[str, np.ndarray]:
    import numpy as np

    generator = np.random.default_rng(0)
    limits = {port.name: port.limit for port in compiled.program.inputs}
    shape = (1, compiled.seq_len)
    values = {
        "input_ids": generator.integers(0, limits["input_ids"], shape),
        "attention_mask": np.ones(shape, np.int64),
        "token_type_ids": np.zeros(shape, np.int64),
    }
    return {name: values[name] for name in limits}


def _timing(timing: EngineTiming, ours: EngineTiming) -> dict[str, Any]:
    return {
        "engine": timing.engine,
        "median_ms": timing.median_ms,
        "min_ms": timing.min_ms,
        "n": len(timing.samples_ms),
        "median_ratio": timing.median_ms / ours.median_ms,
        "min_ratio": timing.min_ms / ours.min_ms,
        "samples_ms": list(timing.samples_ms),
    }


def _show(document: dict[str, Any]) -> None:
    """The summary, the blocks and the benchmark as tables on standard error."""
    from rich.table import Table

    summary = document["summary"]
    console().print(
        f"{document['model']} for {summary['target']}: {summary['operators']} operators -> {summary['blocks']} blocks, "
        f"{summary['flops'] / 1e9:.2f} GFLOP, {summary['weight_bytes'] / 1e6:.1f} MB of weights, "
        f"{summary['activation_bytes'] / 1e6:.2f} MB of activations, "
        f"{summary['saved_bytes'] / 1e6:.1f} MB of intermediates saved",
        markup=False,
    )
    counts: dict[str, list[float]] = {}
    times = summary["block_ms"] or [0.0] * len(summary["block_names"])
    for name, value in zip(summary["block_names"], times, strict=True):
        counts.setdefault(name, []).append(value)
    table = Table("block", "times", *(["ms (median, all)"] if summary["block_ms"] else []))
    for name, values in counts.items():
        table.add_row(name, str(len(values)), *([f"{sum(values):.3f}"] if summary["block_ms"] else []))
    console().print(table)
    if "bench" in document:
        _show_bench(document["bench"])
    if "export" in document:
        console().print(f"written to {document['export']}", markup=False)


def _show_bench(bench: dict[str, Any]) -> None:
    from rich.table import Table

    table = Table("engine", "median ms", "min ms", "median ratio", "min ratio", "runs")
    for row in bench["engines"]:
        ratios = (f"{row['median_ratio']:.2f}x", f"{row['min_ratio']:.2f}x")
        table.add_row(row["engine"], f"{row['median_ms']:.3f}", f"{row['min_ms']:.3f}", *ratios, str(row["n"]))
    console().print(table)
    for name, value in bench["max_abs_difference"].items():
        console().print(f"largest difference from {name}: {value:.1e}", markup=False)


if __name__ == "__main__":
    main()
