"""Which products cost most when they are int8, and which of them therefore stay fp32."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from search.quantisation.products import in_int8, in_precision, products_of
from search.records import Int8Choice, ProductCost

# What may stay fp32, of all multiplications with weights.
MOST_IN_FP32 = 0.1


def costs_of(model: Any, distance: Callable[[], float], pair_limit: int | None = None) -> tuple[ProductCost, ...]:
    """What each product costs when it alone is int8, the dearest first.

    Args:
        model: as :mod:`search.learning.task_models` makes it.
        distance: how far the model's answers are now from those that it gives in fp32.
        pair_limit: of int8 weights, as :func:`~search.quantisation.products.in_int8` has it.
    """
    products = products_of(model)
    total = sum(product.multiplications for product in products)
    costs = []
    for product in products:
        with in_int8(model, product.modules, pair_limit):
            costs.append(ProductCost(product.modules, product.multiplications / total, distance()))
    return tuple(sorted(costs, key=lambda cost: -cost.divergence))


def choose_fp32(
    model: Any,
    distance: Callable[[], float],
    limit: float,
    most_share: float = MOST_IN_FP32,
    pair_limit: int | None = None,
) -> Int8Choice:
    """Puts products back into fp32 one by one, the dearest first, until the model's distance is within the limit.

    What would exceed ``most_share``, or brings the answers no nearer, is passed over. The choice may end above the
    limit: then its ``divergence`` says so.

    Args:
        model: as :mod:`search.learning.task_models` makes it.
        distance: how far the model's answers are now from those that it gives in fp32.
        limit: of the distance.
        most_share: of the multiplications with weights that may stay fp32, at most.
        pair_limit: of int8 weights, as :func:`~search.quantisation.products.in_int8` has it.
    """
    costs = costs_of(model, distance, pair_limit)
    with in_precision(model, "int8", pair_limit=pair_limit):
        undivided = distance()
    modules, share, found = tuple[str, ...](), 0.0, undivided
    for cost in costs:
        if found <= limit:
            break
        if share + cost.share > most_share:
            continue
        with in_precision(model, "int8", (*modules, *cost.modules), pair_limit):
            nearer = distance()
        if nearer < found:
            modules, share, found = (*modules, *cost.modules), share + cost.share, nearer
    return Int8Choice(modules, share, found, undivided, limit, costs)
