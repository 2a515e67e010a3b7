"""``fuse-model``: compile a BERT-like model for a device, time it beside other runtimes, export it."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fusion.checkpoints.presets import PRESETS
from search.commands._options import (
    Command,
    check_threads,
    console,
    emit_json,
    given_options,
    run_command,
)
from search.commands.model_bench import bench_model
from search.commands.model_exports import Exports

if TYPE_CHECKING:
    from data.device_spec import DeviceSpec
    from fusion.compare.engines import ModelFiles
    from fusion.compiled import CompiledModel
    from fusion.target import Target

EXAMPLES = """\b
Examples:
  fuse-model bert.onnx                                     compile for this machine, show the blocks
  fuse-model deep-narrow --bench --compare onnxruntime     time a preset with random weights beside ONNX Runtime
  fuse-model ./my-checkpoint --seq-len 64 --export out     library, static runner, weights, tokenizer
  fuse-model bert.onnx --device s20 --export out           the same for a phone
  fuse-model bert.onnx --export-android app/src/main --name sentiment  libraries and weights for an Android app
  fuse-model bert-base --precision int8 --bench            8-bit products, timed beside fp32
  fuse-model bert-base --unit gpu --precision fp16 --tune --bench  on this machine's GPU, by its OpenCL driver
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
@click.option(
    "--precision",
    type=click.Choice(["fp32", "fp16", "int8"]),
    help="Of matrices and of what they multiply: int8 on a CPU, fp16 on a GPU or an Armv8.2 CPU; all else stays fp32.  "
    "[default: int8 of an ONNX file with activations of 8 bits on a CPU, fp32 of others]",
)
@click.option("--tune", is_flag=True, help="Time up to 12 tiles a product, with --unit gpu; kept for the next time.")
@click.option("--seq-len", type=click.IntRange(min=1), default=128, show_default=True, help="Sequence length, tokens.")
@click.option("--rename", multiple=True, help="Input a of the file is our input b, as a=b; may be repeated.")
@click.option("--threads", type=click.IntRange(min=1), help="CPU threads.  [default: the device's own]")
@click.option("--no-fusion", is_flag=True, help="One kernel an operator, for comparison.")
@click.option(
    "--fusion-cost",
    type=click.Choice(["modelled", "measured"]),
    default="modelled",
    show_default=True,
    help="Settle the fusions that may not pay by a model, or by timing both ways on this machine.",
)
@click.option("--bench", is_flag=True, help="Time the model on this machine or on the attached phone.")
@click.option("--compare", default="", help="Other engines to time in turn: onnxruntime,openvino,litert,pytorch.")
@click.option("--unfused", is_flag=True, help="Time the model without fusion in turn as well.")
@click.option(
    "--litert-python",
    type=click.Path(exists=True, dir_okay=False),
    help="A Python that has litert-torch, which converts the model.  [default: POCKETBERT_LITERT_PYTHON, or this one]",
)
@click.option("--rounds", type=click.IntRange(min=1), default=10, show_default=True, help="Rounds of the benchmark.")
@click.option("--export", "export_dir", type=click.Path(path_type=Path), help="Write the compiled model here.")
@click.option(
    "--export-android",
    "android_dir",
    type=click.Path(path_type=Path),
    help="Write what an Android app needs here: jniLibs, assets and include, as in app/src/main.",
)
@click.option("--name", default="model", show_default=True, help="Of the app's library libNAME.so and NAME.weights.")
@click.option(
    "--gpu-family",
    type=click.Choice(["adreno", "mali", "other"]),
    help="Phones' GPUs that --export-android makes kernels for, with --unit gpu.  [default: other, for any]",
)
@click.option(
    "--tokenizer",
    "tokenizer_dir",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="Hugging Face directory with the exported model's tokenizer and config.json.  [default: MODEL, if it has one]",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object on standard output.")
@run_command
def main(
    model: str,
    device: str,
    unit: str,
    precision: str | None,
    tune: bool,
    seq_len: int,
    rename: tuple[str, ...],
    threads: int | None,
    no_fusion: bool,
    fusion_cost: str,
    bench: bool,
    compare: str,
    unfused: bool,
    litert_python: str | None,
    rounds: int,
    export_dir: Path | None,
    android_dir: Path | None,
    name: str,
    gpu_family: str | None,
    tokenizer_dir: Path | None,
    as_json: bool,
) -> None:
    from data.device_spec import load_device
    from fusion.compare.engines import EngineSettings
    from fusion.compiled import own_precision
    from fusion.importing.input_names import parse_renames

    renames = parse_renames(rename)
    spec = load_device(device)
    engines = _engines(compare)
    measured = fusion_cost == "measured"
    compares = bool(engines) or unfused
    _check(spec, unit, precision or "fp32", measured, compares)
    _check_ignored(bench or bool(engines) or unfused, "litert" in engines, no_fusion)
    exports = Exports(export_dir, android_dir, name, gpu_family, tokenizer_dir)
    exports.check(unit)
    chosen = check_threads(spec, threads)
    with tempfile.TemporaryDirectory() as folder:
        files = _model_files(model, Path(folder), seq_len)
        if precision is None:
            precision = own_precision(files.onnx, seq_len, unit, renames)
            _check(spec, unit, precision, measured, compares)
        theirs = "int8" if (unit, precision) == ("cpu", "int8") else "fp32"
        settings = EngineSettings(chosen, litert_python, theirs)
        kind = {"unit": unit, "precision": precision, "tune": tune}
        compiled = _compile(files, spec, settings.threads, renames, kind, fuse=not no_fusion, measured=measured)
        document: dict[str, Any] = {"model": model, "device": spec.name} | exports.write(compiled, model)
        if bench or engines or unfused:
            twin = _compile(files, spec, settings.threads, renames, kind, fuse=False) if unfused else None
            narrow = (unit, spec.kind) == ("cpu", "host") and precision != "fp32"
            in_fp32 = kind | {"precision": "fp32"}
            fp32 = _compile(files, spec, settings.threads, renames, in_fp32, fuse=not no_fusion) if narrow else None
            document["bench"] = bench_model(compiled, twin, fp32, files, spec, engines, settings, rounds)
        document["summary"] = compiled.summary.to_dict() | document.get("bench", {}).pop("execution", {})
    _show(document, as_json)


def _engines(names: str) -> list[str]:
    """The engines of ``--compare``, ``UnknownNameError`` for others."""
    from fusion.compare.engines import check_engine

    engines = [name.strip() for name in names.split(",") if name.strip()]
    for name in engines:
        check_engine(name)
    return engines


def _check(spec: DeviceSpec, unit: str, precision: str, measured: bool, compares: bool) -> None:
    """Refuse what the unit has no use for, and what cannot be timed."""
    from data.errors import InputError
    from fusion.compiled import PRECISIONS

    if unit == "gpu":
        _check_gpu(spec)
    elif "--tune" in given_options():
        raise InputError("--tune times tiles on the GPU: it needs --unit gpu")
    if (unit, precision) not in PRECISIONS:
        units = " or ".join(f"--unit {able}" for able, known in PRECISIONS if known == precision)
        raise InputError(f"--precision {precision} is for {units}, not for --unit {unit}")
    if (unit, precision) == ("cpu", "fp16"):
        _check_half(spec)
    if measured and precision != "fp32":
        raise InputError("--fusion-cost measured times blocks in fp32: it needs --precision fp32")
    if (measured or compares) and spec.kind != "host":
        raise InputError(
            "--compare, --unfused and --fusion-cost measured time on this machine; they need --device host"
        )


def _check_half(spec: DeviceSpec) -> None:
    """Refuse half precision of a processor that does not calculate in it, as far as the device's file says."""
    from fusion.target import check_half, target_named

    remedy = "--precision fp16 needs --unit gpu, or the --device of a phone that does, such as s20"
    if spec.kind != "host":
        needs = ", ".join(target_named("aarch64-dotprod").needs)
        remedy = f"take int8, or let features of {spec.name}'s file name {needs}, if its processor has them"
    check_half(_target(spec), remedy)


def _check_gpu(spec: DeviceSpec) -> None:
    """Refuse what a GPU has no use for, and what is not there for it yet."""
    from data.errors import InputError

    if spec.kind != "host":
        raise InputError(
            "phones' GPUs are timed by profile-device only: here --unit gpu needs --device host; or take "
            f"--device {spec.name} --unit cpu"
        )
    problems = {
        "--threads": "is for --unit cpu: a GPU's driver has its own",
        "--fusion-cost": "times on the CPU; --unit gpu settles fusions by its own model",
    }
    for name in problems.keys() & given_options():
        raise InputError(f"{name} {problems[name]}")


def _check_ignored(times: bool, converts: bool, no_fusion: bool) -> None:
    """Refuse what would be passed over: settings of a benchmark that is not asked for, or of fusion without it."""
    given = given_options()
    problems = {
        "--rounds": "" if times else "belongs to --bench, --compare or --unfused",
        "--litert-python": "" if converts else "belongs to --compare litert",
        "--fusion-cost": "settles fusions, of which --no-fusion leaves none" if no_fusion else "",
    }
    for name, problem in problems.items():
        if problem and name in given:
            raise click.UsageError(f"{name} {problem}.")


def _model_files(model: str, folder: Path, seq_len: int) -> ModelFiles:
    """The ONNX file, and the checkpoint behind it if any, of a model given as a file, a directory or a preset."""
    from data.errors import UnknownNameError
    from fusion.checkpoints.onnx_export import checkpoint_to_onnx
    from fusion.checkpoints.presets import preset_to_onnx
    from fusion.compare.engines import ModelFiles

    path = Path(model)
    if path.is_dir():
        return ModelFiles(checkpoint_to_onnx(path, folder / "model.onnx", seq_len), seq_len, path)
    if path.suffix == ".onnx" or path.exists():
        return ModelFiles(path, seq_len)
    if model not in PRESETS:
        raise UnknownNameError("model (neither a file, a directory nor a preset)", model, PRESETS)
    return ModelFiles(preset_to_onnx(model, folder, seq_len), seq_len, folder / model)


def _target(spec: DeviceSpec) -> Target:
    """What the device's specification says, or the best that this machine runs."""
    from fusion import best_target, host_target, host_target_named, target_named

    if spec.kind != "host":
        return best_target(target_named(spec.target), frozenset(spec.features))
    return host_target() if spec.target == "host" else host_target_named(spec.target)


def _compile(
    files: ModelFiles,
    spec: DeviceSpec,
    threads: int,
    rename: Mapping[str, str],
    kind: Mapping[str, Any],
    fuse: bool,
    measured: bool = False,
) -> CompiledModel:
    from fusion import compile_model
    from fusion.compare.measured_cost import MeasuredCost

    target = _target(spec) if kind["unit"] == "cpu" else None
    cost = MeasuredCost(threads, target) if measured and target else None
    options = {"threads": threads, "fuse": fuse, "target": target, "cost": cost, "rename": rename, **kind}
    return compile_model(files.onnx, seq_len=files.seq_len, **options)


def _show(document: dict[str, Any], as_json: bool) -> None:
    """Tables on standard error, JSON on standard output; a benchmark that Ctrl-C cut short is then an interruption."""
    from search.reports.model_tables import show_model

    show_model(console(), document)
    if as_json:
        emit_json(document)
    bench = document.get("bench", {})
    if bench.get("rounds") != bench.get("planned_rounds"):
        raise KeyboardInterrupt(f"{bench['rounds']} of {bench['planned_rounds']} rounds were finished and are shown")


if __name__ == "__main__":
    main()
