"""Operators of ONNX with several outputs, as one operator for each output that has a name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

import onnx

from fusion.graph import Attribute, Operator, TensorType

Attributes = tuple[tuple[str, Attribute], ...]
_Shapes = Mapping[str, TensorType]


def operators_of(node: onnx.NodeProto, shapes: _Shapes, attributes: Attributes) -> list[Operator] | None:
    """One operator for each named output, or None when the node's operator is not one of those known here.

    ``part`` (``axis``, ``first``, ``count``) is a range along an axis; ``chosen`` (``axis``, ``largest``, ``last``,
    ``indices``) are the largest or smallest numbers along it, in order, or where they stand.
    """
    maker = _MAKERS.get(node.op_type)
    return None if maker is None else maker(node, shapes, dict(attributes))


def _parts(node: onnx.NodeProto, shapes: _Shapes, attributes: Mapping[str, Attribute]) -> list[Operator] | None:
    """``Split``: the parts lie one after the other."""
    axis, first = attributes.get("axis", 0), 0
    assert isinstance(axis, int)
    made: list[Operator] = []
    for index, output in enumerate(node.output):
        if not output:  # only a part's own length says where the next one begins
            return None if any(node.output[index:]) else made
        count = shapes[output].shape[axis]
        entries: Attributes = (("axis", axis), ("count", count), ("first", first))
        made.append(Operator("part", (node.input[0],), output, entries, node.name))
        first += count
    return made


def _chosen(node: onnx.NodeProto, shapes: _Shapes, attributes: Mapping[str, Attribute]) -> list[Operator]:
    """``TopK``: the numbers, and where they stand; of equal ones the first comes first."""
    return [
        Operator(
            "chosen",
            (node.input[0],),
            output,
            (
                ("axis", attributes.get("axis", -1)),
                ("indices", indices),
                ("largest", attributes.get("largest", 1)),
                ("last", 0),
            ),
            node.name,
        )
        for indices, output in enumerate(node.output)
        if output
    ]


_Maker = Callable[[onnx.NodeProto, _Shapes, Mapping[str, Attribute]], list[Operator] | None]
_MAKERS: Mapping[str, _Maker] = MappingProxyType({"Split": _parts, "TopK": _chosen})
