"""Activations of encoder layers on some training texts, and the least-squares fits made from them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from search.learning.encoding import Encoded, pad

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

_TOKENS = 4000
_RIDGE = 1e-3


@dataclass(frozen=True)
class CalibrationBatch:
    """Padded training texts: ``inputs`` as for the model, ``additive`` (b, 1, 1, s) mask, ``valid`` (b, s) bool."""

    inputs: dict[str, Tensor]
    additive: Tensor
    valid: Tensor


@dataclass(frozen=True)
class LayerActivations:
    """One encoder layer's activations at the n valid tokens, (n, width) each.

    ``context`` is what the heads give, ``attention_sum`` and ``output_sum`` are the inputs of the two
    LayerNorms, ``attended`` and ``output`` their outputs, ``inner`` and ``activation`` the feed-forward
    neurons before and after their function. ``states`` is ``output`` still padded, (b, s, hidden).
    """

    query: Tensor
    key: Tensor
    value: Tensor
    context: Tensor
    attention_sum: Tensor
    attended: Tensor
    inner: Tensor
    activation: Tensor
    output_sum: Tensor
    output: Tensor
    states: Tensor


def calibration_batch(encoded: Encoded, seed: int, device: torch.device) -> CalibrationBatch:
    """Random training texts with about ``_TOKENS`` tokens in all."""
    import torch

    lengths = encoded.lengths
    usual = np.flatnonzero(lengths <= np.quantile(lengths, 0.9))  # the longest would be padding for all others
    order = np.random.default_rng(seed).permutation(usual)
    count = max(2, int(np.searchsorted(np.cumsum(encoded.lengths[order]), _TOKENS)))
    inputs = {name: values.to(device) for name, values in pad(encoded, order[:count]).items()}
    valid = inputs["attention_mask"].bool()
    additive = torch.zeros(valid.shape, device=device).masked_fill(~valid, torch.finfo(torch.float32).min)
    return CalibrationBatch(inputs, additive[:, None, None, :], valid)


def run_layer(layer: Any, states: Tensor, batch: CalibrationBatch) -> LayerActivations:
    """Run one BERT layer on (b, s, hidden) ``states`` and keep what flows through it."""
    attention, output = layer.attention, layer.output
    sources = {
        "query": (attention.self.query, False),
        "key": (attention.self.key, False),
        "value": (attention.self.value, False),
        "context": (attention.output.dense, True),
        "attention_sum": (attention.output.LayerNorm, True),
        "attended": (attention.output.LayerNorm, False),
        "inner": (layer.intermediate.dense, False),
        "activation": (output.dense, True),
        "output_sum": (output.LayerNorm, True),
        "output": (output.LayerNorm, False),
    }
    with _captured(sources) as seen:
        layer(states, attention_mask=batch.additive)
    return LayerActivations(**{name: values[batch.valid] for name, values in seen.items()}, states=seen["output"])


@contextmanager
def _captured(sources: dict[str, tuple[nn.Module, bool]]) -> Iterator[dict[str, Tensor]]:
    """Record each module's input (True) or output (False) under its name while the context is open."""
    seen: dict[str, Tensor] = {}

    def hook(name: str, wants_input: bool) -> Any:
        def keep(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
            seen[name] = inputs[0] if wants_input else output

        return keep

    handles = [module.register_forward_hook(hook(name, wants)) for name, (module, wants) in sources.items()]
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()


def fit_linear(layer: nn.Linear, inputs: Tensor, targets: Tensor) -> None:
    """Set a linear layer to the ridge regression of ``targets`` (n, out) on ``inputs`` (n, in), with intercept."""
    import torch

    mean_input, mean_target = inputs.mean(dim=0), targets.mean(dim=0)
    centred = inputs - mean_input
    gram = (centred.T @ centred).double()
    gram.diagonal().add_(_RIDGE * gram.diagonal().mean() + 1e-12)
    weight = torch.linalg.solve(gram, (centred.T @ (targets - mean_target)).double()).float()
    layer.weight.copy_(weight.T)
    layer.bias.copy_(mean_target - mean_input @ weight)


def fit_layer_norm(norm: nn.LayerNorm, inputs: Tensor, targets: Tensor) -> None:
    """Set a LayerNorm's gain and bias so that, coordinate by coordinate, it maps ``inputs`` closest to ``targets``."""
    import torch

    normalised = torch.nn.functional.layer_norm(inputs, inputs.shape[-1:], eps=norm.eps)
    mean, mean_target = normalised.mean(dim=0), targets.mean(dim=0)
    centred = normalised - mean
    gain = (centred * (targets - mean_target)).sum(dim=0) / (centred.square().sum(dim=0) + 1e-6)
    norm.weight.copy_(gain)
    norm.bias.copy_(mean_target - gain * mean)
