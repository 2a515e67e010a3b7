"""What people put behind an encoder: pooled, normalised, scored; each as a function of hidden states and mask."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType

import torch
from torch import Tensor
from torch.nn.functional import normalize

from tests.fusion.families import Export, export_module, random_model

Head = Callable[[Tensor, Tensor], Tensor | tuple[Tensor, ...]]


def _logits(hidden: Tensor, labels: int = 5) -> Tensor:
    """A product with fixed weights."""
    width = int(hidden.shape[-1])
    return hidden @ torch.arange(width * labels).mul(1.7).sin().reshape(width, labels)


def _guarded(x: Tensor) -> Tensor:
    return x / (x.norm(dim=-1, keepdim=True) + 1e-6)


SCORES: Mapping[str, Head] = MappingProxyType(
    {
        "softmax": lambda hidden, mask: _logits(hidden).softmax(-1),
        "softmax of one row": lambda hidden, mask: _logits(hidden[:, 0]).softmax(1),
        "softmax over tokens": lambda hidden, mask: _logits(hidden, 3).softmax(1),
        "start and end": lambda hidden, mask: tuple(
            part.squeeze(-1).softmax(-1) for part in _logits(hidden, 2).split(1, dim=-1)
        ),
        "best start and end": lambda hidden, mask: tuple(
            part.squeeze(-1).argmax(-1) for part in _logits(hidden, 2).split(1, dim=-1)
        ),
        "log softmax": lambda hidden, mask: _logits(hidden, 21).log_softmax(-1),
        "sigmoid": lambda hidden, mask: _logits(hidden[:, 0]).sigmoid(),
        "tanh": lambda hidden, mask: _logits(hidden[:, 0]).tanh(),
        "arg max": lambda hidden, mask: _logits(hidden).argmax(-1),
        "arg max of one row": lambda hidden, mask: _logits(hidden[:, 0]).argmax(dim=1, keepdim=True),
        "arg min": lambda hidden, mask: _logits(hidden, 9).argmin(-1),
        "best three": lambda hidden, mask: tuple(_logits(hidden, 9).softmax(-1).topk(3)),
        "logits, hidden states and scores": lambda hidden, mask: (_logits(hidden), hidden, _logits(hidden).softmax(-1)),
        "uneven parts": lambda hidden, mask: _logits(hidden, 9).split([2, 3, 4], dim=-1),
        "one column": lambda hidden, mask: (_logits(hidden)[..., 1], _logits(hidden)[:, :, 1:3]),
        "turned": lambda hidden, mask: _logits(hidden).transpose(1, 2),
        "flat": lambda hidden, mask: (hidden.flatten(1), hidden),
        "largest score": lambda hidden, mask: (_logits(hidden, 9).softmax(-1).amax(-1), _logits(hidden, 9).amin(-1)),
        "sum and mean": lambda hidden, mask: (_logits(hidden, 9).sum(-1), _logits(hidden, 9).mean(-1, keepdim=True)),
        "one less": lambda hidden, mask: 1 - _logits(hidden[:, 0], 1).sigmoid(),
        "joined with itself": lambda hidden, mask: torch.cat([hidden[:, 0]] * 2, -1),
        "joined": lambda hidden, mask: torch.cat([hidden[:, 0], hidden[:, -1], _logits(hidden[:, 0])], -1),
    }
)
UNIT_ROWS: Mapping[str, Head] = MappingProxyType(
    {
        "normalize": lambda hidden, mask: normalize(hidden[:, 0]),
        "each token": lambda hidden, mask: normalize(hidden, dim=-1),
        "by norm": lambda hidden, mask: hidden[:, 0] / hidden[:, 0].norm(dim=1, keepdim=True),
        "by guarded norm": lambda hidden, mask: _guarded(hidden[:, 0]),
        "by vector norm": lambda hidden, mask: (
            hidden[:, 0] / torch.linalg.vector_norm(hidden[:, 0], dim=-1, keepdim=True).clamp(min=1e-9)
        ),
        "by root of squares": lambda hidden, mask: hidden / hidden.pow(2).sum(-1, keepdim=True).sqrt(),
        "by reciprocal root": lambda hidden, mask: hidden * (hidden * hidden).sum(-1, keepdim=True).add(1e-9).rsqrt(),
        "by bounded squares": lambda hidden, mask: hidden * hidden.square().sum(-1, True).clamp(min=1e-12).rsqrt(),
        "projected": lambda hidden, mask: normalize(_logits(hidden[:, 0], 33)),
    }
)


def _expanded(hidden: Tensor, mask: Tensor) -> Tensor:
    return mask.unsqueeze(-1).expand(hidden.size()).float()


def _mean(hidden: Tensor, mask: Tensor) -> Tensor:
    """As sentence-transformers has it."""
    wide = _expanded(hidden, mask)
    return torch.sum(hidden * wide, 1) / torch.clamp(wide.sum(1), min=1e-9)


def _largest(hidden: Tensor, mask: Tensor) -> Tensor:
    return hidden.masked_fill(_expanded(hidden, mask) == 0, -1e9).max(1).values


POOLED: Mapping[str, Head] = MappingProxyType(
    {
        "mean": _mean,
        "mean of bool": lambda hidden, mask: (
            (hidden * mask.bool().unsqueeze(-1)).sum(1) / mask.bool().sum(1, keepdim=True)
        ),
        "mean by weights": lambda hidden, mask: (
            hidden * (mask / mask.sum(1, keepdim=True).clamp(min=1)).unsqueeze(-1)
        ).sum(1),
        "mean by product": lambda hidden, mask: (
            torch.bmm(mask.unsqueeze(1).float(), hidden).squeeze(1) / mask.sum(1, keepdim=True).float()
        ),
        "mean by turned product": lambda hidden, mask: (
            (hidden.transpose(1, 2) @ mask.unsqueeze(-1).float()).squeeze(-1) / mask.float().sum(1, keepdim=True)
        ),
        "mean by einsum": lambda hidden, mask: (
            torch.einsum("bs,bsh->bh", mask.float(), hidden) / mask.sum(1, keepdim=True)
        ),
        "masked fill": lambda hidden, mask: (
            hidden.masked_fill(~mask[..., None].bool(), 0.0).sum(dim=1) / mask.sum(dim=1)[..., None]
        ),
        "square root of length": lambda hidden, mask: (
            (hidden * _expanded(hidden, mask)).sum(1) / _expanded(hidden, mask).sum(1).sqrt()
        ),
        "largest": _largest,
        "largest by where": lambda hidden, mask: torch.where(mask.unsqueeze(-1) == 1, hidden, torch.tensor(-1e4)).amax(
            1
        ),
        "largest by bias": lambda hidden, mask: (hidden + (1 - mask.float())[..., None] * -1e4).amax(dim=1),
        "mean of all": lambda hidden, mask: hidden.mean(1),
        "largest of all": lambda hidden, mask: (hidden.max(1)[0], hidden.amin(1)),
        "first and normalised": lambda hidden, mask: (hidden[:, 0], normalize(hidden[:, 0])),
        "normalised mean": lambda hidden, mask: normalize(_mean(hidden, mask), p=2, dim=1),
        "dense": lambda hidden, mask: normalize(_logits(_mean(hidden, mask), 33).tanh()),
        "all pools": lambda hidden, mask: (hidden, hidden[:, 0], _mean(hidden, mask), _largest(hidden, mask)),
        "joined pools": lambda hidden, mask: torch.cat([hidden[:, 0], _mean(hidden, mask), _largest(hidden, mask)], 1),
        "masked states": lambda hidden, mask: hidden * mask.unsqueeze(-1),
        "masked logits": lambda hidden, mask: (_logits(hidden, 1).squeeze(-1) + (1 - mask.float()) * -1e4).softmax(-1),
    }
)


def everything(hidden: Tensor, mask: Tensor) -> tuple[Tensor, ...]:
    """Every kernel behind an encoder, in one model of many outputs."""
    names = (
        "softmax over tokens",
        "start and end",
        "log softmax",
        "sigmoid",
        "arg max",
        "best three",
        "joined",
        "turned",
    )
    pools = ("joined pools", "normalised mean", "mean of all", "largest of all", "masked states", "masked logits")
    made = [SCORES[name](hidden, mask) for name in names] + [POOLED[name](hidden, mask) for name in pools]
    return tuple(one for part in made for one in (part if isinstance(part, tuple) else (part,)))


class Headed(torch.nn.Module):
    """A random encoder with a head; inputs by position."""

    def __init__(self, how: Export, head: Head) -> None:
        super().__init__()
        self.model, self.names, self.head = (
            random_model(how.family, "hidden", how.attention, **how.changes),
            how.names,
            head,
        )

    def forward(self, *ids: Tensor) -> Tensor | tuple[Tensor, ...]:
        values = dict(zip(self.names, ids, strict=True))
        mask = values.get("attention_mask", torch.ones_like(ids[0]))
        return self.head(self.model(**values, return_dict=False)[0], mask)


def export_head(how: Export, head: Head, path: Path) -> Path:
    """The ONNX file of a random encoder with a head."""
    return export_module(Headed(how, head), how, path)
