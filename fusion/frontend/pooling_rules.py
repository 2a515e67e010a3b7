"""Rules for pooling: rows scaled and shifted as the mask says, then summed, or the largest or smallest of each column.

    mask_rows(x; scales, shifts)    row r becomes scales[kept(r)][count] x + shifts[kept(r)][count]
    pool(x; scales, shifts)         the same, and then one row of all; without a mask, of x as it is

Both tables have one entry for a token's own bit of the mask and for how many tokens are kept (``mask_tables.py``), so
that a mean over kept tokens is a sum whose scales are 1 / count and 0.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from fusion.frontend.output_rules import reduced_axes
from fusion.graph import Attribute, Operator, TensorType
from fusion.importing.mask_tables import KEYS, ROWS
from fusion.rewriting.patterns import Apply, Build, Constant, Draft, Replacement, Rule, Tensor, commutes
from fusion.rewriting.views import IDENTITY, elements, make_view, view_of

_X = Tensor("x")
_FUNCTIONS: Mapping[str, str] = {"reducesum": "sum", "reducemean": "sum", "reducemax": "max", "reducemin": "min"}
_Tables = tuple[np.ndarray, np.ndarray]


def _reduced_rows(draft: Draft, bound: Mapping[str, str], root: Operator) -> Replacement | None:
    """A reduction over all rows of one matrix, which leaves one row."""
    type_, axes = draft.types[bound["x"]], reduced_axes(draft, root)
    rank = len(type_.shape)
    if axes is None or rank < 2 or type_.dtype != "float32" or bound["x"] in draft.constants:
        return None
    long = {axis for axis in axes if type_.shape[axis] != 1}
    if not long <= {rank - 2} or rank - 2 not in axes or type_.rows != type_.shape[-2] or not type_.rows:
        return None
    made, pooled = Replacement(), draft.fresh(f"{root.output}/pooled")
    made.types[pooled] = TensorType((1, type_.columns))
    function = (("function", _FUNCTIONS[root.kind]),)
    made.operators = [Operator("pool", (bound["x"],), pooled, function, root.name)]
    if root.kind == "reducemean":
        mean = draft.fresh(f"{root.output}/mean")
        made.types[mean] = made.types[pooled]
        made.operators.append(Operator("scale", (pooled,), mean, (("factor", 1.0 / type_.rows),), root.name))
        pooled = mean
    made.operators.append(make_view(pooled, root.output, IDENTITY, root.name))
    return made


def _table(draft: Draft, operator: Operator) -> np.ndarray:
    return draft.constants[operator.inputs[1]].astype(np.float64)


def _applied(
    draft: Draft, source: str, mask: Operator, tables: _Tables, root: Operator, kind: str, function: str = ""
) -> Replacement:
    """``mask_rows`` or ``pool`` of a source with tables, in place of the root."""
    made = Replacement()
    names = [
        made.constant(draft.fresh(f"{root.output}/{part}"), table.astype(np.float32))
        for part, table in zip(("scales", "shifts"), tables, strict=True)
    ]
    attributes: tuple[tuple[str, Attribute], ...] = (("function", function),) if kind == "pool" else ()
    made.operators.append(Operator(kind, (source, mask.inputs[0], *names), root.output, attributes, root.name))
    return made


def _masked(tables_of: str) -> Build:
    """An element-wise operator of rows and a function of the mask."""

    def build(draft: Draft, bound: Mapping[str, str], root: Operator) -> Replacement | None:
        mask, source = draft.producers[bound["mask"]], draft.types[bound["x"]]
        table = _table(draft, mask)
        axis, tokens, type_ = mask.attribute("axis"), table.shape[1] - 1, draft.types[root.output]
        whole = elements(source) == elements(type_) and source.columns == type_.columns
        if type_.dtype != "float32" or not whole or bound["x"] in draft.constants:
            return None
        if axis == KEYS or (axis == ROWS and type_.rows != tokens):
            return None
        tables = _tables(tables_of, table, draft, bound)
        return None if tables is None else _applied(draft, bound["x"], mask, tables, root, "mask_rows")

    return build


def _tables(tables_of: str, table: np.ndarray, draft: Draft, bound: Mapping[str, str]) -> _Tables | None:
    ones, zeros = np.ones_like(table), np.zeros_like(table)
    if tables_of == "mul":
        return table, zeros
    if tables_of == "div":
        with np.errstate(divide="ignore"):
            return 1 / table, zeros
    if tables_of == "add":
        return ones, table
    if tables_of == "sub":
        return ones, -table
    value = draft.constants[bound["c"]].reshape(-1)
    if not value.size or (value != value[0]).any():
        return None
    chosen = table if tables_of == "where" else 1 - table
    return chosen, (1 - chosen) * float(value[0]) if np.isfinite(value[0]) else np.where(chosen == 1, 0, value[0])


def _twice(draft: Draft, bound: Mapping[str, str], root: Operator) -> Replacement | None:
    """One table after another."""
    inner = draft.producers[bound["inner"]]
    if inner.inputs[1] != root.inputs[1] or draft.types[bound["x"]].rows != draft.types[root.output].rows:
        return None
    (first, early), (second, late) = _both(draft, inner), _both(draft, root)
    return _applied(draft, bound["x"], _of_mask(root), (first * second, early * second + late), root, "mask_rows")


def _both(draft: Draft, operator: Operator) -> _Tables:
    scales, shifts = (draft.constants[name].astype(np.float64) for name in operator.inputs[2:])
    return scales, shifts


def _of_mask(operator: Operator) -> Operator:
    """An operator whose first operand is the mask."""
    return Operator("mask_values", (operator.inputs[1],), "")


def _pool_of_masked(draft: Draft, bound: Mapping[str, str], root: Operator) -> Replacement | None:
    if len(root.inputs) > 1:
        return None
    inner, function = draft.producers[bound["inner"]], str(root.attribute("function"))
    return _applied(draft, bound["x"], _of_mask(inner), _both(draft, inner), root, "pool", function)


def _scaled_pool(draft: Draft, bound: Mapping[str, str], root: Operator) -> Replacement | None:
    """A sum that is divided by a function of the mask: the tables take the factor."""
    inner, (factors, shifts) = draft.producers[bound["inner"]], _both(draft, root)
    if (
        inner.attribute("function") != "sum"
        or shifts.any()
        or not np.array_equal(factors[0], factors[1], equal_nan=True)
    ):
        return None
    tables = np.ones_like(factors), shifts
    if len(inner.inputs) > 1:
        if inner.inputs[1] != root.inputs[1]:
            return None
        tables = _both(draft, inner)
    elif draft.types[bound["x"]].rows != factors.shape[1] - 1:
        return None
    tables = tables[0] * factors, tables[1] * factors
    return _applied(draft, bound["x"], _of_mask(root), tables, root, "pool", "sum")


def _product_with_mask(draft: Draft, bound: Mapping[str, str], root: Operator) -> Replacement | None:
    """A row of numbers made of the mask times rows: their weighted sum; so are transposed rows times a column."""
    mask, source = draft.producers[bound["mask"]], bound["x"]
    table, type_ = _table(draft, mask), draft.types[bound["x"]]
    if "turned" in bound:
        view = view_of(draft.producers[bound["turned"]])
        if view != ((type_.rows, type_.columns), (1, 0)):
            return None
    by = ROWS if "turned" in bound else KEYS
    placed = mask.attribute("axis") == by or table.shape[1] == 2  # a single token has no place
    if not placed or type_.rows != table.shape[1] - 1 or source in draft.constants:
        return None
    if elements(draft.types[root.output]) != type_.columns:
        return None
    pooled = draft.fresh(f"{root.output}/pooled")
    row = Operator(root.kind, (), pooled, (), root.name)
    made = _applied(draft, source, mask, (table, np.zeros_like(table)), row, "pool", "sum")
    made.types[pooled] = TensorType((1, type_.columns))
    made.operators.append(make_view(pooled, root.output, IDENTITY, root.name))
    return made


def _masked_keys(draft: Draft, bound: Mapping[str, str], root: Operator) -> Replacement | None:
    """A bias on the tokens of a single row, such as the logits of where an answer starts: turned into a column."""
    bias, type_ = draft.producers[bound["bias"]], draft.types[root.output]
    tokens = draft.types[bias.output].columns
    if type_.rows != 1 or type_.columns != tokens or draft.types[bound["x"]].columns != tokens:
        return None
    value = bias.attribute("masked_bias")
    assert isinstance(value, float)
    shifts = np.repeat([[value], [0.0]], tokens + 1, axis=1)
    names = [draft.fresh(f"{root.output}/{part}") for part in ("column", "masked")]
    column = Operator(root.kind, (), names[1], (), root.name)
    made = _applied(draft, names[0], bias, (np.ones_like(shifts), shifts), column, "mask_rows")
    made.types |= {name: TensorType((tokens, 1)) for name in names}
    before = make_view(bound["x"], names[0], IDENTITY, root.name)
    made.operators = [before, *made.operators, make_view(names[1], root.output, IDENTITY, root.name)]
    return made


POOLING_LOWERING: tuple[Rule, ...] = (Rule("reduction over rows", Apply("|".join(_FUNCTIONS), (_X,)), _reduced_rows),)

_MASK = Apply("mask_values", (Tensor("m"),), name="mask")
_MASKED = Apply("mask_rows", (_X,), name="inner", once=True)

POOLING_RULES: tuple[Rule, ...] = (
    Rule("times mask", commutes("mul", _X, _MASK), _masked("mul")),
    Rule("divided by mask", Apply("div", (_X, _MASK)), _masked("div")),
    Rule("plus mask", commutes("add", _X, _MASK), _masked("add")),
    Rule("minus mask", Apply("sub", (_X, _MASK)), _masked("sub")),
    Rule("where kept", Apply("where", (_MASK, _X, Constant("c"))), _masked("where")),
    Rule("where masked", Apply("where", (_MASK, Constant("c"), _X)), _masked("unless")),
    Rule("masked twice", Apply("mask_rows", (_MASKED,)), _twice),
    Rule("pool of masked rows", Apply("pool", (_MASKED,)), _pool_of_masked),
    Rule("scaled pool", Apply("mask_rows", (Apply("pool", (_X,), name="inner", once=True),)), _scaled_pool),
    Rule("mask times rows", Apply("matmul", (_MASK, _X)), _product_with_mask),
    Rule("columns times mask", Apply("matmul", (Apply("view", (_X,), name="turned"), _MASK)), _product_with_mask),
)
POOLING_LEFT_OVERS: tuple[Rule, ...] = (
    Rule("bias on one row", commutes("add", _X, Apply("key_bias", (Tensor("m"),), name="bias")), _masked_keys),
)
