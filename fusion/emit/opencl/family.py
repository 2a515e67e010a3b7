"""Families of GPUs as data: how wide their vectors are, and which tiles of a product suit them.

Sources: what tuned libraries settle on (CLBlast's database for the Adreno 640 and 650, Arm Compute Library's rules for
the Mali-G76); and for drivers that run kernels on a processor's cores (PoCL), measurements of our own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

# The image of a matrix has four numbers a texel.
TEXEL = 4


@dataclass(frozen=True)
class Tile:
    """How a product is divided: each work-item makes ``rows`` x ``columns`` results, with vectors of ``width`` numbers
    of a row of weights; ``depth`` numbers of a row of activations are loaded at a time.

    ``group`` are the work-items of a group along columns and rows. ``image`` reads the weights through the image path,
    ``panels`` keeps the weights of a tile's columns together, and neighbours in a group lie along rows.
    """

    rows: int
    columns: int
    width: int = 4
    depth: int = 4
    group: tuple[int, int] = (16, 8)
    image: bool = False
    panels: bool = False


@dataclass(frozen=True)
class Family:
    """What the emitter knows of a kind of GPU.

    ``width`` numbers make a vector of row-wise work; ``queries`` are how many a work-item of attention takes,
    ``row_items`` how many work-items share a row that is normalised. After ``flush_every`` kernels what is enqueued is
    handed to the device, 0: with the last. ``tiles`` are tried for products of several rows, the first is taken where
    nothing was measured; ``image_from`` is how many tiles of 4 x 4 results make the image path worth while.
    """

    name: str
    width: int
    queries: int
    row_items: int
    tiles: tuple[Tile, ...]
    flush_every: int = 0
    image_from: int | None = None


def family_of(told: str) -> Family:
    """The family of a GPU whose driver or data sheet names it so."""
    return next((FAMILIES[name] for name in ("adreno", "mali") if name in told.lower()), FAMILIES["other"])


def _on_cores(width: int) -> Family:
    """Kernels run on a processor's cores, a group at a time: one work-item a group, as in C."""
    accumulators = 32 if width == 16 else 16
    shapes = ((8, 2), (12, 2), (6, 4), (8, 3), (4, 4)) if accumulators == 32 else ((6, 2), (4, 3), (4, 2), (2, 4))
    tiles = tuple(Tile(rows, vectors * width, width, depth=1, group=(1, 1), panels=True) for rows, vectors in shapes)
    return Family(f"cores{width}", width, queries=4, row_items=1, tiles=tiles)


_ADRENO = tuple(
    Tile(rows, columns, image=image) for image in (True, False) for rows, columns in ((4, 8), (8, 4), (4, 4))
)
_MALI = tuple(
    Tile(rows, columns, group=(8, 8), image=image) for image in (True, False) for rows, columns in ((4, 4), (2, 4))
)
FAMILIES: Mapping[str, Family] = MappingProxyType(
    {
        family.name: family
        for family in (
            _on_cores(16),
            _on_cores(8),
            _on_cores(4),
            Family("adreno", 4, queries=1, row_items=32, tiles=_ADRENO),
            Family("mali", 4, queries=1, row_items=32, tiles=_MALI, flush_every=24, image_from=2560),
            Family("other", 4, queries=1, row_items=32, tiles=(Tile(4, 4), Tile(4, 8), Tile(2, 4))),
        )
    }
)
