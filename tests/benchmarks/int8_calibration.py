"""What calibration is worth beside scales for each output channel and each token, and how many points go with what.

    python -m tests.benchmarks.int8_calibration --data DIR --out DIR

Takes the models of :mod:`tests.benchmarks.int8_accuracy` in OUT (``--tasks``, ``--students``, ``--tokens``), those
whose row is there, and measures on the held-out tenth of train how far their answers are from those in fp32

- as the scheme is, and with weights or activations alone in int8;
- with pairs of weights as processors without dot products have them (AVX2: sums of 16 bits must not saturate);
- with weight scales that are clipped where that lowers a column's squared error, plainly, or with each input's own mean
  square on calibration texts;
- smoothed (SmoothQuant, Xiao et al. 2023, strength .5): scales of single inputs moved from activations into weights, by
  calibration texts. From values into the product after attention it is exact and free; where the inputs are a
  LayerNorm's or GELU's, whoever quantises a row would have to multiply it by them first, for the residual sum reads the
  same rows;
- with fewer levels, down to 4 bits, which no compiled code has: how many points go with how large a divergence;
- with the dearest products in fp32.

Calibration texts are of train, never of dev or the held-out tenth. Rows are kept in OUT: a killed call goes on.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fusion.emit.c.int8_packing import quantise_weights
from fusion.target import target_named
from search.learning.divergence import divergence
from search.learning.encoding import encode
from search.learning.objectives import predict
from search.learning.task_models import load_model
from search.learning.units import Units
from search.quantisation.products import products_of
from search.quantisation.sensitivity import choose_fp32
from tests.benchmarks.int8_accuracy import cases
from tests.benchmarks.int8_runs import SEQ_LEN, Case, Setting, kept_row, model_of, paired_error

if TYPE_CHECKING:
    from torch import Tensor

_CALIBRATION_EXAMPLES = 256
_RATIOS = np.arange(1.0, 0.49, -0.02)
_STRENGTH = 0.5
_FEWER_LEVELS = {"7 bits": 63, "6 bits": 31, "5 bits": 15, "4 bits": 7}


def to_levels(rows: Tensor, scales: Tensor, most: int = 127) -> Tensor:
    """Rows as the nearest multiples of their scales (..., 1), none above ``most`` of them."""
    import torch

    return (rows / torch.where(scales > 0, scales, 1.0)).round().clamp(-most, most) * scales


def by_largest(rows: Tensor, most: int = 127) -> Tensor:
    """Rows whose scale is their largest magnitude over ``most``."""
    return to_levels(rows, rows.abs().amax(dim=-1, keepdim=True) / most, most)


def in_pairs(weight: Tensor) -> Tensor:
    """Weights (m, n) as the compiler packs them for AVX2."""
    import torch

    levels, scales = quantise_weights(weight.T.numpy(), target_named("x86_64-avx2").int8_pair_limit)
    return torch.from_numpy(levels * scales).T.contiguous()


def clipped(weight: Tensor, importance: Tensor | None = None) -> Tensor:
    """Weights (m, n) with the scale of each row that has the least squared error, each input weighed (n,)."""
    import torch

    largest = weight.abs().amax(dim=1, keepdim=True) / 127
    tried = torch.stack([to_levels(weight, largest * float(ratio)) for ratio in _RATIOS])
    errors = ((tried - weight).square() * (1.0 if importance is None else importance)).sum(dim=2)
    return tried[errors.argmin(dim=0), torch.arange(len(weight))]


def smoothing(weight: Tensor, largest: Tensor) -> Tensor:
    """What to divide inputs by (n,), and to multiply weights (m, n) with."""
    import torch

    found = largest.pow(_STRENGTH) / weight.abs().amax(dim=0).pow(1 - _STRENGTH)
    return torch.where(found.isfinite() & (found > 0), found, 1.0)


Rows = Callable[["Tensor"], "Tensor"]


def plain(rows: Tensor) -> Tensor:
    return rows


@contextmanager
def computing(model: Any, weights: Mapping[str, Tensor], rows: Mapping[str, Rows]) -> Iterator[None]:
    """The modules of ``weights`` multiply what ``rows`` makes of their inputs with these weights."""
    import torch

    def forward(module: Any, weight: Tensor, prepare: Rows, values: Tensor) -> Tensor:
        found: Tensor = torch.nn.functional.linear(prepare(values), weight, module.bias)
        return found

    chosen = {name: model.get_submodule(name) for name in weights}
    try:
        for name, module in chosen.items():
            module.forward = partial(forward, module, weights[name], rows[name])
        yield
    finally:
        for module in chosen.values():
            vars(module).pop("forward", None)


def statistics(model: Any, names: Collection[str], encoded: Any) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """The largest magnitude and the mean square of each input (n,) of these modules."""
    import torch

    largest: dict[str, Tensor] = {}
    squares: dict[str, list[Tensor]] = {name: [] for name in names}

    def hook(name: str, module: Any, inputs: tuple[Tensor, ...]) -> None:
        rows = inputs[0].reshape(-1, inputs[0].shape[-1])
        most = rows.abs().amax(dim=0)
        largest[name] = torch.maximum(largest[name], most) if name in largest else most
        squares[name].append(rows.square().mean(dim=0))

    handles = [model.get_submodule(name).register_forward_pre_hook(partial(hook, name)) for name in names]
    try:
        predict(model, encoded)
    finally:
        for handle in handles:
            handle.remove()
    return largest, {name: torch.stack(found).mean(dim=0) for name, found in squares.items()}


def variants(model: Any, calibration: Any) -> dict[str, tuple[dict[str, Tensor], dict[str, Rows]]]:
    """Weights, and what is done to rows, of each way to compute the model's products."""
    import torch

    names = [name for product in products_of(model) for name in product.modules]
    weights = {name: model.get_submodule(name).weight.detach() for name in names}
    largest, squares = statistics(model, names, calibration)
    int8, both = {name: by_largest(weight) for name, weight in weights.items()}, dict.fromkeys(names, by_largest)
    made: dict[str, tuple[dict[str, Tensor], dict[str, Rows]]] = {
        "as it is": (int8, both),
        "weights alone": (int8, dict.fromkeys(names, plain)),
        "activations alone": (weights, both),
        "pairs as for AVX2": ({name: in_pairs(weight) for name, weight in weights.items()}, both),
        "clipped": ({name: clipped(weight) for name, weight in weights.items()}, both),
        "clipped by inputs": ({name: clipped(weight, squares[name]) for name, weight in weights.items()}, both),
    }
    for told, endings in (
        ("smoothed after attention", (".attention.output.dense",)),
        ("smoothed after LayerNorm", (".query", ".key", ".value", ".intermediate.dense")),
        ("smoothed after GELU", (".output.dense",)),
        ("smoothed everywhere", ("",)),
    ):
        chosen = [name for name in names if name.endswith(endings)]
        if told == "smoothed after GELU":
            chosen = [name for name in chosen if ".attention." not in name]
        made[told] = _smoothed(weights, int8, both, {name: largest[name] for name in chosen})
    for told, most in _FEWER_LEVELS.items():
        fewer = {name: by_largest(weight, most) for name, weight in weights.items()}
        made[told] = fewer, dict.fromkeys(names, partial(by_largest, most=most))
    assert all(torch.isfinite(weight).all() for own, _ in made.values() for weight in own.values())
    return made


