"""The int8 scheme of compiled code, in PyTorch: what a product gives whose operands have 255 levels a row.

Weights have a scale for each output channel, activations one for each token, found at run time; both are symmetric, the
largest magnitude at 127 (as XNNPACK's qd8-f32-qc8w). Levels are whole numbers in fp32, and so are their sums: exact up
to 2 ** 24, beyond that rounded as fp32 is, where compiled code sums in int32.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

LARGEST_LEVEL = 127


def levels_of(rows: Tensor) -> tuple[Tensor, Tensor]:
    """Levels (..., n), whole numbers from -127 to 127, and scales (..., 1) of rows (..., n); their product is about the
    rows.

    A row of zeros has scale 0. Levels are the nearest, ties to even; their gradient passes through the rounding as if
    there were none (the straight-through estimator, Bengio et al. 2013), and none reaches the scales.
    """
    import torch

    largest = rows.detach().abs().amax(dim=-1, keepdim=True)
    # A tensor, not a number: PyTorch divides a number by multiplying it with the inverse, which rounds twice.
    most = torch.full_like(largest, LARGEST_LEVEL)
    per_level = most / largest
    # Where the largest is 0, or so small that its inverse is not finite.
    per_level = torch.where(per_level.isfinite(), per_level, torch.zeros_like(per_level))
    exact = rows * per_level
    # Exactly the rounded value: the difference of a number and its nearest whole one is exact.
    return exact + (exact.round() - exact).detach(), largest / most


def restored(rows: Tensor) -> Tensor:
    """Rows (..., n) as their levels tell them: the nearest multiples of each row's scale."""
    levels, scales = levels_of(rows)
    return levels * scales


def limited_levels(weight: Tensor, pair_limit: int) -> tuple[Tensor, Tensor]:
    """Levels (m, n) and scales (m, 1) of ``weight`` (m, n), as the compiler makes them for code that adds products of
    pairs in 16 bits (:func:`~fusion.emit.c.int8_packing.quantise_weights`); no gradient passes."""
    import torch

    from fusion.emit.c.int8_packing import quantise_weights

    levels, scales = quantise_weights(weight.detach().T.cpu().numpy(), pair_limit)
    found = torch.from_numpy(levels.T.astype("float32")), torch.from_numpy(scales).unsqueeze(1)
    return found[0].to(weight.device), found[1].to(weight.device)


def int8_product(
    rows: Tensor, weight: Tensor, bias: Tensor | None, quantised: tuple[Tensor, Tensor] | None = None
) -> Tensor:
    """Rows (..., n) times ``weight`` (m, n) transposed, plus ``bias`` (m,): as int8 code computes them, (..., m).

    Under autocast the levels lose nothing, while their sums are rounded as all products are then.

    Args:
        quantised: levels and scales of ``weight``, where they are not the nearest (:func:`limited_levels`).
    """
    import torch

    own, row_scales = levels_of(rows.float())
    others, column_scales = levels_of(weight) if quantised is None else quantised
    sums = torch.nn.functional.linear(own, others)
    found = sums * (row_scales * column_scales.squeeze(1))
    return (found if bias is None else found + bias).to(sums.dtype)
