"""C of a product of a few rows with an unpacked matrix that lies in cache, as attention needs it."""

from __future__ import annotations

from collections.abc import Collection

from fusion.emit.c.tiling import Tiling, choose_tiling, row_pieces
from fusion.target import Target


def product_function(
    name: str,
    counts: Collection[int],
    columns: int,
    target: Target,
    *,
    transposed: bool = False,
    add: bool = False,
) -> str:
    """``name(a, a_stride, b, b_stride, c, c_stride, depth, count)``: c[count x columns] (+)= a * b[depth x columns].

    ``count`` is one of ``counts``; a ``transposed`` a holds depth x count. Lanes of the last vector beyond ``columns``
    are computed and stored, too.
    """
    tiling, whole, rest, vectors = _cut(max(counts), columns, target)
    row_step, depth_step = ("1", "a_stride") if transposed else ("a_stride", "1")
    text = (
        f"static void {name}(const float *a, long a_stride, const float *b, long b_stride, float *c, long c_stride, "
        f"long depth, int count) {{\n"
    )
    for width, first, last in ((tiling.vectors, 0, whole * tiling.vectors), (rest, whole * tiling.vectors, vectors)):
        if first == last:
            continue
        step = width * target.lanes
        text += f"  for (int n = {first * target.lanes}; n < {last * target.lanes}; n += {step}) {{\n    int r = 0;\n"
        for index, count in enumerate(sorted(set(counts))):
            text += f"    {'else ' if index else ''}if (count == {count}) {{\n" if len(set(counts)) > 1 else ""
            end = 0
            for height, number in row_pieces(count, tiling.rows):
                end += height * number
                text += (
                    f"    for (; r < {end}; r += {height})\n"
                    f"      pb_tile({height}, {width}, {int(add)}, a + r * {row_step}, {row_step}, {depth_step}, "
                    f"b + n, b_stride, c + r * c_stride + n, c_stride, depth);\n"
                )
            text += "    }\n" if len(set(counts)) > 1 else ""
        text += "  }\n"
    return text + "}\n\n"


def product_pieces(count: int, largest: int, columns: int, target: Target) -> tuple[tuple[int, int, int], ...]:
    """(rows, vectors, how many) of the register tiles of such a function whose largest count is ``largest``."""
    tiling, whole, rest, _ = _cut(largest, columns, target)
    return tuple(
        (height, width, number * panels)
        for height, number in row_pieces(count, tiling.rows)
        for width, panels in ((tiling.vectors, whole), (rest, 1))
        if width and panels
    )


def product_panel(largest: int, columns: int, target: Target) -> int:
    """Columns that such a function goes through before it begins with the rows again."""
    return _cut(largest, columns, target)[0].panel(target)


def _cut(largest: int, columns: int, target: Target) -> tuple[Tiling, int, int, int]:
    """The tiling, how many whole panels there are, vectors that are left over, and vectors in all."""
    tiling = choose_tiling(largest, columns, columns, target)
    vectors = -(-columns // target.lanes)
    return tiling, *divmod(vectors, tiling.vectors), vectors
