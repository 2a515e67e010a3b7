"""sentence-transformers folders as one module: token ids to a sentence's embedding, pooled, projected, normalised."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from data.errors import DataFileError, ModelError
from fusion.checkpoints.files import check_floating_point, count_of, tensor_headers, weight_files
from fusion.checkpoints.sentence_modules import ACTIVATIONS, SentenceModules, VectorModule

OUTPUT = "sentence_embedding"


def sentence_module(encoder: Any, described: SentenceModules) -> Any:
    """A torch module of int64 ids, mask (and token types), each [1, seq_len], that gives {"sentence_embedding"}.

    ``encoder`` takes the same and gives ``last_hidden_state`` among its outputs. Texts are padded on the right,
    as sentence-transformers pads them: the pooling ``cls`` is the first position.

    Raises:
        DataFileError: weights are missing, left over, of other shapes, or not finite.
        ModelError: an activation is not compiled.
    """
    import torch

    layers = torch.nn.Sequential(*(_layer(module) for module in described.vector_modules))
    poolings = tuple(_POOL[mode] for mode in described.poolings)

    class SentenceEmbedding(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.encoder, self.layers = encoder, layers

        def forward(self, ids: torch.Tensor, mask: torch.Tensor, *types: torch.Tensor) -> dict[str, torch.Tensor]:
            states = self.encoder(ids, mask, *types)["last_hidden_state"]
            pooled = [pool(states, mask) for pool in poolings]
            return {OUTPUT: self.layers(torch.cat(pooled, dim=-1) if len(pooled) > 1 else pooled[0])}

    return SentenceEmbedding().eval()


def _first(states: Any, mask: Any) -> Any:
    return states[:, 0]


def _mean(states: Any, mask: Any) -> Any:
    kept = mask.unsqueeze(-1).to(states.dtype)
    return (states * kept).sum(1) / kept.sum(1).clamp(min=1e-9)


def _mean_by_root(states: Any, mask: Any) -> Any:
    kept = mask.unsqueeze(-1).to(states.dtype)
    return (states * kept).sum(1) / kept.sum(1).clamp(min=1e-9).sqrt()


def _largest(states: Any, mask: Any) -> Any:
    return states.masked_fill(mask.unsqueeze(-1) == 0, float("-inf")).max(1).values


_POOL = {
    "cls": _first,
    "max": _largest,
    "mean": _mean,
    "mean_sqrt_len_tokens": _mean_by_root,
}


def _layer(module: VectorModule) -> Any:
    import torch

    return {
        "Dense": _dense,
        "LayerNorm": _layer_norm,
        "Normalize": lambda _: _normalise(),
        "Dropout": lambda _: torch.nn.Identity(),
    }[module.kind](module)


def _normalise() -> Any:
    import torch

    class Normalise(torch.nn.Module):
        def forward(self, vectors: torch.Tensor) -> torch.Tensor:
            return torch.nn.functional.normalize(vectors, p=2, dim=-1)

    return Normalise()


def _layer_norm(module: VectorModule) -> Any:
    import torch

    norm = torch.nn.LayerNorm(module.size("dimension"), device="meta")
    norm.load_state_dict(_weights(module, {"weight": norm.weight, "bias": norm.bias}, "norm."), assign=True)
    return norm


def _dense(module: VectorModule) -> Any:
    import torch

    sizes = module.size("in_features"), module.size("out_features")
    residual, activation = module.switch("use_residual", False), _activation(module)
    # Without memory until the stored weights, which may be of other sizes, are in place.
    parts = {"linear": torch.nn.Linear(*sizes, bias=module.switch("bias", True), device="meta")}
    if residual and sizes[0] != sizes[1]:
        parts["residual"] = torch.nn.Linear(*sizes, bias=False, device="meta")
    layers = torch.nn.ModuleDict(parts)
    layers.load_state_dict(_weights(module, layers.state_dict()), assign=True)

    class Dense(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers, self.activation = layers, activation

        def forward(self, vectors: torch.Tensor) -> torch.Tensor:
            projected: torch.Tensor = self.activation(self.layers["linear"](vectors))
            if not residual:
                return projected
            return projected + (self.layers["residual"](vectors) if "residual" in self.layers else vectors)

    return Dense()


def _activation(module: VectorModule) -> Any:
    import torch

    name = module.config.get("activation_function", "torch.nn.modules.activation.Tanh")
    short = str(name).rsplit(".", 1)[-1]
    if not str(name).startswith("torch.nn.") or short not in ACTIVATIONS:
        raise ModelError(
            f"{module.folder / 'config.json'}: activation_function {name!r} is not compiled "
            f"(known: {', '.join(ACTIVATIONS)})"
        )
    return getattr(torch.nn, short)()


def _weights(module: VectorModule, expected: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """The module's stored tensors as fp32, which are those expected and no others."""
    from safetensors.torch import load_file

    path = module.folder
    check_floating_point(tensor_headers(path), path)
    files = [load_file(file) for file in weight_files(path)]
    stored = {name: tensor.float() for file in files for name, tensor in file.items()}
    expected = {f"{prefix}{name}": tensor for name, tensor in expected.items()}
    wrong = sorted(
        name
        for name in stored.keys() | expected.keys()
        if name not in stored or name not in expected or stored[name].shape != expected[name].shape
    )
    if wrong:
        raise DataFileError(path, f"{count_of(wrong)} missing, left over or of another shape than stated")
    for name, tensor in stored.items():
        if not tensor.isfinite().all():
            raise DataFileError(path, f"tensor {name} is not finite")
    return {name.removeprefix(prefix): tensor for name, tensor in stored.items()}
