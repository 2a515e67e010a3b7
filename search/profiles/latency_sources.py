"""What a search can believe of latency before it measures: fused blocks, the same models unfused, or operations."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from data.architecture import Architecture
    from data.progress import Progress
    from profiling import Device
    from search.options import LatencySource, SearchOptions
    from surrogate import DevicePredictor
    from surrogate.blocks.proportional import Measure, ProportionalPredictor

    SourcePredictor = DevicePredictor | ProportionalPredictor


def latency_sources(
    fused: DevicePredictor,
    device: Device,
    options: SearchOptions,
    teacher: Architecture,
    threads: int,
    progress: Progress,
) -> dict[LatencySource, SourcePredictor]:
    """The predictors by name: those that take no measuring beyond the device's profile, and the options' own.

    ``unfused`` profiles the device a second time, with models compiled operator by operator, where that was not done:
    blocks that no fused model holds are predicted poorly from those that it does (docs/decisions/blind-to-fusion.md).

    Args:
        fused: the device's predictor.
        teacher: the model in which those that are blind to fusion agree with what is measured.

    Raises:
        DeviceError: the device is not available or was lost.
        StoreError: the store or the state directory cannot be written.
    """
    from surrogate.blocks.proportional import ProportionalPredictor, flops

    measures: dict[LatencySource, Measure] = {"flops": flops}
    if options.latency_from == "unfused":
        measures["unfused"] = _unfused_predictor(device, options, threads, progress).predict
    blind = {name: ProportionalPredictor.of(fused, measure, teacher) for name, measure in measures.items()}
    return {"fused": fused, **blind}


def _unfused_predictor(device: Device, options: SearchOptions, threads: int, progress: Progress) -> DevicePredictor:
    """The predictor of models without fusion on a device, profiled where that was not done."""
    from data.store import MeasurementStore
    from search.profiles.profile_pipeline import profile_and_train

    with MeasurementStore.open() as store:
        return profile_and_train(
            device,
            store,
            threads=threads,
            seq_len=options.seq_len,
            fuse=False,
            precisions=options.precisions,
            progress=progress,
        )
