"""The published table 2's GPU figures beside the simulated phone's: ``python -m tests.benchmarks.table2``, seconds.

Published are milliseconds on a Galaxy S20, batch 1, 128 tokens (Niu, Kong et al., 2020); all else is simulated. The
model of the GPU (``profiling/gpu_latency.py``) has three constants, fitted to the six figures by least squares of the
logarithms' differences. Each figure is also predicted by constants fitted to the other five. ``--json`` prints one
object instead of tables.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from functools import cache
from itertools import takewhile

import numpy as np
from scipy.optimize import least_squares

from data.architecture import Architecture, preset
from data.device_spec import DeviceSpec, load_device
from fusion.planning.architecture_plan import plan_architecture
from profiling.simulated import SimulatedDevice

# The sizes are explained in data/devices/s20.toml.
MODELS = {
    "DistilBERT": preset("distilbert"),
    "BERT-base": preset("bert-base"),
    "deep-narrow": Architecture(28, 256, 4, 768),
}
# ms by model, unit and whether it is fused.
PUBLISHED = {
    "DistilBERT": {("cpu", False): 157, ("gpu", False): 237, ("cpu", True): 105, ("gpu", True): 86},
    "BERT-base": {("cpu", False): 276, ("gpu", False): 412, ("cpu", True): 196, ("gpu", True): 147},
    "deep-narrow": {("cpu", False): 89, ("gpu", False): 152, ("cpu", True): 49, ("gpu", True): 45},
}
# The bar of issue 14.
MOST_ERROR = 0.15
_THREADS = 8


@dataclass(frozen=True)
class Figure:
    """One published latency on the GPU."""

    model: str
    fuse: bool
    published_ms: float


@dataclass(frozen=True)
class Constants:
    """The constants of the analytic GPU that are fitted: ``data.device_spec.Analytic`` says what they are."""

    gpu_efficiency: float
    gpu_activation_gbps: float
    gpu_raw_product: float


# What each constant would be if it were none: the data sheet's rates, memory's bandwidth, a product like any other.
WITHOUT: Mapping[str, float] = {"gpu_efficiency": 1.0, "gpu_activation_gbps": 30.0, "gpu_raw_product": 1.0}


@dataclass(frozen=True)
class Row:
    """A figure with what is predicted of it, and predicted by constants that it had no part in; errors are relative."""

    figure: Figure
    predicted_ms: float
    left_out_ms: float

    @property
    def error(self) -> float:
        return self.predicted_ms / self.figure.published_ms - 1

    @property
    def left_out_error(self) -> float:
        return self.left_out_ms / self.figure.published_ms - 1


def gpu_figures() -> tuple[Figure, ...]:
    """The six figures of the GPU."""
    return tuple(
        Figure(model, fuse, published[("gpu", fuse)])
        for model, published in PUBLISHED.items()
        for fuse in (False, True)
    )


def all_rows_ms(device: SimulatedDevice, model: Architecture, fuse: bool = True) -> float:
    """Time of a model whose last layer computes every row, as the published system does."""
    three, two = (plan_architecture(replace(model, layers=layers), fuse) for layers in (3, 2))
    layer = Counter(three) - Counter(two)
    embeddings = takewhile(lambda block: block.anchor != "gemm", two)
    head = two[-2:] if fuse else two[-5:]  # pooler and classifier; apart: product, bias, tanh, product, bias
    rest = sum(device.block_ms(block, _THREADS) for block in [*embeddings, *head])
    return rest + model.layers * sum(times * device.block_ms(block, _THREADS) for block, times in layer.items())


@cache
def s20() -> DeviceSpec:
    return load_device("s20")


def bundled() -> Constants:
    """The constants of the bundled S20."""
    return Constants(*(getattr(s20().analytic, field.name) for field in fields(Constants)))


def predicted_ms(figure: Figure, constants: Constants) -> float:
    """What the S20's GPU takes by these constants, simulated."""
    spec = s20()
    assert spec.analytic is not None
    device = SimulatedDevice(replace(spec, analytic=replace(spec.analytic, **asdict(constants))), "gpu")
    return all_rows_ms(device, MODELS[figure.model], figure.fuse)


def fitted(figures: Sequence[Figure], free: Sequence[str] = tuple(WITHOUT)) -> Constants:
    """The constants by which these figures come out best; those that are not ``free`` are as if there were none."""

    def constants(logarithms: np.ndarray) -> Constants:
        return Constants(**(dict(WITHOUT) | dict(zip(free, np.exp(logarithms).tolist(), strict=True))))

    def errors(logarithms: np.ndarray) -> list[float]:
        made = constants(logarithms)
        return [np.log(predicted_ms(figure, made) / figure.published_ms) for figure in figures]

    start = {"gpu_efficiency": 0.5, "gpu_activation_gbps": 3.0, "gpu_raw_product": 0.5}
    found = least_squares(errors, np.log([start[name] for name in free]))
    return constants(found.x)


def rows(free: Sequence[str] = tuple(WITHOUT)) -> tuple[Row, ...]:
    """Every figure with its predictions; those of all constants by the bundled ones."""
    figures = gpu_figures()
    constants = bundled() if len(free) == len(WITHOUT) else fitted(figures, free)
    return tuple(
        Row(
            figure,
            predicted_ms(figure, constants),
            predicted_ms(figure, fitted([other for other in figures if other != figure], free)),
        )
        for figure in figures
    )


def table(found: Sequence[Row]) -> str:
    """Markdown: a line a figure."""
    lines = [
        "| model | fusion | published ms | simulated ms | error | left out of the fit, ms | error |",
        "| --- | --- | ---: | ---: | ---: | ---: | ---: |",
        *(
            f"| {row.figure.model} | {'fused' if row.figure.fuse else 'none'} | {row.figure.published_ms:g} "
            f"| {row.predicted_ms:.1f} | {row.error:+.1%} | {row.left_out_ms:.1f} | {row.left_out_error:+.1%} |"
            for row in found
        ),
    ]
    return "\n".join(lines)


def worth() -> str:
    """Markdown: the largest errors with fewer constants."""
    lines = ["| fitted | largest error | left out |", "| --- | ---: | ---: |"]
    names = tuple(WITHOUT)
    for free in (names, *(tuple(name for name in names if name != without) for without in names)):
        found = rows(free)
        largest = max(abs(row.error) for row in found), max(abs(row.left_out_error) for row in found)
        lines.append(f"| {', '.join(free)} | {largest[0]:.1%} | {largest[1]:.1%} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true")
    as_json = parser.parse_args().json
    found, fit = rows(), fitted(gpu_figures())
    if as_json:
        errors = [asdict(row) | {"error": row.error, "left_out_error": row.left_out_error} for row in found]
        print(json.dumps({"provenance": "simulated", "constants": asdict(fit), "figures": errors}))
        return
    print(f"Galaxy S20, GPU, simulated.\n\n{table(found)}\n\nFitted to all six: ", end="")
    print(", ".join(f"{name} {value:.4g}" for name, value in asdict(fit).items()), f"\n\n{worth()}", sep="")


if __name__ == "__main__":
    main()
