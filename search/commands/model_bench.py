"""What `fuse-model --bench` times: a model on this machine in turn with others, or on a phone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from search.commands.progress import ProgressPrinter

if TYPE_CHECKING:
    from data.device_spec import DeviceSpec
    from fusion.compare.engines import EngineSettings, ModelFiles
    from fusion.compiled import CompiledModel
    from profiling.device import RawSamples


def bench_model(
    compiled: CompiledModel,
    unfused: CompiledModel | None,
    fp32: CompiledModel | None,
    files: ModelFiles,
    spec: DeviceSpec,
    engines: list[str],
    settings: EngineSettings,
    rounds: int,
) -> dict[str, Any]:
    """Raw times of our model and, on the host, of its twins and the other engines, with how far outputs differ."""
    if spec.kind != "host":
        return _bench_on_phone(compiled, spec)
    from dataclasses import asdict

    from data.progress import ProgressEvent
    from fusion.compare.comparison import compare
    from fusion.compare.full_execution import measure_execution

    with ProgressPrinter() as progress:
        execution = measure_execution(compiled)
        comparison = compare(
            compiled,
            files,
            engines,
            settings,
            rounds,
            unfused=unfused,
            fp32=fp32,
            progress=lambda done, total: progress(ProgressEvent("benchmark", done, total)),
        )
    return comparison.to_dict() | {"execution": {"execution": asdict(execution)}}


def _bench_on_phone(compiled: CompiledModel, spec: DeviceSpec) -> dict[str, Any]:
    """Raw times on the phone; ``execution`` holds what the summary can say of a run that was not in this process."""
    from fusion.compare.benchmark import EngineTiming
    from fusion.compare.comparison import OURS, timing_row
    from profiling import open_device
    from profiling.device import Round, Visit

    device = open_device(spec)
    try:
        runner = compiled.runner(device.machine)
        device.prepare(runner)
        visit = Visit("model", compiled.blocks, warmup=10, runs=100)
        (samples,) = device.go_round(Round((visit,), compiled.threads, runner))
        timing = EngineTiming(OURS, samples.samples_ms)
        return {
            "threads": compiled.threads,
            "provenance": device.provenance,
            "engines": [timing_row(timing, timing)],
            "missing": [],
            "max_abs_difference": {},
            "execution": _execution_on_phone(compiled, samples),
        }
    finally:
        device.close()


def _execution_on_phone(compiled: CompiledModel, samples: RawSamples) -> dict[str, Any]:
    """``block_ms`` and ``execution`` of the summary, as far as the phone's runner told; analytic phones tell none."""
    from dataclasses import asdict

    import numpy as np

    from fusion.build.execution import execution_of

    execution = None
    if samples.cpu_utilisation is not None and samples.model_bytes is not None:
        times_s = np.array(samples.samples_ms) / 1e3
        flops = compiled.summary.flops
        execution = asdict(execution_of(times_s, flops, samples.cpu_utilisation, samples.model_bytes))
        execution["process_peak_bytes"] = samples.process_peak_bytes
    block_ms = [time_ms for _, time_ms in samples.block_ms]
    return {"block_ms": block_ms if len(block_ms) == len(compiled.blocks) else [], "execution": execution}