def _smoothed(
    weights: dict[str, Tensor], int8: dict[str, Tensor], both: dict[str, Rows], largest: dict[str, Tensor]
) -> tuple[dict[str, Tensor], dict[str, Rows]]:
    """The products in ``largest`` smoothed, queries, keys and values of a layer alike, and all others as they are."""
    import torch

    own, rows = dict(int8), dict(both)
    for name, most in largest.items():
        around, _, last = name.rpartition(".")
        together = (
            [f"{around}.{each}" for each in ("query", "key", "value")] if last in ("query", "key", "value") else [name]
        )
        factors = smoothing(torch.cat([weights[each] for each in together]), most)
        own[name] = by_largest(weights[name] * factors)
        rows[name] = partial(_divided, factors)
    return own, rows


def _divided(factors: Tensor, rows: Tensor) -> Tensor:
    return by_largest(rows / factors)


def measured(case: Case, setting: Setting) -> dict[str, Any]:
    """How far each variant is from fp32, and what it loses, on the held-out tenth of train."""
    from transformers import AutoTokenizer

    made = model_of(case, setting)
    task, kind = made.choosing, made.choosing.kind
    tokenizer, model = AutoTokenizer.from_pretrained(made.folder), load_model(made.folder, kind)
    step = max(1, len(task.train) // _CALIBRATION_EXAMPLES)
    few = task.train[::step][:_CALIBRATION_EXAMPLES]
    calibration, held = (encode(tokenizer, part, kind, SEQ_LEN) for part in (few, task.dev))
    units, wanted = Units.of(calibration), predict(model, held)
    row: dict[str, Any] = {"variants": {}}
    for told, (weights, rows) in variants(model, calibration).items():
        with computing(model, weights, rows):
            found = predict(model, held)
        apart = divergence(kind, found, wanted, units)
        row["variants"][told] = {
            "divergence": apart.mean,
            "divergence_error": apart.standard_error,
            "loss": task.score(wanted)[task.metric] - task.score(found)[task.metric],
            "loss_error": paired_error(task, wanted, found),
        }
    before = predict(model, calibration)
    choice = choose_fp32(model, lambda: divergence(kind, predict(model, calibration), before, units).mean, 0.0)
    row["choice"] = {
        "undivided": choice.undivided,
        "divergence": choice.divergence,
        "share": choice.share,
        "fp32": choice.fp32,
        "costs": [[cost.modules[0], cost.share, cost.divergence] for cost in choice.costs],
    }
    return row


def table(rows: list[dict[str, Any]]) -> str:
    """Divergence of each variant as a share of that of the scheme as it is; the geometric mean over models last."""
    names = [name for name in rows[0]["variants"] if name not in ("as it is", *_FEWER_LEVELS)]
    heads = ["model", "as it is", *names, "dearest tenth in fp32"]
    lines = [f"| {' | '.join(heads)} |", f"| --- |{' ---: |' * (len(heads) - 1)}"]
    shares = []
    for row in rows:
        own = row["variants"]["as it is"]["divergence"]
        found = [row["variants"][name]["divergence"] / own for name in names]
        found.append(row["choice"]["divergence"] / row["choice"]["undivided"])
        shares.append(found)
        lines.append(f"| {_name(row)} | {own:.2g} | {' | '.join(f'{share:.2f}' for share in found)} |")
    means = np.exp(np.log(shares).mean(axis=0))
    lines.append(f"| geometric mean | | {' | '.join(f'{mean:.2f}' for mean in means)} |")
    return "\n".join(lines)


def points(rows: list[dict[str, Any]]) -> str:
    """Divergence and lost points of 8 bits and fewer."""
    bits = ["as it is", *_FEWER_LEVELS]
    lines = [f"| model | {' | '.join(bits)} |", f"| --- |{' ---: |' * len(bits)}"]
    for row in rows:
        cells = [row["variants"][name] for name in bits]
        told = [f"{c['divergence']:.2g}: {100 * c['loss']:+.1f} ± {100 * c['loss_error']:.1f}" for c in cells]
        lines.append(f"| {_name(row)} | {' | '.join(told)} |")
    return "\n".join(lines)


def dearest(rows: list[dict[str, Any]]) -> str:
    """The three dearest products of each model, and what all cost together."""
    lines = ["| model | all in int8 | the dearest alone | fp32 | then |", "| --- | ---: | --- | ---: | ---: |"]
    for row in rows:
        choice = row["choice"]
        told = ", ".join(f"{name.removeprefix('bert.encoder.')} {cost:.2g}" for name, _, cost in choice["costs"][:3])
        share, then = choice["share"], choice["divergence"]
        lines.append(f"| {_name(row)} | {choice['undivided']:.2g} | {told} | {share:.1%} | {then:.2g} |")
    return "\n".join(lines)


def _name(row: dict[str, Any]) -> str:
    case = row["case"]
    return f"{case['task']} {case['student'] or 'teacher'}{', aware' if case['quantised'] else ''}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with GLUE's folders")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--tasks", default="sentences,mrpc,stsb,rte,docpairs")
    parser.add_argument("--students", default="6x192-h6-f384,4x256-h8-f1024")
    parser.add_argument("--tokens", type=int, default=300_000, help="that each student has learnt from")
    parser.add_argument("--aware", default="", help="shares of steps, as students were made with")
    given = parser.parse_args()
    setting, rows = Setting(given.data, given.out), []
    aware = [float(share) for share in given.aware.split(",") if share]
    for case in cases(given.tasks.split(","), given.students.split(","), given.tokens, aware):
        if not (given.out / "accuracy" / f"{case.name}.json").exists():
            print(f"{case.name}: not made yet, left out", flush=True)
            continue
        rows.append(kept_row(case, setting, "calibration", measured))
    for told in (table, points, dearest):
        print(f"\n{told.__doc__}\n\n{told(rows)}")


if __name__ == "__main__":
    main()
