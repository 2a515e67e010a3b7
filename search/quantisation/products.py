"""The products of a model with its weights: which may be int8, what each costs, and computing with some of them so."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

from data.architecture import Precision
from data.errors import InputError
from search.quantisation.scheme import int8_product, limited_levels, restored

# Compiled code computes products with fewer columns in fp32.
FEWEST_COLUMNS = 16
# These read the same rows, so that compiled code merges them into one product, whose precision they share.
_MERGED = (".query", ".key", ".value")


@dataclass(frozen=True)
class Product:
    """A product with weights: the names of its linear ``modules`` (queries, keys and values are one product), and how
    many ``multiplications`` it takes for a text."""

    modules: tuple[str, ...]
    multiplications: int

    @property
    def name(self) -> str:
        """That of its only module, or of the module around them."""
        return self.modules[0] if len(self.modules) == 1 else self.modules[0].rpartition(".")[0]


def products_of(model: Any, tokens: int = 128) -> tuple[Product, ...]:
    """The products of a model that may be int8, in their order: those with at least 16 columns.

    Args:
        model: as :mod:`search.learning.task_models` makes it.
        tokens: of the text whose multiplications are counted.
    """
    together: dict[str, list[tuple[str, int]]] = {}
    for name, module in _linear_modules(model):
        if module.out_features >= FEWEST_COLUMNS:
            rows = 1 if _reads_one_row(model, name) else tokens
            around, _, last = name.rpartition(".")
            key = around if f".{last}" in _MERGED else name
            together.setdefault(key, []).append((name, rows * module.in_features * module.out_features))
    return tuple(
        Product(tuple(name for name, _ in parts), sum(count for _, count in parts)) for parts in together.values()
    )


def _linear_modules(model: Any) -> Iterator[tuple[str, Any]]:
    from torch.nn import Linear

    return ((name, module) for name, module in model.named_modules() if isinstance(module, Linear))


def _reads_one_row(model: Any, name: str) -> bool:
    """Whether compiled code multiplies the first token's row alone: in the pooler and what comes after it, and in the
    last layer before it but for keys and values."""
    last = f".encoder.layer.{model.config.num_hidden_layers - 1}."
    all_rows = ".encoder." in name and (last not in name or name.endswith((".key", ".value")))
    return model.bert.pooler is not None and not all_rows


@contextmanager
def in_precision(
    model: Any, precision: Precision, fp32: Collection[str] = (), pair_limit: int | None = None
) -> Iterator[None]:
    """``model`` gives what it gives when it is compiled in that precision, while the context is open.

    Args:
        model: as :mod:`search.learning.task_models` makes it.
        precision: of its products with weights; in int8 also of its tables. All else stays fp32.
        fp32: names of modules whose products stay fp32 all the same.
        pair_limit: of the weights, as :func:`in_int8` has it.

    Raises:
        InputError: such a module has no product that could be int8.
    """
    names = [name for product in products_of(model) for name in product.modules]
    if unknown := sorted(set(fp32) - set(names)):
        raise InputError(f"no products that could be int8: {', '.join(unknown)}")
    if precision == "fp32":
        yield
        return
    with in_int8(model, [name for name in names if name not in fp32], pair_limit), tables_in_int8(model):
        yield


@contextmanager
def in_int8(model: Any, modules: Collection[str], pair_limit: int | None = None) -> Iterator[None]:
    """These linear modules of ``model`` compute in int8 while the context is open, gradients straight through.

    Args:
        pair_limit: of the weights that the code adds in pairs (:attr:`fusion.target.Target.int8_pair_limit`). With one
            the weights are those of the moment when the context opens, and get no gradient.
    """
    chosen = [model.get_submodule(name) for name in modules]
    for module in chosen:
        quantised = None if pair_limit is None else limited_levels(module.weight, pair_limit)
        module.forward = partial(_int8_forward, module, quantised)
    try:
        yield
    finally:
        for module in chosen:
            del module.forward


def _int8_forward(module: Any, quantised: Any, rows: Any) -> Any:
    return int8_product(rows, module.weight, module.bias, quantised)


@contextmanager
def tables_in_int8(model: Any) -> Iterator[None]:
    """The rows that ``model`` looks up, those of positions among them, are int8 with a scale each while the context is
    open, gradients straight through."""
    from torch.nn import Embedding

    tables: list[Any] = [module for module in model.modules() if isinstance(module, Embedding)]
    for table in tables:
        table.forward = partial(_int8_rows, table)
    try:
        yield
    finally:
        for table in tables:
            del table.forward


def _int8_rows(table: Any, ids: Any) -> Any:
    from torch.nn.functional import embedding

    return restored(embedding(ids, table.weight, table.padding_idx))
