"""Rewriting passes on the canonical graph, shared by imported models and by bare architectures."""

from __future__ import annotations

from fusion.graph import Graph, check


def simplify(graph: Graph) -> Graph:
    """The canonical graph after all passes; legality is checked between them."""
    return check(graph, canonical=True)
